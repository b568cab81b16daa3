"""Pages of the reference that are written from the code: events and errors."""

from __future__ import annotations

import ast
import inspect
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

from pydantic_core import PydanticUndefined

from flops import errors
from flops.wire.events import EVENT_TYPES, Event

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pydantic.fields import FieldInfo

NOTE: Final = "<!-- Written by 'make docs' from the code; change it there. -->\n"

EXIT_CODES: Final = {
    0: ("", "Done."),
    errors.EXIT_FAILED: ("EXIT_FAILED", "What was asked for could not be done, or the project failed."),
    errors.EXIT_USAGE: ("EXIT_USAGE", "The command or a setting is wrong."),
    errors.EXIT_INVALID: ("EXIT_INVALID", "An SLA, a message or data are invalid."),
    errors.EXIT_CANCELLED: ("EXIT_CANCELLED", "The project was cancelled."),
    errors.EXIT_UNREACHABLE: ("EXIT_UNREACHABLE", "The broker, the manager or another service does not answer."),
    errors.EXIT_DENIED: ("EXIT_DENIED", "Credentials were refused."),
    errors.EXIT_NOT_FOUND: ("EXIT_NOT_FOUND", "What was named does not exist."),
    errors.EXIT_INTERRUPTED: ("EXIT_INTERRUPTED", "Interrupted with Ctrl-C; a project that was watched goes on."),
    errors.EXIT_TERMINATED: ("EXIT_TERMINATED", "A service in a container was asked to end before it was done."),
}


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """What the source says of one class of the tree of errors."""

    name: str
    base: str
    meaning: str
    code: str | None = None
    retryable: bool | None = None
    exit_code: int | None = None


def events_page() -> str:
    """The table of all events."""
    rows = [
        f"| `{name}` | {_summary(kind)} | {', '.join(_field(key, field) for key, field in kind.model_fields.items())} |"
        for name, kind in sorted(EVENT_TYPES.items())
    ]
    return f"""{NOTE}
# Events

An event is a fact about one project. It travels in a CloudEvents envelope on `project/<id>/events`, with its type in
`type` and what follows below in `data`; `?` marks what may be missing. See also [asyncapi.yaml](asyncapi.yaml).

| type | what it says | data |
|---|---|---|
{chr(10).join(rows)}
"""


def errors_page(classes: Iterable[ErrorClass]) -> str:
    """The tables of all errors and exit codes."""
    rows = [
        f"| `{item.code}` | {item.meaning} | {'yes' if item.retryable else 'no'} | {item.exit_code} |"
        for item in sorted(classes, key=lambda item: str(item.code))
    ]
    codes = [f"| {number} | {meaning} |" for number, (_, meaning) in sorted(EXIT_CODES.items())]
    return f"""{NOTE}
# Errors

Every error of FLOps has a code that stays the same, says what happened to what and why, and what to do next. *Retry*
says whether the same may succeed later. An SLA's error lists every fault with its path, line and column.

| code | meaning | retry | exit code |
|---|---|---|---|
{chr(10).join(rows)}

## Exit codes

| exit code | meaning |
|---|---|
{chr(10).join(codes)}
"""


def sla_page(schemas: Iterable[dict[str, Any]]) -> str:
    """The keys of both kinds of SLA."""
    parts = [f"## {schema['title']}\n\n{_keys_table(schema)}" for schema in schemas]
    return f"""{NOTE}
# SLAs

An SLA is a JSON object, without comments and trailing commas. All its faults are told at once, each with its path, line
and column; a key that FLOps does not know is a fault too. Beyond the table: `deploy_trained_model_image` needs
`build_image_for_trained_model`, no learner count may exceed `min_available_clients`, and nothing is listed twice.

An ML repository is named by `https://`, `http://`, `ssh://`, `git://` or `file://` URL, as `git@host:path`, by an
absolute path, or as `example://NAME` (see `flops examples`), each optionally followed by `@` and a branch, tag or
commit. Credentials do not belong into it: git's own are used.

{chr(10).join(parts)}"""


