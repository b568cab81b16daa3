"""The screen with projects and their inboxes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rich.text import Text
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Input, Static, TabbedContent, TabPane

from flops.errors import FlopsError
from flops.tui.details import printable_lines, services_text, sla_text, status_text, training_text
from flops.tui.entries import full_text, markdown_of
from flops.tui.inbox_view import InboxView
from flops.tui.projects import row_of, stage_line
from flops.tui.screens import HELP, ConfirmScreen, StartScreen, TextScreen
from flops.tui.watching import Watching
from flops.wire.requests import CancelProject, DeleteProject, ReadLogs, RetryProject, ShowProject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from textual.app import ComposeResult
    from textual.screen import Screen

    from flops.tui.feed import Feed
    from flops.wire.requests import Message

LOOK_S: Final = 0.1
CLOCK_S: Final = 1.0
DETAILS_S: Final = 3.0
REMOVAL_S: Final = 60.0
COLUMNS: Final = (" ", "ID", "NAME", "PHASE", "ROUND", "ACCURACY", "AGE", "TOOK", "REASON")
TABS: Final = ("inbox", "training", "services", "sla", "status")
LOG_LINES: Final = 200
CSS: Final = """
#projects { height: auto; min-height: 3; max-height: 35%; }
#banner { display: none; background: $error; color: $text; text-style: bold; padding: 0 1; }
#banner.shown { display: block; }
#stages { height: 1; padding: 0 1; }
#filter { display: none; height: 1; border: none; padding: 0 1; }
#filter.shown { display: block; }
TabbedContent { height: 1fr; }
TabPane { padding: 0; }
InboxView { height: 1fr; overflow-x: hidden; }
ModalScreen { align: center middle; }
#box { width: 90%; height: auto; max-height: 90%; border: round $primary; padding: 0 1; background: $surface; }
#text { height: auto; }
"""


class FlopsApp(App[None]):
    """All projects above, the selected one's inbox and more below."""

    TITLE = "FLOps"
    CSS = CSS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("f", "follow", "Follow"),
        Binding("s", "start", "Start"),
        Binding("c", "cancel", "Cancel"),
        Binding("r", "retry", "Retry"),
        Binding("d", "delete", "Delete"),
        Binding("y", "copy_id", "Copy id", show=False),
        Binding("e", "export(False)", "Export", show=False),
        Binding("m", "export(True)", "Export Markdown", show=False),
        Binding("t", "light", "Light or dark", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        *(Binding(str(place), f"tab('{name}')", name, show=False) for place, name in enumerate(TABS, 1)),
    ]

    def __init__(
        self, feed: Feed, *, user: str = "", caller: str = "", begin: Callable[[dict[str, Any]], str] | None = None
    ) -> None:
        super().__init__()
        self.feed, self.watching = feed, Watching(feed, user)
        self._caller, self._begin = caller, begin
        self._listed: list[str] = []

    def compose(self) -> ComposeResult:
        """From above to below."""
        yield Static(id="banner")
        yield DataTable(id="projects", cursor_type="row", zebra_stripes=True)
        yield Static(id="stages")
        with TabbedContent(id="tabs"):
            with TabPane("1 Inbox", id="inbox"):
                yield InboxView(id="entries")
            for place, name in enumerate(TABS[1:], 2):
                with TabPane(f"{place} {name.upper() if name == 'sla' else name.title()}", id=name), VerticalScroll():
                    yield Static(id=f"{name}-text")
        yield Input(placeholder="Only entries with this text; Enter keeps it, Esc shows all", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to listen and to look."""
        self._table.add_columns(*COLUMNS)
        self._table.focus()
        self.feed.start()
        self.set_interval(LOOK_S, self.look)
        self.set_interval(CLOCK_S, self._tick)
        self.set_interval(DETAILS_S, self._ask_details)

    @property
    def _table(self) -> DataTable[Text]:
        return self.screen_stack[0].query_one("#projects", DataTable)

    @property
    def _inbox(self) -> InboxView:
        return self.screen_stack[0].query_one("#entries", InboxView)

    def look(self) -> None:
        """Show what has come since the last time, all of it at once."""
        if self._is_closing:
            return
        changes = self.watching.look()
        if changes.projects:
            self._show_projects()
        if changes.entries:
            self._inbox.update_lines(changes.older)
            self._show_stages()
        self._show_banner()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Another project is selected."""
        chosen = str(event.row_key.value or "")
        if chosen and chosen != self.watching.selected:
            try:
                self.watching.select(chosen)
            except FlopsError as error:
                self._complain(error)
            self._inbox.replace(self.watching.entries.shown)
            self._inbox.follow(is_following=True)
            for name in TABS[1:]:
                self._put(name, "")
            self._ask_details()

    def on_data_table_row_selected(self) -> None:
        """Enter on a project leads to its inbox."""
        self.action_tab("inbox")

    def on_inbox_view_opened(self, event: InboxView.Opened) -> None:
        """Show all of an entry."""
        self.push_screen(TextScreen(full_text(event.entry)))

    def on_inbox_view_at_the_top(self) -> None:
        """Load what comes before."""
        self.watching.load_older()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        if event.input.id == "filter":
            self._inbox.filter(event.value.strip())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Back to the inbox, filtered."""
        if event.input.id == "filter":
            event.input.set_class(bool(event.value), "shown")
            self._inbox.focus()

    def on_key(self, event: Any) -> None:  # noqa: ANN401  Textual's event
        """Esc ends the filter."""
        line = self.screen_stack[0].query_one("#filter", Input)
        if event.key == "escape" and line.has_class("shown"):
            line.value = ""
            line.remove_class("shown")
            self._inbox.focus()

    def on_tabbed_content_tab_activated(self) -> None:
        """Fill the tab."""
        self._ask_details()

    def action_filter(self) -> None:
        """Open the line for the filter."""
        self.action_tab("inbox")
        line = self.query_one("#filter", Input)
        line.add_class("shown")
        line.focus()

    def action_follow(self) -> None:
        """Follow the newest entry, or stay."""
        self._inbox.follow(is_following=not self._inbox.is_following)
        self.notify("Following the newest entry." if self._inbox.is_following else "Staying here.", timeout=2)

    def action_tab(self, name: str) -> None:
        """Open a tab."""
        self.query_one(TabbedContent).active = name
        if name == "inbox":
            self._inbox.focus()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(TextScreen(HELP))

    def action_light(self) -> None:
        """Light or dark."""
        self.theme = "textual-dark" if self.theme == "textual-light" else "textual-light"

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
                self.notify(f"{len(found)} entries are in {path.absolute()}.")

        self._ask(partial(self.feed.history, project_id, 0), write)

    def action_start(self) -> None:
        """Start a project from a file."""
        self.push_screen(StartScreen(self._begin), self._after_start)

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

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the command palette offers besides Textual's own."""
        yield from super().get_system_commands(screen)
        yield SystemCommand("Start a project", "From an SLA file", self.action_start)
        yield SystemCommand("Cancel the project", "Stop what it runs", self.action_cancel)
        yield SystemCommand("Retry the project", "Go on where it ended", self.action_retry)
        yield SystemCommand("Delete the project", "Forget it for good", self.action_delete)
        yield SystemCommand("Copy the project's id", "To the clipboard", self.action_copy_id)
        yield SystemCommand(
            "Export the inbox as JSON lines", "To a file", partial(self.action_export, as_markdown=False)
        )
        yield SystemCommand("Export the inbox as Markdown", "To a file", partial(self.action_export, as_markdown=True))

    def _confirm(self, verb: str, told: str, name: str, message: Callable[[str], Message]) -> None:
        project_id = self.watching.selected
        if not project_id:
            return

        def act(is_confirmed: bool | None) -> None:  # noqa: FBT001  Textual calls it
            if is_confirmed:
                question = partial(self.feed.request, name, message(project_id), timeout_s=REMOVAL_S)
                self._ask(question, lambda _: self.notify(f"{verb}: {project_id[:8]} — asked for, and accepted."))

        self.push_screen(ConfirmScreen(f"{verb} project {project_id}?", told), act)

    def _after_start(self, project_id: str | None) -> None:
        if project_id:
            self.notify(f"Project {project_id} is accepted.")

    def _ask(self, question: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self.feed.ask(question, lambda got: self._complain(got) if isinstance(got, FlopsError) else then(got))

    def _complain(self, error: FlopsError) -> None:
        self.notify(printable_lines(f"{error.message}\n{error.remedy}".strip()), severity="error", markup=False)

    def _show_projects(self) -> None:
        table, statuses = self._table, self.watching.projects.listed()
        names = [str(status["project_id"]) for status in statuses]
        rows = [[Text(cell) for cell in row_of(status)] for status in statuses]
        if names == self._listed:
            for name, row in zip(names, rows, strict=True):
                for place, column in enumerate(table.ordered_columns):
                    if table.get_cell(name, column.key) != row[place]:
                        table.update_cell(name, column.key, row[place], update_width=True)
            return
        self._listed = names
        selected = self.watching.selected
        with self.prevent(DataTable.RowHighlighted):
            table.clear()
        for name, row in zip(names, rows, strict=True):
            table.add_row(*row, key=name)
        if selected in names:
            table.move_cursor(row=names.index(selected))

    def _show_stages(self) -> None:
        status = self.watching.projects.get(self.watching.selected) or {}
        line = stage_line(self.watching.entries.shown, str(status.get("phase", "")))
        self.screen_stack[0].query_one("#stages", Static).update(Text(line, no_wrap=True, overflow="ellipsis"))
        if self._active == "training":
            self._put("training", training_text(self.watching.entries.shown))

    def _show_banner(self) -> None:
        text = (
            "" if self.feed.is_connected else "The broker cannot be reached. Connecting again; no entry will be lost."
        )
        text = text or (f"{self.watching.problem} Asking again." if self.watching.problem else "")
        banner = self.screen_stack[0].query_one("#banner", Static)
        banner.set_class(bool(text), "shown")
        banner.update(Text(text))

    @property
    def _is_closing(self) -> bool:
        """Whether the widgets are gone already, while timers are not."""
        return not self.screen_stack or not self.screen_stack[0].query("#banner")

    def _tick(self) -> None:
        if self._is_closing:
            return
        self._show_projects()
        self._show_stages()

    @property
    def _active(self) -> str:
        return str(self.screen_stack[0].query_one(TabbedContent).active)

    def _ask_details(self) -> None:
        if self._is_closing:
            return
        project_id, name = self.watching.selected, self._active
        if name == "training":
            self._put(name, training_text(self.watching.entries.shown))
        if name == "status":
            self._put(name, status_text(self.watching.projects.get(project_id) or {}))
        if project_id and name in {"services", "sla"} and self.feed.is_connected:
            then = partial(self._show_details, project_id)
            self.feed.ask(partial(self._details, project_id, with_logs=name == "services"), then)

    def _details(self, project_id: str, *, with_logs: bool) -> tuple[str, str]:
        found = self.feed.request("project", ShowProject(project_id=project_id))
        services, logs = found.get("services", []), []
        for service in services if with_logs else []:
            answer = self.feed.request("logs", ReadLogs(service=str(service["name"]), tail_lines=LOG_LINES))
            logs.append(f"\n── log of {service['name']}\n{printable_lines(str(answer['text']))}")
        return services_text(services) + "\n" + "\n".join(logs), sla_text(found.get("sla") or {})

    def _show_details(self, project_id: str, got: Any) -> None:  # noqa: ANN401  an answer, or an error
        if project_id != self.watching.selected:
            return
        told = (got.message, got.message) if isinstance(got, FlopsError) else got
        if self._active in {"services", "sla"}:
            self._put(self._active, told[TABS.index(self._active) - TABS.index("services")])

    def _put(self, tab: str, text: str) -> None:
        self.screen_stack[0].query_one(f"#{tab}-text", Static).update(Text(text))
