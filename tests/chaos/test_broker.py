"""What the broker and the network can do to messages: forget, repeat, delay and reorder them."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest
from tests.brokers import start_mosquitto, wait_until
from tests.chaos.house import ForgetfulBroker, House
from tests.chaos.proxy import Proxy
from tests.system.installation import Installation
from tests.system.rehearsal import put_rows

from flops.adapters import embedded_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from tests.brokers import BrokerProcess
    from tests.chaos.conftest import Tell
    from tests.system.rehearsal import Rehearsal, Stage

    from flops.settings import BrokerAccess

    Rehearsing = Callable[[Installation, dict[str, Any]], Rehearsal]

KILLS = 50

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


@pytest.fixture
def brokers() -> Iterator[list[BrokerProcess]]:
    """What was started, so that it ends after everything that needs it."""
    started: list[BrokerProcess] = []
    yield started
    for broker in started:
        broker.stop()


@pytest.fixture
def connected(tmp_path: Path, brokers: list[BrokerProcess]) -> Iterator[Callable[[BrokerAccess], Installation]]:
    """Makes a whole installation that reaches its broker in a given way."""
    made: list[Installation] = []

    def make(access: BrokerAccess) -> Installation:
        password = tmp_path / "password"
        password.write_text(access.password)
        settings = {
            "FLOPS_BROKER_URL": access.url,
            "FLOPS_BROKER_USERNAME": access.username,
            "FLOPS_BROKER_PASSWORD_FILE": str(password),
        }
        assert brokers
        made.append(Installation(tmp_path / "home", settings))
        made[0].ok("up")
        put_rows(made[0], tmp_path)
        return made[0]

    yield make
    for installation in made:
        installation.ok("down")
        assert installation.processes() == []


@pytest.mark.chaos
@pytest.mark.slow
def test_a_real_training_whose_broker_is_killed_fifty_times(
    brokers: list[BrokerProcess],
    connected: Callable[[BrokerAccess], Installation],
    rehearsing: Rehearsing,
    stage: Stage,
    tell: Tell,
) -> None:
    chance = random.Random(11)  # noqa: S311  a repeatable experiment, no secret
    broker = forgetful_broker(stage.directory.parent / "broker-home")
    brokers.append(broker)
    installation = connected(broker.access)
    stage.set_up().hold(1)
    project = rehearsing(installation, stage.sla(rounds=KILLS))
    recoveries = []
    for number in range(1, KILLS + 1):
        stage.await_fitting(number)
        stage.hold(number + 1)
        is_in_fit = chance.random() < 0.5  # or while the results travel
        if not is_in_fit:
            stage.release(number)
        broker.kill()
        died = time.monotonic()
        broker.start()
        if is_in_fit:
            stage.release(number)
        if number < KILLS:
            stage.await_fitting(number + 1)
            recoveries.append(time.monotonic() - died)

    outcome = project.end()

    tell("broker without persistence killed during a real training", times=KILLS, lost=0, recoveries=recoveries)
    assert outcome.exit_code == 0, project.told
    assert [entry["data"]["round"] for entry in outcome.of_type("round.finished")] == list(range(1, KILLS + 1))


@pytest.mark.chaos
@pytest.mark.slow
def test_a_real_training_over_a_crooked_network(
    brokers: list[BrokerProcess],
    connected: Callable[[BrokerAccess], Installation],
    rehearsing: Rehearsing,
    stage: Stage,
    tell: Tell,
) -> None:
    brokers.append(start_mosquitto(stage.directory.parent / "broker-home"))
    proxy = Proxy(brokers[0].access, copies=3, delay_s=0.1)
    installation = connected(proxy.access)
    begun = time.monotonic()

    outcome = rehearsing(installation, stage.set_up().sla(rounds=5)).end()

    more = f"{time.monotonic() - begun:.0f} s"
    what = "every message of a real training sent 3 times, delayed by up to 0.1 s and reordered"
    tell(what, times=proxy.messages, lost=0, more=more)
    assert outcome.exit_code == 0, outcome.entries[-3:]
    assert [entry["data"]["round"] for entry in outcome.of_type("round.finished")] == [1, 2, 3, 4, 5]


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