def _keys_table(schema: dict[str, Any]) -> str:
    rows = list(_key_rows(schema, schema, ""))
    return "| key | value | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _key_rows(part: dict[str, Any], schema: dict[str, Any], prefix: str) -> Iterable[str]:
    for key, rules in part["properties"].items():
        nested = schema["$defs"][rules["$ref"].rsplit("/", 1)[1]] if "$ref" in rules else None
        default = (
            "required" if key in part.get("required", []) else "" if nested else f"`{json.dumps(rules['default'])}`"
        )
        kind = "object" if nested else _value_name(rules)
        yield f"| `{prefix}{key}` | {kind} | {default} | {rules['description']} |"
        if nested:
            yield from _key_rows(nested, schema, f"{prefix}{key}.")


def _value_name(rules: dict[str, Any]) -> str:
    if "enum" in rules:
        return ", ".join(f"`{choice}`" for choice in rules["enum"])
    if rules["type"] == "array":
        return f"list of {_value_name(rules['items'])}"
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
    low, high = rules.get("minimum", rules.get("exclusiveMinimum")), rules.get("maximum")
    bounds = f", {'above ' if 'exclusiveMinimum' in rules else ''}{low:,} to {high:,}" if high is not None else ""
    return names[rules["type"]] + bounds


def error_classes(source: Path) -> list[ErrorClass]:
    """Every class of the tree of errors that has a code of its own, with what it inherits."""
    found = {item.name: item for file in sorted(source.rglob("*.py")) for item in _classes_in(file)}
    return [_resolved(item, found) for item in found.values() if item.code and _is_error(item, found)]


def _classes_in(file: Path) -> Iterable[ErrorClass]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.bases and isinstance(node.bases[0], ast.Name):
            facts = {target: _value(node, target) for target in ("code", "retryable", "exit_code")}
            meaning = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            yield ErrorClass(node.name, node.bases[0].id, meaning, **facts)


def _value(node: ast.ClassDef, target: str) -> Any:  # noqa: ANN401  whatever the class says
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        names = [item.id for item in targets if isinstance(item, ast.Name)]
        value = getattr(statement, "value", None)
        if target in names and isinstance(value, ast.Name):
            return getattr(errors, value.id)
        if target in names and isinstance(value, ast.Constant):
            return value.value
    return None


def _is_error(item: ErrorClass, found: dict[str, ErrorClass]) -> bool:
    while item.base in found:
        item = found[item.base]
    return item.name == errors.FlopsError.__name__


def _resolved(item: ErrorClass, found: dict[str, ErrorClass]) -> ErrorClass:
    above: ErrorClass | None = item
    resolved = item
    while above:
        resolved = replace(
            resolved,
            code=resolved.code if resolved.code is not None else above.code,
            retryable=resolved.retryable if resolved.retryable is not None else above.retryable,
            exit_code=resolved.exit_code if resolved.exit_code is not None else above.exit_code,
        )
        above = found.get(above.base)
    return resolved


def _summary(kind: type[Event]) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split()).replace("|", "\\|")


def _field(name: str, field: FieldInfo) -> str:
    mark = "" if field.is_required() else "?"
    default = "" if field.default in (PydanticUndefined, "", None, 0) or field.default == [] else f" = {field.default}"
    return f"`{name}{mark}`: {_type_name(field.annotation)}{default}"


def _type_name(annotation: Any) -> str:  # noqa: ANN401  an annotation is any object
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
    if annotation in plain:
        return plain[annotation]
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is list:
        return f"list of {_type_name(parts[0])}"
    if get_origin(annotation) is dict:
        return "object"
    if parts:
        return " or ".join(_type_name(part) if not isinstance(part, str) else f"'{part}'" for part in parts)
    return f"{annotation.__name__}"
