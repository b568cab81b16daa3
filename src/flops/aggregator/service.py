"""The aggregator of one project: gathers the learners, trains, keeps the best model, hands it to tracking."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from flops.aggregator.configuration import AggregatorConfig
from flops.aggregator.reporting import round_metrics, run_parameters
from flops.aggregator.tracking_log import TrackingLog
from flops.delivery.farewell import await_confirmation
from flops.errors import FlopsError, ModelCodeError, StoppingError, TrainingImpossibleError
from flops.learning.checkpoint import Checkpoints, Progress
from flops.learning.gathering import gather
from flops.learning.grid import Listener, MqttGrid
from flops.learning.rounds import Plan, train
from flops.learning.stopping import close_when_stopping
from flops.learning.strategies import build_strategy
from flops.wire.events import (
    MAX_TEXT,
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
    from collections.abc import Callable

    from flops.delivery.service import ServiceContext
    from flops.learning.roster import Learner
    from flops.ports import Model, TrackedRun, Tracking
    from flops.wire.events import Event

MODEL_DIRECTORY: Final = "trained-model"
CHECKPOINT_DIRECTORY: Final = "checkpoints"
ENDED_MARK: Final = "ended"
TOLD_RUN: Final = "told-run"
TICK_S: Final = 0.25
CLOSE_RUN_S: Final = 3.0


def run(context: ServiceContext, model: Model, tracking_for: Callable[[str], Tracking]) -> int:
    """Train one project's model; every expected failure is an event, and the exit code 0.

    Safe to run again after a crash: it goes on after the last finished round, and does nothing once it has ended.
    """
    logging.getLogger("flwr").setLevel(logging.WARNING)
    ended = context.directory / ENDED_MARK
    close_when_stopping(model, context.stopping)
    try:
        if not ended.exists():
            _Training(context, model, tracking_for).run()
            with contextlib.suppress(OSError):
                ended.touch(mode=0o600)
    except StoppingError as error:
        return error.exit_code
    finally:
        model.close()
    return 0 if await_confirmation(context) else StoppingError.exit_code


class _Training:
    """One run of the service, from gathering the learners to the last event."""

    def __init__(self, context: ServiceContext, model: Model, tracking_for: Callable[[str], Tracking]) -> None:
        self._context, self._model = context, model
        self._config = AggregatorConfig.model_validate(context.config)
        self._started = time.monotonic()
        self._examples: dict[str, int | None] = {}
        self._checkpoints = Checkpoints(context.directory / CHECKPOINT_DIRECTORY)
        self._tracking = TrackingLog(
            context.bus,
            context.topics,
            tracking_service=self._config.tracking_service,
            project_id=context.identity.project_id,
            parameters=lambda: run_parameters(self._config, self._examples),
            tracking_for=tracking_for,
            on_available=self._announce_tracking,
        )

    def run(self) -> None:
        grid = MqttGrid(
            self._context.bus,
            self._context.topics,
            self._context.identity.project_id,
            self._config.learners,
            listener=Listener(
                joined=lambda learner: self._tell(
                    LearnerJoined(learner=learner.instance, node=learner.node, examples=learner.examples)
                ),
                lost=lambda learner, reason: self._tell(LearnerLost(learner=learner, reason=reason)),
            ),
            stopping=self._context.stopping,
            chunk_bytes=self._context.settings.chunk_bytes,
        )
        try:
            progress = self._train(grid)
            self._publish_model(progress, grid)
        except FlopsError as error:
            if self._context.stopping.is_set():
                self._tracking.fail(CLOSE_RUN_S)
                raise StoppingError from error
            self._fail(error)
        finally:
            if not self._context.stopping.is_set():
                grid.dismiss()
            grid.close()
            self._tracking.close()

    def _train(self, grid: MqttGrid) -> Progress:
        config, settings = self._config, self._context.settings
        strategy = build_strategy(config.strategy, config.minimums, config.strategy_options)
        start = self._resume()
        plan = Plan(
            rounds=config.rounds,
            cycles=config.cycles,
            minimums=config.minimums,
            round_deadline_s=settings.round_deadline_s,
            learner_return_s=settings.learner_return_s,
        )
        if start is not None and start.round >= plan.total_rounds:
            self._tracking.start()
            return start
        joined, start = self._gather(grid, start)
        self._started = time.monotonic()
        self._tracking.start()
        self._tell(
            TrainingStarted(
                rounds=plan.total_rounds,
                strategy=config.strategy,
                learners=[learner.instance for learner in joined],
                resumed_after=start.round,
            )
        )
        return train(plan, strategy, grid, start, self._checkpoints, self._report)

    def _gather(self, grid: MqttGrid, start: Progress | None) -> tuple[list[Learner], Progress]:
        """Wait for the learners, and for the initial parameters unless there is a checkpoint."""
        settings = self._context.settings
        initial: Future[list[Any]] = Future()
        # The model process loads the repository's code while the learners load their data.
        threading.Thread(target=self._warm_up, args=(initial, start is None), daemon=True).start()
        joined = gather(
            grid,
            self._config.minimums.available,
            deadline_s=self._config.deploy_deadline_s or settings.deploy_deadline_s,
            preparation_s=settings.round_deadline_s,
            is_pointless=lambda: initial.done() and initial.exception() is not None,
        )
        self._examples = {learner.instance: learner.examples for learner in joined}
        if start is None:
            example = next((learner.example for learner in joined if learner.example), {})
            start = Progress(round=0, parameters=self._await_parameters(initial), example=example)
        return joined, start

    def _warm_up(self, initial: Future[list[Any]], needs_parameters: bool) -> None:  # noqa: FBT001  a thread's target
        """Use the time that the model process has during the rounds; what fails in preparing is told by the export."""
        if needs_parameters:
            _settle(initial, self._model.get_parameters)
        with contextlib.suppress(ModelCodeError):
            self._model.prepare_export()

    def _await_parameters(self, initial: Future[list[Any]]) -> list[Any]:
        while not self._context.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                return initial.result(TICK_S)
        raise StoppingError

    def _resume(self) -> Progress | None:
        neighbours, former = self._context.directory.parent, self._config.former
        self._checkpoints.inherit([neighbours / name / CHECKPOINT_DIRECTORY for name in former])
        progress, unreadable = self._checkpoints.load()
        if unreadable:
            where = f"round {progress.round}" if progress is not None else "the beginning"
            names = ", ".join(unreadable)
            self._tell(Warned(message=f"The checkpoint {names} cannot be read: the training goes on from {where}."))
        elif former and progress is None:
            self._tell(Warned(message="No earlier attempt has left a checkpoint: the training begins anew."))
        if progress is not None:
            self._catch_up(progress)
        return progress

    def _catch_up(self, progress: Progress) -> None:
        """Tell what may not have been told before the restart; the tracking server takes a round twice."""
        told = [RoundFinished.model_validate(report) for report in self._checkpoints.reports()]
        for finished in told:
            self._tracking.log_round(finished.round, round_metrics(finished, self._config.learners))
        if all(finished.round != progress.round for finished in told):
            self._report(RoundFinished.model_validate(progress.report))
            self._checkpoints.mark_reported(progress.report)

    def _report(self, finished: RoundFinished) -> None:
        self._tell(finished)
        self._tracking.log_round(finished.round, round_metrics(finished, self._config.learners))

    def _publish_model(self, progress: Progress, grid: MqttGrid) -> None:
        best = progress.best
        if best is None:
            raise TrainingImpossibleError("No round was finished, so there is no model.")
        grid.dismiss()
        directory = self._context.directory / MODEL_DIRECTORY
        shutil.rmtree(directory, ignore_errors=True)
        for warning in self._model.export(best.parameters, directory, progress.example):
            self._tell(Warned(message=warning))
        logged = self._tracking.log_model(directory, best.round, self._context.settings.deploy_deadline_s)
        if logged is None:
            raise TrainingImpossibleError(
                "All rounds are done, but the tracking server could not be reached to store the model: "
                f"{self._tracking.last_error}.",
                round_number=progress.round,
                remedy=f"The trained model is kept in {directory}. See 'flops logs {self._config.tracking_service}'.",
            )
        tracked, model_uri = logged
        self._tell(ModelLogged(model_uri=model_uri, run_id=tracked.run_id, round=best.round, accuracy=best.accuracy))
        self._tell(
            TrainingFinished(
                rounds=progress.round,
                best_round=best.round,
                best_accuracy=best.accuracy,
                duration_s=time.monotonic() - self._started,
                model_uri=model_uri,
            )
        )

    def _fail(self, error: FlopsError) -> None:
        details = getattr(error, "details", "") or (error.traceback if isinstance(error, ModelCodeError) else "")
        round_number = error.round_number if isinstance(error, TrainingImpossibleError) else 0
        self._tell(
            TrainingFailed(
                reason=error.message[:MAX_TEXT],
                remedy=error.remedy[:MAX_TEXT],
                details=details[-MAX_TEXT:],
                round=round_number,
            )
        )
        self._tracking.fail(CLOSE_RUN_S)

    def _announce_tracking(self, run: TrackedRun) -> None:
        told = self._context.directory / TOLD_RUN
        if told.exists() and told.read_text() == run.run_id:
            return
        self._tell(TrackingAvailable(url=run.url, experiment_id=run.experiment_id, run_id=run.run_id))
        with contextlib.suppress(OSError):
            told.write_text(run.run_id)

    def _tell(self, event: Event) -> None:
        self._context.events.publish(event)


def _settle(future: Future[list[Any]], compute: Callable[[], list[Any]]) -> None:
    try:
        future.set_result(compute())
    except Exception as error:  # noqa: BLE001  raised again where the result is asked for
        future.set_exception(error)
