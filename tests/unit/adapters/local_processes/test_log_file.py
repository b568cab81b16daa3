from __future__ import annotations

from typing import TYPE_CHECKING

from flops.adapters.local_processes.log_file import remove, rotate, tail

if TYPE_CHECKING:
    from pathlib import Path


def test_the_tail_has_the_last_lines(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\ntwo\nthree")
    assert tail(tmp_path / "log", 2) == "two\nthree"


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "log", 2) == ""


def test_bytes_that_are_no_text_are_shown_as_such(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a\xff\n")
    assert tail(tmp_path / "log", 2) == "a�\n"


def test_a_short_log_is_not_rotated(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("12345")
    assert not rotate(tmp_path / "log", max_bytes=5)
    assert not rotate(tmp_path / "none", max_bytes=5)


def test_a_long_log_is_rotated_under_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("a") as writer:
        writer.write("".join(f"{n}\n" for n in range(100)))
        writer.flush()
        assert rotate(path, max_bytes=100)
        writer.write("next\n")
        writer.flush()
        assert path.read_text() == "next\n"
        assert tail(path, 3) == "98\n99\nnext\n"
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 105


def test_removing_takes_the_rotated_part_along(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("123456")
    rotate(tmp_path / "log", max_bytes=1)
    remove(tmp_path / "log")
    assert list(tmp_path.iterdir()) == []
