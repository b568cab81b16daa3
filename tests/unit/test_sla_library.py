from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flops.errors import EXIT_NOT_FOUND, InvalidSlaError, NotFoundError
from flops.sla_library import find_sla, list_slas

if TYPE_CHECKING:
    from pathlib import Path


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
