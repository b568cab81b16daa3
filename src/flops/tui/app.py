"""The screen with projects and, below, all about the selected one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Input, Static, TabbedContent, TabPane, Tabs

from flops.errors import FlopsError
from flops.tui.details import sla_text, status_text
from flops.tui.entries import ENDED, full_text
from flops.tui.inbox_view import InboxView
from flops.tui.projects_table import ProjectsTable
from flops.tui.screens import HELP, TextScreen
from flops.tui.services_view import ServicesView
from flops.tui.stages import remaining_s, stage_line, stages_of
from flops.tui.steering import Steering, Ways
from flops.tui.training_view import TrainingView
from flops.tui.watching import Watching
from flops.wire.requests import ReadLogs, ShowProject

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult

    from flops.tui.feed import Feed

LOOK_S: Final = 0.1
FRAME_S: Final = 0.2
CLOCK_S: Final = 1.0
DETAILS_S: Final = 2.0
TABS: Final = ("inbox", "training", "services", "sla", "status")
LOG_LINES: Final = 500


class FlopsApp(Steering):
    """All projects above, the selected one's inbox and more below."""

    TITLE = "FLOps"
    CSS_PATH = "app.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  as Textual declares it
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("f", "follow", "Follow"),
        Binding("n", "new", "New"),
        Binding("s", "start", "Start from a file", show=False),
        Binding("c", "cancel", "Cancel"),
        Binding("r", "retry", "Retry"),
        Binding("d", "delete", "Delete"),
        Binding("p", "predict", "Predict", show=False),
        Binding("o", "tracking", "Tracking", show=False),
        Binding("a", "mock_data", "Mock data", show=False),
        Binding("y", "copy_id", "Copy id", show=False),
        Binding("e", "export(False)", "Export", show=False),
        Binding("m", "export(True)", "Export Markdown", show=False),
        Binding("t", "light", "Light or dark", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        *(Binding(str(place), f"tab('{name}')", name, show=False) for place, name in enumerate(TABS, 1)),
    ]

    def __init__(self, feed: Feed, ways: Ways, *, user: str = "", caller: str = "") -> None:
        super().__init__(Watching(feed, user), ways, caller)
        self.feed = feed
        self._frame = 0
        self._is_chosen = False

    def compose(self) -> ComposeResult:
        """From above to below."""
        yield Static(id="banner")
        yield ProjectsTable()
        yield Static(id="stages")
        with TabbedContent(id="tabs"):
            with TabPane("1 Inbox", id="inbox"):
                yield InboxView(id="entries")
            with TabPane("2 Training", id="training"):
                yield TrainingView()
            with TabPane("3 Services", id="services"):
                yield ServicesView()
            with TabPane("4 SLA", id="sla"), VerticalScroll():
                yield Static(id="sla-text")
            with TabPane("5 Status", id="status"), VerticalScroll():
                yield Static(id="status-text")
        yield Input(placeholder="Only entries with this text; Enter keeps it, Esc shows all", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to listen and to look."""
        self._table.focus()
        self.feed.start()
        self.set_interval(LOOK_S, self.look)
        self.set_interval(FRAME_S, self._turn)
        self.set_interval(CLOCK_S, self._tick)
        self.set_interval(DETAILS_S, self._ask_details)

    @property
    def _table(self) -> ProjectsTable:
        return self.screen_stack[0].query_one(ProjectsTable)

    @property
    def _inbox(self) -> InboxView:
        return self.screen_stack[0].query_one("#entries", InboxView)

    @property
    def _services(self) -> ServicesView:
        return self.screen_stack[0].query_one(ServicesView)

    @property
    def _active(self) -> str:
        return str(self.screen_stack[0].query_one(TabbedContent).active)

    @property
    def _is_closing(self) -> bool:
        """Whether the widgets are gone already, while timers are not."""
        return not self.screen_stack or not self.screen_stack[0].query("#banner")

    def look(self) -> None:
        """Show what has come since the last time, all of it at once."""
        if self._is_closing:
            return
        changes = self.watching.look()
        if changes.projects:
            self._show_projects()
            self._choose_the_newest()
        if changes.entries:
            self._inbox.update_lines(changes.older)
            self._show_stages()
            self._show_training()
        self._show_banner()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Another project is selected."""
        chosen = str(event.row_key.value or "")
        if chosen and chosen != self.watching.selected:
            try:
                self.watching.select(chosen)
            except FlopsError as error:
                self.complain(error)
            self._inbox.replace(self.watching.entries.shown)
            self._inbox.follow(is_following=True)
            self._services.forget()
            for name in ("sla", "status"):
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

    def on_key(self, event: events.Key) -> None:
        """Esc ends the filter."""
        self._is_chosen = True
        line = self.screen_stack[0].query_one("#filter", Input)
        if event.key == "escape" and line.has_class("shown"):
            line.value = ""
            line.remove_class("shown")
            self._inbox.focus()

    def on_tabbed_content_tab_activated(self) -> None:
        """Fill the tab."""
        self._show_training()
        self._ask_details()

    def on_tree_node_highlighted(self) -> None:
        """Another log is wanted."""
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
        """Open a tab, and let the keys go there."""
        # A tab that is left must not keep the focus: Textual would open it again.
        self.query_one(Tabs).focus()
        self.query_one(TabbedContent).active = name
        if name == "inbox":
            self._inbox.focus()
        elif name == "services":
            self.query_one("#services-tree").focus()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(TextScreen(HELP))

    def action_light(self) -> None:
        """Light or dark."""
        self.theme = "textual-dark" if self.theme == "textual-light" else "textual-light"

    def _show_projects(self) -> None:
        self._table.show(self.watching.projects.listed(), self.watching.selected)

    def _choose_the_newest(self) -> None:
        """Once all projects are known, unless somebody has chosen another one meanwhile."""
        if self.watching.is_listed and not self._is_chosen:
            self._is_chosen = True
            self._table.move_cursor(row=0)

    def _show_stages(self) -> None:
        status, entries = self.watching.projects.get(self.watching.selected) or {}, self.watching.entries.course
        room = self.screen_stack[0].query_one("#stages", Static)
        stages = stages_of(entries, str(status.get("phase", ""))) if entries else []
        left_s = remaining_s(entries, status)
        room.update(stage_line(stages, width=room.size.width, frame=self._frame, left_s=left_s))

    def _show_training(self) -> None:
        if self._active == "training":
            self.screen_stack[0].query_one(TrainingView).show(self.watching.entries.course)

    def _show_banner(self) -> None:
        text = (
            "" if self.feed.is_connected else "The broker cannot be reached. Connecting again; no entry will be lost."
        )
        text = text or (f"{self.watching.problem} Asking again." if self.watching.problem else "")
        banner = self.screen_stack[0].query_one("#banner", Static)
        banner.set_class(bool(text), "shown")
        banner.update(Text(text))

    def _turn(self) -> None:
        """Turn the sign of what is running."""
        status = self.watching.projects.get(self.watching.selected)
        if not self._is_closing and status is not None and status["phase"] not in ENDED:
            self._frame += 1
            self._show_stages()

    def _tick(self) -> None:
        if not self._is_closing:
            self._show_projects()

    def _ask_details(self) -> None:
        if self._is_closing:
            return
        project_id, name = self.watching.selected, self._active
        if name == "status":
            self._put(name, status_text(self.watching.projects.get(project_id) or {}))
        if not project_id or not self.feed.is_connected or name not in {"services", "sla"}:
            return
        question = partial(self.feed.request, "project", ShowProject(project_id=project_id))
        self.feed.ask(question, partial(self._show_details, project_id))
        if name == "services" and (chosen := self._services.chosen):
            read = partial(self.feed.request, "logs", ReadLogs(service=chosen, tail_lines=LOG_LINES))
            self.feed.ask(read, partial(self._show_log, chosen))

    def _show_details(self, project_id: str, got: Any) -> None:  # noqa: ANN401  an answer, or an error
        if project_id != self.watching.selected or self._is_closing:
            return
        if isinstance(got, FlopsError):
            self._put("sla", got.message)
            return
        self._put("sla", sla_text(got.get("sla") or {}))
        self._services.show(got.get("services") or [])

    def _show_log(self, name: str, got: Any) -> None:  # noqa: ANN401  an answer, or an error
        if not self._is_closing:
            self._services.show_log(name, got.message if isinstance(got, FlopsError) else str(got.get("text", "")))

    def _put(self, tab: str, text: str) -> None:
        self.screen_stack[0].query_one(f"#{tab}-text", Static).update(Text(text))
