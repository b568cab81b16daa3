"""One installation for all system tests that do not break it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.system.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Up, with data and the shipped base case's images still to be built; down afterwards, leaving no process."""
    made = Installation(tmp_path_factory.mktemp("flops") / "home")
    try:
        made.ok("up")
        made.ok("mock-data", "digits_multi")
        yield made
    finally:
        made.ok("down")
        left = made.processes()
        assert left == []
