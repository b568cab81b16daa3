"""A project's stages in a terminal: how far each is, and nothing that a message could do to the terminal."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from flops.cli.stage_tree import StageTree, live_tree


def entry(second: int, stage: str, event_type: str, severity: str = "info", **data: Any) -> dict[str, Any]:  # noqa: ANN401
    fields = {"text": f"{event_type} happened \x1b[2J", "next_step": "", "details": "", "severity": severity}
    return {
        "time": f"2030-01-01T10:00:{second:02}+00:00",
        "stage": stage,
        "event_type": event_type,
        "data": data,
        **fields,
    }


def shown(*entries: dict[str, Any], width: int = 80) -> str:
    tree = StageTree("Project x", clock=lambda: 0.0)
    for item in entries:
        tree.show(item)
    console = Console(file=io.StringIO(), width=width)
    console.print(tree)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


BUILD = [
    entry(0, "requested", "project.accepted"),
    entry(1, "building", "build.started", steps=["clone", "resolve", "install", "store"]),
    entry(3, "building", "build.step-finished", step="clone", duration_s=1.5),
]
ROUND = entry(9, "training", "round.finished", round=2, rounds=4, accuracy=0.5, loss=0.25)


def test_a_build_shows_which_of_its_steps_is_done_and_which_runs() -> None:
    lines = shown(*BUILD)
    assert "✓ requested" in lines
    assert "━━━╌╌╌╌╌╌╌╌╌ step 1/4" in lines
    assert "✓ clone (1.5 s)" in lines
    assert "● resolve …" in lines
    assert "install" not in lines


def test_a_training_shows_its_rounds() -> None:
    lines = shown(*BUILD, ROUND)
    assert "✓ building      8.0 s" in lines
    assert "clone" not in lines
    assert "━━━━━━╌╌╌╌╌╌ round 2/4  accuracy 50.00%, loss 0.2500" in lines


def test_the_end_is_told_with_its_sign() -> None:
    assert "✗ training" in shown(ROUND, entry(10, "training", "project.failed", "error"))
    assert "✓ training" in shown(ROUND, entry(10, "training", "project.completed"))
    cleared_up = shown(ROUND, entry(10, "stopping", "phase.entered"), entry(11, "stopping", "project.failed", "error"))
    assert "✗ training" in cleared_up
    assert "✓ stopping" in cleared_up


def test_a_retry_begins_a_stage_again() -> None:
    failed = entry(10, "training", "project.failed", "error")
    lines = shown(ROUND, failed, entry(20, "building", "retry.requested"), entry(21, "building", "build.started"))
    assert "● building" in lines


def test_no_line_is_wider_than_the_terminal_and_none_obeys_a_message() -> None:
    lines = shown(*BUILD, ROUND, entry(10, "stopping", "project.failed", "error"), width=40)
    assert max(map(len, lines.splitlines())) <= 40
    assert "\x1b" not in lines


def test_warnings_and_next_steps_are_printed_above() -> None:
    console = Console(file=io.StringIO(), width=80)
    with live_tree("Project x", console) as (show, _):
        show(BUILD[0])
        show(entry(1, "building", "service.warned", "warning") | {"next_step": "Do this.", "details": "a\nb"})
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert all(part in text for part in ("service.warned happened", "→ Do this.", "| b", "building"))
    assert "\x1b[2J" not in text
