"""Says in words what pydantic found wrong in an SLA, every fault with its place and a hint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import BaseModel

from flops.errors import SlaFault
from flops.suggestions import did_you_mean
from flops.wire.sla_text import Place, item_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

MAX_FAULTS: Final = 50
MAX_TOLD: Final = 4 * MAX_FAULTS
_MAX_EXCERPT: Final = 60
_WANTED: Final = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "model_type": "an object",
}


def structure_faults(
    errors: Iterable[ErrorDetails], model: type[BaseModel], meanings: Mapping[str, str]
) -> list[SlaFault]:
    """Translate pydantic's errors about ``model``; ``meanings`` says in words what a pattern asks for."""
    return [_fault(error, model, meanings) for error in errors]


def placed(faults: list[SlaFault], places: Mapping[str, Place], *, untold: int = 0) -> list[SlaFault]:
    """The faults with line and column, in the order of the document, and no more than a person reads.

    ``untold`` faults more are known only by their number.
    """
    located = sorted((_locate(fault, places) for fault in faults), key=lambda fault: (fault.line, fault.column))
    hidden = len(located) - MAX_FAULTS + untold
    if hidden > 0:
        located[MAX_FAULTS:] = [SlaFault("", f"{hidden:,} more faults are not shown")]
    return located


def excerpt(value: object) -> str:
    """A value as JSON, cut to what fits into a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_EXCERPT else f"{text[:_MAX_EXCERPT]}…"


def keys_of(model: type[BaseModel]) -> dict[str, type[BaseModel] | None]:
    """The JSON keys of a model, each with the model of its value if that is an object."""
    return {field.alias or name: _nested(field.annotation) for name, field in model.model_fields.items()}


def _nested(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401  an annotation is any object
    candidates = (annotation, *get_args(annotation))
    return next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _locate(fault: SlaFault, places: Mapping[str, Place]) -> SlaFault:
    """Add the place of the path, or of what holds it when the path itself is missing."""
    path = fault.path
    while path and path not in places:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    place = places.get(path, Place(1, 1) if places else Place())
    return SlaFault(fault.path[:200], fault.message, fault.hint, *place)


def _fault(error: ErrorDetails, model: type[BaseModel], meanings: Mapping[str, str]) -> SlaFault:
    path = ""
    for part in error["loc"]:
        path = item_path(path, part)
    message, hint = _words(error, model, meanings)
    return SlaFault(path, message, hint)


def _words(error: ErrorDetails, model: type[BaseModel], meanings: Mapping[str, str]) -> tuple[str, str]:
    kind, context, given = error["type"], error.get("ctx", {}), excerpt(error["input"])
    if kind == "missing":
        return "is required", ""
    if kind == "extra_forbidden":
        return "is not a key that FLOps knows", _key_hint(error["loc"], model)
    if kind in _WANTED:
        hint = "Remove the quotes." if isinstance(error["input"], str) and kind in {"int_type", "float_type"} else ""
        return f"must be {_WANTED[kind]}, not {given}", hint
    if kind == "literal_error":
        choices = str(context["expected"]).replace(" or ", ", ").split(", ")
        hint = did_you_mean(str(error["input"]), [choice.strip("'") for choice in choices])
        return f"must be one of {', '.join(choices)}, not {given}", hint if hint.startswith("Did") else ""
    if kind == "string_pattern_mismatch":
        return f"{meanings[context['pattern']]}, not {given}", ""
    return _range_words(kind, context, given) or (str(error["msg"]), str(context.get("hint", "")))


def _range_words(kind: str, context: Mapping[str, Any], given: str) -> tuple[str, str] | None:
    match kind:
        case "greater_than_equal":
            return f"must be at least {context['ge']:,}, not {given}", ""
        case "greater_than":
            return f"must be above {context['gt']:,}, not {given}", ""
        case "less_than_equal":
            return f"must be at most {context['le']:,}, not {given}", ""
        case "string_too_short" | "too_short":
            return "must not be empty", ""
        case "string_too_long":
            return f"must have at most {context['max_length']:,} characters", ""
        case "too_long":
            return f"must have at most {context['max_length']:,} items", ""
        case _:
            return None


def _key_hint(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Where an unknown key probably belongs, or what it was meant to be."""
    inside: type[BaseModel] = model
    for part in location[:-1]:
        inside = keys_of(inside).get(str(part)) or inside
    key, known = str(location[-1]), keys_of(inside)
    for holder, holder_model in keys_of(model).items():
        if holder_model and holder_model is not inside and key in keys_of(holder_model):
            return f"It belongs into '{holder}'."
    if inside is not model and key in keys_of(model):
        return "It belongs to the top level."
    return did_you_mean(key, known)
