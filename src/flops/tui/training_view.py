"""Accuracy and loss over the rounds, as curves and in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text
from textual.containers import Container, VerticalScroll
from textual.widgets import Static

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textual.app import ComposeResult
    from textual_plotext import PlotextPlot

    from flops.tui.entries import Entry

CURVES: Final = ("accuracy", "loss")
COLOURS: Final = {"accuracy": "green", "loss": "orange"}
NOTHING: Final = "No round has been trained yet."
Round = dict[str, Any]


def rounds_of(entries: Iterable[Entry]) -> list[Round]:
    """What was told of each round; of one that was told twice, the last."""
    told = {int(e["data"].get("round", 0)): e["data"] for e in entries if e["event_type"] == "round.finished"}
    return [told[number] for number in sorted(told)]


def table_of(rounds: Sequence[Round]) -> str:
    """One line for each round, the newest first."""
    if not rounds:
        return NOTHING
    lines = [f"{'round':>7}  {'accuracy':>9}  {'loss':>9}  {'seconds':>8}  learners"]
    for told in reversed(rounds):
        loss, accuracy = (_number(told.get(name)) for name in ("loss", "accuracy"))
        shown = ("-" if accuracy is None else f"{accuracy:.2%}", "-" if loss is None else f"{loss:.4f}")
        seconds, learners = _number(told.get("duration_s")) or 0.0, len(told.get("participants") or [])
        best = "  best so far" if told.get("is_best") else ""
        lines.append(f"{told.get('round', 0):>7}  {shown[0]:>9}  {shown[1]:>9}  {seconds:>8.2f}  {learners}{best}")
    return "\n".join(lines)


def curve_of(rounds: Sequence[Round], name: str) -> tuple[list[int], list[float]]:
    """The rounds that have a number of this name, and the numbers."""
    points = [(int(told.get("round", 0)), value) for told in rounds if (value := _number(told.get(name))) is not None]
    return [number for number, _ in points], [value for _, value in points]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


class TrainingView(Container):
    """Two curves, and the table below them. The library that draws is loaded once there is something to draw."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn: list[Round] | None = None

    def compose(self) -> ComposeResult:
        """Room for the curves, and the table."""
        yield Container(id="curves")
        with VerticalScroll(id="rounds"):
            yield Static(id="training-text")

    def show(self, entries: Iterable[Entry]) -> None:
        """Show the rounds that there are; nothing is drawn again that was drawn so before."""
        rounds = rounds_of(entries)
        if rounds == self._drawn:
            return
        self._drawn = rounds
        self.query_one("#training-text", Static).update(Text(table_of(rounds)))
        self.query_one("#curves", Container).display = bool(rounds)
        if rounds:
            self._draw(rounds)

    def _draw(self, rounds: Sequence[Round]) -> None:
        from textual_plotext import PlotextPlot  # noqa: PLC0415  only whoever looks at rounds waits for it

        room = self.query_one("#curves", Container)
        if not room.children:
            room.mount(*(PlotextPlot(id=f"curve-{name}") for name in CURVES))
        for name in CURVES:
            self._draw_curve(room.get_child_by_id(f"curve-{name}", PlotextPlot), name, *curve_of(rounds, name))

    @staticmethod
    def _draw_curve(canvas: PlotextPlot, name: str, numbers: list[int], values: list[float]) -> None:
        plot = canvas.plt
        plot.clear_figure()
        plot.title(f"{name}  {values[-1]:.4f}" if values else name)
        if values:
            plot.plot(numbers, values, marker="braille", color=COLOURS[name])
            ticks = sorted(map(float, {numbers[0], numbers[len(numbers) // 2], numbers[-1]}))
            plot.xticks(ticks, [f"{tick:.0f}" for tick in ticks])
        canvas.refresh()
