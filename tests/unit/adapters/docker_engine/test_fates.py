from __future__ import annotations

import pytest

from flops.adapters.docker_engine.container import Container, ContainerEvent
from flops.adapters.docker_engine.fates import Fate, Fates

ENDED_AT = 1_795_743_939
CONTAINER = Container(
    "c1",
    run="2026-11-27T01:45:37.1Z",
    is_running=False,
    exit_code=0,
    is_out_of_memory=False,
    ended="2026-11-27T01:45:39Z",
)
TERM, KILL = ("kill", "15"), ("kill", "9")
START, DIE, DESTROY = ("start", ""), ("die", ""), ("destroy", "")


def heard(*events: tuple[str, str], container: str = "c1") -> Fates:
    fates = Fates()
    for action, signal in events:
        fates.hear(ContainerEvent(action, container, "observ.0", signal))
    return fates


@pytest.mark.parametrize(
    ("events", "fate"),
    [
        ([START, DIE], Fate.ENDED),
        ([START, KILL, DIE], Fate.ENDED),
        ([START, TERM, DIE], Fate.STOPPED),
        ([START, TERM, KILL, DIE], Fate.STOPPED),
        ([START, TERM, DIE, START, DIE], Fate.ENDED),
        ([START, DIE, START, TERM, DIE], Fate.STOPPED),
        ([START, DIE, START], Fate.UNKNOWN_YET),
        ([START, TERM, DIE, DESTROY], Fate.UNKNOWN_YET),
        ([], Fate.UNKNOWN_YET),
    ],
)
def test_a_container_was_stopped_if_it_was_asked_to_end(events: list[tuple[str, str]], fate: Fate) -> None:
    assert heard(*events).of(CONTAINER) is fate


def test_another_containers_end_says_nothing() -> None:
    assert heard(START, DIE, container="c2").of(CONTAINER) is Fate.UNKNOWN_YET


def test_an_end_that_the_engine_has_forgotten_was_a_stop() -> None:
    fates = Fates()
    fates.heard_all_until(ENDED_AT)
    assert fates.of(CONTAINER) is Fate.UNKNOWN_YET
    fates.heard_all_until(ENDED_AT + 1)
    assert fates.of(CONTAINER) is Fate.STOPPED


def test_an_end_that_it_remembers_is_one_however_old() -> None:
    fates = heard(START, DIE)
    fates.heard_all_until(ENDED_AT + 3600)
    assert fates.of(CONTAINER) is Fate.ENDED
