"""An inbox of any length on the screen: only the lines that are seen are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from flops.tui.entries import line_of, matches

if TYPE_CHECKING:
    from textual import events

    from flops.tui.entries import Entry

STYLES: Final = {
    "success": Style(color="green"),
    "warning": Style(color="yellow"),
    "error": Style(color="red", bold=True),
}
CURSOR: Final = Style(reverse=True)
PLAIN: Final = Style()


class InboxView(ScrollView, can_focus=True):
    """Entries as lines with a cursor; follows the newest one until somebody moves up."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000000)", "First", show=False),
        Binding("end,G", "move(1000000000)", "Last", show=False),
        Binding("enter", "open", "Open"),
    ]

    class Opened(Message):
        """Somebody wants to see all of an entry."""

        def __init__(self, entry: Entry) -> None:
            super().__init__()
            self.entry = entry

    class AtTheTop(Message):
        """Somebody goes up from the first line; there may be more before it."""

    def __init__(self, *, id: str) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self.is_following = True
        self.wanted = ""
        self._entries: list[Entry] = []
        self._seen = 0
        self._lines: list[Entry] = []
        self._cursor = 0

    @property
    def lines(self) -> list[Entry]:
        """The entries that the filter lets through."""
        return self._lines

    def replace(self, entries: list[Entry]) -> None:
        """Show these entries; the list may grow, and ``update_lines`` is called when it has."""
        self._entries, self._seen, self._lines, self._cursor = entries, 0, [], 0
        self.update_lines()

    def filter(self, wanted: str) -> None:
        """Show only entries that have a text somewhere."""
        self.wanted = wanted
        self.replace(self._entries)

    def update_lines(self, older: int = 0) -> None:
        """Show what has come since, and ``older`` entries before the first."""
        before = [entry for entry in self._entries[:older] if matches(entry, self.wanted)]
        self._lines[:0] = before
        self._cursor += len(before)
        self._seen += older
        self._lines += [entry for entry in self._entries[self._seen :] if matches(entry, self.wanted)]
        self._seen = len(self._entries)
        self.virtual_size = Size(max(1, self.size.width), len(self._lines))
        if self.is_following:
            self._cursor = max(0, len(self._lines) - 1)
        self._show_cursor()

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        index, width = y + self.scroll_offset.y, self.size.width
        if index >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        entry = self._lines[index]
        style = self.rich_style + STYLES.get(str(entry["severity"]), PLAIN)
        if index == self._cursor and self.has_focus:
            style += CURSOR
        text = line_of(entry)
        strip = Strip([Segment(text, style)])
        if strip.cell_length > width:
            strip = Strip([*strip.crop(0, max(0, width - 1)), Segment("…", style)])
        return strip.adjust_cell_length(width, style)

    def on_resize(self) -> None:
        """Lines are as wide as the screen."""
        self.virtual_size = Size(max(1, self.size.width), len(self._lines))
        self._show_cursor()

    def on_focus(self) -> None:
        """The cursor is seen where the keys go."""
        self.refresh()

    def on_blur(self) -> None:
        """And not elsewhere."""
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Choose a line; choose it twice to open it."""
        index = event.y + self.scroll_offset.y
        if index < len(self._lines):
            is_same, self._cursor = index == self._cursor, index
            self.is_following = False
            self.refresh()
            if is_same:
                self.action_open()

    def action_move(self, lines: int) -> None:
        """Move the cursor; upwards ends following, the last line begins it again."""
        if lines < 0 and self._cursor == 0:
            self.post_message(self.AtTheTop())
        self._cursor = max(0, min(self._cursor + lines, len(self._lines) - 1))
        self.is_following = lines > 0 and self._cursor == len(self._lines) - 1
        self._show_cursor()

    def action_page(self, pages: int) -> None:
        """Move the cursor by what is seen."""
        self.action_move(pages * max(1, self.size.height - 1))

    def action_open(self) -> None:
        """Open the entry under the cursor."""
        if self._lines:
            self.post_message(self.Opened(self._lines[self._cursor]))

    def follow(self, *, is_following: bool) -> None:
        """Stay at the newest entry, or where one is."""
        self.is_following = is_following
        self.update_lines()

    def _show_cursor(self) -> None:
        height, top = max(1, self.size.height), self.scroll_offset.y
        if self._cursor < top:
            top = self._cursor
        elif self._cursor >= top + height:
            top = self._cursor - height + 1
        self.scroll_to(y=max(0, top), animate=False, force=True, immediate=True)
        self.refresh()
