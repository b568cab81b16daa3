"""Ten thousand traces of the pure core, each drawn as in tests/unit/project/test_traces.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.project.test_traces import CHOICES, FAILING, check_any, check_plain, check_retried

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy
    from tests.chaos.conftest import Tell

TRACES = 10_000
MANY = settings(max_examples=TRACES, deadline=None, suppress_health_check=list(HealthCheck))

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(
    ("what", "check", "drawn"),
    [
        pytest.param("traces in any order, repeated, lost and sent again", check_plain, (CHOICES,), id="order"),
        pytest.param("traces with failures, crashes, cancellations, retries", check_any, (CHOICES, FAILING), id="any"),
        pytest.param("traces retried after anything", check_retried, (CHOICES, FAILING, CHOICES), id="retried"),
    ],
)
def test_ten_thousand_traces_end_as_they_should(
    what: str, check: Callable[..., None], drawn: tuple[SearchStrategy[object], ...], tell: Tell
) -> None:
    traces = 0

    def counted(values: tuple[object, ...]) -> None:
        nonlocal traces
        traces += 1
        check(*values)

    MANY(given(st.tuples(*drawn))(counted))()

    assert traces >= TRACES
    tell(what, times=traces, lost=0)
