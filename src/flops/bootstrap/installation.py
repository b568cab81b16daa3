"""What runs on this machine: started where it is missing, stopped as a whole, never touching the system."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flops.bootstrap import adapters
from flops.bootstrap.crashes import Crashes
from flops.errors import BrokerUnreachableError, InvalidSettingError, StartFailedError, UndecodableMessageError
from flops.wire.presence import decode_presence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flops.adapters.local_processes.client import DaemonClient
    from flops.adapters.local_processes.process import ProcessSpec
    from flops.settings import BrokerAccess, Settings

BROKER: Final = "broker"
MANAGER: Final = "manager"
START_TIMEOUT_S: Final = 30.0
LOOK_S: Final = 0.25
LOG_LINES: Final = 5


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
    with _alone(settings, report):
        return _up(settings, report)


def _up(settings: Settings, report: Callable[[str], None]) -> Started:
    from flops.adapters import embedded_broker  # noqa: PLC0415
    from flops.adapters.local_processes.client import ensure_daemon  # noqa: PLC0415

    report(_starting("local orchestrator", is_running=is_up(settings)))
    client = ensure_daemon(settings, adapters.configuration().environment())
    crashes = Crashes(client.processes)
    kind = "external"
    if not settings.broker_url:
        broker = embedded_broker.prepare(settings)
        kind = broker.kind
        process = _process(settings, BROKER, tuple(broker.command), broker.environment)
        _ensure(client, process, f"private broker ({kind})", report)
    access = embedded_broker.read_access(settings)
    if settings.broker_url:
        embedded_broker.wait_until_ready(access, START_TIMEOUT_S)
    else:
        _wait_for_broker(settings, access, crashes)
    client.resume()
    adapters.make_examples(settings)
    nodes = adapters.learner_nodes(settings)
    data_servers = _start_data_servers(settings, client, nodes, report)
    managers = manager_names(settings)
    _stop_surplus(client, managers, report)
    for name in managers:
        _ensure(client, _role(settings, MANAGER, name, ""), name, report)
    wait_online(settings, {*managers, *data_servers}, START_TIMEOUT_S, crashes)
    return Started(access.url, kind, nodes, str(settings.home))


def _start_data_servers(
    settings: Settings, client: DaemonClient, nodes: tuple[str, ...], report: Callable[[str], None]
) -> list[str]:
    """Start what serves the nodes' data, or leave it to the manager where services run in containers; their names."""
    names = {node: f"data-{node}" for node in nodes}
    if settings.orchestrator != "local":
        adapters.settle_containers(settings)
        for name in names.values():
            client.stop(name)  # where they ran as processes before
        # Machines of a swarm may have to download an image first.
        return [f"{name}.0" for name in names.values() if settings.orchestrator == "docker"]
    for node, name in names.items():
        _ensure(client, _role(settings, "data", name, node), f"data server of node {node}", report)
    return list(names.values())


def manager_names(settings: Settings) -> tuple[str, ...]:
    """The managers that run on this machine: one, or several that take over from each other."""
    return (MANAGER, *(f"{MANAGER}-{number}" for number in range(2, settings.managers + 1)))


def runs(settings: Settings, name: str) -> bool:
    """Whether a process of FLOps itself runs right now."""
    return any(status.id == name and status.pid for status in adapters.daemon(settings).processes())


def _stop_surplus(client: DaemonClient, managers: tuple[str, ...], report: Callable[[str], None]) -> None:
    """Stop managers of an earlier 'flops up' with more of them."""
    for status in client.processes():
        if status.id.startswith(f"{MANAGER}-") and status.id not in managers:
            report(f"Stopping {status.id}: there are fewer managers now.")
            client.stop(status.id)


def down(settings: Settings, report: Callable[[str], None]) -> bool:
    """Stop everything that runs; False if nothing did."""
    with _alone(settings, report):
        client = adapters.daemon(settings)
        was_running = client.is_running()
        client.shutdown()  # the managers first, which would start the containers again
        had_containers = adapters.halt_containers(settings)
        return was_running or had_containers


def is_up(settings: Settings) -> bool:
    """Whether this installation's processes are supervised right now."""
    return adapters.daemon(settings).is_running()


def _wait_for_broker(settings: Settings, access: BrokerAccess, crashes: Crashes) -> None:
    from flops.adapters import embedded_broker  # noqa: PLC0415

    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            return embedded_broker.wait_until_ready(access, LOOK_S)
        except BrokerUnreachableError:
            _check(settings, crashes, {BROKER})
    raise _start_failed(settings, BROKER, _not_within(START_TIMEOUT_S))


def wait_online(settings: Settings, instances: set[str], timeout_s: float, crashes: Crashes) -> None:
    """Return once all instances have announced themselves.

    Raises:
        StartFailedError: one crashes again and again, or did not in time.
    """
    topics = adapters.topics(settings)
    bus = adapters.connect(settings, f"waiting-{os.getpid()}-{time.monotonic_ns()}", persistent=False)
    try:
        subscription = bus.subscribe(*(topics.presence(instance) for instance in instances))
        missing, deadline = set(instances), time.monotonic() + timeout_s
        while missing and (left_s := deadline - time.monotonic()) > 0:
            delivery = subscription.receive(min(left_s, LOOK_S))
            _check(settings, crashes, missing)
            if delivery is None or not delivery.payload:
                continue
            delivery.acknowledge()
            with suppress(UndecodableMessageError):  # anybody may publish there
                presence = decode_presence(delivery.topic, delivery.payload)
                if presence.online:
                    missing.discard(presence.instance)
                elif presence.instance in instances:
                    missing.add(presence.instance)
        if missing:
            raise _start_failed(settings, min(missing), _not_within(timeout_s))
    finally:
        bus.close()


def log_path(settings: Settings, name: str) -> Path:
    """Where a process of FLOps itself writes to."""
    return settings.home / "orchestrator" / "logs" / f"{name}.log"


def end_of_log(settings: Settings, name: str) -> str:
    """The last lines that a process of FLOps itself wrote."""
    from flops.adapters.local_processes import log_file  # noqa: PLC0415

    return log_file.tail(log_path(settings, name), LOG_LINES).strip("\n")


def _check(settings: Settings, crashes: Crashes, names: set[str]) -> None:
    crashed = crashes.again_and_again(names)
    if crashed is not None:
        raise _start_failed(settings, crashed.id, f"has ended twice ({crashed.reason or 'without a reason'})")


def _not_within(timeout_s: float) -> str:
    return f"has not come up within {timeout_s:g} s"


def _start_failed(settings: Settings, name: str, reason: str) -> StartFailedError:
    return StartFailedError(name, reason, str(log_path(settings, name)), end_of_log(settings, name))


@contextmanager
def _alone(settings: Settings, report: Callable[[str], None]) -> Iterator[None]:
    """Let no other ``up`` or ``down`` of this home work at the same time."""
    path = settings.home / "run" / "up-or-down.lock"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        expected = f"a directory that can be written to ({error.strerror})"
        raise InvalidSettingError("FLOPS_HOME", str(settings.home), expected) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Waiting for another 'flops up' or 'flops down' to end.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _ensure(client: DaemonClient, process: ProcessSpec, name: str, report: Callable[[str], None]) -> None:
    before = {status.id: status.pid for status in client.processes()}.get(process.id, 0)
    now = client.ensure(process).pid
    report(_starting(name, is_running=before > 0 and now == before))


def _starting(name: str, *, is_running: bool) -> str:
    return f"The {name} is already running." if is_running else f"Starting the {name}."


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
        log_file=str(log_path(settings, name)),
        environment=environment,
        files=files or {},
    )
