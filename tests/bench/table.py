"""What was measured against what it must reach, for the table at the end of a run."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``is_reached`` is None for what could not be measured here."""

    name: str
    measured: str
    bound: str
    is_reached: bool | None

    @property
    def verdict(self) -> str:
        """The last column."""
        return {True: "yes", False: "no", None: "not measured"}[self.is_reached]


@dataclass(slots=True)
class Table:
    """Collects rows; a benchmark that misses its bound fails after it has been noted."""

    rows: list[Row] = field(default_factory=list)

    def at_most(self, name: str, measured: float, bound: float, unit: str, *, detail: str = "") -> None:
        """Note a measurement and require it to be at most ``bound``."""
        shown = f"{measured:.3g}{unit}" + (f" ({detail})" if detail else "")
        row = Row(name, shown, f"≤ {bound:g}{unit}", measured <= bound)
        self.rows.append(row)
        assert row.is_reached, f"{row.name}: {row.measured}, but {row.bound} is required"

    def at_least(self, name: str, measured: float, bound: float, unit: str, *, detail: str = "") -> None:
        """Note a measurement and require it to be at least ``bound``."""
        shown = f"{measured:.3g}{unit}" + (f" ({detail})" if detail else "")
        row = Row(name, shown, f"≥ {bound:g}{unit}", measured >= bound)
        self.rows.append(row)
        assert row.is_reached, f"{row.name}: {row.measured}, but {row.bound} is required"

    def not_measured(self, name: str, bound: str, reason: str) -> None:
        """Note what could not be measured on this machine, and why."""
        self.rows.append(Row(name, reason, bound, None))

    def lines(self) -> list[str]:
        """The table as text."""
        cells = [("what", "measured", "bound", "reached")]
        cells += [(row.name, row.measured, row.bound, row.verdict) for row in self.rows]
        widths = [max(len(line[column]) for line in cells) for column in range(4)]
        return [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
        ]
