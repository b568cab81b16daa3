from __future__ import annotations

from typing import TYPE_CHECKING

from flops.suggestions import did_you_mean, did_you_mean_file

if TYPE_CHECKING:
    from pathlib import Path


def test_the_closest_is_named_or_all() -> None:
    assert did_you_mean("Trian", ["train", "stop"]) == "Did you mean 'train'?"
    assert did_you_mean("x", ["train", "stop"]) == "Known are train, stop."
    assert did_you_mean("x", []) == ""


def test_a_file_is_looked_for_in_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").touch()
    (tmp_path / "zzzz").mkdir()
    assert did_you_mean_file(str(tmp_path / "rows.cvs")) == f"Did you mean '{tmp_path / 'rows.csv'}'?"
    for nothing in (str(tmp_path / "zzz"), str(tmp_path / "no" / "rows.cvs"), "\0", ""):
        assert did_you_mean_file(nothing) == ""
