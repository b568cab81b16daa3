"""The texts of the tabs beside the inbox."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from flops.tui.entries import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flops.tui.entries import Entry

BARS: Final = "▁▂▃▄▅▆▇█"
MOST_ROUNDS: Final = 60


def training_text(entries: Iterable[Entry]) -> str:
    """Accuracy and loss over the rounds, and the latest of them in a table."""
    by_round = {int(e["data"].get("round", 0)): e["data"] for e in entries if e["event_type"] == "round.finished"}
    rounds = [by_round[number] for number in sorted(by_round)]
    if not rounds:
        return "No round has been trained yet."
    parts = [f"{name:>9}  {_curve([told.get(name) for told in rounds])}" for name in ("accuracy", "loss")]
    parts += ["", f"{'round':>9}  {'accuracy':>9}  {'loss':>9}  {'seconds':>8}  learners"]
    for told in reversed(rounds):
        loss, accuracy = (_number(told.get(name)) for name in ("loss", "accuracy"))
        shown = ("-" if accuracy is None else f"{accuracy:.2%}", "-" if loss is None else f"{loss:.4f}")
        seconds, learners = _number(told.get("duration_s")) or 0.0, len(told.get("participants") or [])
        best = "  best so far" if told.get("is_best") else ""
        parts.append(f"{told.get('round', 0):>9}  {shown[0]:>9}  {shown[1]:>9}  {seconds:>8.1f}  {learners}{best}")
    return "\n".join(parts)


def _curve(values: list[Any]) -> str:
    numbers = [number for number in map(_number, values) if number is not None]
    if not numbers:
        return "-"
    low, high = min(numbers), max(numbers)
    places = [int((number - low) / (high - low or 1) * (len(BARS) - 1)) for number in numbers[-MOST_ROUNDS:]]
    return f"{''.join(BARS[place] for place in places)}  {numbers[0]:.4f} → {numbers[-1]:.4f}"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def services_text(services: Iterable[dict[str, Any]]) -> str:
    """What of a project runs, and where."""
    rows = [("ROLE", "INSTANCE", "STATE", "NODE")]
    for service in services:
        role, instances = str(service["role"]), service["instances"]
        rows += [(role, str(item["id"]), str(item["state"]), str(item.get("node", "-"))) for item in instances]
    if len(rows) == 1:
        return "Nothing of this project runs."
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return printable_lines("\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows))


def status_text(status: dict[str, Any]) -> str:
    """Everything that the status says."""
    told = {name: value for name, value in status.items() if value not in {"", None}}
    return "\n".join(f"{name.replace('_', ' '):>14}  {printable(str(value))}" for name, value in told.items())


def sla_text(sla: dict[str, Any]) -> str:
    """What was asked for."""
    return printable_lines(json.dumps(sla, indent=2, ensure_ascii=False))


def printable_lines(text: str) -> str:
    """Several lines without anything that a terminal would obey."""
    return "\n".join(map(printable, text.expandtabs(4).split("\n")))
