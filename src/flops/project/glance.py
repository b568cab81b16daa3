"""A project at a glance: its status, followed event by event."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError

from flops.project.deployment import NAME_PREFIX, Role
from flops.project.state import Phase
from flops.wire import events as e
from flops.wire.requests import ProjectStatus

TERMINAL: Final = frozenset(phase.value for phase in Phase if phase.is_terminal)


def first_status(project_id: str, time: str) -> ProjectStatus:
    """The status before anything has happened."""
    return ProjectStatus(project_id=project_id, user="", phase="requested", created=time, updated=time)


def follow(status: ProjectStatus, event: e.Event, time: str) -> ProjectStatus:
    """The status after an event. News that no status can hold (anybody may publish events) are none."""
    news = _news(status, event)
    if isinstance(event, e.PhaseEntered):
        news["ended"] = time if event.phase in TERMINAL else ""
    if not news:
        return status.model_copy(update={"updated": time})
    try:
        return ProjectStatus.model_validate({**status.model_dump(), **news, "updated": time})
    except ValidationError:
        return status.model_copy(update={"updated": time})


def _news(status: ProjectStatus, event: e.Event) -> dict[str, Any]:  # noqa: C901, PLR0911, PLR0912  one case per kind of event
    match event:
        case e.ProjectAccepted() if status.phase == "requested":
            training = event.sla.get("training_configuration")
            return {
                "user": event.user,
                "ml_repo_url": event.sla.get("ml_repo_url", ""),
                "rounds": training.get("training_rounds", 0) if isinstance(training, dict) else 0,
            }
        case e.PhaseEntered():
            return {"phase": event.phase}
        case e.RepositoryResolved():
            return {"commit": event.commit}
        case e.RoundFinished():
            best = event.accuracy if event.is_best else status.best_accuracy
            return {
                "round": event.round,
                "rounds": event.rounds,
                "accuracy": event.accuracy,
                "loss": event.loss,
                "best_accuracy": best,
            }
        case e.TrackingAvailable():
            return {"tracking_url": event.url}
        case e.ModelLogged():
            return {"model_uri": event.model_uri}
        case e.InferenceReady():
            return {"inference_url": event.url}
        case e.InstanceFailed(role=Role.INFERENCE):
            return {"inference_url": "", "reason": f"the inference server crashed ({event.reason})"[: e.MAX_TEXT]}
        case e.InstanceCompleted(role=Role.INFERENCE):
            return {"inference_url": ""}
        case e.ServiceRemoved() if event.service.startswith(NAME_PREFIX[Role.INFERENCE]):
            return {"inference_url": ""}
        case e.ProjectFailed():
            return {"reason": event.reason}
        case e.RetryRequested():
            return {"phase": "requested", "reason": "", "inference_url": ""}
        case _:
            return {}
