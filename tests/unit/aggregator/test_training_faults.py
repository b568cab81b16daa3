"""What a training makes of learners, checkpoints and tracking servers that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from tests.doubles.training import PATIENCE_S, FakeModel, Running, Training, model_error, wait_for

from flops.errors import ModelCodeError
from flops.wire.events import (
    LearnerFailed,
    LearnerJoined,
    LearnerLost,
    ModelLogged,
    RoundFinished,
    TrackingAvailable,
    TrainingFailed,
    TrainingFinished,
    TrainingStarted,
    Warned,
)

if TYPE_CHECKING:
    from pathlib import Path

# Where rounds are counted, every learner takes part in each: a slow start (the machine is busy) must not change that.
BOTH: Final[dict[str, Any]] = {"min_available_clients": 2, "min_fit_clients": 2, "min_evaluate_clients": 2}
PATIENT: Final[dict[str, Any]] = {
    "deploy_deadline_s": PATIENCE_S,
    "round_deadline_s": PATIENCE_S,
    "learner_return_s": PATIENCE_S,
}


def start_learners(training: Training, *models: FakeModel) -> list[Running]:
    return [training.learner(index, model) for index, model in enumerate(models)]


def join_all(*services: Running) -> None:
    for service in services:
        service.join()


def test_a_learner_that_dies_in_a_round_is_done_without_if_enough_are_left(tmp_path: Path) -> None:
    training = Training(tmp_path)
    dying = FakeModel()
    dying.go_on.clear()
    staying, doomed = start_learners(training, FakeModel(), dying)
    aggregator = training.aggregator()
    assert dying.is_fitting.wait(10)
    doomed.kill()
    training.finished()
    join_all(aggregator, staying)

    assert [event.learner for event in training.events(LearnerLost)] == [training.learners[1]]
    assert training.rounds()[0].failed_learners == [training.learners[1]]
    assert [len(event.participants) for event in training.rounds()] == [1, 1, 1]


def test_a_training_below_its_minimum_waits_and_then_fails_with_the_name_of_who_is_missing(tmp_path: Path) -> None:
    training = Training(tmp_path)
    dying = FakeModel()
    dying.go_on.clear()
    staying, doomed = start_learners(training, FakeModel(), dying)
    aggregator = training.aggregator(min_available_clients=2, min_fit_clients=2)
    assert dying.is_fitting.wait(10)
    doomed.kill()
    failed = training.failed()
    join_all(aggregator, staying)

    assert failed.round == 1
    assert training.learners[1] in failed.reason
    assert not training.rounds()
    assert training.tracking.succeeded is False


def test_a_learner_that_returns_in_time_is_given_its_task_again(tmp_path: Path) -> None:
    training = Training(tmp_path, learner_return_s=20.0)
    dying = FakeModel()
    dying.go_on.clear()
    staying, doomed = start_learners(training, FakeModel(), dying)
    aggregator = training.aggregator(min_available_clients=2, min_fit_clients=2)
    assert dying.is_fitting.wait(10)
    doomed.kill()
    training.event(LearnerLost)
    returned = training.learner(1, FakeModel())
    training.finished()
    join_all(aggregator, staying, returned)

    assert [len(event.participants) for event in training.rounds()] == [2, 2, 2]
    assert len(training.events(LearnerJoined)) == 3


def test_a_learner_whose_code_raises_is_named_with_its_traceback(tmp_path: Path) -> None:
    training = Training(tmp_path)
    broken = FakeModel()
    broken.failure = model_error()
    learners = start_learners(training, FakeModel(), broken)
    aggregator = training.aggregator(rounds=1)
    training.finished()
    join_all(aggregator, *learners)

    failed = training.event(LearnerFailed)
    assert failed.learner == training.learners[1]
    assert "line 7" in failed.details
    assert training.rounds()[0].failed_learners == [training.learners[1]]


def test_a_training_in_which_every_learner_fails_ends_with_their_reason(tmp_path: Path) -> None:
    training = Training(tmp_path)
    models = FakeModel(), FakeModel()
    for model in models:
        model.failure = model_error()
    learners = start_learners(training, *models)
    aggregator = training.aggregator()
    failed = training.failed()
    join_all(aggregator, *learners)

    assert "Every learner failed in round 1" in failed.reason
    assert "bad labels" in failed.reason
    assert "line 7" in failed.details
    assert not training.events(LearnerLost)


def test_a_result_without_examples_is_a_failure(tmp_path: Path) -> None:
    training = Training(tmp_path, learners=1)
    learners = start_learners(training, FakeModel(examples=0))
    aggregator = training.aggregator()
    failed = training.failed()
    join_all(aggregator, *learners)
    assert "0 examples" in failed.reason


def test_parameters_of_another_shape_are_refused(tmp_path: Path) -> None:
    training = Training(tmp_path, learners=3)

    class OddModel(FakeModel):
        def fit(self, parameters: list[object]) -> tuple[list[object], int]:
            fitted, examples = super().fit(parameters)
            return [np.zeros((7, 7)), fitted[1]], examples

    learners = start_learners(training, FakeModel(), FakeModel(), OddModel())
    aggregator = training.aggregator(rounds=1)
    training.finished()
    join_all(aggregator, *learners)
    assert training.rounds()[0].failed_learners == [training.learners[2]]


def test_a_learner_without_data_takes_no_part_and_says_why(tmp_path: Path) -> None:
    training = Training(tmp_path)
    poor, rich = training.learner(1, FakeModel(), rows=0), training.learner(0, FakeModel())
    aggregator = training.aggregator()
    training.finished()
    join_all(aggregator, poor, rich)
    assert "data" in training.event(LearnerFailed).remedy
    assert [len(event.participants) for event in training.rounds()] == [1, 1, 1]


def test_a_training_without_any_data_fails_at_once_with_the_reason(tmp_path: Path) -> None:
    training = Training(tmp_path, deploy_deadline_s=60.0)
    learners = [training.learner(index, FakeModel(), rows=0) for index in range(2)]
    aggregator = training.aggregator()
    failed = training.failed()
    join_all(aggregator, *learners)
    assert "no data with the tags" in failed.reason


def test_learners_that_never_come_are_named(tmp_path: Path) -> None:
    training = Training(tmp_path, deploy_deadline_s=0.3)
    learner = training.learner(0, FakeModel())
    aggregator = training.aggregator(min_available_clients=2)
    failed = training.failed()
    join_all(aggregator, learner)
    assert f"{training.learners[1]} (offline)" in failed.reason


def test_code_that_cannot_give_parameters_fails_without_waiting_for_learners(tmp_path: Path) -> None:
    training = Training(tmp_path, deploy_deadline_s=60.0)

    class Broken(FakeModel):
        def get_parameters(self) -> list[object]:
            raise ModelCodeError("get_model_parameters", "NameError", "Traceback: line 3")

    aggregator = training.aggregator(Broken())
    failed = training.failed()
    aggregator.join()
    assert "get_model_parameters" in failed.reason
    assert failed.details == "Traceback: line 3"


def test_an_unknown_strategy_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    training = Training(tmp_path)
    aggregator = training.aggregator(strategy="FedAvgg")
    failed = training.failed()
    aggregator.join()
    assert failed.remedy == "Did you mean 'FedAvg'?"


@pytest.mark.parametrize("strategy", ["FedAvg", "FedAdam"])
def test_an_aggregator_killed_between_rounds_reaches_the_same_model(tmp_path: Path, strategy: str) -> None:
    undisturbed = best_parameters(tmp_path / "a", strategy, kill_in_round=0)
    resumed = best_parameters(tmp_path / "b", strategy, kill_in_round=3)
    for left, right in zip(undisturbed, resumed, strict=True):
        assert left == pytest.approx(right, abs=1e-12)


def best_parameters(home: Path, strategy: str, kill_in_round: int) -> list[np.ndarray]:
    home.mkdir()
    training = Training(home, **PATIENT)
    models = [FakeModel(1.0, 10), FakeModel(2.0, 20)]
    learners = start_learners(training, *models)
    if kill_in_round:
        gate_after(models[0], kill_in_round - 1)
        aggregator = training.aggregator(strategy=strategy, rounds=5, **BOTH)
        wait_for(lambda: len(training.rounds()) == kill_in_round - 1 and not models[0].go_on.is_set())
        aggregator.kill()
        models[0].go_on.set()
    model = FakeModel()
    aggregator = training.aggregator(model, strategy=strategy, rounds=5, **BOTH)
    training.finished()
    join_all(aggregator, *learners)
    assert [event.round for event in training.rounds()] == [1, 2, 3, 4, 5]
    assert sorted(training.tracking.rounds) == [1, 2, 3, 4, 5]
    assert training.events(TrainingStarted)[-1].resumed_after == max(kill_in_round - 1, 0)
    assert len(training.events(TrackingAvailable)) == 1
    assert [model.loads for model in models] == [1, 1]
    assert model.exported is not None
    return model.exported


def gate_after(model: FakeModel, fits: int) -> None:
    """Hold the model up in the call after ``fits`` calls."""
    fit = model.fit

    def gated(parameters: list[object]) -> tuple[list[object], int]:
        if model.fits == fits:
            model.go_on.clear()
            model.fit = fit  # type: ignore[method-assign]
        return fit(parameters)

    model.fit = gated  # type: ignore[method-assign]


def test_a_corrupt_checkpoint_is_told_and_the_one_before_is_used(tmp_path: Path) -> None:
    training = Training(tmp_path, **PATIENT)
    model = FakeModel()
    gate_after(model, 3)
    learners = start_learners(training, model, FakeModel())
    aggregator = training.aggregator(rounds=5, **BOTH)
    wait_for(lambda: len(training.rounds()) == 3 and not model.go_on.is_set())
    aggregator.kill()
    latest = max((aggregator.context.directory / "checkpoints").glob("*.npz"))
    latest.write_bytes(latest.read_bytes()[:200])
    model.go_on.set()
    aggregator = training.aggregator(rounds=5, **BOTH)
    training.finished()
    join_all(aggregator, *learners)
    assert latest.name in training.event(Warned).message
    assert training.events(TrainingStarted)[-1].resumed_after == 2


def test_an_aggregator_that_has_ended_does_nothing_when_started_again(tmp_path: Path) -> None:
    training = Training(tmp_path, learners=1)
    learners = start_learners(training, FakeModel())
    join_all(training.aggregator(), *learners)
    count = len(training.manager.events)
    join_all(training.aggregator())
    assert len(training.manager.events) == count
    assert len(training.events(TrainingFinished)) == 1


def test_a_tracking_server_that_comes_late_gets_everything(tmp_path: Path) -> None:
    training = Training(tmp_path)
    training.tracking.is_down = True
    learners = start_learners(training, FakeModel(), FakeModel())
    aggregator = training.aggregator()
    wait_for(lambda: len(training.rounds()) == 3)
    training.tracking.is_down = False
    training.finished()
    join_all(aggregator, *learners)
    assert sorted(training.tracking.rounds) == [1, 2, 3]
    assert training.event(ModelLogged).round == training.finished().best_round


def test_a_model_that_cannot_be_tracked_is_kept_and_the_user_told_where(tmp_path: Path) -> None:
    training = Training(tmp_path, deploy_deadline_s=1.0)
    training.tracking.is_down = True
    learners = start_learners(training, FakeModel(), FakeModel())
    aggregator = training.aggregator()
    failed = training.failed()
    join_all(aggregator, *learners)
    kept = aggregator.context.directory / "trained-model"
    assert (kept / "model.npz").exists()
    assert str(kept) in failed.remedy
    assert "The tracking server refuses." in failed.reason


def test_stopping_ends_aggregator_and_learners_without_a_word(tmp_path: Path) -> None:
    training = Training(tmp_path)
    models = FakeModel(), FakeModel()
    models[0].go_on.clear()
    learners = start_learners(training, *models)
    aggregator = training.aggregator()
    assert models[0].is_fitting.wait(10)
    for service in (aggregator, *learners):
        service.stop(exit_code=4)
    assert not [e for e in training.manager.events if isinstance(e, LearnerFailed | TrainingFailed | RoundFinished)]


def test_rounds_survive_lost_connections(tmp_path: Path) -> None:
    training = Training(tmp_path, learner_return_s=20.0)
    learners = start_learners(training, FakeModel(), FakeModel())
    aggregator = training.aggregator(rounds=20, min_fit_clients=2, min_available_clients=2, min_evaluate_clients=2)
    for number in range(3, 18, 3):
        wait_for(lambda number=number: len(training.rounds()) >= number)  # type: ignore[misc]
        for service in (aggregator, *learners):
            service.context.bus.drop_connection()  # type: ignore[attr-defined]
    training.finished()
    join_all(aggregator, *learners)
    assert [event.round for event in training.rounds()] == list(range(1, 21))
    assert all(len(event.participants) == 2 for event in training.rounds())


def test_a_learner_that_still_loads_its_data_ends_when_it_is_stopped(tmp_path: Path) -> None:
    training = Training(tmp_path)

    class Slow(FakeModel):
        def load_data(self) -> dict[str, object]:
            self.is_fitting.set()
            assert self.is_closed.wait(10)
            raise model_error("the process was closed")

    model = Slow()
    learner = training.learner(0, model)
    assert model.is_fitting.wait(10)
    learner.stop(exit_code=4)
    assert not training.events(LearnerFailed)


def test_a_full_disk_ends_the_training_with_that_reason(tmp_path: Path) -> None:
    training = Training(tmp_path, learners=1)
    learners = start_learners(training, FakeModel())
    (tmp_path / "aggr0123456789ab.0").mkdir()
    (tmp_path / "aggr0123456789ab.0" / "checkpoints").write_text("no directory can be made here")
    aggregator = training.aggregator()
    failed = training.failed()
    join_all(aggregator, *learners)
    assert "checkpoints" in failed.reason


def test_a_diverged_model_has_no_accuracy_and_never_is_the_best(tmp_path: Path) -> None:
    training = Training(tmp_path, learners=1)

    class Diverging(FakeModel):
        def evaluate(self, parameters: list[object]) -> tuple[float, float, int]:
            loss, accuracy, examples = super().evaluate(parameters)
            return (loss, accuracy, examples) if self.evaluations == 1 else (float("nan"), float("nan"), examples)

    learners = start_learners(training, Diverging())
    aggregator = training.aggregator()
    finished = training.finished()
    join_all(aggregator, *learners)
    assert finished.best_round == 1
    assert [event.accuracy is None for event in training.rounds()] == [False, True, True]
    assert [event.is_best for event in training.rounds()] == [True, False, False]
