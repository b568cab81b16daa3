"""Answers to everything that is not a project SLA: one short method per request."""

from __future__ import annotations

import hashlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError

from flops.delivery.answers import answer, refuse
from flops.errors import (
    FlopsError,
    InvalidSlaError,
    NoAnswerError,
    NotFoundError,
    OverloadedError,
    ProjectNotEndedError,
    UndecodableMessageError,
)
from flops.manager import pages
from flops.manager.pages import page_of
from flops.manager.retrying import stage_to_retry
from flops.project.deployment import NAME_PREFIX, App, Placement, Role, ServiceSpec
from flops.project.images import trained_model_image
from flops.project.services import tracking_server
from flops.wire import requests as r
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.events import CancellationRequested, RetryRequested
from flops.wire.limits import CONTROL
from flops.wire.sla import parse_mock_data_sla

if TYPE_CHECKING:
    from flops.manager.placement import Placements
    from flops.manager.projects import Projects
    from flops.ports import Bus, Delivery, Orchestrator, ProjectRecord, Registry, Store
    from flops.project.deployment import Service
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

WORKERS: Final = 4
MAX_WAITING: Final = 1000
SLOW: Final = (r.ShowTracking, r.DeleteProject, r.ProvideMockData, r.ReadLogs)
TRACKING_TIMEOUT_S: Final = 60.0
HELPER_APP: Final = "helper"


