"""Projects and commands as JSON, for stores."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from flops.project import commands as c
from flops.project.state import Project
from flops.wire.events import EVENT_TYPES

_COMMANDS: dict[str, type[c.Command]] = {
    kind.__name__: kind
    for kind in (
        c.CreateApp,
        c.DeleteApp,
        c.Deploy,
        c.Undeploy,
        c.ResolveRepository,
        c.FindPlacement,
        c.FindImages,
        c.SetDeadline,
    )
}


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def project_to_json(project: Project) -> dict[str, Any]:
    """A JSON object that ``project_from_json`` understands."""
    value: dict[str, Any] = _adapter(Project).dump_python(project, mode="json")
    return value


def project_from_json(value: dict[str, Any]) -> Project:
    """The project that ``project_to_json`` wrote; fields of later versions are ignored."""
    project: Project = _adapter(Project).validate_python(value)
    return project


def command_to_json(command: c.Command) -> dict[str, Any]:
    """A JSON object that ``command_from_json`` understands."""
    if isinstance(command, c.Announce):
        return {"command": "Announce", "type": command.event.type, "data": command.event.model_dump(mode="json")}
    kind = type(command)
    return {"command": kind.__name__, "data": _adapter(kind).dump_python(command, mode="json")}


def command_from_json(value: dict[str, Any]) -> c.Command:
    """The command that ``command_to_json`` wrote."""
    if value["command"] == "Announce":
        return c.Announce(EVENT_TYPES[value["type"]].model_validate(value["data"]))
    command: c.Command = _adapter(_COMMANDS[value["command"]]).validate_python(value["data"])
    return command
