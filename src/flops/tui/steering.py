"""What a person does to projects: starts, cancels, retries and deletes them, provides data, asks models, exports."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.app import App, SystemCommand

from flops.errors import FlopsError
from flops.tui.entries import markdown_of, printable, printable_lines
from flops.tui.screens import (
    ConfirmScreen,
    LineScreen,
    TextScreen,
    Verdict,
)
from flops.wire.requests import CancelProject, DeleteProject, RetryProject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from textual.screen import Screen

    from flops.tui.watching import Watching
    from flops.wire.requests import Message
    from flops.wire.sla import MockDataSla

REMOVAL_S: Final = 60.0
NOT_TRACKED: Final = "Nothing is tracked of this project yet: that begins with its training."
NOT_SERVED: Final = "No model of this project is served: see its SLA's 'post_training_steps', and its phase."
ASK_MODEL: Final = "What is the model to be asked? Rows as [[…], […]], or a .json, .csv, .npz or .parquet file."


@dataclass(frozen=True, slots=True)
class Ways:
    """How things are done that take more than a message; each may take its time, and raises FlopsErrors.

    ``begin`` starts a project and gives its id, ``provide`` provides mock data and says what there is then, ``predict``
    asks the model at a URL about rows, or about the rows of a file.
    """

    begin: Callable[[dict[str, Any]], str]
    provide: Callable[[MockDataSla], str]
    predict: Callable[[str, str], list[Any]]


class Steering(App[None]):
    """The actions of the interface; whoever inherits from it shows what they are about."""

    def __init__(self, watching: Watching, ways: Ways, caller: str) -> None:
        super().__init__()
        self.watching, self._ways, self._caller = watching, ways, caller

    def action_new(self) -> None:
        """Start a project from a form."""
        from flops.tui.form import FormScreen  # noqa: PLC0415  only whoever fills it in waits for it

        self.push_screen(FormScreen(self._ways.begin, self.watching.feed.ask_aside), self._say_accepted)

    def action_start(self) -> None:
        """Start a project from a file."""
        from flops.tui.sla_checks import check_project_sla, read_project_sla  # noqa: PLC0415  only whoever starts waits

        question = "Start a project from which SLA file? A path, or the name of a shipped one."
        begin = lambda name: self._ways.begin(read_project_sla(name))  # noqa: E731  an action, once
        self._ask_for_line(question, "my-sla.json", check_project_sla, begin, self._say_accepted)

    def action_mock_data(self) -> None:
        """Put mock data on the learner nodes."""
        from flops.tui.sla_checks import check_mock_data_sla, read_mock_data_sla  # noqa: PLC0415  as above

        question = "Provide mock data as which SLA says? A path, or the name of a shipped one, such as digits_multi."
        provide = lambda name: self._ways.provide(read_mock_data_sla(name))  # noqa: E731  an action, once
        self._ask_for_line(question, "digits_multi", check_mock_data_sla, provide, self._say)

    def action_predict(self) -> None:
        """Ask the project's trained model."""
        url = self._told("inference_url", NOT_SERVED)
        if url:
            predict = partial(self._ways.predict, url)
            self._ask_for_line(ASK_MODEL, "[[0, 0, 5, …]]", _check_rows, predict, self._show_predictions)

    def action_tracking(self) -> None:
        """Open the project's run in the tracking server."""
        url = self._told("tracking_url", NOT_TRACKED)
        if url:
            self.open_url(url)
            self.notify(f"Opened {url}.", markup=False)

    def action_cancel(self) -> None:
        """Cancel, once confirmed."""
        told = "Everything that runs for it is stopped and removed. Its inbox stays; 'retry' lets it go on."
        self._confirm("Cancel", told, "cancel", lambda name: CancelProject(project_id=name, by=self._caller))

    def action_retry(self) -> None:
        """Retry, once confirmed."""
        told = "It goes on where it ended, with what it has; the training after its last finished round."
        self._confirm("Retry", told, "retry", lambda name: RetryProject(project_id=name, by=self._caller))

    def action_delete(self) -> None:
        """Delete, once confirmed."""
        told = "Its inbox, its app, its model's image and server go for good. Only what has ended can be deleted."
        self._confirm("Delete", told, "delete", lambda name: DeleteProject(project_id=name))

    def action_copy_id(self) -> None:
        """Copy the project's id, as far as the terminal lets us."""
        if self.watching.selected:
            self.copy_to_clipboard(self.watching.selected)
            self.notify(f"Copied {self.watching.selected}.")

    def action_export(self, as_markdown: bool) -> None:  # noqa: FBT001  a binding's argument
        """Write the whole inbox to a file of the directory that this was started in."""
        project_id = self.watching.selected
        if not project_id:
            return
        path = Path(f"inbox-{project_id}.{'md' if as_markdown else 'jsonl'}")

        def write(found: list[dict[str, Any]]) -> None:
            lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in found)
            try:
                path.write_text(markdown_of(project_id, found) if as_markdown else lines, encoding="utf-8")
            except OSError as error:
                self.notify(f"{path} cannot be written ({error.strerror}).", severity="error")
            else:
                self.notify(f"{len(found)} entries are in {path.absolute()}.", markup=False)

        self._ask(partial(self.watching.feed.history, project_id, 0), write)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the command palette offers besides Textual's own."""
        yield from super().get_system_commands(screen)
        yield SystemCommand("Start a project from a form", "Every field is explained", self.action_new)
        yield SystemCommand("Start a project from an SLA file", "Your own, or a shipped one", self.action_start)
        yield SystemCommand("Provide mock data", "A dataset for the learner nodes", self.action_mock_data)
        yield SystemCommand("Cancel the project", "Stop what it runs", self.action_cancel)
        yield SystemCommand("Retry the project", "Go on where it ended", self.action_retry)
        yield SystemCommand("Delete the project", "Forget it for good", self.action_delete)
        yield SystemCommand("Open the project's tracking", "Every round, in a browser", self.action_tracking)
        yield SystemCommand("Ask the trained model", "A prediction for a sample", self.action_predict)
        yield SystemCommand("Copy the project's id", "To the clipboard", self.action_copy_id)
        for name, as_markdown in (("JSON lines", False), ("Markdown", True)):
            export = partial(self.action_export, as_markdown)
            yield SystemCommand(f"Export the inbox as {name}", "To a file", export)

    def _told(self, name: str, otherwise: str) -> str:
        """What the selected project's status has under a name; where it has nothing, a person is told so."""
        told = str((self.watching.projects.get(self.watching.selected) or {}).get(name) or "")
        if self.watching.selected and not told:
            self.notify(otherwise, severity="warning", markup=False)
        return told

    def _confirm(self, verb: str, told: str, name: str, message: Callable[[str], Message]) -> None:
        project_id = self.watching.selected
        if not project_id:
            return

        def act(is_confirmed: bool | None) -> None:  # noqa: FBT001  Textual calls it
            if is_confirmed:
                question = partial(self.watching.feed.request, name, message(project_id), timeout_s=REMOVAL_S)
                self._ask(question, lambda _: self._say(f"{verb}: {project_id[:8]} — asked for, and accepted."))

        self.push_screen(ConfirmScreen(f"{verb} project {project_id}?", told), act)

    def _ask_for_line(
        self,
        question: str,
        placeholder: str,
        check: Callable[[str], Verdict],
        act: Callable[[str], Any],
        then: Callable[[Any], None],
    ) -> None:
        screen = LineScreen(question, placeholder, check=check, act=act, ask=self.watching.feed.ask_aside)
        self.push_screen(screen, then)

    def _show_predictions(self, predictions: list[Any] | None) -> None:
        if predictions is not None:
            lines = [f"row {number}: {json.dumps(item)}" for number, item in enumerate(predictions, 1)]
            self.push_screen(TextScreen(printable_lines("\n".join(["The model says:", "", *lines]))))

    def _say_accepted(self, project_id: str | None) -> None:
        if project_id:
            self._say(f"Project {project_id} is accepted.")

    def _say(self, text: str | None) -> None:
        if text:
            self.notify(printable(text), markup=False)

    def _ask(self, question: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self.watching.feed.ask(question, lambda got: self.complain(got) if isinstance(got, FlopsError) else then(got))

    def complain(self, error: FlopsError) -> None:
        """Say what went wrong, and what to do."""
        self.notify(printable_lines(f"{error.message}\n{error.remedy}".strip()), severity="error", markup=False)


def _check_rows(text: str) -> Verdict:
    if not text.strip():
        return Verdict(is_good=False, text="Esc closes this.")
    if text.lstrip().startswith(("[", "{")):
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            return Verdict(is_good=False, text=f"✗ It is not JSON yet: {error}.")
        return Verdict(is_good=True, text="Enter asks the model.")
    is_file = Path(text).is_file()
    return Verdict(is_file, f"Enter asks the model about {text}." if is_file else f"✗ There is no file {text}.")
