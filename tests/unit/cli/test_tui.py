"""What 'flops tui' refuses before it shows or serves anything."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.doubles.answers import Manager, Outcome

pytest.importorskip("textual_serve")


def test_scripts_are_told_what_is_for_them(flops: Callable[..., Outcome]) -> None:
    done = flops("tui", "--json")
    assert (done.exit_code, "flops project list" in done.error["message"]) == (2, True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org", "10.0.0.1"])  # noqa: S104  it is refused
def test_nothing_is_served_in_the_clear_to_other_machines(flops: Callable[..., Outcome], host: str) -> None:
    done = flops("tui", "--web", "--host", host, "--json")
    assert (done.exit_code, "ssh -L" in done.error["message"]) == (2, True)


def test_a_certificate_has_to_be_one(flops: Callable[..., Outcome], tmp_path: Path) -> None:
    assert flops("tui", "--web", "--certificate", str(tmp_path / "none.pem"), "--json").exit_code == 7
    (tmp_path / "empty.pem").touch()
    done = flops("tui", "--web", "--certificate", str(tmp_path / "empty.pem"), "--json")
    assert (done.exit_code, "PEM" in done.error["message"]) == (2, True)


def test_where_nobody_answers_nothing_is_served(flops: Callable[..., Outcome]) -> None:
    assert flops("tui", "--web", "--json").exit_code == 5


def test_a_port_that_is_taken_is_said(flops: Callable[..., Outcome], manager: Manager) -> None:
    assert manager
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = flops("tui", "--web", "--port", str(taken.getsockname()[1]), "--json")
    assert (done.exit_code, done.error["code"], done.error["remedy"] != "") == (1, "address.unavailable", True)
