"""What opens above the main screen: an entry, the help, a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from rich.text import Text
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from flops.errors import FlopsError, InvalidSlaError
from flops.sla_library import load_sla
from flops.tui.entries import printable
from flops.wire.sla import parse_project_sla

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.binding import BindingType

HELP: Final = """\
FLOps: your projects, live

 Tab, ←→    from the projects to the inbox and back, between tabs
 ↑↓ j k     choose a project, an entry; Home and End: first, last
 Enter      open an entry with all its details and the next step
 1 … 5      inbox, training, services and logs, SLA, status
 /          filter the inbox; empty shows all again
 f          follow the newest entry, or stay where you are
 s          start a project from an SLA file
 c  r  d    cancel, retry, delete the project (asks first)
 y          copy the project's id
 e  m       export the inbox as JSON lines, as Markdown
 t          light or dark
 ^p         all commands; type what you look for
 q          quit; projects go on

Esc closes this."""


class TextScreen(ModalScreen[None]):
    """A text to read and scroll."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,enter", "dismiss", "Close")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The text in a box."""
        with VerticalScroll(id="box") as box:
            box.border_subtitle = "Esc closes"
            yield Static(Text(self._text), id="text")


class ConfirmScreen(ModalScreen[bool]):
    """Asks once, and says what will happen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "dismiss(True)", "Yes"),
        ("n,escape", "dismiss(False)", "No"),
    ]

    def __init__(self, question: str, what_happens: str) -> None:
        super().__init__()
        self._text = f"{question}\n\n{what_happens}\n\ny  yes      n, Esc  no"

    def compose(self) -> ComposeResult:
        """The question in a box."""
        with VerticalScroll(id="box"):
            yield Static(Text(self._text), id="text")


class StartScreen(ModalScreen[str]):
    """Asks for an SLA file, checks it while it is typed, and starts it; gives the project's id, or nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss('')", "Cancel")]
    AUTO_FOCUS = "#file"

    def __init__(self, begin: Callable[[dict[str, Any]], str] | None) -> None:
        super().__init__()
        self._begin = begin

    def compose(self) -> ComposeResult:
        """A line to type in, and what the check says."""
        with VerticalScroll(id="box"):
            yield Static("Start a project from which SLA file? A path, or the name of a shipped one.")
            yield Input(placeholder="my-sla.json", id="file")
            yield Static("Enter starts it, Esc does not.", id="verdict")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Check what is typed."""
        event.stop()
        self.query_one("#verdict", Static).update(Text(verdict_on(event.value)[1]))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Start it if it is valid."""
        event.stop()
        if verdict_on(event.value)[0] and self._begin is not None:
            try:
                sla = parse_project_sla(load_sla(event.value).content).to_document()
                self.dismiss(self._begin(sla))
            except FlopsError as error:
                self.query_one("#verdict", Static).update(Text(printable(f"{error.message} {error.remedy}")))


def verdict_on(name: str) -> tuple[bool, str]:
    """Whether a name leads to a valid SLA, and what is to be said of it."""
    if not name.strip() or name == "-":
        return False, "Enter starts it, Esc does not."
    try:
        sla = parse_project_sla(load_sla(name).content)
    except InvalidSlaError as error:
        faults = [f"✗ {fault.path or 'SLA'}: {fault.message} {fault.hint}".rstrip() for fault in error.errors]
        return False, "\n".join(map(printable, faults))
    except FlopsError as error:
        return False, printable(f"✗ {error.message} {error.remedy}")
    rounds = sla.training_configuration.training_rounds
    return True, printable(f"✓ valid: {sla.ml_repo_url}, {rounds} rounds, for {sla.customer_id}. Enter starts it.")
