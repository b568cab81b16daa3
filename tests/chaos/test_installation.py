"""A whole installation in which whatever runs is killed or stopped: the project goes on, or ends and says why."""

from __future__ import annotations

import time
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.system.installation import Installation, Outcome
from tests.system.rehearsal import PATIENCE_S, Rehearsal, Stage, kill_and_await, kill_instance, put_rows, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import psutil
    from tests.chaos.conftest import Tell

    Rehearsing = Callable[[Installation, dict[str, Any]], Rehearsal]
    Start = Callable[[dict[str, Any]], Rehearsal]

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]

DAEMON: Final = "flops.adapters.local_processes.daemon"
POST_TRAINING: Final = ["build_image_for_trained_model", "deploy_trained_model_image"]
PHASES: Final = ("checking", "building", "deploying", "training", "packaging", "serving", "stopping")
ACTOR_STEPS: Final = (
    "clone",
    "check",
    "resolve",
    "install learner environment",
    "install aggregator environment",
    "store",
)
# Gradient descent whose every bit depends on the round before. Its so-maniest fit waits for as long as it is held.
DESCENDING: Final = """\
import os
import time
from pathlib import Path

import numpy as np
from data_manager import DataManager
from flops_utils.ml_repo_templates import ModelManagerTemplate


STAGE = Path({stage!r})


class ModelManager(ModelManagerTemplate):
    def __init__(self):
        self.weights, self.fits = np.zeros(3), 0

    def set_model_data(self):
        DataManager().get_data()
        chance = np.random.default_rng(3)
        self.inputs = chance.normal(size=(50, 3))
        self.targets = self.inputs @ np.array([1.0, -2.0, 0.5]) + chance.normal(size=50) / 10

    def get_model(self):
        from sklearn.linear_model import LinearRegression

        model = LinearRegression()
        model.coef_, model.intercept_ = self.weights, 0.0
        return model

    def get_model_parameters(self):
        return [self.weights]

    def set_model_parameters(self, parameters):
        (self.weights,) = parameters

    def fit_model(self):
        self.fits += 1
        (STAGE / f"fitting-{{self.fits}}-{{os.getpid()}}").touch()
        while (STAGE / f"hold-{{self.fits}}").exists():
            time.sleep(0.02)
        for _ in range(3):
            errors = self.inputs @ self.weights - self.targets
            self.weights = self.weights - 0.1 * self.inputs.T @ errors / len(errors)
        return len(self.inputs)

    def evaluate_model(self):
        loss = float(np.mean((self.inputs @ self.weights - self.targets) ** 2))
        return loss, 1 / (1 + loss), len(self.inputs)
"""


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that waits long for who is silent, so that what comes back by itself can."""
    directory = tmp_path_factory.mktemp("patient")
    made = Installation(directory / "home", {"FLOPS_LEARNER_RETURN_S": "30", "FLOPS_SERVICE_LEASE_S": "600"})
    try:
        made.ok("up")
        put_rows(made, directory)
        yield made
    finally:
        made.ok("down")
        assert made.processes() == []


def end(project: Rehearsal) -> Outcome:
    """Wait for the end of a project that leaves its server running."""
    exit_code = project.follower.wait(PATIENCE_S)
    outcome = Outcome(project.project_id, exit_code, project.entries)
    assert [entry["sequence"] for entry in outcome.entries] == list(range(1, len(outcome.entries) + 1))
    assert len({entry["event_id"] for entry in outcome.entries}) == len(outcome.entries)
    assert exit_code == 0, project.told
    return outcome


def await_phase(project: Rehearsal, phase: str) -> None:
    """Wait until the inbox tells of a phase."""
    until(lambda: phase in phases_of(project) or project.follower.poll() is not None, f"the phase {phase}")


def phases_of(project: Rehearsal) -> list[str]:
    return [entry["data"]["phase"] for entry in project.entries if entry["event_type"] == "phase.entered"]


def entries_after(project: Rehearsal, number: int, since: float) -> float:
    """How long it took from ``since`` until the inbox went on beyond its first ``number`` entries."""
    until(lambda: len(project.entries) > number or project.follower.poll() is not None, "the inbox goes on")
    return time.monotonic() - since


def test_the_manager_killed_in_every_phase(house: Installation, start: Start, stage: Stage, tell: Tell) -> None:
    project = start(stage.set_up().sla(post_training_steps=POST_TRAINING))
    recoveries = []
    for phase in PHASES:
        await_phase(project, phase)
        until(lambda: house.instances("manager"), "the manager runs")
        kill_instance(house, "manager")
        died = time.monotonic()
        house.ok("project", "show", project.project_id)  # the broker keeps the question until somebody answers
        recoveries.append(time.monotonic() - died)

    outcome = end(project)

    tell("manager of an installation killed in every phase", times=len(PHASES), lost=0, recoveries=recoveries)
    deployed = [entry["data"]["service"] for entry in outcome.of_type("service.deployed")]
    assert len(deployed) == len(set(deployed))


def final_parameters(installation: Installation, project: Rehearsal) -> list[float]:
    """The parameters of the best model as MLflow has them."""
    outcome = project.end()
    assert outcome.exit_code == 0, project.told
    import mlflow  # noqa: PLC0415  takes seconds

    mlflow.set_tracking_uri(installation.ok("tracking", "--user", "Ada")["url"])
    (logged,) = outcome.of_type("model.logged")
    model = mlflow.sklearn.load_model(logged["data"]["model_uri"])
    return [float(value) for value in model.coef_]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strategy", ["FedAvg", "FedAdam"])
def test_an_aggregator_killed_in_any_round_ends_with_the_same_parameters(
    house: Installation, start: Start, stage: Stage, tell: Tell, strategy: str
) -> None:
    sla = stage.set_up({"model_manager.py": DESCENDING.format(stage=str(stage.directory))}).sla(rounds=6)
    sla["training_configuration"]["strategy"] = strategy
    undisturbed = final_parameters(house, start(sla))
    for fitting in stage.directory.glob("fitting-*"):
        fitting.unlink()
    interrupted = {2: 2, 4: 5, 6: 8}  # a round in which the aggregator is killed is fitted once more
    for fit in interrupted.values():
        stage.hold(fit)
    recoveries = []
    project = start(sla)
    for number, fit in interrupted.items():
        stage.await_fitting(fit)
        project.await_entry("round.finished", f"Round {number - 1}/6")
        died = time.monotonic()
        kill_and_await(house, project.service("aggr"))
        stage.release(fit)
        project.await_entry("round.finished", f"Round {number}/6")
        recoveries.append(time.monotonic() - died)

    parameters = final_parameters(house, project)

    started = [entry["data"]["resumed_after"] for entry in project.entries if entry["event_type"] == "training.started"]
    rounds = [entry["data"]["round"] for entry in project.entries if entry["event_type"] == "round.finished"]
    tell(f"aggregator killed in a round ({strategy})", times=3, lost=0, recoveries=recoveries)
    assert rounds == [1, 2, 3, 4, 5, 6]
    assert started == [0, 1, 3, 5]
    assert parameters == pytest.approx(undisturbed, abs=1e-12, rel=0)


def stop(installation: Installation, instance: str) -> list[psutil.Process]:
    """SIGSTOP to all processes of an instance."""
    stopped = installation.instances(instance)
    assert stopped
    for process in stopped:
        process.suspend()
    return stopped


def test_a_learner_stopped_for_a_minute_is_done_without_and_rejoins_with_its_data(
    patient: Installation, rehearsing: Rehearsing, stage: Stage, tell: Tell
) -> None:
    stage.set_up().hold(2)
    project = rehearsing(patient, stage.sla(minimum=1, rounds=3))
    stage.await_fitting(2)
    before = set(stage.fitting(2))
    stage.hold(3)
    stopped_at = time.monotonic()
    stopped = stop(patient, project.service("flearner"))
    stage.release(2)
    project.await_entry("round.finished", "Round 2/3")
    without_s = time.monotonic() - stopped_at
    until(lambda: time.monotonic() - stopped_at >= 60.0, "a minute")
    for process in stopped:
        process.resume()
    resumed_at = time.monotonic()
    until(lambda: joined_often(project) == 3, "it joins again")
    rejoined_s = time.monotonic() - resumed_at
    stage.release(3)

    outcome = project.end()

    assert outcome.exit_code == 0, project.told
    assert not outcome.of_type("instance.restarted")
    assert set(stage.fitting(3)) <= before  # the same model processes, so nothing was loaded again
    more = f"the round ended without it after {without_s:.1f} s"
    tell("learner stopped for 60 s", times=1, lost=0, recoveries=[rejoined_s], more=more)


def joined_often(project: Rehearsal) -> int:
    return sum(entry["event_type"] == "learner.joined" for entry in project.entries)


def test_all_learners_stopped_for_good(patient: Installation, rehearsing: Rehearsing, stage: Stage, tell: Tell) -> None:
    stage.set_up().hold(1)
    project = rehearsing(patient, stage.sla())
    stage.await_fitting(1)
    stopped_at = time.monotonic()
    for index in range(2):
        stop(patient, project.service("flearner").replace(".0", f".{index}"))

    outcome = project.end()

    assert outcome.last["event_type"] == "project.failed"
    assert "learner" in outcome.last["text"]
    tell("all learners stopped for good", times=1, lost=0, more=f"failed after {time.monotonic() - stopped_at:.1f} s")


@pytest.mark.parametrize("silent", ["aggr", "flearner", "observ"])
def test_what_hangs_for_good_is_started_again_or_the_project_ends(
    house: Installation, start: Start, stage: Stage, tell: Tell, silent: str
) -> None:
    """Never a project that claims to run without anyone alive."""
    stage.set_up().hold(2)
    project = start(stage.sla(rounds=3))
    stage.await_fitting(2)
    stopped_at = time.monotonic()
    stop(house, project.service(silent))
    stage.release(2)

    outcome = project.end()

    assert outcome.exit_code == 0 or outcome.last["next_step"], project.told
    more = f"{outcome.last['event_type']} after {time.monotonic() - stopped_at:.1f} s"
    tell(f"{silent}… hangs for good", times=1, lost=0, more=more)


def test_the_orchestrator_killed_in_a_training(house: Installation, start: Start, stage: Stage, tell: Tell) -> None:
    stage.set_up().hold(2)
    project = start(stage.sla(rounds=3))
    stage.await_fitting(2)
    daemon = max((p for p in house.processes() if DAEMON in p.cmdline()), key=lambda process: process.pid)
    daemon.kill()
    died, seen = time.monotonic(), len(project.entries)
    stage.release(2)
    recovery_s = entries_after(project, seen, died)

    outcome = project.end()

    tell("orchestrator killed in a training", times=1, lost=0, recoveries=[recovery_s])
    assert outcome.exit_code == 0, project.told
    assert [entry["data"]["round"] for entry in outcome.of_type("round.finished")] == [1, 2, 3]


def test_tracking_and_inference_servers_killed_keep_their_urls(
    house: Installation, start: Start, stage: Stage, tell: Tell
) -> None:
    project = start(stage.set_up().sla(post_training_steps=POST_TRAINING))
    outcome = end(project)
    tracking = house.ok("tracking", "--user", "Ada")["url"]
    instance = next(service["instances"][0]["id"] for service in house.ok("services") if service["role"] == "tracking")
    places = {
        project.service("trmodel"): f"{outcome.last['data']['inference_url']}/ping",
        instance: f"{tracking}/health",
    }
    recoveries = []
    for killed, url in places.items():
        until(lambda: answers(url), f"{url} answers")  # noqa: B023
        kill_instance(house, killed)
        died = time.monotonic()
        until(lambda: not answers(url), f"{url} is gone")  # noqa: B023
        until(lambda: answers(url), f"{url} answers again")  # noqa: B023
        recoveries.append(time.monotonic() - died)
    tell("tracking and inference server killed, URL kept", times=2, lost=0, recoveries=recoveries)
    assert house.ok("tracking", "--user", "Ada")["url"] == tracking


def answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310  of our own server
        return bool(response.status == 200)
    return False


@pytest.mark.parametrize("step", ACTOR_STEPS)
def test_a_builder_killed_in_each_step(
    house: Installation, start: Start, tmp_path: Path, tell: Tell, step: str
) -> None:
    stage = Stage(tmp_path / f"stage-{step.replace(' ', '-')}").set_up()
    project = start(stage.sla(rounds=1, verbose=True))

    def is_in_step() -> bool:
        begun = [entry["data"]["step"] for entry in project.entries if entry["event_type"] == "build.step-started"]
        return step in begun or project.follower.poll() is not None

    until(is_in_step, f"the step {step}")
    with suppress(AssertionError):  # the last step may be over by now
        kill_instance(house, project.service("builder"))
    killed = time.monotonic()

    outcome = project.end()

    tell(f"builder killed while it does '{step}'", times=1, lost=0, recoveries=[time.monotonic() - killed])
    assert outcome.exit_code == 0, project.told
