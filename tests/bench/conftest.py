"""One installation with images for all benchmarks, and one table of what they found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.bench.table import Table
from tests.system.installation import Installation, digits_sla

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = pytest.StashKey[Table]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the table before the first benchmark."""
    config.stash[TABLE] = Table()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table after the last one."""
    table = config.stash[TABLE]
    if table.rows:
        terminalreporter.section("what it must reach")
        for line in table.lines():
            terminalreporter.write_line(line)


@pytest.fixture
def table(pytestconfig: pytest.Config) -> Table:
    """Where measurements are noted."""
    return pytestconfig.stash[TABLE]


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Up, with data, with images present and all byte code compiled: one project has run to its end."""
    directory = tmp_path_factory.mktemp("flops")
    made = Installation(directory / "home")
    try:
        made.ok("up")
        made.ok("mock-data", "digits_multi")
        outcome = made.run_project(digits_sla(), directory)
        assert outcome.exit_code == 0, outcome.last
        made.ok("project", "delete", outcome.project_id)
        yield made
    finally:
        made.ok("down")
