"""A project at a glance: what its status says is true."""

from __future__ import annotations

import pytest

from flops.project.deployment import NAME_PREFIX, Role
from flops.project.glance import first_status, follow
from flops.wire import events as e

NOW = "2026-01-01T00:00:00+00:00"
SERVER = f"{NAME_PREFIX[Role.INFERENCE]}0123456789ab"
SERVING = follow(first_status("0" * 24, NOW), e.InferenceReady(url="http://127.0.0.1:1"), NOW)


def test_a_model_that_is_not_served_any_more_has_no_url_but_a_reason() -> None:
    failed = e.InstanceFailed(service=SERVER, role=Role.INFERENCE, instance=f"{SERVER}.0", reason="exit code 1")

    status = follow(SERVING, failed, NOW)

    assert (status.inference_url, status.reason) == ("", "the inference server crashed (exit code 1)")


@pytest.mark.parametrize(
    "event",
    [
        e.ServiceRemoved(service=SERVER),
        e.InstanceCompleted(service=SERVER, role=Role.INFERENCE, instance=f"{SERVER}.0"),
    ],
)
def test_a_model_whose_server_is_gone_has_no_url(event: e.Event) -> None:
    assert follow(SERVING, event, NOW).inference_url == ""


def test_what_becomes_of_other_services_leaves_the_url() -> None:
    assert follow(SERVING, e.ServiceRemoved(service="aggr0123456789ab"), NOW).inference_url == "http://127.0.0.1:1"


def test_an_end_is_when_the_project_ended_whatever_is_told_later() -> None:
    ended = follow(SERVING, e.PhaseEntered(phase="completed"), "2026-01-02T00:00:00+00:00")
    later = follow(ended, e.InferenceReady(url="http://127.0.0.1:2"), "2026-01-03T00:00:00+00:00")
    assert (later.ended, later.updated) == ("2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00")
    assert follow(later, e.PhaseEntered(phase="checking"), NOW).ended == ""
