"""How a project ends: by way of removing what it has deployed, and with one last word."""

from __future__ import annotations

from dataclasses import replace

from flops.project.commands import Announce, Command, DeleteApp, SetDeadline, Undeploy
from flops.project.services import inference_server
from flops.project.state import Phase, Project
from flops.wire import events as e

Step = tuple[Project, list[Command]]


def cancel(project: Project, event: e.CancellationRequested) -> Step:
    """Everything that runs is stopped before the project says that it was cancelled."""
    return finish(replace(project, cancelled_by=event.by, failed_stage=project.phase), Phase.CANCELLED)


def fail(project: Project, failure: e.Failure) -> Step:
    """Everything that runs is stopped before the project says why it failed."""
    reason = f"{failure.reason} ({failure.where})" if failure.where else failure.reason
    project = replace(
        project,
        failed_stage=project.phase,
        reason=reason[: e.MAX_TEXT],  # longer, it could not be told
        remedy=failure.remedy,
    )
    return finish(project, Phase.FAILED)


def finish(project: Project, outcome: Phase) -> Step:
    """Go to a terminal phase by way of removing everything but what the user is to keep."""
    kept = {inference_server(project).name} if outcome is Phase.COMPLETED else set()
    remaining = tuple(name for name in project.deployed if name not in kept)
    project, commands = enter(replace(project, deployed=remaining, outcome=outcome), Phase.STOPPING)
    if not remaining:
        return replace(project, is_over=True), [*commands, Announce(last_word(project))]
    return project, [*commands, *(Undeploy(name) for name in remaining)]


def forget_service(project: Project, event: e.ServiceRemoved) -> Step:
    """The last service that is gone lets a stopping project end."""
    if event.service not in project.deployed:
        return project, []
    project = replace(project, deployed=tuple(name for name in project.deployed if name != event.service))
    if project.deployed or project.phase is not Phase.STOPPING or project.is_over:
        return project, clear_away(project)
    return replace(project, is_over=True), [Announce(last_word(project))]


def leave_behind(project: Project, event: e.DeadlinePassed) -> Step:
    """The project ends although something of it cannot be removed, and says so; the removal is tried on and on."""
    left = e.ServicesLeft(services=list(project.deployed), after_s=event.after_s)
    return replace(project, is_over=True), [Announce(left), Announce(last_word(project))]


def last_word(project: Project) -> e.Event:
    """How a stopping project ends."""
    match project.outcome:
        case Phase.COMPLETED:
            return e.ProjectCompleted(
                best_accuracy=project.best_accuracy,
                best_round=project.best_round,
                model_uri=project.model_uri,
                inference_url=project.inference_url,
            )
        case Phase.CANCELLED:
            return e.ProjectCancelled(by=project.cancelled_by, left=list(project.deployed))
        case _:
            return e.ProjectFailed(stage=project.failed_stage, reason=project.reason, remedy=project.remedy)


def end(project: Project, phase: Phase) -> Step:
    """The project is what it was on its way to."""
    project = replace(project, phase=phase)
    return project, clear_away(project)


def clear_away(project: Project) -> list[Command]:
    """A served model needs its project's app, and so does a project that may be retried: its checkpoint is in there."""
    is_done_with = project.phase is Phase.COMPLETED and not project.inference_url and not project.deployed
    return [DeleteApp(project.app)] if is_done_with else []


def enter(project: Project, phase: Phase) -> Step:
    """Go on to a phase, with its deadline if it has one."""
    seconds = project.limit_s(phase)
    return replace(project, phase=phase, obstacle=""), [SetDeadline(phase, seconds)] if seconds else []
