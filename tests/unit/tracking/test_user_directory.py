"""Each user's tracking data has a directory of its own, whatever the name."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from flops.tracking.service import user_directory

PARENT = Path("/home/tracking")


def test_a_plain_name_is_the_directory() -> None:
    assert user_directory(PARENT, "Admin") == PARENT / "Admin"


@given(st.text(min_size=1))
def test_no_name_leaves_the_parent(user: str) -> None:
    directory = user_directory(PARENT, user)
    assert directory.parent == PARENT
    assert directory.name not in ("", ".", "..")
    assert len(directory.name.encode()) < 100
    assert "\0" not in directory.name


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_users_never_share_one(one: str, other: str) -> None:
    assert (user_directory(PARENT, one) == user_directory(PARENT, other)) == (one == other)
