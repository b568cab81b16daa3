"""Each service process: its identity is read from a file, its ports are made, its role is run.

This is the process boundary: what a role did not expect becomes a ServiceCrashed event and the exit code 1.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import platform
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flops.bootstrap import adapters
from flops.bootstrap.given_files import link
from flops.bootstrap.machine import adopt
from flops.bootstrap.signals import stop_when_asked
from flops.bootstrap.threads import end_with_any_thread
from flops.delivery.presence import presence_payload
from flops.delivery.publisher import EventPublisher
from flops.delivery.service import ServiceContext, ServiceIdentity
from flops.endpoint import ENDPOINT, Endpoint
from flops.errors import EXIT_TERMINATED, DeploymentRefusedError, FlopsError
from flops.learning.literals import take_turns
from flops.logs import log_to_stderr
from flops.wire.events import MAX_TEXT, ServiceCrashed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flops.learning.model_process.process import ModelProcess
    from flops.ports import Bus, Outbox
    from flops.settings import Settings

log = logging.getLogger(__name__)

SERVICE_FILE: Final = "FLOPS_SERVICE_FILE"
# paho reads a packet in several calls and waits for its turn after each: with Python's 5 ms and one busy thread it
# would read fewer than a hundred packets a second.
SWITCH_S: Final = 0.0002
FLUSH_TIMEOUT_S: Final = 5.0
DAY_S: Final = 24 * 3600.0
# These are of use to others only once they listen, and say so then. Others say at once that they are there, and may
# add later where they answer: one that is offline for long while it runs is taken for hung.
ANNOUNCED_BY_ROLE: Final = frozenset({"manager", "data"})
# All that these have to tell as an event is that they crashed, which the orchestrator tells as well.
WITHOUT_OUTBOX: Final = frozenset({"observer", "manager", "data", "tracking"})

Announce = dict[str, Any]


def main(role: str) -> int:
    """Run the service that ``FLOPS_SERVICE_FILE`` describes; returns the exit code."""
    adopt(Path(os.environ[SERVICE_FILE]).parent)
    settings = adapters.read_settings()
    log_to_stderr(settings.log_level)
    sys.setswitchinterval(SWITCH_S)
    stopping = threading.Event()
    was_asked = stop_when_asked(stopping)
    end_with_any_thread(stopping)
    service_file = Path(os.environ[SERVICE_FILE])
    description = json.loads(service_file.read_text())
    link(service_file.parent, settings.home)
    directory = settings.home / "services" / description["instance"]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # the file may lie elsewhere
    identity = ServiceIdentity(
        **{name: description[name] for name in ("service", "instance", "app", "user", "node", "project_id")}, role=role
    )
    try:
        exit_code = _Service(settings, identity, description, directory, stopping).run()
    except FlopsError as error:
        log.error("%s", error)  # noqa: TRY400  the message says it all
        return error.exit_code
    # In a swarm nothing else tells a service that was stopped from one that has done its work.
    is_cut_short = exit_code == 0 and was_asked.is_set() and settings.loopback_host
    return EXIT_TERMINATED if is_cut_short else exit_code


class _Service:
    def __init__(
        self,
        settings: Settings,
        identity: ServiceIdentity,
        description: dict[str, Any],
        directory: Path,
        stopping: threading.Event,
    ) -> None:
        self._settings, self._identity = settings, identity
        self._image, self._directory = str(description["image"]), directory
        self._topics = adapters.topics(settings)
        self._presence_topic = self._topics.presence(identity.instance)
        will = (self._presence_topic, presence_payload(identity, online=False))
        self._bus: Bus = adapters.connect(settings, identity.instance, persistent=True, will=will)
        self._farewell = will
        self._events = self._publisher()
        self._context = ServiceContext(
            identity=identity,
            config=description["config"],
            directory=directory,
            settings=settings,
            topics=self._topics,
            bus=self._bus,
            events=self._events,
            stopping=stopping,
            endpoint=Endpoint(**description.get(ENDPOINT, {})),
        )

    def run(self) -> int:
        """Run the role between a greeting and a farewell."""
        try:
            # No broker sends the delayed will of a process that was killed once another one has taken its session over.
            self._bus.publish(*self._farewell, retain=True)
            if self._identity.role not in ANNOUNCED_BY_ROLE:
                self._announce()
            return ROLES[self._identity.role](self)
        except Exception as error:
            log.exception("service crashed")
            self._tell_crash(error)
            return 1
        finally:
            self._events.close()
            self._bus.flush(FLUSH_TIMEOUT_S)
            self._bus.close(self._farewell)

    def _publisher(self) -> EventPublisher:
        outbox = None if self._identity.role in WITHOUT_OUTBOX else self._outbox()
        source, project_id = self._identity.source, self._identity.project_id
        return EventPublisher(self._bus, outbox, self._topics, source=source, project_id=project_id)

    def _outbox(self) -> Outbox:
        from flops.adapters.sqlite_outbox import SqliteOutbox  # noqa: PLC0415

        return SqliteOutbox(self._directory / "outbox.db")

    def _announce(self, *, url: str = "", data_tags: dict[str, int] | None = None) -> None:
        payload = presence_payload(self._identity, online=True, url=url, data_tags=data_tags)
        self._bus.publish(self._presence_topic, payload, retain=True)

    def _tell_crash(self, error: Exception) -> None:
        details = traceback.format_exc()[-MAX_TEXT:]
        reason = f"{type(error).__name__}: {error}"[:MAX_TEXT]
        self._events.publish(ServiceCrashed(role=self._identity.role, reason=reason, details=details))

    def _model(self, data: Path | None = None) -> ModelProcess:
        from flops.learning.model_process.process import ModelProcess  # noqa: PLC0415

        image = adapters.local_image(self._settings, self._image)
        flavor = str(self._context.config.get("flavor", ""))
        directory, patience_s = self._directory / "model", self._settings.round_deadline_s
        return ModelProcess(image.python, image.code, directory, data, flavor, call_timeout_s=patience_s)

    @staticmethod
    def _started(model: ModelProcess) -> ModelProcess:
        """The model with its process begun: it imports as long as the actor does, so both do it at once."""
        with contextlib.suppress(FlopsError):  # the role calls it again, and tells what is wrong
            model.start()
        return model

    def observer(self) -> int:
        """Make the project's inbox."""
        from flops.adapters.sqlite_inbox import SqliteInbox  # noqa: PLC0415
        from flops.delivery.requests import RequestClient  # noqa: PLC0415
        from flops.observer.service import run  # noqa: PLC0415

        requests = RequestClient(self._bus, self._topics, self._identity.instance)
        return run(self._context, SqliteInbox(self._directory / "inbox.db"), requests)

    def manager(self) -> int:
        """Manage projects."""
        from flops.manager.service import ManagerPorts, Tenure, run  # noqa: PLC0415
        from flops.project.state import Deadlines  # noqa: PLC0415
        from flops.wire.sla import platform_of  # noqa: PLC0415

        settings = self._settings
        if settings.loopback_host:
            adapters.make_examples(settings)
        ports = ManagerPorts(
            bus=self._bus,
            topics=self._topics,
            store=adapters.store(settings),
            orchestrator=adapters.orchestrator(settings),
            registry=adapters.registry(settings),
            repositories=adapters.repositories(settings, self._context.stopping),
        )
        deadlines = Deadlines(
            checking_s=settings.check_deadline_s,
            building_s=settings.build_deadline_s,
            training_s=settings.train_deadline_s,
            packaging_s=settings.package_deadline_s,
            serving_s=settings.serve_deadline_s,
            stopping_s=settings.stop_deadline_s,
            # The aggregator gives up first, since it knows which learners are missing.
            deploying_s=settings.deploy_deadline_s + settings.round_deadline_s,
        )
        return run(
            ports,
            deadlines,
            platform_of(platform.machine()),
            self._context.stopping,
            self._announce,
            tenure=Tenure(self._identity.instance, settings.manager_lease_s, settings.service_lease_s),
            retries=adapters.retry_policy(settings),
            keep_events_s=settings.keep_events_days * DAY_S,
        )

    def data(self) -> int:
        """Serve a node's training data."""
        from flops.data.service import run  # noqa: PLC0415

        return run(self._context, lambda data_tags: self._announce(data_tags=data_tags))

    def mock_data(self) -> int:
        """Put a dataset on the learner nodes."""
        from flops.data.mock_service import run  # noqa: PLC0415

        return run(self._context, adapters.training_data(self._settings))

    def builder(self) -> int:
        """Build images."""
        from flops.builder.service import run  # noqa: PLC0415
        from flops.retries import Retries  # noqa: PLC0415

        if self._settings.loopback_host:  # in a container, where no 'flops up' has made them
            adapters.make_examples(self._settings)
        retries = Retries(adapters.retry_policy(self._settings), self._context.stopping)
        builder = adapters.image_builder(self._settings, self._context.stopping)
        return run(self._context, builder, adapters.tracking(self._settings), retries)

    def aggregator(self) -> int:
        """Run the rounds."""
        model = self._started(self._model())
        with _uncollected():
            from flops.aggregator.service import run  # noqa: PLC0415

        take_turns()
        return run(self._context, model, adapters.tracking(self._settings))

    def learner(self) -> int:
        """Train on the node's data."""
        from flops.learning.arrow_file import DATA_FILE, write_arrow  # noqa: PLC0415

        model = self._started(self._model(self._directory / DATA_FILE))
        with _uncollected():
            from flops.learner.service import run  # noqa: PLC0415

        take_turns()
        node = self._identity.node
        connect = adapters.training_data(self._settings)
        return run(self._context, model, lambda: connect(node), write_arrow)

    def tracking(self) -> int:
        """Run a user's tracking server."""
        from flops.tracking.service import run  # noqa: PLC0415

        return run(self._context, lambda url: self._announce(url=url))

    def inference(self) -> int:
        """Serve a trained model."""
        from flops.inference.service import run  # noqa: PLC0415

        image = adapters.local_image(self._settings, self._image)
        if image.model is None:
            raise DeploymentRefusedError(self._identity.service, f"{self._image} holds no trained model")
        return run(self._context, image.python, image.model, lambda url: self._announce(url=url))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Import without garbage collection: nothing that an import makes is garbage, and looking takes a tenth of it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


ROLES: Final[dict[str, Callable[[_Service], int]]] = {
    "observer": _Service.observer,
    "manager": _Service.manager,
    "data": _Service.data,
    "mock-data": _Service.mock_data,
    "builder": _Service.builder,
    "aggregator": _Service.aggregator,
    "learner": _Service.learner,
    "tracking": _Service.tracking,
    "inference": _Service.inference,
}
