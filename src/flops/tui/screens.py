"""What opens above the main screen: a text, a question, a line to type."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from rich.text import Text
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from flops.errors import FlopsError
from flops.tui.entries import printable_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.binding import BindingType

    Ask = Callable[[Callable[[], Any], Callable[[Any], None]], None]

HELP: Final = """\
FLOps: your projects, live

 Tab, ←→    from the projects to what is below and back, between tabs
 ↑↓ j k     choose a project, an entry; Home and End: first, last
 Enter      open an entry with all its details and the next step
 1 … 5      inbox, training, services and logs, SLA, status
 /          filter the inbox; empty shows all again
 f          follow the newest entry, or stay where you are
 n  s       start a project: fill in a form, or name an SLA file
 a          put mock data on the learner nodes
 c  r  d    cancel, retry, delete the project (asks first)
 o          open the tracking server, with every round
 p          predict: ask the trained model
 y          copy the project's id
 e  m       export the inbox as JSON lines, as Markdown
 t          light or dark
 ^p         all commands; type what you look for
 q          quit; projects go on

Esc closes this."""


class Verdict(NamedTuple):
    """What is to be said of what was typed, and whether it will do."""

    is_good: bool
    text: str


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


class LineScreen(ModalScreen[Any]):
    """Asks for one line, says while it is typed whether it will do, and acts on it; gives what came of that."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "Cancel")]
    AUTO_FOCUS = "#line"

    def __init__(
        self,
        question: str,
        placeholder: str,
        *,
        check: Callable[[str], Verdict],
        act: Callable[[str], Any],
        ask: Ask,
    ) -> None:
        super().__init__()
        self._question, self._placeholder = question, placeholder
        self._check, self._act, self._ask = check, act, ask

    def compose(self) -> ComposeResult:
        """A line to type in, and what the check says."""
        with VerticalScroll(id="box"):
            yield Static(Text(self._question))
            yield Input(placeholder=self._placeholder, id="line")
            yield Static("Esc closes this.", id="verdict")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Check what is typed."""
        event.stop()
        self._say(self._check(event.value).text)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Act on it if it will do; what takes time is done while this stays open."""
        event.stop()
        if self._check(event.value).is_good:
            self._say("One moment …")
            self._ask(partial(self._act, event.value), self._end)

    def _end(self, got: Any) -> None:  # noqa: ANN401  whatever the action gives
        if not self.is_attached:
            return
        if isinstance(got, FlopsError):
            self._say(f"✗ {got.message} {got.remedy}")
        else:
            self.dismiss(got)

    def _say(self, text: str) -> None:
        self.query_one("#verdict", Static).update(Text(printable_lines(text)))
