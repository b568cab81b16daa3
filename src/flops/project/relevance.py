"""Which commands still have a purpose when it is their turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops.project import commands as c
from flops.project.deployment import Role
from flops.project.state import Phase
from flops.project.workflow import is_needed

if TYPE_CHECKING:
    from flops.project.state import Project


def is_wanted(project: Project | None, command: c.Command) -> bool:
    """Whether a command still has a purpose: a cancellation, a retry or a deletion may have overtaken it.

    What removes something always has one, unless it is the observer of a project that was retried meanwhile; an ended
    project's observer, too, still has to tell of the end.
    """
    if isinstance(command, c.Undeploy | c.DeleteApp):
        observer = project.service_name(Role.OBSERVER) if project else ""
        return project is None or project.phase.is_terminal or command != c.Undeploy(observer)
    if project is None:
        return False
    match command:
        case c.ResolveRepository() | c.FindPlacement() | c.FindImages():
            return project.phase is Phase.CHECKING and command.attempt == project.attempt
        case c.Deploy(spec) if spec.role is Role.TRACKING:
            return not (project.phase.is_terminal or project.phase is Phase.STOPPING)
        case c.Deploy(spec) if spec.role is not Role.OBSERVER:
            return spec.name in project.deployed or is_needed(project, spec.name)
        case _:
            return True
