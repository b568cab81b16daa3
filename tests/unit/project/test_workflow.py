"""How a project runs, as given / when / then."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flops.project.commands import (
    Announce,
    CreateApp,
    DeleteApp,
    Deploy,
    FindImages,
    FindPlacement,
    Redeploy,
    ResolveRepository,
    Restart,
    SetDeadline,
    Undeploy,
)
from flops.project.deployment import App, Role
from flops.project.records import command_from_json, command_to_json, project_from_json, project_to_json
from flops.project.relevance import is_wanted
from flops.project.state import Phase, Project
from flops.project.workflow import step
from flops.wire import events as e
from flops.wire.sla import parse_project_sla

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flops.project.commands import Command

ID = "0123456789abcdef01234567"
COMMIT = "c" * 40
URL = "https://github.com/ada/digits"


def sla(*steps: str) -> dict[str, Any]:
    return parse_project_sla(
        {
            "customerID": "Ada",
            "ml_repo_url": URL,
            "ml_model_flavor": "sklearn",
            "training_configuration": {"data_tags": ["digits"], "min_available_clients": 2, "training_rounds": 3},
            "post_training_steps": list(steps),
            "resource_constraints": {"memory": 500, "vcpus": 1, "storage": 100},
        }
    ).to_document()


BOTH = ("build_image_for_trained_model", "deploy_trained_model_image")
ACCEPTED = e.ProjectAccepted(user="Ada", sla=sla(*BOTH))
RESOLVED = e.RepositoryResolved(url=URL, commit=COMMIT)
PLACED = e.PlacementDecided(nodes=["a", "b"])
MISSING = e.ImagesMissing(images=["x"])
FOUND = e.ImagesFound(images=["x"])
BUILT = e.BuildFinished(purpose="actors", images=["x"], duration_s=1)
STARTED = e.TrainingStarted(rounds=3, strategy="FedAvg", learners=["l0", "l1"])
TRAINED = e.TrainingFinished(rounds=3, best_round=2, best_accuracy=0.9, duration_s=1, model_uri="runs:/1/model")
PACKAGED = e.BuildFinished(purpose="trained-model", images=["m"], duration_s=1)
SERVED = e.InferenceReady(url="http://127.0.0.1:1")

TO_TRAINING = (ACCEPTED, RESOLVED, PLACED, MISSING, BUILT, STARTED)
TO_SERVING = (*TO_TRAINING, TRAINED, PACKAGED)


def run(*events: e.Event, project: Project | None = None) -> tuple[Project, list[Command]]:
    """The project after all events, and the commands of the last one."""
    commands: list[Command] = []
    project = project or Project(ID)
    for event in events:
        project, commands = step(project, event)
    return project, commands


def settle(project: Project, commands: Sequence[Command]) -> tuple[Project, list[Command]]:
    """Let every removal and announcement come true, as the manager would; all commands in order."""
    done, pending = [], list(commands)
    while pending:
        command = pending.pop(0)
        done.append(command)
        event: e.Event | None = None
        if isinstance(command, Undeploy):
            event = e.ServiceRemoved(service=command.service)
        elif isinstance(command, Announce):
            event = command.event
        if event is not None:
            project, more = step(project, event)
            pending += more
    return project, done


def deployed(commands: Sequence[Command]) -> list[str]:
    return [command.spec.role for command in commands if isinstance(command, Deploy)]


def removed(commands: Sequence[Command]) -> set[str]:
    return {command.service for command in commands if isinstance(command, Undeploy)}


class TestBaseCase:
    def test_a_new_project_gets_its_observer_before_anything_else(self) -> None:
        project, commands = run(ACCEPTED)

        assert project.phase is Phase.CHECKING
        assert commands[0] == CreateApp(App("Ada", "observatory"))
        assert deployed(commands) == [Role.OBSERVER]
        assert CreateApp(App("Ada", f"proj{ID[:12]}")) in commands
        assert commands[-1] == ResolveRepository(URL)

    def test_data_are_looked_for_before_anything_is_built(self) -> None:
        project, commands = run(ACCEPTED, RESOLVED)

        assert project.commit == COMMIT
        assert commands == [FindPlacement(("digits",), 2)]

    def test_images_of_the_commit_are_asked_for(self) -> None:
        _, commands = run(ACCEPTED, RESOLVED, PLACED)

        assert commands[-1] == FindImages((f"ada/digits/aggregator:{COMMIT}", f"ada/digits/learner:{COMMIT}"))
        assert deployed(commands) == [Role.TRACKING]

    def test_missing_images_are_built_by_a_builder_of_the_project(self) -> None:
        project, commands = run(ACCEPTED, RESOLVED, PLACED, MISSING)

        assert project.phase is Phase.BUILDING
        assert deployed(commands) == [Role.BUILDER]

    def test_images_that_exist_are_not_built(self) -> None:
        project, commands = run(ACCEPTED, RESOLVED, PLACED, FOUND)

        assert project.phase is Phase.DEPLOYING
        assert deployed(commands) == [Role.AGGREGATOR, Role.LEARNER]

    def test_the_builder_goes_when_the_images_are_there(self) -> None:
        _, commands = run(ACCEPTED, RESOLVED, PLACED, MISSING, BUILT)

        assert removed(commands) == {f"builder{ID[:12]}"}

    def test_learners_on_one_node_get_disjoint_shares(self) -> None:
        placed = e.PlacementDecided(nodes=["a", "b", "a"])
        _, commands = run(ACCEPTED, RESOLVED, placed, FOUND)

        learners = next(c.spec for c in commands if isinstance(c, Deploy) and c.spec.role is Role.LEARNER)
        assert [(item.node, item.config["share"], item.config["shares"]) for item in learners.placements] == [
            ("a", 0, 2),
            ("b", 0, 1),
            ("a", 1, 2),
        ]
        assert learners.resources.memory_mb == 500

    def test_the_actors_go_and_the_model_is_packaged(self) -> None:
        project, commands = run(*TO_TRAINING, TRAINED)

        assert project.phase is Phase.PACKAGING
        assert removed(commands) == {f"aggr{ID[:12]}", f"flearner{ID[:12]}"}
        assert deployed(commands) == [Role.BUILDER]

    def test_the_model_is_served(self) -> None:
        project, commands = run(*TO_SERVING)

        assert project.phase is Phase.SERVING
        assert deployed(commands) == [Role.INFERENCE]

    def test_a_completed_project_keeps_only_its_inference_server(self) -> None:
        project, commands = settle(*run(*TO_SERVING, e.ServiceRemoved(service=f"aggr{ID[:12]}"), SERVED))

        assert project.phase is Phase.COMPLETED
        assert f"trmodel{ID[:12]}" not in removed(commands)
        assert DeleteApp(project.app) not in commands

    @pytest.mark.parametrize(("steps", "last"), [((), TRAINED), (BOTH[:1], PACKAGED)])
    def test_a_project_ends_where_its_sla_says(self, steps: tuple[str, ...], last: e.Event) -> None:
        accepted = e.ProjectAccepted(user="Ada", sla=sla(*steps))
        events = (accepted, *TO_TRAINING[1:], TRAINED, *([last] if last is not TRAINED else []))

        project, commands = settle(*run(*events))

        assert project.phase is Phase.COMPLETED
        assert DeleteApp(project.app) in commands

    def test_the_observer_goes_after_the_end(self) -> None:
        project, _ = settle(*run(*TO_SERVING, SERVED))
        name = f"observ{ID[:12]}"

        _, commands = step(project, e.InstanceCompleted(service=name, role=Role.OBSERVER, instance=f"{name}.0"))

        assert commands == [Undeploy(name)]


class TestWhatHangsOrIsLost:
    @pytest.mark.parametrize("service", ["aggr", "flearner", "observ"])
    def test_an_instance_that_hangs_is_started_again(self, service: str) -> None:
        training, _ = run(*TO_TRAINING)

        project, commands = run(_lease_ended(f"{service}{ID[:12]}"), project=training)

        assert (project, commands) == (training, [Restart(f"{service}{ID[:12]}.0")])

    def test_what_is_being_removed_may_hang(self) -> None:
        stopping, _ = run(*TO_TRAINING, e.CancellationRequested())

        assert run(_lease_ended(f"aggr{ID[:12]}"), project=stopping) == (stopping, [])

    def test_a_served_model_and_an_observer_that_tells_of_the_end_are_started_again(self) -> None:
        completed, _ = settle(*run(*TO_SERVING, SERVED))

        for name in (f"trmodel{ID[:12]}", f"observ{ID[:12]}"):
            _, commands = run(_lease_ended(name, name.removesuffix(ID[:12])), project=completed)
            assert commands == [Restart(f"{name}.0")]
        assert run(_lease_ended(f"aggr{ID[:12]}"), project=completed)[1] == []

    def test_a_service_that_nobody_runs_any_more_fails_the_project(self) -> None:
        missing = e.ServiceMissing(service=f"aggr{ID[:12]}", role=Role.AGGREGATOR, reason="it is gone")

        project, _ = settle(*run(*TO_TRAINING, missing))

        assert (project.phase, project.reason) == (Phase.FAILED, "it is gone")
        assert run(*TO_SERVING, e.ServiceRemoved(service=missing.service), missing)[0].phase is Phase.SERVING

    def test_an_observer_that_nobody_runs_any_more_is_deployed_again(self) -> None:
        training, _ = run(*TO_TRAINING)

        missing = e.ServiceMissing(service=f"observ{ID[:12]}", role=Role.OBSERVER, reason="it is gone")
        project, commands = run(missing, project=training)

        assert project == training
        assert deployed(commands) == [Role.OBSERVER]

    def test_a_leftover_is_removed_and_nothing_that_is_needed(self) -> None:
        training, _ = run(*TO_TRAINING)
        completed, _ = settle(*run(*TO_SERVING, SERVED))
        builder, server, observer = (f"{kind}{ID[:12]}" for kind in ("builder", "trmodel", "observ"))
        training = replace(training, deployed=tuple(name for name in training.deployed if name != builder))

        assert removed(run(e.LeftoverFound(service=builder), project=training)[1]) == {builder}
        for name in (*training.deployed, observer):
            assert run(e.LeftoverFound(service=name), project=training) == (training, [])
        assert run(e.LeftoverFound(service=server), project=completed) == (completed, [])
        assert removed(run(e.LeftoverFound(service=observer), project=completed)[1]) == {observer}


def _lease_ended(service: str, role: str = "") -> e.LeaseEnded:
    role = {"observ": Role.OBSERVER}.get(role, "other")
    return e.LeaseEnded(service=service, role=role, instance=f"{service}.0", after_s=30, reason="it hangs")


class TestFailures:
    @pytest.mark.parametrize(
        ("given_events", "failure"),
        [
            ((ACCEPTED,), e.RepositoryUnavailable(url=URL, reason="gone")),
            ((ACCEPTED, RESOLVED), e.PlacementFailed(reason="no data")),
            ((ACCEPTED, RESOLVED, PLACED, MISSING), e.BuildFailed(purpose="actors", step="resolve", reason="no")),
            (TO_TRAINING[:-1], e.DeadlinePassed(deadline="deploying", after_s=300)),
            (TO_TRAINING, e.TrainingFailed(reason="all learners gone")),
            (TO_SERVING, e.InferenceFailed(reason="no")),
            (TO_SERVING, e.ServiceDeploymentFailed(service="x", role=Role.INFERENCE, reason="no")),
        ],
    )
    def test_a_failure_ends_the_project_with_its_reason_and_nothing_left(
        self, given_events: tuple[e.Event, ...], failure: e.Failure
    ) -> None:
        before, _ = run(*given_events)

        project, commands = settle(*step(before, failure))

        assert project.phase is Phase.FAILED
        assert project.deployed == ()
        assert removed(commands) >= set(before.deployed)
        assert DeleteApp(project.app) not in commands, "it may be retried"
        last = next(c.event for c in commands if isinstance(c, Announce))
        assert isinstance(last, e.ProjectFailed)
        assert last.reason

    def test_a_deadline_of_a_phase_that_is_over_means_nothing(self) -> None:
        before, _ = run(*TO_TRAINING)

        assert step(before, e.DeadlinePassed(deadline="building", after_s=1)) == (before, [])

    def test_one_lost_learner_is_the_aggregators_matter(self) -> None:
        before, _ = run(*TO_TRAINING)

        project, commands = step(before, _learner_failed(0))

        assert (project.phase, commands) == (Phase.TRAINING, [])

    def test_without_any_learner_the_project_fails(self) -> None:
        project, _ = settle(*run(_learner_failed(0), _learner_failed(1), project=run(*TO_TRAINING)[0]))

        assert project.phase is Phase.FAILED

    def test_what_a_service_said_before_it_crashed_is_the_reason(self) -> None:
        crashed = e.ServiceCrashed(role=Role.AGGREGATOR, reason="MemoryError")
        name = f"aggr{ID[:12]}"
        failed = e.InstanceFailed(service=name, role=Role.AGGREGATOR, instance=f"{name}.0", reason="exit code 1")

        project, _ = run(crashed, failed, project=run(*TO_TRAINING)[0])

        assert "MemoryError" in project.reason

    @pytest.mark.parametrize(
        ("given_events", "role", "name"),
        [
            (TO_TRAINING[:4], Role.BUILDER, f"builder{ID[:12]}"),
            (TO_TRAINING[:5], Role.AGGREGATOR, f"aggr{ID[:12]}"),
            (TO_TRAINING, Role.AGGREGATOR, f"aggr{ID[:12]}"),
            ((*TO_TRAINING, TRAINED), Role.BUILDER, f"builder{ID[-12:]}"),
            (TO_SERVING, Role.INFERENCE, f"trmodel{ID[:12]}"),
        ],
    )
    def test_a_service_that_ends_without_a_word_ends_the_project(
        self, given_events: tuple[e.Event, ...], role: Role, name: str
    ) -> None:
        before, _ = run(*given_events)

        waiting, commands = step(before, e.InstanceCompleted(service=name, role=role, instance=f"{name}.0"))

        assert waiting == before
        deadline = next(command for command in commands if isinstance(command, SetDeadline))
        passed = e.DeadlinePassed(deadline=deadline.name, after_s=deadline.after_s)
        project, _ = settle(*step(waiting, passed))
        assert project.phase is Phase.FAILED
        assert project.reason == f"{name} ended without saying what came of its work"

    def test_a_last_word_that_comes_after_the_end_still_counts(self) -> None:
        name = f"aggr{ID[:12]}"
        completed = e.InstanceCompleted(service=name, role=Role.AGGREGATOR, instance=f"{name}.0")

        project, _ = settle(*run(completed, e.TrainingFailed(reason="disk full"), project=run(*TO_TRAINING)[0]))

        assert project.reason == "disk full"

    @pytest.mark.parametrize(
        ("given_events", "name"),
        [
            (TO_TRAINING[:5], f"builder{ID[:12]}"),
            (TO_TRAINING, f"flearner{ID[:12]}"),
            ((*TO_TRAINING, TRAINED), f"aggr{ID[:12]}"),
            (TO_SERVING, f"builder{ID[-12:]}"),
        ],
    )
    def test_a_service_that_ends_after_its_last_word_changes_nothing(
        self, given_events: tuple[e.Event, ...], name: str
    ) -> None:
        before, _ = run(*given_events)

        assert step(before, e.InstanceCompleted(service=name, role="x", instance=f"{name}.0")) == (before, [])

    def test_a_reason_of_any_length_can_be_told(self) -> None:
        longest = "x" * e.MAX_TEXT
        failed = e.BuildFailed(purpose="actors", step="resolve", reason=longest, where=longest)

        project, commands = settle(*run(failed, project=run(ACCEPTED, RESOLVED, PLACED, MISSING)[0]))

        assert project.phase is Phase.FAILED
        assert any(isinstance(c, Announce) and isinstance(c.event, e.ProjectFailed) for c in commands)


class TestDeadlines:
    def test_what_was_tried_in_vain_is_the_reason(self) -> None:
        refused = e.CommandRetried(command="Deploy", reason="the orchestrator is away", attempt=3, wait_s=1)

        project, _ = run(refused, e.DeadlinePassed(deadline="building", after_s=5), project=run(*TO_TRAINING[:4])[0])

        assert project.reason == "building took longer than 5 s; the last attempt failed: the orchestrator is away"

    def test_the_slas_deadlines_go_before_the_installations(self) -> None:
        accepted = ACCEPTED.model_copy(update={"sla": {**ACCEPTED.sla, "deadlines": {"checking": 7, "training": 0}}})

        _, commands = run(accepted)
        _, unbounded = run(accepted, *TO_TRAINING[1:])

        assert SetDeadline("checking", 7) in commands
        assert not [command for command in unbounded if isinstance(command, SetDeadline)]

    def test_the_services_know_how_long_they_may_take(self) -> None:
        deadlines = {"deploying": 900, "serving": 700}
        accepted = ACCEPTED.model_copy(update={"sla": {**ACCEPTED.sla, "deadlines": deadlines}})

        _, deploying = run(accepted, *TO_TRAINING[1:5])
        _, serving = run(accepted, *TO_SERVING[1:])

        configs = {c.spec.role: c.spec.config for c in [*deploying, *serving] if isinstance(c, Deploy)}
        assert configs[Role.AGGREGATOR]["deploy_deadline_s"] == 900
        assert configs[Role.INFERENCE]["start_deadline_s"] == 700

    def test_a_project_ends_although_something_of_it_cannot_be_removed(self) -> None:
        stopping, commands = run(e.CancellationRequested(by="Ada"), project=run(*TO_TRAINING)[0])
        assert SetDeadline("stopping", 60) in commands
        builder, aggregator = f"builder{ID[:12]}", f"aggr{ID[:12]}"
        stopping, _ = run(e.ServiceRemoved(service=aggregator), project=stopping)

        ending, commands = step(stopping, e.DeadlinePassed(deadline="stopping", after_s=60))
        project, more = settle(ending, commands)

        left = next(c.event for c in commands if isinstance(c, Announce))
        assert isinstance(left, e.ServicesLeft)
        assert set(left.services) == {builder, f"flearner{ID[:12]}"}
        assert project.phase is Phase.CANCELLED
        later, commands = run(
            *(e.ServiceRemoved(service=name) for name in left.services), project=replace(project, outcome=None)
        )
        assert later.deployed == ()
        assert not [c for c in [*commands, *more[2:]] if isinstance(c, Announce)]

    def test_a_removal_that_succeeds_late_says_no_second_last_word(self) -> None:
        stopping, _ = run(e.CancellationRequested(by="Ada"), project=run(*TO_TRAINING[:4])[0])
        ending, _ = step(stopping, e.DeadlinePassed(deadline="stopping", after_s=60))

        _, commands = step(ending, e.ServiceRemoved(service=f"builder{ID[:12]}"))

        assert commands == []


class TestRetry:
    @pytest.mark.parametrize(
        ("stage", "phase", "roles"),
        [
            ("checking", Phase.CHECKING, [Role.TRACKING]),
            ("building", Phase.BUILDING, [Role.TRACKING, Role.BUILDER]),
            ("training", Phase.DEPLOYING, [Role.TRACKING, Role.AGGREGATOR, Role.LEARNER]),
            ("packaging", Phase.PACKAGING, [Role.TRACKING, Role.BUILDER]),
            ("serving", Phase.SERVING, [Role.TRACKING, Role.INFERENCE]),
        ],
    )
    def test_an_ended_project_goes_on_from_a_stage(self, stage: str, phase: Phase, roles: list[Role]) -> None:
        ended, _ = settle(*run(*TO_SERVING, e.InferenceFailed(reason="no")))
        assert (ended.phase, ended.failed_stage) == (Phase.FAILED, "serving")

        project, commands = step(ended, e.RetryRequested(stage=stage, by="Ada"))

        assert project.phase is phase
        assert (project.reason, project.outcome, project.failed_stage) == ("", None, "")
        assert deployed(commands) == roles
        assert [c.spec.name for c in commands if isinstance(c, Redeploy)] == [f"observ{ID[:12]}"]

    def test_every_retry_names_its_services_anew(self) -> None:
        project, names = Project(ID), []
        project, _ = run(*TO_TRAINING)
        for _ in range(3):
            project, _ = settle(*step(project, e.TrainingFailed(reason="no")))
            project, commands = step(project, e.RetryRequested(stage="training"))
            names += [c.spec.name for c in commands if isinstance(c, Deploy) and c.spec.role is not Role.TRACKING]
            project, _ = step(project, STARTED)

        assert len(set(names)) == 6
        assert set(names) <= set(project.service_names)
        assert project.is_outdated(f"/aggregator/aggr{ID[:12]}r2.0")
        assert not project.is_outdated(f"/aggregator/aggr{ID[:12]}r3.0")
        assert not project.is_outdated(f"/observer/observ{ID[:12]}.0")

    def test_a_retried_training_knows_where_the_checkpoints_are_and_a_training_anew_does_not(self) -> None:
        failed, _ = settle(*run(*TO_TRAINING, e.TrainingFailed(reason="no")))
        again, commands = step(failed, e.RetryRequested(stage="training"))
        assert _former(commands) == [f"aggr{ID[:12]}.0"]

        failed, _ = settle(*step(again, e.TrainingFailed(reason="no")))
        third, commands = step(failed, e.RetryRequested(stage="training"))
        assert _former(commands) == [f"aggr{ID[:12]}r1.0", f"aggr{ID[:12]}.0"]

        failed, _ = settle(*step(third, e.TrainingFailed(reason="no")))
        fresh, _ = step(failed, e.RetryRequested(stage="checking"))
        _, commands = run(RESOLVED, PLACED, FOUND, project=fresh)
        assert _former(commands) == []

    def test_a_retried_project_can_complete_fail_and_be_retried_again(self) -> None:
        failed, _ = settle(*run(*TO_SERVING, e.InferenceFailed(reason="no")))

        project, commands = settle(*run(SERVED, project=run(e.RetryRequested(stage="serving"), project=failed)[0]))

        assert project.phase is Phase.COMPLETED
        assert not removed(commands) & {f"trmodel{ID[:12]}r1"}

    @pytest.mark.parametrize("length", range(1, len(TO_SERVING) + 1))
    def test_only_what_has_ended_without_success_is_retried(self, length: int) -> None:
        before, _ = run(*TO_SERVING[:length])
        completed, _ = settle(*run(*TO_SERVING, SERVED))

        for project in (before, completed):
            assert step(project, e.RetryRequested(stage="checking")) == (project, [])


class TestRelevance:
    def test_a_question_of_an_earlier_attempt_has_no_purpose(self) -> None:
        first, commands = run(ACCEPTED)
        question = commands[-1]
        cancelled, _ = settle(*step(first, e.CancellationRequested()))
        second, commands = step(cancelled, e.RetryRequested(stage="checking"))

        assert is_wanted(first, question)
        assert not is_wanted(cancelled, question)
        assert not is_wanted(second, question)
        assert is_wanted(second, commands[-1])

    def test_nothing_is_deployed_for_what_is_stopped_or_forgotten_but_everything_removed(self) -> None:
        building, commands = run(*TO_TRAINING[:4])
        stopped, removals = step(building, e.CancellationRequested())
        deployment = next(command for command in commands if isinstance(command, Deploy))
        removal = next(command for command in removals if isinstance(command, Undeploy))

        assert is_wanted(building, deployment)
        assert not is_wanted(settle(stopped, removals)[0], deployment)
        assert not is_wanted(None, deployment)
        ended, _ = settle(stopped, removals)
        retried, _ = step(ended, e.RetryRequested(stage="checking"))
        assert is_wanted(ended, Undeploy(f"observ{ID[:12]}"))
        assert not is_wanted(retried, Undeploy(f"observ{ID[:12]}"))
        assert is_wanted(None, removal)

    def test_a_deployment_that_was_interrupted_is_told_although_the_model_answers_already(self) -> None:
        serving, commands = run(*TO_SERVING)
        deployment = next(command for command in commands if isinstance(command, Deploy))
        stopping, _ = step(serving, SERVED)

        assert stopping.phase is Phase.STOPPING
        assert is_wanted(stopping, deployment)
        assert step(stopping, e.LeftoverFound(service=deployment.spec.name)) == (stopping, [])


class TestCancellation:
    @pytest.mark.parametrize("length", range(1, len(TO_SERVING) + 1))
    def test_in_any_phase_everything_is_removed(self, length: int) -> None:
        before, _ = run(*TO_SERVING[:length])

        project, commands = settle(*step(before, e.CancellationRequested(by="Ada")))

        assert project.phase is Phase.CANCELLED
        assert removed(commands) >= set(before.deployed)

    def test_an_ended_project_stays_as_it_ended(self) -> None:
        ended, _ = settle(*run(*TO_SERVING, SERVED))

        assert step(ended, e.CancellationRequested(by="Ada")) == (ended, [])


def _former(commands: Sequence[Command]) -> list[str]:
    """The aggregators whose checkpoints a new one may go on from."""
    specs = [command.spec for command in commands if isinstance(command, Deploy)]
    former: list[str] = next(spec.config["former"] for spec in specs if spec.role is Role.AGGREGATOR)
    return former


def _learner_failed(index: int) -> e.InstanceFailed:
    name = f"flearner{ID[:12]}"
    return e.InstanceFailed(service=name, role=Role.LEARNER, instance=f"{name}.{index}", reason="killed")


ANY_EVENT = st.sampled_from(
    [
        *TO_SERVING,
        SERVED,
        FOUND,
        e.RepositoryUnavailable(url=URL, reason="gone"),
        e.PlacementFailed(reason="no data"),
        e.BuildFailed(purpose="actors", step="resolve", reason="no"),
        e.TrainingFailed(reason="all gone"),
        e.InferenceFailed(reason="no"),
        e.CancellationRequested(by="Ada"),
        e.Warned(message="hm"),
        e.ServiceRemoved(service=f"aggr{ID[:12]}"),
        e.DeadlinePassed(deadline="deploying", after_s=1),
        _learner_failed(0),
        _learner_failed(1),
        e.InstanceCompleted(service=f"aggr{ID[:12]}", role=Role.AGGREGATOR, instance=f"aggr{ID[:12]}.0"),
        e.ProjectFailed(stage="x", reason="forged"),
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(ANY_EVENT, max_size=40))
def test_any_order_ends_well(events: list[e.Event]) -> None:
    """Terminal phases stay terminal, and in the end nothing is deployed but a served model."""
    project, ended = Project(ID), False
    for event in events:
        project, commands = step(project, event)
        assert not ended or not [c for c in commands if isinstance(c, Deploy)]
        project, _ = settle(project, [c for c in commands if isinstance(c, Undeploy | Announce)])
        assert not ended or project.phase.is_terminal
        ended = project.phase.is_terminal
    if ended:
        assert set(project.deployed) <= {f"trmodel{ID[:12]}"}


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY_EVENT, max_size=20))
def test_projects_and_commands_survive_storage(events: list[e.Event]) -> None:
    project = Project(ID)
    for event in events:
        project, commands = step(project, event)
        assert project_from_json(project_to_json(project)) == project
        assert [command_from_json(command_to_json(command)) for command in commands] == commands


def test_fields_of_a_later_version_are_ignored() -> None:
    project, _ = run(*TO_TRAINING)

    assert project_from_json({**project_to_json(project), "new": 1}) == replace(project)
