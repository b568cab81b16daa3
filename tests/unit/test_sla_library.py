from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flops.errors import EXIT_NOT_FOUND, InvalidSlaError, NotFoundError
from flops.sla_library import find_sla, list_slas, load_sla
from flops.wire.sla_text import MAX_SLA_BYTES


@pytest.mark.parametrize("name", ["digits_sklearn_small", "digits_sklearn_small.json"])
def test_a_shipped_sla_is_found_by_name(name: str) -> None:
    assert find_sla(name).read_text().startswith("{")
    assert find_sla(name) in list_slas("projects")


def test_a_file_is_found_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text("{}")
    assert find_sla(str(file)) == file


def test_a_miss_names_what_is_close() -> None:
    with pytest.raises(NotFoundError, match="Did you mean 'digits_sklearn_small'") as raised:
        find_sla("digits_sklern_small.json")
    assert raised.value.exit_code == EXIT_NOT_FOUND


def test_a_miss_that_is_close_to_nothing_lists_all() -> None:
    with pytest.raises(NotFoundError, match=r"Known are .*mnist_sklearn"):
        find_sla("zzzzzzzz")


def test_a_directory_is_no_sla(tmp_path: Path) -> None:
    with pytest.raises(InvalidSlaError, match="is not a file"):
        find_sla(str(tmp_path))


def test_a_shipped_sla_of_the_other_kind_is_told_with_its_command() -> None:
    with pytest.raises(NotFoundError, match="use 'flops mock-data digits_multi'"):
        find_sla("digits_multi")
    with pytest.raises(NotFoundError, match="use 'flops project start digits_sklearn_small'"):
        find_sla("digits_sklearn_small", "mocks")


def test_a_named_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text("{}"))
    writer.start()

    loaded = load_sla(str(pipe))

    writer.join(10)
    assert (loaded.name, loaded.content) == (str(pipe), b"{}")


def test_a_dash_is_standard_input(tmp_path: Path) -> None:
    reading = [sys.executable, "-c", "from flops.sla_library import load_sla; print(load_sla('-'))"]

    finished = subprocess.run(reading, input="{}", capture_output=True, text=True, check=True, cwd=tmp_path)

    assert finished.stdout.strip() == "SlaFile(name='standard input', content=b'{}')"


def test_standard_input_that_is_closed_is_an_sla_that_cannot_be_read() -> None:
    program = "import os; os.close(0); from flops.sla_library import load_sla; load_sla('-')"

    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "InvalidSlaError" in finished.stderr
    assert "standard input cannot be read" in finished.stderr


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux")
def test_a_file_that_cannot_be_read_is_named_with_the_reason() -> None:
    with pytest.raises(InvalidSlaError, match=r"/proc/self/mem cannot be read \(input/output error\)"):
        load_sla("/proc/self/mem")


def test_a_file_that_nobody_lets_us_look_at_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, look = tmp_path / "sla.json", Path.stat

    def refuse(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == hidden:
            raise PermissionError(13, "Permission denied")
        return look(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(InvalidSlaError, match=r"sla.json cannot be read \(permission denied\)"):
        load_sla(str(hidden))


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    assert len(load_sla("/dev/zero").content) == MAX_SLA_BYTES + 1


@pytest.mark.parametrize("name", ["", "x" * 10_000, "zero\0byte", "~nobody-of-this-name/sla.json"])
def test_what_is_no_path_is_a_miss(name: str) -> None:
    with pytest.raises(NotFoundError):
        load_sla(name)
