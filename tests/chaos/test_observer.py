"""An observer that stands still under a flood of events: nothing of it is lost, and nobody else notices."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.brokers import wait_until

from flops.wire.envelope import decode_envelope
from flops.wire.events import Warned

if TYPE_CHECKING:
    from tests.chaos.conftest import Tell
    from tests.chaos.house import House, Witness

pytestmark = pytest.mark.timeout(600)

FOR_PERCENTILES = 1000  # of fewer, the 99th is but the worst
SLACK_S = 0.01  # what the scheduler of a busy machine may add to a percentile of milliseconds


def aggregator_of(project_id: str) -> str:
    return f"aggr{project_id[:12]}.0"


def training(house: House, name: str) -> str:
    """A project that trains until it is told to go on, with an observer that is up to date."""
    project_id = house.start(name)
    wait_until(lambda: any(entry["event_type"] == "training.started" for entry in house.entries(project_id)), 60)
    return project_id


def chat(house: House, project_ids: list[str], events: int, lasts_s: float) -> dict[str, dict[str, float]]:
    """Let aggregators say so many events each, evenly; per project, when each was said, by its id."""
    said: dict[str, dict[str, float]] = {project_id: {} for project_id in project_ids}
    pace, begun = threading.Event(), time.monotonic()
    for number in range(events):
        pace.wait(max(0.0, begun + number * lasts_s / events - time.monotonic()))
        for project_id in project_ids:
            now = time.monotonic()
            said[project_id][house.cast.say(aggregator_of(project_id), Warned(message=f"Event {number}."))] = now
    return said


def latencies(witness: Witness, house: House, project_id: str, said: dict[str, float]) -> list[float]:
    """How long it took from each event to its inbox entry."""
    topic, heard, position = house.topics.project_inbox(project_id), dict[str, float](), 0

    def are_all_shown() -> bool:
        nonlocal position
        news = witness.heard[position:]
        position += len(news)
        for at, where, payload in news:
            if where == topic:
                heard.setdefault(str(decode_envelope(topic, payload).data["event_id"]), at)
        return heard.keys() >= said.keys()

    wait_until(are_all_shown, 60)
    return [heard[event_id] - at for event_id, at in said.items()]


def p99_ms(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98] * 1000


@pytest.mark.parametrize(
    ("events", "stopped_s"),
    [pytest.param(300, 4.0, id="briefly"), pytest.param(5000, 60.0, id="a minute", marks=pytest.mark.chaos)],
)
def test_an_observer_stopped_under_a_flood(scripted: House, tell: Tell, events: int, stopped_s: float) -> None:
    scripted.cast.holds_training = True
    flooded, calm = training(scripted, f"flooded-{events}"), training(scripted, f"calm-{events}")
    scripted.cast.holds_training = False
    witness = scripted.witness()
    before = chat(scripted, [flooded, calm], events // 5, stopped_s / 5)
    usual = [latencies(witness, scripted, calm, before[calm])]
    observer = scripted.orchestrator.process(f"observ{flooded[:12]}.0")
    os.kill(observer.pid, signal.SIGSTOP)
    meanwhile = chat(scripted, [flooded, calm], events, stopped_s)
    undisturbed = latencies(witness, scripted, calm, meanwhile[calm])
    os.kill(observer.pid, signal.SIGCONT)
    woken = time.monotonic()
    caught_up = latencies(witness, scripted, flooded, meanwhile[flooded])
    recovery_s = max(at + took for at, took in zip(meanwhile[flooded].values(), caught_up, strict=True)) - woken
    after = chat(scripted, [flooded, calm], events // 5, stopped_s / 5)
    usual.append(latencies(witness, scripted, calm, after[calm]))  # tells whether others use the machine meanwhile
    for project_id in (flooded, calm):
        scripted.cast.resume_training(aggregator_of(project_id))
    outcomes = [scripted.end(project_id) for project_id in (flooded, calm)]
    witness.close()

    told = [f"{p99_ms(seconds):.1f} ms" for seconds in (usual[0], undisturbed, usual[1])]
    more = f"p99 of another project {told[0]} before, {told[1]} meanwhile, {told[2]} after"
    what = f"observer stopped for {stopped_s:g} s under {events} events"
    for outcome in outcomes:
        texts = [entry["text"] for entry in outcome.entries if entry["event_type"] == "service.warned"]
        rounds = [*range(events // 5), *range(events), *range(events // 5)]
        assert texts == [f"Event {number}." for number in rounds]
    tell(what, times=1, lost=0, recoveries=[recovery_s], more=more)
    assert statistics.median(undisturbed) <= 2 * statistics.median(usual[0]) + SLACK_S
    if events >= FOR_PERCENTILES:
        assert p99_ms(undisturbed) <= 2 * p99_ms(usual[0]) + 1000 * SLACK_S
