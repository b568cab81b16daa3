"""A project SLA as a form: every field explained, and checked while it is filled in."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from rich.text import Text
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Input, Static

from flops.errors import FlopsError, InvalidSlaError
from flops.tui.entries import printable, printable_lines
from flops.wire.sla import ProjectSla, parse_project_sla

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from textual import events
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from flops.tui.screens import Ask

EMPTY: Final = "Fields that are left empty are left out, and have their defaults. ^s starts the project, Esc does not."
FIRST_VALUES: Final = {
    "ml_repo_url": "example://digits_sklearn",
    "ml_model_flavor": "sklearn",
    "training_configuration.data_tags": "digits",
    "training_configuration.min_available_clients": "2",
    "post_training_steps": "build_image_for_trained_model, deploy_trained_model_image",
}


class Field(NamedTuple):
    """A field of an SLA: where it is, its JSON type, what it means, its default, and what may be chosen if anything."""

    path: str
    kind: str
    meaning: str
    default: str
    choices: tuple[str, ...]


def fields_of_sla() -> list[Field]:
    """Every field of a project SLA, as its schema has them; those that have to be filled in come first."""
    schema = ProjectSla.model_json_schema(by_alias=True)
    found = list(_fields(schema, schema.get("$defs", {}), ""))
    return sorted(found, key=lambda field: (field.path not in FIRST_VALUES, bool(field.default)))


def _fields(schema: Mapping[str, Any], parts: Mapping[str, Any], parent: str) -> Iterator[Field]:
    for name, described in schema["properties"].items():
        path = f"{parent}.{name}" if parent else name
        inner = _resolved(described, parts)
        if inner.get("properties"):
            yield from _fields(inner, parts, path)
        else:
            items = _resolved(inner.get("items", {}), parts)
            choices = tuple(map(str, inner.get("enum") or items.get("enum") or ()))
            meaning = str(described.get("description") or inner.get("description", ""))
            yield Field(path, str(inner.get("type", "string")), meaning, _shown(described.get("default")), choices)


def _resolved(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref") or next((item["$ref"] for item in schema.get("allOf", ()) if "$ref" in item), "")
    part: Mapping[str, Any] = parts[reference.rpartition("/")[2]] if reference else schema
    return part


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else json.dumps(value) if isinstance(value, bool) else str(value)


def document_of(fields: Iterable[Field], typed: Mapping[str, str]) -> dict[str, Any]:
    """The SLA that is meant by what was typed; what is no number stays a text, which the SLA's check explains."""
    document: dict[str, Any] = {}
    for field in fields:
        text = typed.get(field.path, "").strip()
        if not text:
            continue
        *parents, name = field.path.split(".")
        part = document
        for parent in parents:
            part = part.setdefault(parent, {})
        part[name] = _value(field.kind, text)
    return document


def _value(kind: str, text: str) -> object:
    if kind == "array":
        return [item.strip() for item in text.split(",") if item.strip()]
    if kind == "boolean":
        return {"true": True, "yes": True, "false": False, "no": False}.get(text.lower(), text)
    if kind in {"integer", "number"}:
        try:
            return int(text) if text.lstrip("+-").isdigit() else float(text)
        except ValueError:
            return text
    return text


def faults_by_field(document: dict[str, Any], fields: Iterable[Field]) -> tuple[dict[str, str], list[str]]:
    """What is wrong with each field, and what is wrong with none of them."""
    try:
        parse_project_sla(document)
    except InvalidSlaError as error:
        paths = {field.path for field in fields}
        beside: dict[str, str] = {}
        others = []
        for fault in error.errors:
            said = printable(f"{fault.message}. {fault.hint}".rstrip())
            path = fault.path.partition("[")[0]
            if path in paths:
                beside[path] = " ".join(filter(None, (beside.get(path), said)))
            else:
                others.append(f"{printable(fault.path) or 'SLA'}: {said}")
        return beside, others
    return {}, []


class FormScreen(ModalScreen[str]):
    """The form; gives the project's id, or nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss('')", "Cancel"),
        ("ctrl+s", "start", "Start"),
        Binding("down", "app.focus_next", "Next", priority=True),  # else they scroll
        Binding("up", "app.focus_previous", "Previous", priority=True),
    ]

    def __init__(self, begin: Callable[[dict[str, Any]], str], ask: Ask) -> None:
        super().__init__()
        self._begin, self._ask = begin, ask
        self._fields = fields_of_sla()

    def compose(self) -> ComposeResult:
        """The fields, below each what is wrong with it; and at the bottom the SLA."""
        with Vertical(id="form"):
            yield Static(EMPTY, id="form-help")
            with VerticalScroll(id="form-fields", can_focus=False):
                for number, field in enumerate(self._fields):
                    with Vertical(classes="field"):
                        yield Static(_caption(field))
                        suggester = SuggestFromList(field.choices) if field.choices and field.kind != "array" else None
                        value = FIRST_VALUES.get(field.path, "")
                        yield Input(value, placeholder=field.default, suggester=suggester, id=f"field-{number}")
                        yield Static(id=f"fault-{number}", classes="fault")
            yield Static(id="verdict")

    def on_mount(self) -> None:
        """Check what is there from the beginning."""
        self._check()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Whoever fills in a field sees what it means."""
        for field in event.widget.ancestors[:1]:
            if isinstance(field, Vertical):
                self.call_after_refresh(field.scroll_visible, animate=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Check while it is typed."""
        event.stop()
        self._check()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter leads to the next field."""
        event.stop()
        self.focus_next()

    def action_start(self) -> None:
        """Start the project if nothing is wrong."""
        document = self._document()
        if not any(faults_by_field(document, self._fields)):
            self.query_one("#verdict", Static).update("One moment …")
            sla = parse_project_sla(document).to_document()
            self._ask(partial(self._begin, sla), self._end)

    def _end(self, got: Any) -> None:  # noqa: ANN401  an id, or an error
        if not self.is_attached:
            return
        if isinstance(got, FlopsError):
            self.query_one("#verdict", Static).update(Text(printable_lines(f"✗ {got.message} {got.remedy}")))
        else:
            self.dismiss(got)

    def _document(self) -> dict[str, Any]:
        typed = {field.path: self._input(number).value for number, field in enumerate(self._fields)}
        return document_of(self._fields, typed)

    def _check(self) -> None:
        document = self._document()
        beside, others = faults_by_field(document, self._fields)
        for number, field in enumerate(self._fields):
            fault = self.query_one(f"#fault-{number}", Static)
            fault.update(Text(f"✗ {beside[field.path]}" if field.path in beside else ""))
            fault.display = field.path in beside
        told = [f"✗ {text}" for text in others] or ([] if beside else ["✓ valid; ^s starts it:"])
        told = told or [f"✗ {len(beside)} fields need another value."]
        self.query_one("#verdict", Static).update(Text("\n".join([*told, printable(json.dumps(document))])))

    def _input(self, number: int) -> Input:
        return self.query_one(f"#field-{number}", Input)


def _caption(field: Field) -> Text:
    caption = Text(field.path.rpartition(".")[2], "bold")
    choices = f" One of: {', '.join(field.choices)}." if field.choices else ""
    return caption.append(f"  {printable(field.meaning)}{choices}", "not bold")
