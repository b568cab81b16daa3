"""What an event says to a person: severity, text, next step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from flops.project.deployment import NAME_PREFIX, Role
from flops.project.images import BuildStepName
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


PHASES: Final = {
    "checking": "Checking the ML repository, the training data and the images.",
    "building": "Building the images for this ML repository.",
    "deploying": "Deploying the aggregator and the learners.",
    "packaging": "Building an image of the trained model.",
    "serving": "Starting the inference server of the trained model.",
    "stopping": "Removing what is no longer needed.",
}
STEPS: Final[dict[str, tuple[str, str]]] = {
    BuildStepName.CLONE: ("Cloning the repository", "Cloned the repository"),
    BuildStepName.CHECK: ("Checking the code's interface", "Checked the code's interface and found its dependencies"),
    BuildStepName.RESOLVE: ("Resolving the dependencies", "Resolved the dependencies"),
    BuildStepName.INSTALL_LEARNER: ("Installing the learners' environment", "Installed the learners' environment"),
    BuildStepName.INSTALL_AGGREGATOR: (
        "Installing the aggregator's environment",
        "Installed the aggregator's environment",
    ),
    BuildStepName.DOWNLOAD: ("Downloading the model", "Downloaded the model"),
    BuildStepName.STORE: ("Storing what was built", "Stored what was built"),
    BuildStepName.PUSH: ("Pushing to the registry", "Pushed to the registry"),
}
ATTEMPTED: Final = {
    "CreateApp": "Creating the app",
    "DeleteApp": "Removing the app",
    "Deploy": "Deploying",
    "Redeploy": "Deploying",
    "Undeploy": "Removing",
    "ResolveRepository": "Reaching the ML repository",
    "FindImages": "Looking for the images",
}
SERVICES: Final[dict[str, str]] = {Role.TRACKING: "tracking server", Role.INFERENCE: "inference server"}
RETRY: Final = "To go on from there: flops project retry PROJECT"
SHORT_COMMIT: Final = 12


def line_of(event: e.Event, *, verbose: bool = False, is_stopping: bool = False) -> Line | None:
    """The line for an event, or None if a person need not hear of it.

    ``verbose`` tells what most people skip; of a project that stops everybody is told what is gone.
    """
    if is_stopping and isinstance(event, e.ServiceRemoved):
        return Line(f"Stopped {_service_of(event.service)}: {event.service}.")
    detail = _line_of_detail(event) if verbose else None
    return detail or _line_of_progress(event) or _line_of_trouble(event)


def _line_of_detail(event: e.Event) -> Line | None:
    match event:
        case e.BuildStepStarted():
            return Line(f"{STEPS.get(event.step, (f'Build step {event.step}', ''))[0]}.")
        case e.ImagesFound() | e.ImagesMissing():
            line = _line_of_progress(event)
            return line and replace(line, details="\n".join(event.images))
        case e.ImageBuilt():
            return Line(_built(event), "success", details=event.image)
        case e.RoundFinished():
            return Line(*_round(event), details="\n".join(_contribution(item) for item in event.participants))
        case e.ServiceRemoved():
            return Line(f"Removed {event.service}.")
        case e.LeftoverFound():
            return Line(f"{event.service} still runs, and is removed.")
        case e.InstanceCompleted():
            return Line(f"{event.instance} has done its work.")
        case _:
            return None


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
            return Line(f"{_count(len(event.nodes), 'learner')} will run where the data are, {_places(event.nodes)}.")
        case e.ImagesFound():
            return Line("The images of this commit exist already; nothing has to be built.")
        case e.ImagesMissing():
            return Line(f"{_count(len(event.images), 'image')} of this commit must be built.")
        case e.BuildStarted():
            return Line("The builder has begun.")
        case e.BuildStepFinished():
            return Line(_step(event))
        case e.ImageBuilt():
            return Line(_built(event), "success")
        case e.ServiceDeployed():
            return Line(_deployed(event))
        case e.LearnerJoined():
            examples = f" with {event.examples:,} examples" if event.examples else ""
            return Line(f"Learner {event.learner} joined from node {event.node}{examples}.")
        case e.TrainingStarted():
            resumed = f", resumed after round {event.resumed_after}" if event.resumed_after else ""
            learners = _count(len(event.learners), "learner")
            return Line(f"Training begins: {event.strategy}, {learners}, {_count(event.rounds, 'round')}{resumed}.")
        case e.RoundFinished():
            return Line(*_round(event))
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
            by = f" by {event.by}" if event.by else ""
            rest = "" if event.left else "; nothing of it runs any more"
            return Line(f"Project cancelled{by}{rest}.", "warning", RETRY)
        case e.RetryRequested():
            by = f" by {event.by}" if event.by else ""
            return Line(f"Retry requested{by}: the project goes on from the stage '{event.stage}'.", "warning")
        case e.CancellationRequested():
            return Line(f"Cancellation requested{f' by {event.by}' if event.by else ''}.", "warning")
        case _:
            return None


def _line_of_trouble(event: e.Event) -> Line | None:  # noqa: C901, PLR0911, PLR0912  one case per kind of event
    match event:
        case e.Warned():
            return Line(event.message, "warning", event.remedy)
        case e.LearnerLost():
            return Line(f"Learner {event.learner} is lost: {event.reason}.", "warning")
        case e.LearnerFailed():
            return _failure(f"The ML code failed in learner {event.learner}", event, "warning")
        case e.InstanceRestarted():
            return _failure(f"{event.instance} crashed and was restarted ({event.restarts})", event, "warning")
        case e.LeaseEnded():
            return _failure(f"{event.instance} is started again", event, "warning")
        case e.ServiceMissing():
            return _failure(f"{event.service} is gone", event)
        case e.CommandRetried():
            return _attempt(event)
        case e.ServicesLeft():
            left = ", ".join(event.services)
            text = f"Not removed within {event.after_s:g} s, and still being removed: {left}."
            return Line(text, "warning", "See 'flops services'.")
        case e.InstanceFailed():
            return _failure(f"{event.instance} crashed and is not restarted any more", event)
        case e.BuildFailed():
            return _failure(f"The build failed at '{event.step}'", event)
        case e.TrainingFailed():
            return _failure(
                f"The training failed in round {event.round}" if event.round else "The training failed", event
            )
        case e.ProjectFailed():
            line = _failure(f"Project failed while {event.stage}", event)
            return replace(line, next_step=line.next_step or RETRY)
        case e.EventsMissing():
            which = f"event {event.first}" if event.first == event.last else f"events {event.first} to {event.last}"
            return Line(f"Something is missing here: {which} of {event.source} did not arrive.", "warning")
        case e.DeadlinePassed() if ":" not in event.deadline:
            return Line(f"Deadline passed: {event.deadline} took longer than {event.after_s:g} s.", "error")
        case e.Failure():
            return _failure(event.type.replace(".", " ").replace("-", " ").capitalize(), event)
        case _:
            return None


def _service_of(name: str) -> str:
    """What a service of a project does, by its name."""
    role = next((role for role, prefix in NAME_PREFIX.items() if name.startswith(prefix)), "")
    what = SERVICES.get(role, role) or "service"
    return "the learners" if role == Role.LEARNER else f"the {what}"


def _attempt(event: e.CommandRetried) -> Line:
    what = ATTEMPTED.get(event.command, f"The command {event.command}")
    where = f" {event.where}" if event.where else ""
    number = f"attempt {event.attempt} of {event.attempts}" if event.attempts else f"attempt {event.attempt}"
    reason = event.reason.rstrip(".")
    text = f"{what}{where} failed ({number}): {reason}; trying again in {event.wait_s:.1f} s."
    return Line(text, "warning", event.remedy, event.details)


def _failure(what: str, event: e.Failure, severity: Severity = "error") -> Line:
    where = f" ({event.where})" if event.where else ""
    reason = event.reason.rstrip(".")
    return Line(f"{what}{where}: {reason}.", severity, event.remedy, event.details)


def _step(event: e.BuildStepFinished) -> str:
    what = STEPS.get(event.step, ("", f"Build step {event.step} is done"))[1]
    number = f"step {event.number} of {event.steps}, " if event.steps else ""
    size = f", {_size(event.size_bytes)}" if event.size_bytes else ""
    detail = f": {event.detail}" if event.detail else ""
    return f"{what} ({number}{event.duration_s:.1f} s{size}){detail.rstrip('.')}."


def _built(event: e.ImageBuilt) -> str:
    name, _, tag = event.image.rpartition(":")
    return f"Image ready: {name}:{tag[:SHORT_COMMIT]} ({_size(event.size_bytes)})."


def _deployed(event: e.ServiceDeployed) -> str:
    number = len(event.nodes)
    what = SERVICES.get(event.role, event.role)
    named = f"{number} {what}s" if number > 1 else f"the {what}"
    where = f", {_places(event.nodes)}" if event.nodes else ""
    return f"Deployed {named}: {event.service}{where}."


def _places(nodes: list[str]) -> str:
    """The nodes of instances, each once, with how many are there where that is not plain."""
    numbers = Counter(nodes)
    if len(numbers) in {1, len(nodes)}:
        return f"on {', '.join(sorted(numbers))}"
    return ", ".join(f"{number} on {node}" for node, number in sorted(numbers.items()))


def _contribution(participant: e.Participant) -> str:
    facts = [
        f"trained on {participant.train_examples:,} examples",
        f"evaluated on {participant.evaluate_examples:,}",
        f"accuracy {_percent(participant.accuracy)}",
        f"loss {participant.loss:.4f}" if participant.loss is not None else "no loss",
        f"{participant.duration_s:.2f} s",
    ]
    return f"{participant.learner}: {', '.join(facts)}"


def _round(event: e.RoundFinished) -> tuple[str, Severity]:
    facts = [
        f"accuracy {_percent(event.accuracy)}",
        f"loss {event.loss:.4f}" if event.loss is not None else "no loss",
        _count(len(event.participants), "learner"),
        f"{event.duration_s:.2f} s",
    ]
    if event.failed_learners:
        facts.append(f"without {', '.join(event.failed_learners)}")
    best = " (best so far)" if event.is_best else ""
    severity: Severity = "success" if event.is_best else "info"
    return f"Round {event.round}/{event.rounds}: {', '.join(facts)}{best}.", severity


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
