"""A project under way as a tree of stages in a terminal, with progress for build steps and rounds."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from flops.cli.output import percent, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console, RenderableType

BAR: Final = 12  # so that rounds with their metrics fit into 80 columns
REFRESH_PER_S: Final = 8
LAST_WORDS: Final = {
    "project.completed": ("✓", "green"),
    "project.failed": ("✗", "red"),
    "project.cancelled": ("✗", "yellow"),
}
STOPPING: Final = "stopping"  # what follows the stage that a project has ended in
TOLD_ABOVE: Final = {"warning": "yellow", "error": "red"}
Entry = dict[str, Any]


@dataclass(slots=True)
class Stage:
    """One stage: when it began and ended, and what has been done of how much."""

    name: str
    begun: str
    begun_s: float
    took_s: float | None = None
    steps: list[str] = field(default_factory=list)
    done: list[tuple[str, float]] = field(default_factory=list)
    rounds: int = 0
    round: int = 0
    note: str = ""
    last: str = ""


class StageTree:
    """What the entries of an inbox say of a project's stages; ``show`` takes them one by one."""

    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._clock = title, clock
        self._sign, self._colour = "", ""
        self._decisive: Stage | None = None
        self.stages: list[Stage] = []
        self.last_words = ""

    def show(self, entry: Entry) -> None:
        """Take an entry in."""
        name = str(entry.get("stage") or (self.stages[-1].name if self.stages else "requested"))
        data = entry.get("data") or {}
        if not self.stages or self.stages[-1].name != name:
            self._end_stage(entry["time"])
            self.stages.append(Stage(name, entry["time"], self._clock()))
            self._sign = ""
        stage = self.stages[-1]
        stage.last = str(entry["text"])
        match entry["event_type"]:
            case "build.started":
                stage.steps, stage.done = [str(step) for step in data.get("steps", [])], []
            case "build.step-finished":
                stage.done.append((str(data.get("step", "")), float(data.get("duration_s", 0))))
            case "round.finished":
                stage.rounds, stage.round = int(data.get("rounds", 0)), int(data.get("round", 0))
                loss = data.get("loss")
                shown = [f"accuracy {percent(data.get('accuracy'))}", "" if loss is None else f"loss {loss:.4f}"]
                stage.note = ", ".join(part for part in shown if part)
            case last if last in LAST_WORDS:
                self._sign, self._colour = LAST_WORDS[last]
                is_cleared_up = name == STOPPING and len(self.stages) > 1
                self._decisive = self.stages[-2] if is_cleared_up else stage
                self.last_words = str(entry["text"])
                self._end_stage(entry["time"])

    def _end_stage(self, at: str) -> None:
        if self.stages and self.stages[-1].took_s is None:
            stage = self.stages[-1]
            stage.took_s = max(0.0, (datetime.fromisoformat(at) - datetime.fromisoformat(stage.begun)).total_seconds())

    def __rich__(self) -> RenderableType:
        from rich.text import Text  # noqa: PLC0415  only a terminal needs it
        from rich.tree import Tree  # noqa: PLC0415

        tree = Tree(Text(self._title, style="bold", overflow="ellipsis", no_wrap=True), guide_style="dim")
        for stage in self.stages:
            is_over = stage.took_s is not None
            sign, colour = ("✓", "green") if is_over else ("●", "cyan")
            if stage is self._decisive and self._sign:
                sign, colour = self._sign, self._colour
            took_s = stage.took_s if stage.took_s is not None else self._clock() - stage.begun_s
            line = Text(no_wrap=True, overflow="ellipsis")
            line.append(f"{sign} ", colour).append(f"{stage.name:<11}").append(f"{took_s:6.1f} s  ", "dim")
            line.append(_progress(stage))
            branch = tree.add(line)
            for detail in [] if is_over else _details(stage):
                branch.add(Text(visible(detail).replace("\n", " "), style="dim", no_wrap=True, overflow="ellipsis"))
        if self.last_words:
            tree.add(Text(visible(self.last_words), style=self._colour))
        return tree


def _progress(stage: Stage) -> str:
    if stage.rounds:
        return f"{_bar(stage.round, stage.rounds)} round {stage.round}/{stage.rounds}  {stage.note}"
    if stage.steps:
        done = min(len(stage.done), len(stage.steps))
        return f"{_bar(done, len(stage.steps))} step {done}/{len(stage.steps)}"
    return ""


def _details(stage: Stage) -> Iterator[str]:
    """Under the stage that runs: its build steps, else what happened last."""
    for step, took_s in stage.done:
        yield f"✓ {step} ({took_s:.1f} s)"
    if len(stage.done) < len(stage.steps):
        yield f"● {stage.steps[len(stage.done)]} …"
    if not stage.steps and stage.last:
        yield stage.last


def _bar(done: int, of: int) -> str:
    full = round(done / of * BAR) if of else 0
    return "━" * full + "╌" * (BAR - full)


def is_for_a_tree() -> bool:
    """Whether somebody sits before a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextmanager
def live_tree(
    title: str, console: Console | None = None
) -> Iterator[tuple[Callable[[Entry], None], Callable[[], None]]]:
    """A tree that stays in its place, and how to stop it; warnings, errors and next steps are printed above it."""
    from rich.console import Console  # noqa: PLC0415  only a terminal needs it
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    tree = StageTree(title)
    console = console or Console()
    with Live(tree, console=console, refresh_per_second=REFRESH_PER_S) as live:

        def show(entry: Entry) -> None:
            tree.show(entry)
            colour = TOLD_ABOVE.get(str(entry["severity"]))
            if colour:
                live.console.print(Text(visible(str(entry["text"])), style=colour))
                for line in visible(str(entry.get("details", ""))).rstrip().splitlines()[-15:]:
                    live.console.print(Text(f"  | {line}", style="dim"))
            if entry.get("next_step"):
                if not colour:
                    live.console.print(Text(visible(str(entry["text"]))))
                live.console.print(Text(f"  → {visible(str(entry['next_step']))}", style="dim"))

        yield show, live.stop
