from __future__ import annotations

import json
from collections import Counter

from flops.adapters.local_processes.environment import passed_through
from flops.adapters.local_processes.launch import choose_cpus
from flops.adapters.local_processes.process import Backoff, ProcessSpec, ProcessStatus, RestartPolicy
from flops.project.deployment import InstanceState, Resources


def test_a_specification_survives_json() -> None:
    spec = ProcessSpec(
        "observ1.0", ("sh", "-c", "true"), "/x", "/x.log", {"A": "1"}, {"f": "t"}, RestartPolicy.ON_FAILURE, 3,
        "observ1", "node1", Resources(1, 0.5, 2), 5.0,
    )  # fmt: skip
    assert ProcessSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_status_survives_json() -> None:
    status = ProcessStatus("observ1.0", "observ1", "node1", InstanceState.FAILED, 2, "exit code 3", 3, 0)
    assert ProcessStatus.from_json(json.loads(json.dumps(status.to_json()))) == status


def test_a_backoff_doubles_up_to_its_bound() -> None:
    backoff = Backoff(first_s=0.2, longest_s=1.0)
    assert [backoff.after(0.1) for _ in range(5)] == [0.2, 0.4, 0.8, 1.0, 1.0]


def test_a_backoff_begins_anew_after_a_long_run() -> None:
    backoff = Backoff(first_s=0.2, longest_s=1.0, reset_after_s=30)
    for _ in range(3):
        backoff.after(1)
    assert backoff.runs_in_a_row == 3
    assert backoff.after(30) == 0.2
    assert backoff.runs_in_a_row == 1


def test_a_backoff_goes_on_counting_from_where_another_ended() -> None:
    backoff = Backoff(reset_after_s=30, runs_in_a_row=2)
    backoff.after(1)
    assert backoff.runs_in_a_row == 3


def test_settings_and_ways_out_are_passed_through_but_no_other_secrets() -> None:
    environment = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "https_proxy": "p",
        "NO_PROXY": "n",
        "UV_CACHE_DIR": "u",
        "FLOPS_LOG_LEVEL": "DEBUG",
        "FLOPS_INSTANCE": "observ1.0",
        "FLOPS_SERVICE_FILE": "/x",
        "AWS_SECRET_ACCESS_KEY": "s",
        "HF_TOKEN": "t",
        "PYTHONPATH": "/elsewhere",
    }
    assert set(passed_through(environment)) == {
        "PATH", "LC_ALL", "https_proxy", "NO_PROXY", "UV_CACHE_DIR", "FLOPS_LOG_LEVEL",
    }  # fmt: skip


def test_processors_are_rounded_up_and_the_least_used_come_first() -> None:
    assert choose_cpus(1.5, Counter({0: 2, 1: 0, 2: 1, 3: 0}), {0, 1, 2, 3}) == {1, 3}


def test_no_bound_or_one_beyond_the_machine_means_all_processors() -> None:
    assert choose_cpus(0, Counter(), {0, 1}) == frozenset()
    assert choose_cpus(2, Counter(), {0, 1}) == frozenset()
