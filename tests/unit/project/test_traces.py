"""Whatever the order, however often, and whatever is lost and sent again: a project ends as it should.

Traces are made of the base case by a model of the actors: Hypothesis chooses what happens next. These tests draw a few
hundred; tests/chaos/test_traces.py draws ten thousand of each.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.doubles.playhouse import Actor, Playhouse

from flops.project.state import STAGES, Phase
from flops.wire import events as e

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flops.project.state import Project

CHOICE = st.integers(0, 2**16)
CHOICES = st.one_of(st.lists(CHOICE, max_size=30), st.lists(CHOICE, min_size=40, max_size=120))
FAILING = st.sampled_from(["", "actors", "training", "model", "serving"])
PLAIN: Final = 12
FEW = settings(max_examples=150, deadline=None)


@cache
def orderly() -> Project:
    """What the undisturbed project becomes."""
    play = Playhouse()
    play.play_out()
    return play.project


def test_the_orderly_trace_completes_and_leaves_only_the_served_model() -> None:
    play = Playhouse()
    play.play_out()

    assert (play.project.phase, play.ends, play.left) == (Phase.COMPLETED, ["completed"], set())
    assert play.project.inference_url == "http://i"
    assert play.store.pending_items == {}


def disturb(play: Playhouse, choices: Sequence[int], *, plain: bool) -> None:
    """Let happen what the choices say. Plain disturbances are those of the wire and of the manager's own deaths."""
    for choice in choices:
        kind, pick = choice % 16, choice // 16
        before = play.project
        _disturbance(play, kind if plain is False else kind % PLAIN, pick)()
        after = play.project
        assert not before.phase.is_terminal or after.phase is before.phase or after.attempt > before.attempt


def _disturbance(play: Playhouse, kind: int, pick: int) -> Callable[[], None]:
    lanes = [name for name, items in play.lanes.items() if items]
    alive = [actor for actor in play.actors.values() if actor.is_alive]
    speaking = [actor for actor in play.actors.values() if actor.lines]
    match kind:
        case 0 | 1 | 2 | 3 if lanes:
            return lambda: play.perform(lanes[pick % len(lanes)])
        case 4 if lanes:
            return lambda: play.perform_and_die(lanes[pick % len(lanes)])
        case 5 | 6 | 7 | 8 | 9 | 10 | 11 if speaking:
            return lambda: _deliver_any(play, speaking[pick % len(speaking)], pick // 7)
        case 12:
            return lambda: play.happen(e.CancellationRequested(by="Ada"))
        case 13:
            return play.pass_deadline
        case 14 if alive:
            return lambda: play.crash(alive[pick % len(alive)])
        case 15 if play.project.phase in {Phase.FAILED, Phase.CANCELLED}:
            return lambda: _retry(play, pick)
        case _:
            return lambda: None


def _deliver_any(play: Playhouse, actor: Actor, pick: int) -> None:
    play.deliver(actor, pick % len(actor.lines))


def _retry(play: Playhouse, pick: int) -> None:
    """From a stage whose needs are there, as the manager makes sure."""
    project = play.project
    possible = [Phase.CHECKING, *([Phase.BUILDING, Phase.TRAINING] if project.commit and project.nodes else [])]
    possible += [Phase.PACKAGING, Phase.SERVING] if project.model_uri else []
    play.happen(e.RetryRequested(stage=possible[pick % len(possible)]))


def check_plain(choices: Sequence[int]) -> None:
    """Order, repetition and loss change nothing."""
    play = Playhouse()
    disturb(play, choices, plain=True)
    play.play_out()

    assert play.project == orderly()
    assert (play.ends, play.left, play.waiting()) == (["completed"], set(), 0)
    assert len(play.orchestrator.deployments) == len(set(play.orchestrator.deployments)), "each stage is deployed once"


def check_any(choices: Sequence[int], failing: str) -> None:
    """Failures, crashes, deadlines, cancellations and retries at any moment: one end per attempt, and nothing left."""
    play = Playhouse(failing=frozenset({failing}))
    disturb(play, choices, plain=False)
    play.play_out()

    assert play.is_over, f"it hangs while {play.project.phase}"
    assert play.left == set()
    assert len(play.ends) == play.project.attempt + 1
    assert play.ends[-1] == play.project.phase
    deployed = [name for name in play.orchestrator.deployments if not name.startswith(("observ", "tracking"))]
    assert len(deployed) == len(set(deployed)), "nothing is deployed twice"


def check_retried(choices: Sequence[int], failing: str, later: Sequence[int]) -> None:
    """Whatever an attempt has come to, the next one completes if nothing goes wrong in it, however late news arrive."""
    play = Playhouse(failing=frozenset({failing}))
    disturb(play, choices, plain=False)
    play.happen(e.CancellationRequested(by="Ada"))
    play.play_out()
    if play.project.phase is not Phase.COMPLETED:
        play.happen(e.RetryRequested(stage=Phase.CHECKING))
    disturb(play, later, plain=True)
    play.play_out()

    assert (play.project.phase, play.left) == (Phase.COMPLETED, set())
    assert len(play.ends) == play.project.attempt + 1


@FEW
@given(CHOICES)
def test_any_order_repetition_and_loss_gives_the_orderly_end(choices: list[int]) -> None:
    check_plain(choices)


@FEW
@given(CHOICES, FAILING)
def test_whatever_goes_wrong_everything_is_undone_and_the_end_is_one(choices: list[int], failing: str) -> None:
    check_any(choices, failing)


@FEW
@given(CHOICES, FAILING, CHOICES)
def test_a_retried_project_completes_whatever_earlier_attempts_still_say(
    choices: list[int], failing: str, later: list[int]
) -> None:
    check_retried(choices, failing, later)


def test_every_stage_can_be_retried() -> None:
    assert set(STAGES) == {Phase.CHECKING, Phase.BUILDING, Phase.TRAINING, Phase.PACKAGING, Phase.SERVING}
