"""Poison on every topic: nobody crashes, nothing is held up, and a good message is handled at once."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import pytest
from tests.brokers import wait_until
from tests.fuzz.poison import LEARNING, POISON

from flops.errors import UndecodableMessageError
from flops.wire.json_text import decode_json
from flops.wire.limits import CONTROL
from flops.wire.requests import ListDeadLetters, ListProjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.chaos.conftest import Tell
    from tests.chaos.house import House, Performance

HANDLED_WITHIN_S: Final = 0.1
FLOOD_PER_S: Final = 10_000
MORE_MEMORY_BYTES: Final = 150 * 1024 * 1024
LARGEST_BYTES: Final = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def undisturbed(scripted: House) -> Performance:
    """What a project comes to when nobody poisons anything."""
    return scripted.perform("unpoisoned")


def topics_of(house: House, project_id: str) -> list[str]:
    """Every topic that anybody listens to for a project, and those of all projects."""
    topics, short = house.topics, project_id[:12]
    learners = [f"flearner{short}.{index}" for index in (0, 1)]
    instances = [f"observ{short}.0", f"aggr{short}.0", f"builder{short}.0", f"trmodel{short}.0", *learners, "data-x"]
    of_project = (topics.project_events, topics.project_inbox, topics.project_confirmed, topics.project_cancel)
    return [
        topics.project_start(),
        topics.request("projects"),
        topics.request("bogus"),
        *(topic(project_id) for topic in of_project),
        topics.learning_all(project_id),
        *(topics.learning_to(project_id, learner) for learner in learners),
        *(topics.learning_from(project_id, learner) for learner in learners),
        *(topics.presence(instance) for instance in instances),
        topics.reply("audience"),
    ]


def is_object(payload: bytes) -> bool:
    try:
        return isinstance(decode_json("", payload, CONTROL), dict)
    except UndecodableMessageError:
        return False


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("retained", [False, True])
def test_poison_on_every_topic(scripted: House, undisturbed: Performance, tell: Tell, *, retained: bool) -> None:
    """Also retained, from before anybody has started: manager and observer meet it when they subscribe."""
    name = f"poisoned-{retained}"
    poisons = [payload for payload in (*POISON.values(), *LEARNING.values()) if 0 < len(payload) < LARGEST_BYTES]
    topics = topics_of(scripted, scripted.id_of(name))
    deaths, bus = len(scripted.manager.deaths), scripted.connect(f"poisoner-{retained}")
    handled: list[float] = []
    for number, payload in enumerate(poisons):
        for place, topic in enumerate(topics):
            is_its_turn = not retained or (number + place) % len(poisons) == 0 or number == len(poisons) - 1
            if is_its_turn and not (topic.endswith("/cancel") and is_object(payload)):  # any object is a cancellation
                bus.publish(topic, payload, retain=retained)
        assert bus.flush(60)
        handled.append(took_s(lambda: scripted.ask("projects", ListProjects(limit=1))))
    if retained:
        scripted.manager.kill()
        wait_until(lambda: len(scripted.manager.deaths) > deaths, 30)
        deaths += 1

    performance = scripted.perform(name)

    for topic in topics if retained else ():
        bus.publish(topic, b"", retain=True)
    bus.close()
    told = {source: texts for source, texts in performance.told.items() if source != "/x"}  # some poison is an event
    assert told == undisturbed.told
    assert performance.outcome == undisturbed.outcome
    assert len(scripted.manager.deaths) == deaths
    assert scripted.ask("dead-letters", ListDeadLetters())["letters"]
    kind = "retained poison on every topic" if retained else "every poison on every topic"
    median_ms, worst_ms = statistics.median(handled) * 1000, max(handled) * 1000
    more = f"the next question answered in {median_ms:.0f} ms (median), at worst {worst_ms:.0f} ms"
    tell(kind, times=len(topics) * (1 if retained else len(poisons)), lost=0, more=more)
    assert statistics.median(handled) < HANDLED_WITHIN_S  # the worst are a busy machine's


@pytest.fixture
def pour(scripted: House) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that pours bad messages on topics."""
    started: list[subprocess.Popen[str]] = []

    def start(count: int, *topics: str) -> subprocess.Popen[str]:
        host, port, _ = scripted.broker.access.address()
        password = scripted.home.parent / "broker-password"
        script = [sys.executable, str(Path(__file__).with_name("pourer.py")), host, str(port)]
        facts = [scripted.broker.access.username, str(password), str(FLOOD_PER_S), str(count)]
        pourer = subprocess.Popen([*script, *facts, *topics], stdout=subprocess.PIPE, text=True)
        started.append(pourer)
        assert pourer.stdout is not None
        assert pourer.stdout.readline() == "pouring\n"
        return pourer

    yield start
    for pourer in started:
        pourer.kill()
        pourer.wait()
        assert pourer.stdout is not None
        pourer.stdout.close()


def took_s(act: Callable[[], object]) -> float:
    """How long something took."""
    started = time.monotonic()
    act()
    return time.monotonic() - started


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("where", ["requests", "events"])
def test_a_flood_of_bad_messages(
    scripted: House, undisturbed: Performance, pour: Callable[..., subprocess.Popen[str]], tell: Tell, where: str
) -> None:
    topics = {
        "requests": [scripted.topics.project_start(), scripted.topics.request("projects")],
        "events": [scripted.topics.project_events(undisturbed.project_id)],
    }[where]
    manager = psutil.Process(scripted.manager.pid)
    resting = [took_s(lambda: scripted.ask("projects", ListProjects(limit=1))) for _ in range(10)]
    memory_bytes = manager.memory_info().rss

    pourer = pour(5 * FLOOD_PER_S, *topics)
    during: list[float] = []
    while pourer.poll() is None and len(during) < 20:
        during.append(took_s(lambda: scripted.ask("projects", ListProjects(limit=1))))
    accepted = took_s(lambda: scripted.start(f"flooded-{where}"))
    pourer.wait(60)
    after = [took_s(lambda: scripted.ask("projects", ListProjects(limit=1))) for _ in range(10)]

    more_bytes = manager.memory_info().rss - memory_bytes
    facts = {"before": resting, "during": during, "after": after}
    told = ", ".join(f"{name} median {statistics.median(took) * 1000:.0f} ms" for name, took in facts.items())
    more = f"answers {told}, project accepted in {accepted * 1000:.0f} ms, {more_bytes / 2**20:.0f} MiB more"
    tell(f"{FLOOD_PER_S:,} bad messages a second on {where}", times=5 * FLOOD_PER_S, lost=0, more=more)
    assert scripted.end(scripted.id_of(f"flooded-{where}")).told == undisturbed.told
    assert statistics.median(after) < HANDLED_WITHIN_S
    assert statistics.median(during) < HANDLED_WITHIN_S
    assert more_bytes < MORE_MEMORY_BYTES
