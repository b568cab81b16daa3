from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.doubles.tui import BEGIN, entry, status

from flops.tui.stages import remaining_s, stage_line, stages_of


def line(entries: list[dict[str, Any]], phase: str, *, seconds: int = 0, width: int = 200) -> str:
    return stage_line(stages_of(entries, phase, BEGIN + timedelta(seconds=seconds)), width=width).plain


ENTRIES = [
    entry(0, stage="requested"),
    entry(1, stage="checking"),
    entry(61, stage="building"),
    entry(91, stage="deploying"),
    entry(95, stage="training"),
]


def test_stages_that_are_done_run_and_are_to_come() -> None:
    assert line(ENTRIES, "training", seconds=99) == (
        "✓ checking 1m00s → ✓ building 30s → ✓ deploying 4s → ⠋ training 4s → · packaging → · serving"
    )


def test_what_a_project_has_passed_over_is_left_out() -> None:
    """Images that were there already are not built."""
    assert line([ENTRIES[1], ENTRIES[3]], "deploying", seconds=91) == (
        "✓ checking 1m30s → ⠋ deploying 0s → · training → · packaging → · serving"
    )


@pytest.mark.parametrize(("phase", "sign"), [("completed", "✓"), ("failed", "✗"), ("cancelled", "■")])
def test_an_ended_project_has_nothing_to_come(phase: str, sign: str) -> None:
    ended = [*ENTRIES[:3], entry(91, stage=phase)]
    assert line(ended, phase) == f"✓ checking 1m00s → ✓ building 30s → {sign} {phase}"
    assert line(ENTRIES[:3], phase) == f"✓ checking 1m00s → ✓ building 0s → {sign} {phase}"


def test_before_anything_is_known_all_is_to_come_and_while_it_stops_nothing() -> None:
    assert line(ENTRIES[:1], "requested").startswith("· checking → · building")
    assert line([ENTRIES[1], entry(5, stage="stopping")], "stopping", seconds=6) == "✓ checking 4s → ⠋ stopping 1s"


def test_eighty_columns_have_room_for_all_stages() -> None:
    narrow = line(ENTRIES, "training", seconds=99, width=78)
    assert len(narrow) <= 78
    assert "training 4s" in narrow
    assert narrow.endswith("· serving")


def test_the_rounds_to_come_take_as_long_as_those_before() -> None:
    begun = entry(100, event_type="training.started")
    rounds = [entry(110, event_type="round.finished"), entry(120, event_type="round.finished")]
    at_122 = BEGIN + timedelta(seconds=122)
    told = status(phase="training", round=2, rounds=5)
    assert remaining_s([begun, *rounds], told, at_122) == pytest.approx(28)
    assert remaining_s([begun, *rounds], told, at_122 + timedelta(hours=1)) == 0
    assert remaining_s([begun], status(phase="training", round=0, rounds=5), at_122) is None
    assert remaining_s([begun, *rounds], status(phase="training", round=5, rounds=5), at_122) is None
    assert remaining_s([begun, *rounds], status(phase="packaging", round=2, rounds=5), at_122) is None
