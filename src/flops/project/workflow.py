"""How a project runs: the one place to read it.

``step`` is pure and total: an event that does not fit the phase changes nothing. Each case of the match is one
transition with a name of its own; docs/reference/flow.md is drawn from this file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flops.project.commands import (
    Command,
    CreateApp,
    Deploy,
    FindImages,
    FindPlacement,
    Redeploy,
    ResolveRepository,
    Restart,
    SetDeadline,
    Undeploy,
)
from flops.project.deployment import Role
from flops.project.endings import Step, cancel, end, enter, fail, finish, forget_service, leave_behind
from flops.project.images import actor_image
from flops.project.services import (
    actor_builder,
    aggregator,
    inference_server,
    learners,
    model_builder,
    observer,
    tracking_server,
)
from flops.project.state import Phase, Project
from flops.wire import events as e

if TYPE_CHECKING:
    from flops.project.deployment import ServiceSpec

BUILD_MODEL_IMAGE = "build_image_for_trained_model"
DEPLOY_MODEL_IMAGE = "deploy_trained_model_image"
LAST_WORD_S = 10.0


def step(project: Project, event: e.Event) -> Step:  # noqa: C901, PLR0911, PLR0912  the table of all transitions
    """What a project becomes when an event happens, and what is to be done about it."""
    match project.phase, event:
        case Phase.REQUESTED, e.ProjectAccepted():
            return accept(project, event)
        case Phase.CHECKING, e.RepositoryResolved():
            return look_for_data(project, event)
        case Phase.CHECKING, e.PlacementDecided():
            return look_for_images(project, event)
        case Phase.CHECKING, e.ImagesMissing():
            return build_images(project)
        case Phase.CHECKING, e.ImagesFound():
            return deploy_actors(project)
        case Phase.BUILDING, e.BuildFinished(purpose="actors"):
            return deploy_actors(project)
        case Phase.DEPLOYING, e.TrainingStarted():
            return enter(project, Phase.TRAINING)
        case Phase.DEPLOYING | Phase.TRAINING, e.TrackingAvailable():
            return replace(project, tracking_url=event.url), []
        case Phase.DEPLOYING | Phase.TRAINING, e.TrainingFinished():
            return keep_model(project, event)
        case Phase.PACKAGING, e.BuildFinished(purpose="trained-model"):
            return serve_model(project)
        case Phase.SERVING, e.InferenceReady():
            return finish(replace(project, inference_url=event.url), Phase.COMPLETED)
        case _, e.ServiceRemoved():
            return forget_service(project, event)
        case Phase.STOPPING, e.ProjectCompleted():
            return end(project, Phase.COMPLETED)
        case Phase.STOPPING, e.ProjectFailed():
            return end(project, Phase.FAILED)
        case Phase.STOPPING, e.ProjectCancelled():
            return end(project, Phase.CANCELLED)
        case Phase.STOPPING, e.DeadlinePassed(deadline=Phase.STOPPING) if not project.is_over:
            return leave_behind(project, event)
        case Phase.FAILED | Phase.CANCELLED, e.RetryRequested():
            return retry(project, event)
        case _, e.LeaseEnded() if event.role == Role.OBSERVER or is_needed(project, event.service):
            return start_again(project, event)
        case _, e.LeftoverFound() if not is_needed(project, event.service):
            return remove_leftover(project, event)
        case _, e.ServiceMissing(role=Role.OBSERVER) if is_needed(project, event.service):
            return replace_observer(project)
        case _, e.ServiceCrashed():
            return replace(project, crashes={**project.crashes, event.role: event.reason}), []
        case _, e.CommandRetried():
            return replace(project, obstacle=event.reason), []
        case phase, e.InstanceCompleted(role=Role.OBSERVER) if phase.is_terminal:
            return project, [Undeploy(event.service)]
        case phase, e.CancellationRequested() if not phase.is_terminal and phase is not Phase.STOPPING:
            return cancel(project, event)
        case phase, _ if not phase.is_terminal and phase is not Phase.STOPPING:
            return watch_for_failure(project, event)
        case _:
            return project, []


def accept(project: Project, event: e.ProjectAccepted) -> Step:
    """The observer comes first, so that the user hears of everything else."""
    project, commands = check(replace(project, user=event.user, sla=event.sla))
    return project, [
        CreateApp(project.observatory),
        Deploy(observer(project)),
        CreateApp(project.app),
        *commands,
    ]


def check(project: Project) -> Step:
    """The commit that is found now is used from here on."""
    project, commands = enter(project, Phase.CHECKING)
    return project, [*commands, ResolveRepository(project.ml_repo_url, project.attempt)]


def look_for_data(project: Project, event: e.RepositoryResolved) -> Step:
    """Data are looked for before anything is built: a project without data fails within seconds."""
    training = project.sla["training_configuration"]
    wanted = FindPlacement(tuple(training["data_tags"]), int(training["min_available_clients"]), project.attempt)
    return replace(project, commit=event.commit), [wanted]


def look_for_images(project: Project, event: e.PlacementDecided) -> Step:
    """Images of the same commit are built once; meanwhile the tracking server starts, which takes its time."""
    project = replace(project, nodes=tuple(event.nodes))
    images = tuple(actor_image(project.ml_repo_url, actor, project.commit) for actor in (Role.AGGREGATOR, Role.LEARNER))
    return project, [Deploy(tracking_server(project.user)), FindImages(images, project.attempt)]


def build_images(project: Project) -> Step:
    """A builder of the project's own makes the images of the actors."""
    return enter_with(project, Phase.BUILDING, actor_builder(project))


