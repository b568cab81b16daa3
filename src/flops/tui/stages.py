"""The stages that a project goes through: which are done, which one runs and for how long, and what is to come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.text import Text

from flops.project.state import Phase
from flops.tui.entries import ENDED, SIGNS_OF_PHASES, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flops.tui.entries import Entry

COURSE: Final = (
    Phase.CHECKING,
    Phase.BUILDING,
    Phase.DEPLOYING,
    Phase.TRAINING,
    Phase.PACKAGING,
    Phase.SERVING,
)
FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
STYLES: Final = {"completed": "green", "failed": "bold red", "cancelled": "yellow"}


class Stage(NamedTuple):
    """A stage, and how long it took or takes; ``seconds`` is None for one that has not begun or that is the end."""

    name: str
    seconds: float | None
    is_running: bool


def stages_of(entries: Iterable[Entry], phase: str, now: datetime | None = None) -> list[Stage]:
    """The stages of a project in their order; those that it has passed over are left out."""
    begun: list[tuple[str, datetime]] = []
    last = None
    for entry in entries:
        last = datetime.fromisoformat(entry["time"])
        stage = str(entry.get("stage") or Phase.REQUESTED)
        if stage != Phase.REQUESTED and (not begun or begun[-1][0] != stage):
            begun.append((stage, last))
    is_over = phase in ENDED
    if is_over and begun and last is not None and begun[-1][0] != phase:
        begun.append((phase, last))
    ends = [since for _, since in begun[1:]] + [now or datetime.now(UTC)]
    stages = [
        Stage(name, None if name in ENDED else (end - since).total_seconds(), is_running=False)
        for (name, since), end in zip(begun, ends, strict=False)  # where nothing has begun, nothing ends
    ]
    if stages and not is_over:
        stages[-1] = stages[-1]._replace(is_running=True)
    return stages if is_over else stages + [Stage(name, None, is_running=False) for name in _to_come(begun)]


def _to_come(begun: Sequence[tuple[str, datetime]]) -> Sequence[str]:
    current = begun[-1][0] if begun else ""
    if current == Phase.STOPPING:
        return ()
    return COURSE[COURSE.index(Phase(current)) + 1 :] if current in COURSE else COURSE


def remaining_s(entries: Sequence[Entry], status: dict[str, Any], now: datetime | None = None) -> float | None:
    """How long the training will still take if its rounds go on as they did; None where that is not known."""
    done, rounds = int(status.get("round") or 0), int(status.get("rounds") or 0)
    begun = next((entry for entry in reversed(entries) if entry["event_type"] == "training.started"), None)
    last = next((entry for entry in reversed(entries) if entry["event_type"] == "round.finished"), None)
    if status.get("phase") != Phase.TRAINING or not 0 < done < rounds or begun is None or last is None:
        return None
    since, until = (datetime.fromisoformat(entry["time"]) for entry in (begun, last))
    waited_s = ((now or datetime.now(UTC)) - until).total_seconds()
    return max(0.0, (until - since).total_seconds() / done * (rounds - done) - waited_s)


def stage_line(stages: Sequence[Stage], *, width: int, frame: int = 0, left_s: float | None = None) -> Text:
    """The stages in one line; where it is narrow, without how long those took that are done."""
    line = _line(stages, frame, left_s, is_short=False)
    return line if line.cell_len <= width else _line(stages, frame, left_s, is_short=True)


def _line(stages: Sequence[Stage], frame: int, left_s: float | None, *, is_short: bool) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis", end="")
    for place, stage in enumerate(stages):
        line.append(" → " if place and not is_short else " " if place else "", "dim")
        if stage.name in ENDED:
            line.append(f"{SIGNS_OF_PHASES[stage.name]} {stage.name}", STYLES[stage.name])
        elif stage.is_running:
            left = "" if left_s is None else f", {span(left_s)} left"
            sign = FRAMES[frame % len(FRAMES)]
            line.append(f"{sign} {stage.name} {span(stage.seconds or 0)}{left}", "bold")
        elif stage.seconds is None:
            line.append(f"· {stage.name}", "dim")
        else:
            line.append(f"✓ {stage.name}" + ("" if is_short else f" {span(stage.seconds)}"), "green")
    return line
