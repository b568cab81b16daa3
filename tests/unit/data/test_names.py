from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flops.data.names import MAX_LENGTH, check_partition_name, check_tag, is_allowed, partition_name_of
from flops.errors import InvalidDataError


@pytest.mark.parametrize("name", ["digits", "MNIST-train_0", "v1.2", "0", "a" * MAX_LENGTH])
def test_plain_names_are_allowed(name: str) -> None:
    assert check_tag(name) == name
    assert check_partition_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc",
        "a\\b",
        ".hidden",
        "-x",
        "_x",
        "a b",
        "a\n",
        "a\0",
        "é",
        "٣",
        "a" * 65,
    ],
)
def test_everything_else_is_refused_and_the_error_says_what_is_allowed(name: str) -> None:
    assert not is_allowed(name)
    with pytest.raises(InvalidDataError, match="letters, digits"):
        check_tag(name)
    with pytest.raises(InvalidDataError, match="partition name"):
        check_partition_name(name)


def test_a_very_long_name_is_shortened_in_the_message() -> None:
    with pytest.raises(InvalidDataError) as caught:
        check_tag("a" * 100_000)

    assert len(str(caught.value)) < 400


@given(st.text(max_size=200))
def test_every_file_gives_a_name_that_is_allowed(stem: str) -> None:
    assert is_allowed(partition_name_of(stem))


@pytest.mark.parametrize(
    ("stem", "name"), [("ward 3 (2024)", "ward-3-2024-[0-9a-f]{8}"), ("../x", "x-[0-9a-f]{8}"), ("plain_1", "plain_1")]
)
def test_the_name_resembles_the_files(stem: str, name: str) -> None:
    assert re.fullmatch(name, partition_name_of(stem))


@pytest.mark.parametrize(
    ("one", "other"),
    [("日本", "中国"), ("a b", "a-b"), ("ward 3", "ward(3"), ("x" * 65, "x" * 66)],
)
def test_different_files_never_get_the_same_name(one: str, other: str) -> None:
    assert partition_name_of(one) != partition_name_of(other)


def test_a_file_name_that_is_no_text_gives_a_name_too() -> None:
    assert is_allowed(partition_name_of("caf\udce9"))
