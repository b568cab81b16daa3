"""Checkpoints: what was reached is there again after a restart, whatever happened to the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from flops.errors import StoreUnavailableError
from flops.learning.checkpoint import Best, Checkpoints, Progress

if TYPE_CHECKING:
    from pathlib import Path


def progress(number: int, best: int = 1) -> Progress:
    parameters = [np.full((2, 3), float(number)), np.arange(number, dtype=np.float32)]
    best_parameters = parameters if best == number else [np.full((2, 3), float(best))]
    return Progress(
        round=number,
        parameters=parameters,
        best=Best(best, 0.5, None, best_parameters),
        strategy_state={"m_t": [np.ones(number)]},
        report={"round": number},
        example={"shape": [1, 8]},
    )


def test_nothing_there_is_no_progress(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").load() == (None, [])


@pytest.mark.parametrize("best", [1, 3])
def test_progress_comes_back_whole(tmp_path: Path, best: int) -> None:
    Checkpoints(tmp_path).save(progress(3, best))
    loaded, unreadable = Checkpoints(tmp_path).load()
    assert loaded is not None
    assert not unreadable
    assert loaded.best is not None
    assert (loaded.round, loaded.report, loaded.example) == (3, {"round": 3}, {"shape": [1, 8]})
    assert (loaded.best.round, loaded.best.accuracy, loaded.best.loss) == (best, 0.5, None)
    assert loaded.best.parameters[0][0, 0] == best
    assert [array.dtype for array in loaded.parameters] == [np.float64, np.float32]
    assert np.array_equal(loaded.strategy_state["m_t"][0], np.ones(3))


def test_only_the_last_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for number in range(1, 6):
        checkpoints.save(progress(number))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["round-000004.npz", "round-000005.npz"]


@pytest.mark.parametrize("keep_bytes", [0, 10, 500, -1])
def test_a_damaged_file_is_named_and_the_one_before_used(tmp_path: Path, keep_bytes: int) -> None:
    checkpoints = Checkpoints(tmp_path)
    for number in (1, 2):
        checkpoints.save(progress(number))
    damaged = tmp_path / "round-000002.npz"
    damaged.write_bytes(damaged.read_bytes()[:keep_bytes])
    loaded, unreadable = checkpoints.load()
    assert unreadable == ["round-000002.npz"]
    assert loaded is not None
    assert loaded.round == 1


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(progress(2))
    file = tmp_path / "round-000002.npz"
    content = bytearray(file.read_bytes())
    content[content.index(np.full(1, 2.0).tobytes())] ^= 1
    file.write_bytes(content)
    assert Checkpoints(tmp_path).load() == (None, ["round-000002.npz"])


def test_what_was_half_written_does_not_count(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(progress(1))
    (tmp_path / "round-000002.unfinished").write_bytes(b"half")
    loaded, unreadable = checkpoints.load()
    assert loaded is not None
    assert (loaded.round, unreadable) == (1, [])


def test_reports_are_kept_in_order_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for number in (1, 2):
        checkpoints.mark_reported({"round": number})
    with (tmp_path / "reports.jsonl").open("ab") as file:
        file.write(b'{"rou')
    assert checkpoints.reports() == [{"round": 1}, {"round": 2}]


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError):
        Checkpoints(tmp_path / "file").save(progress(1))


@pytest.mark.parametrize(
    ("accuracy", "loss", "is_better"),
    [(0.6, 9.0, True), (0.5, 0.9, True), (0.5, 1.0, False), (0.4, 0.1, False), (None, 0.1, False), (0.5, None, False)],
)
def test_the_best_has_the_highest_accuracy_then_the_lowest_loss(
    accuracy: float | None, loss: float | None, *, is_better: bool
) -> None:
    assert Best(1, 0.5, 1.0, []).is_beaten_by(accuracy, loss) is is_better


def test_without_accuracy_the_loss_decides() -> None:
    assert Best(1, None, 1.0, []).is_beaten_by(None, 0.9)


def test_a_new_attempt_goes_on_from_the_first_that_has_a_checkpoint(tmp_path: Path) -> None:
    Checkpoints(tmp_path / "first").save(progress(3))
    Checkpoints(tmp_path / "first").mark_reported({"round": 3})
    (tmp_path / "second").mkdir()
    fresh = Checkpoints(tmp_path / "third")

    assert fresh.inherit([tmp_path / "absent", tmp_path / "second", tmp_path / "first"])

    loaded, unreadable = fresh.load()
    assert loaded is not None
    assert (loaded.round, unreadable, fresh.reports()) == (3, [], [{"round": 3}])
    assert Checkpoints(tmp_path / "first").load()[0] is not None


def test_what_an_attempt_has_reached_itself_is_not_replaced(tmp_path: Path) -> None:
    Checkpoints(tmp_path / "first").save(progress(3))
    second = Checkpoints(tmp_path / "second")
    second.save(progress(5))

    assert not second.inherit([tmp_path / "first"])

    loaded, _ = second.load()
    assert loaded is not None
    assert loaded.round == 5


def test_without_any_checkpoint_nothing_is_inherited(tmp_path: Path) -> None:
    fresh = Checkpoints(tmp_path / "fresh")

    assert not fresh.inherit([tmp_path / "absent"])
    assert fresh.load() == (None, [])
