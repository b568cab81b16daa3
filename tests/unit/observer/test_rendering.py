"""What a person is told, and what only someone who asked for details."""

from __future__ import annotations

import pytest

from flops.observer.rendering import STEPS, line_of
from flops.project.images import BuildStepName
from flops.wire import events as e

PARTICIPANTS = [
    e.Participant(
        learner="flearner1.0", train_examples=718, evaluate_examples=180, accuracy=0.95, loss=0.3, duration_s=1
    ),
    e.Participant(learner="flearner1.1", train_examples=719, evaluate_examples=180),
]
ROUND = e.RoundFinished(
    round=2, rounds=5, accuracy=0.96944, loss=0.2454, duration_s=0.3, participants=PARTICIPANTS, is_best=True
)


def text_of(event: e.Event, *, verbose: bool = False) -> str:
    line = line_of(event, verbose=verbose)
    assert line is not None
    return line.text


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            e.BuildStepFinished(step="resolve", duration_s=2.84, detail="Python 3.11.7, 63 packages"),
            "Resolved the dependencies (2.8 s): Python 3.11.7, 63 packages.",
        ),
        (e.BuildStepFinished(step="clone", duration_s=0.1, size_bytes=3500), "Cloned the repository (0.1 s, 3.5 kB)."),
        (
            e.BuildStepFinished(step="push", duration_s=1.24, size_bytes=207_459_536, number=7, steps=7),
            "Pushed to the registry (step 7 of 7, 1.2 s, 207.5 MB).",
        ),
        (e.BuildStepFinished(step="polish", duration_s=1), "Build step polish is done (1.0 s)."),
        (
            e.ImageBuilt(image=f"local/digits/learner:{'0123456789' * 4}", size_bytes=450_700_000, duration_s=1),
            "Image ready: local/digits/learner:012345678901 (450.7 MB).",
        ),
        (
            e.ServiceDeployed(service="flearner1", role="learner", app="proj1", nodes=["a", "a", "b"]),
            "Deployed 3 learners: flearner1, 2 on a, 1 on b.",
        ),
        (e.ServiceDeployed(service="tracking1", role="tracking", app="x"), "Deployed the tracking server: tracking1."),
        (e.PlacementDecided(nodes=["local", "local"]), "2 learners will run where the data are, on local."),
        (ROUND, "Round 2/5: accuracy 96.94%, loss 0.2454, 2 learners, 0.30 s (best so far)."),
    ],
)
def test_an_event_is_told_in_plain_words(event: e.Event, text: str) -> None:
    assert text_of(event) == text


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (e.BuildStepStarted(step="clone"), "Cloning the repository."),
        (e.BuildStepStarted(step="polish"), "Build step polish."),
        (e.ServiceRemoved(service="builder1"), "Removed builder1."),
        (e.InstanceCompleted(service="aggr1", role="aggregator", instance="aggr1.0"), "aggr1.0 has done its work."),
    ],
)
def test_what_begins_and_what_is_removed_is_told_only_to_who_asked_for_it(event: e.Event, text: str) -> None:
    assert line_of(event) is None
    assert text_of(event, verbose=True) == text


def test_what_each_learner_contributed_is_told_only_to_who_asked_for_it() -> None:
    brief, full = line_of(ROUND), line_of(ROUND, verbose=True)
    assert brief is not None
    assert full is not None
    assert (brief.text, brief.severity) == (full.text, full.severity)
    assert brief.details == ""
    assert full.details.splitlines() == [
        "flearner1.0: trained on 718 examples, evaluated on 180, accuracy 95.00%, loss 0.3000, 1.00 s",
        "flearner1.1: trained on 719 examples, evaluated on 180, accuracy unknown, no loss, 0.00 s",
    ]


@pytest.mark.parametrize("verbose", [False, True])
def test_the_beginning_of_the_training_is_told_once(verbose: bool) -> None:  # noqa: FBT001  a parameter of pytest's
    started = e.TrainingStarted(rounds=1, strategy="FedAvg", learners=["a"], resumed_after=0)
    assert line_of(e.PhaseEntered(phase="training"), verbose=verbose) is None
    assert text_of(started, verbose=verbose) == "Training begins: FedAvg, 1 learner, 1 round."


def test_every_build_step_has_its_words() -> None:
    assert set(STEPS) == set(BuildStepName)