def deploy_actors(project: Project) -> Step:
    """The builder, if there was one, goes; aggregator and learners come."""
    builder = actor_builder(project).name
    removal: list[Command] = [Undeploy(builder)] if builder in project.deployed else []
    project, commands = enter_with(project, Phase.DEPLOYING, aggregator(project), learners(project))
    return project, [*removal, *commands]


def keep_model(project: Project, event: e.TrainingFinished) -> Step:
    """The actors go; the best model becomes an image if the SLA asks for it."""
    project = replace(
        project,
        model_uri=event.model_uri,
        best_accuracy=event.best_accuracy,
        best_round=event.best_round,
    )
    if BUILD_MODEL_IMAGE not in project.post_training_steps:
        return finish(project, Phase.COMPLETED)
    removal: list[Command] = [Undeploy(spec.name) for spec in (aggregator(project), learners(project))]
    project, commands = package(project)
    return project, [*commands, *removal]


def package(project: Project) -> Step:
    """A builder of its own makes the image of the trained model."""
    return enter_with(project, Phase.PACKAGING, model_builder(project))


def serve_model(project: Project) -> Step:
    """The image of the trained model is served if the SLA asks for it."""
    if DEPLOY_MODEL_IMAGE not in project.post_training_steps:
        return finish(project, Phase.COMPLETED)
    removal = Undeploy(model_builder(project).name)
    project, commands = serve(project)
    return project, [*commands, removal]


def serve(project: Project) -> Step:
    """The inference server answers with the trained model."""
    return enter_with(project, Phase.SERVING, inference_server(project))


def retry(project: Project, event: e.RetryRequested) -> Step:
    """An ended project goes on from a stage with what it has; its observer continues the inbox.

    What could not be removed before stays with the removals that are still being tried.
    """
    former = (aggregator(project).name, *project.former_aggregators) if event.stage == Phase.TRAINING else ()
    project = replace(
        project,
        attempt=project.attempt + 1,
        former_aggregators=former,
        deployed=(),
        failed_learners=(),
        crashes={},
        outcome=None,
        is_over=False,
        failed_stage="",
        reason="",
        remedy="",
        cancelled_by="",
    )
    again: list[Command] = [CreateApp(project.observatory), Redeploy(observer(project)), CreateApp(project.app)]
    tracking = Deploy(tracking_server(project.user))
    match event.stage:
        case Phase.BUILDING:
            project, commands = build_images(project)
        case Phase.TRAINING:
            project, commands = deploy_actors(project)
        case Phase.PACKAGING:
            project, commands = package(project)
        case Phase.SERVING:
            project, commands = serve(project)
        case _:
            project, commands = check(project)
    return project, [*again, tracking, *commands]


