"""What runs on this machine: started where it is missing, stopped as a whole, never touching the system."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flops.bootstrap import adapters
from flops.errors import NoAnswerError
from flops.wire.envelope import decode_envelope
from flops.wire.requests import Presence

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.adapters.local_processes.process import ProcessSpec
    from flops.settings import Settings

BROKER: Final = "broker"
MANAGER: Final = "manager"
START_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Started:
    """What ``up`` found or started."""

    broker_url: str
    broker_kind: str
    nodes: tuple[str, ...]
    home: str


def up(settings: Settings, report: Callable[[str], None]) -> Started:
    """Start whatever is missing and return when the manager answers. Idempotent.

    Raises:
        FlopsError: something did not start; the message has the end of its log.
    """
    from flops.adapters import embedded_broker  # noqa: PLC0415
    from flops.adapters.local_processes.client import ensure_daemon  # noqa: PLC0415

    report("Starting the local orchestrator.")
    client = ensure_daemon(settings, os.environ)
    kind = "external"
    if not settings.broker_url:
        broker = embedded_broker.prepare(settings)
        kind = broker.kind
        report(f"Starting a private broker ({kind}).")
        client.ensure(_process(settings, BROKER, tuple(broker.command), broker.environment))
    access = embedded_broker.read_access(settings)
    embedded_broker.wait_until_ready(access, START_TIMEOUT_S)
    client.resume()
    adapters.make_examples(settings)
    nodes = tuple(node.name for node in settings.local_nodes if "learner" in node.capabilities)
    for node in nodes:
        report(f"Starting the data server of node {node}.")
        client.ensure(_role(settings, "data", f"data-{node}", node))
    report("Starting the manager.")
    client.ensure(_role(settings, MANAGER, MANAGER, ""))
    wait_online(settings, {MANAGER, *(f"data-{node}" for node in nodes)}, START_TIMEOUT_S)
    return Started(access.url, kind, nodes, str(settings.home))


def down(settings: Settings) -> bool:
    """Stop everything that runs; False if nothing did."""
    client = adapters.daemon(settings)
    was_running = client.is_running()
    client.shutdown()
    return was_running


def is_up(settings: Settings) -> bool:
    """Whether this installation's processes are supervised right now."""
    return adapters.daemon(settings).is_running()


def wait_online(settings: Settings, instances: set[str], timeout_s: float) -> None:
    """Return once all instances have announced themselves.

    Raises:
        NoAnswerError: not all did in time.
    """
    topics = adapters.topics(settings)
    bus = adapters.connect(settings, f"waiting-{os.getpid()}-{time.monotonic_ns()}", persistent=False)
    try:
        subscription = bus.subscribe(*(topics.presence(instance) for instance in instances))
        missing, deadline = set(instances), time.monotonic() + timeout_s
        while missing and (left_s := deadline - time.monotonic()) > 0:
            delivery = subscription.receive(left_s)
            if delivery is None or not delivery.payload:
                continue
            delivery.acknowledge()
            presence = Presence.model_validate(decode_envelope(delivery.topic, delivery.payload).data)
            if presence.online:
                missing.discard(presence.instance)
            else:
                missing.add(presence.instance)
        if missing:
            raise NoAnswerError(f"start of {', '.join(sorted(missing))}", timeout_s)
    finally:
        bus.close()


def _role(settings: Settings, role: str, instance: str, node: str) -> ProcessSpec:
    identity = {
        "service": instance,
        "instance": instance,
        "role": role,
        "app": "flops",
        "user": "",
        "node": node,
        "project_id": "",
        "image": "",
        "config": {},
    }
    command = (sys.executable, "-m", "flops.bootstrap", role)
    directory = settings.home / "services" / instance
    environment = {"FLOPS_SERVICE_FILE": str(directory / "service.json"), "PYTHONUNBUFFERED": "1"}
    return _process(settings, instance, command, environment, {"service.json": json.dumps(identity)})


def _process(
    settings: Settings,
    name: str,
    command: tuple[str, ...],
    environment: dict[str, str],
    files: dict[str, str] | None = None,
) -> ProcessSpec:
    from flops.adapters.local_processes.process import ProcessSpec  # noqa: PLC0415

    return ProcessSpec(
        id=name,
        command=command,
        directory=str(settings.home / "services" / name),
        log_file=str(settings.home / "orchestrator" / "logs" / f"{name}.log"),
        environment=environment,
        files=files or {},
    )
