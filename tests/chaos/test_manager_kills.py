"""Kill -9 of the manager before and after the commit of every transition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.brokers import wait_until

if TYPE_CHECKING:
    from tests.chaos.conftest import Tell
    from tests.chaos.house import House, Performance

RESUMED_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def undisturbed(scripted: House) -> Performance:
    """What a project comes to when nobody is killed."""
    return scripted.perform("undisturbed")


def is_manager_online(topic: str, payload: bytes) -> bool:
    return "/manager" in topic and topic.endswith("/presence") and b'"online":true' in payload


def kill_at(house: House, number: int, moment: str, undisturbed: Performance) -> float | None:
    """One project during which the manager is killed once; how long until it went on, None if it was not that far."""
    name = f"killed-{moment}-{number}"
    witness = house.witness()
    deaths = len(house.manager.deaths)
    house.kill_at(name, number, moment)
    performance = house.perform(name)
    if not house.was_killed():
        witness.close()
        return None
    assert performance.told == undisturbed.told
    assert performance.outcome == undisturbed.outcome
    house.assert_deployed_once(performance.project_id)
    died = house.manager.deaths[deaths]
    saves = [at for at, _ in house.saves(performance.project_id) if at > died]
    back = witness.first_after(died, is_manager_online)
    witness.close()
    assert back is not None
    return min([*saves, back]) - died  # after the last commit there is nothing left to do


def test_whoever_is_back_says_first_that_it_was_gone(scripted: House) -> None:
    """The last will of a process that is back within the will's delay is never sent."""
    witness, deaths = scripted.witness(), len(scripted.manager.deaths)

    scripted.manager.kill()

    wait_until(lambda: len(scripted.manager.deaths) > deaths)
    died = scripted.manager.deaths[deaths]
    wait_until(lambda: witness.first_after(died, is_manager_online) is not None, 30)
    witness.close()
    said = [payload for at, topic, payload in witness.heard if at > died and topic.endswith("/manager/presence")]
    assert b'"online":false' in said[0]
    assert b'"online":true' in said[-1]


def test_killed_now_and_then(scripted: House, undisturbed: Performance, tell: Tell) -> None:
    saves = len(scripted.saves(undisturbed.project_id))
    step = saves // 4
    points = [(number, ("before", "after")[number % 2]) for number in range(1, saves + 1, step)]
    recoveries = [kill_at(scripted, number, moment, undisturbed) for number, moment in points]
    took = [seconds for seconds in recoveries if seconds is not None]
    tell("manager killed before or after a commit of the base case", times=len(took), lost=0, recoveries=took)
    assert took
    assert max(took) < RESUMED_WITHIN_S


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_killed_before_and_after_every_commit(scripted: House, undisturbed: Performance, tell: Tell) -> None:
    saves = len(scripted.saves(undisturbed.project_id))
    points = [(number, moment) for number in range(1, saves + 1) for moment in ("before", "after")]
    recoveries = [kill_at(scripted, number, moment, undisturbed) for number, moment in points]
    took = [seconds for seconds in recoveries if seconds is not None]
    what = f"manager killed before and after each of the {saves} commits of the base case"
    tell(what, times=len(took), lost=0, recoveries=took)
    assert len(took) > len(points) * 0.9
    assert max(took) < RESUMED_WITHIN_S
