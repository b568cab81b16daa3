"""What the manager and the observers have to reach in spite of all that makes them reliable: ratios from one run."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import psutil
import pytest
from tests.brokers import start_mosquitto, wait_until
from tests.chaos.house import House
from tests.doubles.memory_store import MemoryStore

from flops.adapters.sqlite_store import SqliteStore
from flops.manager.projects import Projects
from flops.project.state import Deadlines
from flops.wire import events as e
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.requests import ListProjects, ReadEvents, ShowProject
from flops.wire.sla import parse_project_sla

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.table import Table

    from flops.ports import ProjectRecord, Store, Subscription

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

MB: Final = 1_000_000
ALTERNATIONS: Final = 3
ACCEPTED: Final = 200
COMMITS_S: Final = 2.0
STREAM: Final = 3_000
RATE_PER_S, RATE_FOR_S = 200, 30
STARTS: Final = 5
PROJECTS: Final = int(os.environ.get("FLOPS_BENCH_PROJECTS", "1000"))
PATIENCE_S: Final = 120.0
PROJECT_PATIENCE_S: Final = 2.0
MAX_LIST: Final = 1000


@contextmanager
def house_of(directory: Path, *, real_roles: frozenset[str] = frozenset()) -> Iterator[House]:
    """Real broker and manager without the hooks of the chaos tests; observers are real only if asked for."""
    broker = start_mosquitto(directory / "broker-home")
    house = House(directory / "house", broker, real_roles=real_roles, settings={"PYTHONPATH": ""})
    try:
        house.start("warm")
        yield house
    finally:
        house.close()
        broker.stop()


class Producer:
    """A source of numbered events of one project."""

    def __init__(self, house: House, project_id: str, topic: str = "") -> None:
        self._project_id, self._topic = project_id, topic or house.topics.project_events(project_id)
        self._bus = house.connect(f"producer-of-{self._topic.replace('/', '-')}")
        self._sequence = 0

    def publish(self) -> None:
        """The next event, with the moment of its publishing."""
        self._sequence += 1
        event = e.Warned(message=f"word {self._sequence} at={time.monotonic():.6f}")
        envelope = Envelope(
            id=f"bench:{self._sequence}",
            source="/learner/bench.0",
            type=event.type,
            subject=self._project_id,
            time=datetime.now(UTC),
            data=event.model_dump(mode="json"),
            sequence=self._sequence,
        )
        self._bus.publish(self._topic, envelope.encode())

    def close(self) -> None:
        self._bus.close()


@dataclass(frozen=True)
class Bare:
    """A bare subscriber at work."""

    process: subprocess.Popen[str]

    def result(self) -> dict[str, Any]:
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        found: dict[str, Any] = json.loads(output)
        return found


def bare_subscriber(house: House, topic: str, count: int) -> Bare:
    access = house.broker.access
    host, port, _ = access.address()
    wanted = {"host": host, "port": port, "username": access.username, "password": access.password}
    script = Path(__file__).parent / "bare_subscriber.py"
    process = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({**wanted, "topic": topic, "count": count}))
    process.stdin.close()
    process.stdin = None
    assert process.stdout.readline() == "ready\n"
    return Bare(process)


def training_project(house: House) -> str:
    """A project that stays in its training, with an observer that has told so."""
    house.cast.holds_training = True
    project_id = house.start("streamed")
    wait_until(lambda: any(entry["event_type"] == "training.started" for entry in house.entries(project_id)), 60)
    return project_id


def p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


class Recorder(MemoryStore):
    """Notes what it is asked to save."""

    def __init__(self) -> None:
        super().__init__()
        self.saves: list[tuple[ProjectRecord, dict[str, Any]]] = []

    def save(self, record: ProjectRecord, **new: Any) -> ProjectRecord:  # noqa: ANN401  passed on as it is
        self.saves.append((record, new))
        return super().save(record, **new)


def saves_of(sla: dict[str, Any]) -> list[tuple[ProjectRecord, dict[str, Any]]]:
    """What a manager saves when it accepts so many projects."""
    recorder = Recorder()
    projects = Projects(cast("Store", recorder), Deadlines(), lambda _: None, owner="bench")
    accepted = e.ProjectAccepted(user=sla["customerID"], sla=parse_project_sla(sla).to_document())
    for _ in range(ACCEPTED):
        projects.begin(secrets.token_hex(12), accepted)
    return recorder.saves


def commits_per_s(store: SqliteStore, sla: dict[str, Any]) -> float:
    """A bare loop of the durable commits that accepting projects takes."""
    saves = saves_of(sla)
    begun = time.perf_counter()
    for record, new in saves:
        store.save(record, **new)
    return len(saves) / (time.perf_counter() - begun)


def least_commits_per_s(store: SqliteStore) -> float:
    """A bare loop of the smallest durable commits."""
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < COMMITS_S:
        store.remember("bench", str(count))
        count += 1
    return count / (time.perf_counter() - begun)


def requests_for(house: House, names: Sequence[str], reply_to: str) -> list[bytes]:
    return [
        Envelope(
            id=name,
            source="/client/load",
            type="project.request",
            time=datetime.now(UTC),
            data=house.sla(),
            reply_to=reply_to,
            correlation_id=name,
        ).encode()
        for name in names
    ]


def await_answers(replies: Subscription, count: int) -> list[str]:
    """The ids of the accepted projects."""
    accepted: list[str] = []
    while len(accepted) < count:
        delivery = replies.receive(PATIENCE_S)
        assert delivery is not None, f"{count - len(accepted)} requests without an answer"
        delivery.acknowledge()
        accepted.append(str(decode_envelope(delivery.topic, delivery.payload).data["project_id"]))
    return accepted


def settle(house: House) -> None:
    """Wait until the manager has done what it was asked to."""
    manager = psutil.Process(house.manager.pid)
    wait_until(lambda: manager.cpu_percent(0.5) < 15, PATIENCE_S)


def test_projects_are_accepted_as_quickly_as_commits_allow(table: Table, tmp_path: Path) -> None:
    with house_of(tmp_path) as house:
        bus = house.connect("load")
        replies = bus.subscribe(house.topics.reply("load"))
        store = SqliteStore(house.home / "bare.db")
        accepted, commits, least = [], [], []
        for turn in range(ALTERNATIONS):
            commits.append(commits_per_s(store, house.sla()))
            least.append(least_commits_per_s(store))
            names = [f"{turn}:{number}" for number in range(ACCEPTED)]
            payloads = requests_for(house, names, house.topics.reply("load"))
            begun = time.perf_counter()
            for payload in payloads:
                bus.publish(house.topics.project_start(), payload)
            assert len(set(await_answers(replies, ACCEPTED))) == ACCEPTED
            accepted.append(ACCEPTED / (time.perf_counter() - begun))
            settle(house)
        store.close()
        bus.close()
    ours, bare, smallest = (statistics.median(rates) for rates in (accepted, commits, least))
    of_the_same, of_one_row = f"{ours:.0f}/{bare:.0f}", f"{ours:.0f}/{smallest:.0f}"
    table.at_least("accepted projects/s, against bare commits of the same", ours / bare, 0.3, "x", detail=of_the_same)
    table.at_least(
        "accepted projects/s, against commits of one short row", ours / smallest, 0.3, "x", detail=of_one_row
    )


def test_an_event_is_in_the_inbox_soon(table: Table, tmp_path: Path) -> None:
    count = RATE_PER_S * RATE_FOR_S
    with house_of(tmp_path, real_roles=frozenset({"observer"})) as house:
        project_id = training_project(house)
        topics = house.topics.project_events(project_id), house.topics.project_inbox(project_id)
        raw, inbox = (bare_subscriber(house, topic, count) for topic in topics)
        producer, begun = Producer(house, project_id), time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, begun + number / RATE_PER_S - time.monotonic()))
            producer.publish()
        raw_s, inbox_s = (p99(subscriber.result()["delays_s"]) for subscriber in (raw, inbox))
        producer.close()
    detail = f"{inbox_s * 1000:.2f} ms / {raw_s * 1000:.2f} ms"
    table.at_most("event → inbox p99, against a raw subscriber", inbox_s / raw_s, 5, "x", detail=detail)


def test_an_observer_keeps_up_with_a_stream(table: Table, tmp_path: Path) -> None:
    """The manager is stopped meanwhile: it is measured by itself, and would take a core from both."""
    with house_of(tmp_path, real_roles=frozenset({"observer"})) as house:
        project_id = training_project(house)
        bus = house.connect("status")
        statuses = bus.subscribe(house.topics.project_status(project_id))
        producer = Producer(house, project_id)
        settle(house)
        os.kill(house.manager.pid, signal.SIGSTOP)
        entries, ours, bare = 0, [], []
        for _ in range(ALTERNATIONS):
            entries = entries or last_entries(statuses, 1)
            entries += STREAM
            begun = time.monotonic()
            for _ in range(STREAM):
                producer.publish()
            last_entries(statuses, entries)
            ours.append(STREAM / (time.monotonic() - begun))
            # The bare one hears the same stream again, on a topic that nobody else listens to.
            subscriber = bare_subscriber(house, "bench/stream", STREAM)
            other = Producer(house, project_id, topic="bench/stream")
            begun = time.monotonic()
            for _ in range(STREAM):
                other.publish()
            bare.append(STREAM / (subscriber.result()["last"] - begun))
            other.close()
        os.kill(house.manager.pid, signal.SIGCONT)
        producer.close()
        bus.close()
    mine, theirs = statistics.median(ours), statistics.median(bare)
    table.at_least(
        "observer, events/s against a bare subscriber", mine / theirs, 0.5, "x", detail=f"{mine:.0f}/{theirs:.0f}"
    )


def last_entries(statuses: Subscription, at_least: int) -> int:
    """Wait until the status counts that many entries; returns how many they are."""
    while True:
        delivery = statuses.receive(PATIENCE_S)
        assert delivery is not None, "the status is not told any more"
        delivery.acknowledge()
        entries = int(decode_envelope(delivery.topic, delivery.payload).data["entries"])
        if entries >= at_least:
            return entries


def test_the_manager_recovers_as_quickly_as_it_starts(table: Table, tmp_path: Path) -> None:
    taken: dict[signal.Signals, list[float]] = {signal.SIGTERM: [], signal.SIGKILL: []}
    with house_of(tmp_path) as house:
        house.cast.holds_training = True
        for number in range(10):
            house.start(f"under way {number}")
        settle(house)
        for turn in range(STARTS):
            for ending, seconds in taken.items():
                deaths = len(house.manager.deaths)
                os.kill(house.manager.pid, ending)
                wait_until(lambda expected=deaths: len(house.manager.deaths) > expected, 30)  # type: ignore[misc]
                house.start(f"{ending.name} {turn}")
                seconds.append(time.monotonic() - house.manager.deaths[-1])
                settle(house)
    cold_s, recovered_s = (statistics.median(seconds) for seconds in taken.values())
    detail = f"{recovered_s:.2f} s / {cold_s:.2f} s"
    table.at_most("manager, recovery against a cold start", recovered_s / cold_s, 1.5, "x", detail=detail)


def test_a_thousand_projects_at_once(table: Table, tmp_path: Path) -> None:
    """No ML and no observers: 1,000 processes of these would take 40 GB. Everybody else says what they always say."""
    with house_of(tmp_path) as house:
        house.cast.holds_training = True
        bus = house.connect("load")
        replies = bus.subscribe(house.topics.reply("load"))
        manager = psutil.Process(house.manager.pid)
        settle(house)
        sizes = [manager.memory_info().rss]
        ids: list[str] = []
        asked: list[float] = []
        begun = time.monotonic()
        for half in range(2):
            names = [f"{half}:{number}" for number in range(PROJECTS // 2)]
            for payload in requests_for(house, names, house.topics.reply("load")):
                bus.publish(house.topics.project_start(), payload)
            ids += await_answers(replies, len(names))
            await_phase(house, ids, {"training"}, asked)
            sizes.append(manager.memory_info().rss)
        for name in house.orchestrator.services():
            if name["role"] == "aggregator":
                house.cast.resume_training(name["instances"][0]["id"])
        ended = await_phase(house, ids, {"completed", "failed", "cancelled"}, asked)
        took_s = time.monotonic() - begun
        assert set(ended.values()) == {"completed"}, "not every project was completed"
        told = sum(events_without_crosstalk(house, project_id) for project_id in ids)
        bus.close()
    first_mb, second_mb = ((sizes[n + 1] - sizes[n]) / MB / (PROJECTS // 2) for n in range(2))
    detail = f"{PROJECTS} projects, {told / took_s:.0f} events/s, requests p99 {p99(asked) * 1000:.0f} ms"
    table.at_most("projects at once, manager's memory each", max(first_mb, second_mb), 0.5, " MB", detail=detail)


def await_phase(house: House, ids: Sequence[str], phases: set[str], asked: list[float]) -> dict[str, str]:
    """Ask for the projects until all of them are in one of some phases; notes how long each answer took."""
    deadline = time.monotonic() + len(ids) * PROJECT_PATIENCE_S + PATIENCE_S
    found: dict[str, str] = {}
    while not (set(ids) <= set(found) and {found[project_id] for project_id in ids} <= phases):
        assert time.monotonic() < deadline, f"stuck: {statistics.multimode(found.values())}, {house.log()}"
        found, after = {}, ""
        while page := house._requests.ask("projects", ListProjects(after=after, limit=MAX_LIST), PATIENCE_S):
            found |= {status["project_id"]: status["phase"] for status in page["projects"]}
            after = page["next"]
            begun = time.monotonic()
            house._requests.ask("project", ShowProject(project_id=ids[-1]), PATIENCE_S)
            asked.append(time.monotonic() - begun)
            if not after:
                break
        time.sleep(0.5)
    return {project_id: found[project_id] for project_id in ids}


def events_without_crosstalk(house: House, project_id: str) -> int:
    """How many events a project has; each is its own, and names no service of another one."""
    answer = house._requests.ask("events", ReadEvents(project_id=project_id, limit=500), PATIENCE_S)
    assert not answer["more"]
    own = {project_id[:12], project_id[-12:]}
    for item in answer["events"]:
        envelope = item["envelope"]
        assert envelope["subject"] == project_id
        named = re.findall(r"\b(?:aggr|flearner|builder|trmodel|observ)([0-9a-f]{12})\b", json.dumps(envelope))
        assert set(named) <= own, envelope
    return len(answer["events"])
