"""Projects and commands as JSON, for stores."""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from flops.project import commands as c
from flops.project.state import Project
from flops.wire.events import EVENT_TYPES

_PROJECT: Final = TypeAdapter(Project)
_KINDS: Final = (
    c.CreateApp,
    c.DeleteApp,
    c.Deploy,
    c.Redeploy,
    c.Undeploy,
    c.Restart,
    c.ResolveRepository,
    c.FindPlacement,
    c.FindImages,
    c.SetDeadline,
)
_COMMANDS: Final[dict[str, TypeAdapter[Any]]] = {kind.__name__: TypeAdapter(kind) for kind in _KINDS}


def project_to_json(project: Project) -> dict[str, Any]:
    """A JSON object that ``project_from_json`` understands."""
    value: dict[str, Any] = _PROJECT.dump_python(project, mode="json")
    return value


def project_from_json(value: dict[str, Any]) -> Project:
    """The project that ``project_to_json`` wrote; fields of later versions are ignored."""
    return _PROJECT.validate_python(value)


def command_to_json(command: c.Command) -> dict[str, Any]:
    """A JSON object that ``command_from_json`` understands."""
    name = type(command).__name__
    if isinstance(command, c.Announce):
        return {"command": name, "type": command.event.type, "data": command.event.model_dump(mode="json")}
    return {"command": name, "data": _COMMANDS[name].dump_python(command, mode="json")}


def command_from_json(value: dict[str, Any]) -> c.Command:
    """The command that ``command_to_json`` wrote."""
    name = value["command"]
    if name == c.Announce.__name__:
        return c.Announce(EVENT_TYPES[value["type"]].model_validate(value["data"]))
    command: c.Command = _COMMANDS[name].validate_python(value["data"])
    return command