class Requests:
    """Serves requests on a few threads of its own; those that wait for somebody else keep no others waiting."""

    def __init__(  # noqa: PLR0913  the manager's parts
        self,
        *,
        bus: Bus,
        topics: Topics,
        store: Store,
        projects: Projects,
        orchestrator: Orchestrator,
        registry: Registry,
        placements: Placements,
    ) -> None:
        self._bus, self._topics, self._store, self._projects = bus, topics, store, projects
        self._orchestrator, self._registry, self._placements = orchestrator, registry, placements
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="request")
        self._patient = ThreadPoolExecutor(WORKERS, thread_name_prefix="slow-request")
        self._lock = threading.Lock()
        self._being_answered: set[tuple[str, str]] = set()

    def close(self) -> None:
        """Finish what is being answered."""
        self._pool.shutdown(wait=True)
        self._patient.shutdown(wait=True)

    def serve(self, name: tuple[str, ...], delivery: Delivery) -> None:
        """Answer a request; returns before it is answered. Asked again meanwhile, it is answered once."""
        kind = r.REQUESTS.get("/".join(name))
        envelope = decode_envelope(delivery.topic, delivery.payload, CONTROL)
        if kind is None:
            raise UndecodableMessageError(delivery.topic, "there is no such request")
        asked = (envelope.source, envelope.id)
        with self._lock:
            is_repeated = asked in self._being_answered
            is_overloaded = len(self._being_answered) >= MAX_WAITING
            if not is_repeated and not is_overloaded:
                self._being_answered.add(asked)
        if is_overloaded:
            refuse(self._bus, delivery, envelope, OverloadedError(MAX_WAITING))
        elif not is_repeated:
            pool = self._patient if issubclass(kind, SLOW) else self._pool
            pool.submit(self._answer_once, kind, envelope, delivery)

    def _answer_once(self, kind: type[r.Message], envelope: Envelope, delivery: Delivery) -> None:
        try:
            self._answer(kind, envelope, delivery)
        finally:
            with self._lock:
                self._being_answered.discard((envelope.source, envelope.id))

    def _answer(self, kind: type[r.Message], envelope: Envelope, delivery: Delivery) -> None:
        try:
            question = _question(kind, delivery.topic, envelope)
            answer(self._bus, delivery, envelope, self._reply(question, envelope))
        except FlopsError as error:
            faults = error.errors if isinstance(error, InvalidSlaError) else []
            refuse(self._bus, delivery, envelope, error, errors=[asdict(fault) for fault in faults])
        except Exception:
            log.exception("request failed", extra={"request": kind.__name__})
            fault = FlopsError("The manager could not answer because of a fault of its own.", remedy="See its log.")
            refuse(self._bus, delivery, envelope, fault)

    def _reply(self, question: r.Message, envelope: Envelope) -> dict[str, Any]:  # noqa: C901, PLR0911, PLR0912  a table
        match question:
            case r.ListProjects():
                return pages.projects(self._store, question, self._bus.max_payload_bytes)
            case r.ListDeadLetters():
                return pages.dead_letters(self._store, question, self._bus.max_payload_bytes)
            case r.ShowDeadLetter():
                return pages.dead_letter(self._store, question.number)
            case r.DropDeadLetters():
                return {"dropped": self._store.drop_dead_letters(None if question.all else question.numbers)}
            case r.ShowProject():
                return self._show(self._record(question.project_id))
            case r.ReadInbox():
                return self._inbox(question)
            case r.ReadEvents():
                return self._events(question)
            case r.CancelProject():
                return self._cancel(question, envelope)
            case r.RetryProject():
                return self._retry(question, envelope)
            case r.DeleteProject():
                return self._delete(self._record(question.project_id))
            case r.ListApps():
                return {"apps": [{"name": app.name, "user": app.user} for app in self._orchestrator.apps()]}
            case r.ListServices():
                found = self._orchestrator.services()
                return {"services": [_service(item) for item in found if question.app in {"", item.app.name}]}
            case r.ReadLogs():
                return {"text": self._orchestrator.logs(question.service, tail_lines=question.tail_lines)}
            case r.ProvideMockData():
                return self._mock_data(question, envelope)
            case r.ShowTracking():
                return {"url": self._tracking(question.user)}
            case r.ListData():
                return {"nodes": self._placements.data_tags()}
            case _:
                raise UndecodableMessageError("request", "there is no such request")

    def _record(self, project_id: str) -> ProjectRecord:
        record = self._store.load(project_id)
        if record is None:
            raise NotFoundError("project", project_id, remedy="See 'flops project list'.")
        return record

    def _show(self, record: ProjectRecord) -> dict[str, Any]:
        services = self._orchestrator.services(project_id=record.project.id)
        return {
            "status": record.status.model_dump(),
            "sla": record.project.sla,
            "services": [_service(item) for item in services],
        }

    def _inbox(self, question: r.ReadInbox) -> dict[str, Any]:
        self._record(question.project_id)
        entries = self._store.entries(question.project_id, after=question.after, limit=question.limit)
        page = page_of([entry.data for entry in entries], self._bus.max_payload_bytes)
        return {"entries": page, "more": len(page) < len(entries) or len(entries) == question.limit}

    def _events(self, question: r.ReadEvents) -> dict[str, Any]:
        self._record(question.project_id)
        found = self._store.events(question.project_id, after=question.after, limit=question.limit)
        events = [{"position": position, "envelope": _as_object(envelope)} for position, envelope in found]
        page = page_of(events, self._bus.max_payload_bytes)
        return {"events": page, "more": len(page) < len(found) or len(found) == question.limit}

    def _cancel(self, question: r.CancelProject, envelope: Envelope) -> dict[str, Any]:
        record = self._record(question.project_id)
        if not record.project.phase.is_terminal:
            event = CancellationRequested(by=question.by)
            self._projects.requested(question.project_id, event, event_id=envelope.id)
            record = self._record(question.project_id)
        return {"phase": record.project.phase, "outcome": record.project.outcome or ""}

    def _retry(self, question: r.RetryProject, envelope: Envelope) -> dict[str, Any]:
        """Asked again with the same id, it is answered again; the project goes on once."""
        project = self._record(question.project_id).project
        if self._store.has_event(project.id, envelope.id):
            return {"stage": project.phase}
        stage = stage_to_retry(project, question.from_stage, self._registry)
        self._projects.requested(project.id, RetryRequested(stage=stage, by=question.by), event_id=envelope.id)
        return {"stage": stage}

    def _delete(self, record: ProjectRecord) -> dict[str, Any]:
        project = record.project
        if not project.phase.is_terminal:
            raise ProjectNotEndedError(project.id, project.phase)
        self._orchestrator.delete_app(project.app)
        for service in project.service_names:
            self._orchestrator.forget(service)
        self._registry.delete(trained_model_image(project.ml_repo_url, project.id))
        self._store.delete(project.id)
        presence = [self._topics.presence(instance) for instance in project.instance_names]
        for topic in (self._topics.project_status(project.id), self._topics.project_confirmed(project.id), *presence):
            self._bus.publish(topic, b"", retain=True)
        return {}

    def _mock_data(self, question: r.ProvideMockData, envelope: Envelope) -> dict[str, Any]:
        sla = parse_mock_data_sla(question.sla)
        nodes = sorted(self._placements.data_tags())
        if not nodes:
            raise NotFoundError("node", "with a data server", remedy="See 'flops doctor'.")
        request_id = hashlib.sha256(envelope.id.encode()).hexdigest()[:24]
        app = App(sla.customer_id, HELPER_APP)
        spec = ServiceSpec(
            name=f"{NAME_PREFIX[Role.MOCK_DATA]}{request_id[:12]}",
            app=app,
            role=Role.MOCK_DATA,
            config={**sla.mock_data_configuration.to_document(), "nodes": nodes},
            placements=(Placement(nodes[0]),),
            project_id=request_id,
            max_restarts=0,
        )
        self._orchestrator.create_app(app)
        self._orchestrator.deploy(spec)
        return {"request_id": request_id, "service": spec.name}

    def _tracking(self, user: str) -> str:
        spec = tracking_server(user)
        is_there = any(service.name == spec.name for service in self._orchestrator.services())
        if not is_there and not self._store.projects(user, limit=1):
            remedy = "A tracking server comes with a user's first project; 'flops project list' shows whose there are."
            raise NotFoundError("project of the user", user, remedy=remedy)
        self._orchestrator.create_app(spec.app)
        self._orchestrator.deploy(spec)
        url = self._placements.url_of(f"{spec.name}.0", timeout_s=TRACKING_TIMEOUT_S)
        if not url:
            raise NoAnswerError(f"start of {spec.name}", TRACKING_TIMEOUT_S)
        return url


def _question(kind: type[r.Message], topic: str, envelope: Envelope) -> r.Message:
    try:
        return kind.model_validate(envelope.data)
    except ValidationError as error:
        raise UndecodableMessageError(topic, str(error.errors(include_url=False)[0]["msg"])) from error


def _as_object(value: Envelope | BaseModel) -> dict[str, Any]:
    return value.model_dump(mode="json")


def _service(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "role": service.role,
        "app": service.app.name,
        "user": service.app.user,
        "project_id": service.project_id,
        "instances": [
            {
                "id": instance.id,
                "node": instance.node,
                "state": instance.state,
                "restarts": instance.restarts,
                "reason": instance.reason,
            }
            for instance in service.instances
        ],
    }
