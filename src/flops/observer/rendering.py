"""What an event says to a person: severity, text, next step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flops.wire import events as e

if TYPE_CHECKING:
    from flops.wire.requests import Severity


@dataclass(frozen=True, slots=True)
class Line:
    """One inbox entry's words."""

    text: str
    severity: Severity = "info"
    next_step: str = ""
    details: str = ""


PHASES = {
    "checking": "Checking the ML repository, the training data and the images.",
    "building": "Building the images for this ML repository.",
    "deploying": "Deploying the aggregator, the learners and the tracking server.",
    "training": "Training has begun.",
    "packaging": "Building an image of the trained model.",
    "serving": "Starting the inference server of the trained model.",
    "stopping": "Removing what is no longer needed.",
}


def line_of(event: e.Event) -> Line | None:
    """The line for an event, or None if a person need not hear of it."""
    return _line_of_progress(event) or _line_of_trouble(event)


def _line_of_progress(event: e.Event) -> Line | None:  # noqa: C901, PLR0911, PLR0912  one case per kind of event
    match event:
        case e.ProjectAccepted():
            repository = event.sla.get("ml_repo_url", "")
            return Line(f"Project accepted for {event.user}: {repository}.")
        case e.PhaseEntered() if event.phase in PHASES:
            return Line(PHASES[event.phase])
        case e.RepositoryResolved():
            return Line(f"The ML repository is at commit {event.commit[:12]}.")
        case e.PlacementDecided():
            return Line(f"{_count(len(event.nodes), 'learner')} will run on: {', '.join(sorted(set(event.nodes)))}.")
        case e.ImagesFound():
            return Line("The images of this commit exist already; nothing has to be built.")
        case e.ImagesMissing():
            return Line(f"{_count(len(event.images), 'image')} of this commit must be built.")
        case e.BuildStarted():
            return Line(
                f"The builder has begun: {', '.join(event.steps)}." if event.steps else "The builder has begun."
            )
        case e.BuildStepFinished():
            size = f", {_size(event.size_bytes)}" if event.size_bytes else ""
            detail = f" {event.detail}" if event.detail else ""
            return Line(f"Built: {event.step} ({event.duration_s:.1f} s{size}).{detail}")
        case e.ImageBuilt():
            return Line(f"Image ready: {event.image} ({_size(event.size_bytes)}).", "success")
        case e.ServiceDeployed():
            where = f" on {', '.join(event.nodes)}" if event.nodes else ""
            return Line(f"Deployed the {event.role} {event.service}{where}.")
        case e.LearnerJoined():
            examples = f" with {event.examples:,} examples" if event.examples else ""
            return Line(f"Learner {event.learner} joined from node {event.node}{examples}.")
        case e.TrainingStarted():
            resumed = f", resumed after round {event.resumed_after}" if event.resumed_after else ""
            learners = _count(len(event.learners), "learner")
            return Line(f"{event.strategy} over {learners}, {_count(event.rounds, 'round')}{resumed}.")
        case e.RoundFinished():
            return Line(_round(event), "success" if event.is_best else "info")
        case e.TrackingAvailable():
            return Line("Every round is tracked.", next_step=f"Open {event.url}")
        case e.ModelLogged():
            return Line(f"The model of round {event.round} is kept as {event.model_uri}.")
        case e.TrainingFinished():
            best = f"; best: {_percent(event.best_accuracy)} in round {event.best_round}"
            return Line(f"Training finished after {event.duration_s:.1f} s{best}.", "success")
        case e.InferenceReady():
            return Line(f"The trained model answers at {event.url}.", "success", f"POST {event.url}/invocations")
        case e.ProjectCompleted():
            return Line(f"Project completed{_best(event.best_accuracy)}.", "success", _after_completion(event))
        case e.ProjectCancelled():
            return Line(
                f"Project cancelled{f' by {event.by}' if event.by else ''}; nothing of it runs any more.", "warning"
            )
        case e.CancellationRequested():
            return Line(f"Cancellation requested{f' by {event.by}' if event.by else ''}.", "warning")
        case _:
            return None


def _line_of_trouble(event: e.Event) -> Line | None:  # noqa: C901, PLR0911  one case per kind of event
    match event:
        case e.Warned():
            return Line(event.message, "warning", event.remedy)
        case e.LearnerLost():
            return Line(f"Learner {event.learner} is lost: {event.reason}.", "warning")
        case e.LearnerFailed():
            return _failure(f"The ML code failed in learner {event.learner}", event, "warning")
        case e.InstanceRestarted():
            return _failure(f"{event.instance} crashed and was restarted ({event.restarts})", event, "warning")
        case e.InstanceFailed():
            return _failure(f"{event.instance} crashed and is not restarted any more", event)
        case e.BuildFailed():
            return _failure(f"The build failed at '{event.step}'", event)
        case e.TrainingFailed():
            return _failure(
                f"The training failed in round {event.round}" if event.round else "The training failed", event
            )
        case e.ProjectFailed():
            return _failure(f"Project failed while {event.stage}", event)
        case e.DeadlinePassed():
            return Line(f"Deadline passed: {event.deadline} took longer than {event.after_s:g} s.", "error")
        case e.Failure():
            return _failure(event.type.replace(".", " ").replace("-", " ").capitalize(), event)
        case _:
            return None


def _failure(what: str, event: e.Failure, severity: Severity = "error") -> Line:
    where = f" ({event.where})" if event.where else ""
    reason = event.reason.rstrip(".")
    return Line(f"{what}{where}: {reason}.", severity, event.remedy, event.details)


def _round(event: e.RoundFinished) -> str:
    facts = [
        f"accuracy {_percent(event.accuracy)}",
        f"loss {event.loss:.4f}" if event.loss is not None else "no loss",
        _count(len(event.participants), "learner"),
        f"{event.duration_s:.2f} s",
    ]
    if event.failed_learners:
        facts.append(f"without {', '.join(event.failed_learners)}")
    return f"Round {event.round}/{event.rounds}: {', '.join(facts)}{' (best so far)' if event.is_best else ''}."


def _after_completion(event: e.ProjectCompleted) -> str:
    if event.inference_url:
        return "flops predict PROJECT FILE"
    return "flops tracking" if event.model_uri else ""


def _best(accuracy: float | None) -> str:
    return f" with an accuracy of {_percent(accuracy)}" if accuracy is not None else ""


def _percent(accuracy: float | None) -> str:
    return "unknown" if accuracy is None else f"{accuracy:.2%}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004  decimal prefixes
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
