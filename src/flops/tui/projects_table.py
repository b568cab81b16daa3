"""All projects, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text
from textual.widgets import DataTable

from flops.tui.projects import row_of

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS: Final = (" ", "ID", "NAME", "PHASE", "ROUND", "ACCURACY", "AGE", "TOOK", "REASON")


class ProjectsTable(DataTable[Text]):
    """The projects as they are told; the selected one stays selected wherever it moves."""

    def __init__(self) -> None:
        super().__init__(id="projects", cursor_type="row", zebra_stripes=True)
        self._listed: list[str] = []

    def on_mount(self) -> None:
        """Name the columns."""
        self.add_columns(*COLUMNS)

    def show(self, statuses: Sequence[dict[str, Any]], selected: str) -> None:
        """Show these; where they are the same as before, only what has changed of them is drawn."""
        names = [str(status["project_id"]) for status in statuses]
        rows = [[Text(cell) for cell in row_of(status)] for status in statuses]
        if names == self._listed:
            for name, row in zip(names, rows, strict=True):
                for place, column in enumerate(self.ordered_columns):
                    if self.get_cell(name, column.key) != row[place]:
                        self.update_cell(name, column.key, row[place], update_width=True)
            return
        self._listed = names
        with self.prevent(DataTable.RowHighlighted):
            self.clear()
        for name, row in zip(names, rows, strict=True):
            self.add_row(*row, key=name)
        if selected in names:
            self.move_cursor(row=names.index(selected))