def watch_for_failure(project: Project, event: e.Event) -> Step:  # noqa: PLR0911  one case per kind of event
    """Whatever ends a project early, in any phase that is under way."""
    match event:
        case e.RepositoryUnavailable() | e.PlacementFailed() | e.ServiceDeploymentFailed() | e.CommandFailed():
            return fail(project, event)
        case e.BuildFailed() | e.TrainingFailed() | e.InferenceFailed():
            return fail(project, event)
        case e.ServiceMissing() if event.service in project.deployed:
            return fail(project, event)
        case e.InstanceFailed(role=Role.LEARNER) if event.service in project.deployed:
            return lose_learner(project, event)
        case e.InstanceFailed() if event.service in project.deployed:
            return fail(project, crash_of(project, event))
        case e.InstanceCompleted() if event.service == awaited_service(project):
            return project, [SetDeadline(last_word_deadline(project), LAST_WORD_S)]
        case e.DeadlinePassed() if event.deadline == last_word_deadline(project):
            return fail_without_word(project)
        case e.DeadlinePassed() if event.deadline == project.phase:
            return fail(project, overdue(project, event))
        case _:
            return project, []


def lose_learner(project: Project, event: e.InstanceFailed) -> Step:
    """One learner less is the aggregator's matter; none left is the end."""
    failed = tuple(sorted({*project.failed_learners, event.instance}))
    project = replace(project, failed_learners=failed)
    if set(project.learners) <= set(failed):
        return fail(project, crash_of(project, event))
    return project, []


def start_again(project: Project, event: e.LeaseEnded) -> Step:
    """An instance that hangs is killed and started again as one that crashes; an observer also after the end."""
    return project, [Restart(event.instance)]


def remove_leftover(project: Project, event: e.LeftoverFound) -> Step:
    """What nobody needs any more goes, however it came to be there."""
    return project, [Undeploy(event.service)]


def replace_observer(project: Project) -> Step:
    """Without its observer a project goes on, but nobody would hear of it; a new one reads the manager's log."""
    return project, [CreateApp(project.observatory), Deploy(observer(project))]


def is_needed(project: Project, service: str) -> bool:
    """Whether a service should run: what is deployed, until the project stops, its observer, and a served model."""
    if service == observer(project).name:
        return not project.phase.is_terminal
    if Phase.COMPLETED in {project.phase, project.outcome} and project.inference_url:
        return service == inference_server(project).name
    return service in project.deployed and project.phase is not Phase.STOPPING


def awaited_service(project: Project) -> str:
    """The name of the service whose word ends the phase, if it is a service's word that does."""
    match project.phase:
        case Phase.BUILDING:
            return actor_builder(project).name
        case Phase.DEPLOYING | Phase.TRAINING:
            return aggregator(project).name
        case Phase.PACKAGING:
            return model_builder(project).name
        case Phase.SERVING:
            return inference_server(project).name
        case _:
            return ""


def last_word_deadline(project: Project) -> str:
    """Until then the last word of a service that has ended may be on its way: its end is told on another way."""
    return f"{project.phase}: last word"


def overdue(project: Project, event: e.DeadlinePassed) -> e.Failure:
    """What was tried in vain until the deadline is the reason, if there was such a thing."""
    tried = f"; the last attempt failed: {project.obstacle}" if project.obstacle else ""
    reason = f"{project.phase} took longer than {event.after_s:g} s{tried}"
    return e.Failure(reason=reason[: e.MAX_TEXT], remedy="See the inbox and 'flops services' for what hangs.")


def fail_without_word(project: Project) -> Step:
    """A service that has ended, and whose last word has not come since, has said none."""
    service = awaited_service(project)
    reason = f"{service} ended without saying what came of its work"
    return fail(project, e.Failure(reason=reason, remedy=f"Read its output with 'flops logs {service}'."))


def crash_of(project: Project, event: e.InstanceFailed) -> e.InstanceFailed:
    """What a service said of itself before it crashed tells more than its exit code."""
    said = project.crashes.get(event.role, "")
    return event.model_copy(update={"reason": f"the {event.role} crashed ({said or event.reason})"})


def enter_with(project: Project, phase: Phase, *services: ServiceSpec) -> Step:
    """Go on to a phase that begins with deploying services."""
    project, commands = enter(project, phase)
    names = tuple(spec.name for spec in services)
    project = replace(project, deployed=(*project.deployed, *(name for name in names if name not in project.deployed)))
    return project, [*commands, *(Deploy(spec) for spec in services)]
