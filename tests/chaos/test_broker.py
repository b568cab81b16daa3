"""What the broker and the network can do to messages: forget, repeat, delay and reorder them."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest
from tests.brokers import start_mosquitto, wait_until
from tests.chaos.house import ForgetfulBroker, House
from tests.chaos.proxy import Proxy

from flops.adapters import embedded_broker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.conftest import Tell

pytestmark = pytest.mark.timeout(900)


def forgetful_broker(home: Path) -> ForgetfulBroker:
    if not embedded_broker.find_mosquitto():
        pytest.skip("Mosquitto is not installed")
    broker = ForgetfulBroker(home, "mosquitto")
    broker.start()
    return broker


def kill_the_broker(directory: Path, kills: int) -> list[float]:
    """Kill -9 the broker during a scripted training; how long until the inbox went on, each time."""
    chance = random.Random(7)  # noqa: S311  a repeatable experiment, no secret
    broker = forgetful_broker(directory / "broker-home")
    house = House(directory / "house", broker, pause_s=0.05)
    recoveries: list[float] = []
    try:
        undisturbed = house.perform("undisturbed", rounds=10 * kills)
        project_id = house.start("disturbed", rounds=10 * kills)
        house.await_phase(project_id, "training")
        for _ in range(kills):
            enough = len(house.saves(project_id)) + chance.randrange(12)
            wait_until(lambda: len(house.saves(project_id)) >= enough or is_over(house, project_id))  # noqa: B023
            broker.kill()
            died = time.monotonic()
            broker.start()
            wait_until(lambda: went_on(house, project_id, died), 60)  # noqa: B023  waited for at once
            recoveries.append(min(at for at, _ in house.saves(project_id) if at > died + 0.05) - died)
        disturbed = house.end(project_id, 120)
        assert disturbed.told == undisturbed.told
        assert disturbed.outcome == undisturbed.outcome
        house.assert_deployed_once(project_id)
    finally:
        house.close()
        broker.stop()
    return recoveries


def went_on(house: House, project_id: str, since: float) -> bool:
    """Whether the manager has taken something since then that it cannot have had in hand."""
    return any(at > since + 0.05 for at, _ in house.saves(project_id)) or is_over(house, project_id)


def is_over(house: House, project_id: str) -> bool:
    return any(phase == "completed" for _, phase in house.saves(project_id))


def test_a_broker_that_forgets_everything_is_killed_a_few_times(tmp_path: Path, tell: Tell) -> None:
    recoveries = kill_the_broker(tmp_path, 3)
    tell("broker without persistence killed during a scripted training", times=3, lost=0, recoveries=recoveries)


@pytest.mark.chaos
def test_a_broker_that_forgets_everything_is_killed_fifty_times(tmp_path: Path, tell: Tell) -> None:
    recoveries = kill_the_broker(tmp_path, 50)
    tell("broker without persistence killed during a scripted training", times=50, lost=0, recoveries=recoveries)


@pytest.mark.parametrize(
    ("copies", "delay_s", "projects"),
    [
        pytest.param(3, 0.02, 1, id="a little"),
        pytest.param(3, 0.5, 5, id="a lot", marks=pytest.mark.chaos),
    ],
)
def test_every_message_thrice_delayed_and_reordered(
    tmp_path: Path, tell: Tell, copies: int, delay_s: float, projects: int
) -> None:
    broker = start_mosquitto(tmp_path / "broker-home")
    proxy = Proxy(broker.access, copies=copies, delay_s=delay_s)
    straight = House(tmp_path / "straight", broker)
    try:
        undisturbed = straight.perform("undisturbed", rounds=10)
    finally:
        straight.close()
    house = House(tmp_path / "crooked", broker, reach=proxy.access, repository=straight.repository)
    begun, took = time.monotonic(), []
    try:
        started = [house.start(f"disturbed-{number}", rounds=10) for number in range(projects)]
        for project_id in started:
            disturbed = house.end(project_id, 240)
            took.append(time.monotonic() - begun)
            assert disturbed.told == undisturbed.told
            house.assert_deployed_once(project_id)
    finally:
        house.close()
        proxy.close()
        broker.stop()
    what = f"every message sent {copies} times, delayed by up to {delay_s:g} s and reordered"
    tell(what, times=proxy.messages, lost=0, more=f"{projects} projects within {max(took):.1f} s")
