from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from flops.atomic_file import write_atomically

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_replaced_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "record"
    file.write_text("before")
    file.chmod(0o644)

    write_atomically(file, "after")

    assert file.read_text() == "after"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_replaced_stays_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    in_the_way = tmp_path / "record"
    in_the_way.mkdir()

    with pytest.raises(IsADirectoryError):
        write_atomically(in_the_way, "text")

    assert list(tmp_path.iterdir()) == [in_the_way]


def test_a_disk_that_fills_up_meanwhile_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "record"
    file.write_text("before")
    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(OSError, match="No space"):
        write_atomically(file, "after")

    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]
