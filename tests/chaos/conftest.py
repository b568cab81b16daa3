"""What the chaos tests share: houses to wreck, and one line per scenario."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
from tests.brokers import start_mosquitto
from tests.chaos.house import House, median_and_worst
from tests.system.conftest import house, rehearsing, stage, start  # noqa: F401  a whole installation to wreck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from _pytest.terminal import TerminalReporter


class Tell(Protocol):
    """Says what was done, how often, what was lost, and how long each recovery took."""

    def __call__(
        self, what: str, *, times: int, lost: int, recoveries: Sequence[float] = (), more: str = ""
    ) -> None: ...


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """One line per scenario, whichever worker ran it."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    lines = [str(text) for report in reports for name, text in report.user_properties if name == "chaos"]
    if lines:
        terminalreporter.section("chaos")
        for line in dict.fromkeys(lines):
            terminalreporter.line(line)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """One line for the end of the test session."""

    def line(what: str, *, times: int, lost: int, recoveries: Sequence[float] = (), more: str = "") -> None:
        facts = [f"{times}x", f"lost {lost}", median_and_worst(recoveries)] + ([more] if more else [])
        record_property("chaos", f"{what}: {', '.join(facts)}")

    return line


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house for the scripted projects of a module."""
    directory = tmp_path_factory.mktemp("scripted")
    broker = start_mosquitto(directory / "broker-home")
    made = House(directory, broker)
    yield made
    made.close()
    broker.stop()
