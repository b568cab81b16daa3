"""The command line at its edges: what goes to stdout, what to stderr, and which exit code ends it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.doubles.answers import ID, OTHER_ID, status

from flops.bootstrap import adapters, installation
from flops.cli.broker import write_client_options
from flops.cli.inbox import show_entry
from flops.errors import EXIT_UNREACHABLE, InvalidSlaError, NotFoundError, SlaFault, StoreUnavailableError
from flops.ports import StoredPartition
from flops.settings import BrokerAccess
from flops.sla_library import find_sla

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from tests.doubles.answers import Manager, Outcome


@dataclass
class StoredData:
    """A node's data server that keeps only how much is there."""

    stored: list[StoredPartition] = field(default_factory=list)

    def partitions(self, tags: list[str]) -> list[StoredPartition]:
        return [item for item in self.stored if item.tag in tags]

    def put(self, tag: str, name: str, table: pa.Table) -> StoredPartition:
        self.stored = [StoredPartition(tag, name, table.num_rows, table.nbytes)]
        return self.stored[0]


def entry(sequence: int, event_type: str = "service.warned", **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    fields = {
        "sequence": sequence,
        "time": "2030-01-01T10:00:00+00:00",
        "severity": "info",
        "text": f"entry {sequence}",
        "next_step": "",
        "details": "",
        "event_type": event_type,
    }
    return fields | changes


def test_the_version_is_that_of_the_distribution(flops: Callable[..., Outcome]) -> None:
    assert flops("--version").stdout == f"flops, version {version('flops-fl')}\n"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["projct"], "project"),
        (["project", "strat"], "start"),
        (["sla", "valdate"], "validate"),
        (["data", "lst"], "list"),
    ],
)
def test_an_unknown_command_is_answered_with_the_one_that_was_meant(
    flops: Callable[..., Outcome], typed: list[str], meant: str
) -> None:
    done = flops(*typed)
    assert done.exit_code == 2
    assert f"Did you mean '{meant}'?" in done.stderr
    assert done.stdout == ""


def test_a_wrong_command_line_is_json_where_json_was_asked_for(flops: Callable[..., Outcome]) -> None:
    done = flops("project", "show", "--json")
    assert done.exit_code == 2
    assert done.error["code"] == "usage"


def test_without_a_broker_the_remedy_is_to_start_it(flops: Callable[..., Outcome]) -> None:
    done = flops("project", "list", "--json")
    assert done.exit_code == 5
    assert done.error["code"] == "not-started"
    assert "flops up" in done.error["remedy"]


@pytest.mark.parametrize("command", [("predict", ID), ("data", "put", "tag")])
def test_a_name_that_no_file_can_have_is_no_file(flops: Callable[..., Outcome], command: tuple[str, ...]) -> None:
    assert flops(*command, "x" * 5_000, "--json").error["code"] == "not-found"


def test_an_argument_that_is_not_utf_8_is_a_wrong_command_line(flops: Callable[..., Outcome]) -> None:
    done = flops("logs", "caf\udce9", "--json")
    assert (done.exit_code, done.error["code"]) == (2, "usage")
    assert r"caf\udce9" in done.error["message"]


def test_a_file_whose_name_is_not_utf_8_can_be_named(flops: Callable[..., Outcome], tmp_path: Path) -> None:
    file = tmp_path / "caf\udce9.json"
    file.write_bytes(find_sla("digits_sklearn_small").read_bytes())
    assert flops("sla", "show", str(file)).exit_code == 0


def test_whatever_nobody_foresaw_is_one_error_whose_trace_can_be_reported(
    flops: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down() -> None:
        raise KeyError("nobody foresaw")

    monkeypatch.setattr(adapters, "read_settings", break_down)
    done = flops("apps", "--json")
    assert done.exit_code == 1
    assert done.error["code"] == "unexpected"
    assert "Traceback" not in done.stderr
    trace = Path(done.error["remedy"].split()[-1])
    assert "break_down" in trace.read_text()
    trace.unlink()
    again = flops("apps")
    assert "nobody foresaw" in again.stderr
    Path(again.stderr.split()[-1]).unlink()


def test_ctrl_c_ends_a_command_with_an_error_of_its_own(
    flops: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(adapters, "read_settings", interrupt)
    assert flops("apps").stderr.strip() == "Interrupted."
    done = flops("apps", "--json")
    assert (done.exit_code, done.error["code"]) == (130, "interrupted")


def test_a_project_is_started_and_only_its_id_is_on_stdout(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.replies["start"] = {"project_id": ID}
    done = flops("project", "start", "digits_sklearn_small")
    assert (done.exit_code, done.stdout) == (0, f"{ID}\n")
    assert f"flops project inbox {ID} -f" in done.stderr


def test_what_the_manager_refuses_ends_like_what_is_refused_here(
    flops: Callable[..., Outcome], manager: Manager
) -> None:
    manager.replies["start"] = InvalidSlaError([SlaFault("training_configuration.mode", "is not built yet")])
    done = flops("p", "--project-sla-file-name", "digits_sklearn_small.json", "--json")
    assert done.exit_code == 3
    error = done.error
    assert error["code"] == "sla.invalid"
    assert error["errors"][0]["path"] == "training_configuration.mode"


@pytest.mark.parametrize("given", [ID, "01234", "@latest"])
def test_a_project_is_named_by_its_id_its_beginning_or_as_the_latest(
    flops: Callable[..., Outcome], manager: Manager, given: str
) -> None:
    manager.replies["project"] = {"status": status(), "sla": {}, "services": []}
    done = flops("project", "show", given)
    assert manager.heard[-1] == ("project", {"project_id": ID})
    assert "97.22%" in done.stdout
    assert "5 of 5" in done.stdout


@pytest.mark.parametrize(("given", "remedy"), [("0123", OTHER_ID), ("zzz", "@latest")])
def test_a_name_that_is_no_project_is_answered_with_what_there_is(
    flops: Callable[..., Outcome], manager: Manager, given: str, remedy: str
) -> None:
    assert manager
    done = flops("project", "show", given)
    assert done.exit_code == 7
    assert remedy in done.stderr


def test_watching_ends_with_the_projects_own_exit_code(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.replies["inbox"] = {"entries": [entry(1), entry(2, "project.failed", severity="error")], "more": False}
    manager.replies["project"] = {"status": status(phase="failed")}
    done = flops("project", "inbox", ID, "-f", "--json")
    assert done.exit_code == 1
    assert [json.loads(line)["sequence"] for line in done.stdout.splitlines()] == [1, 2]


def test_a_project_that_ends_without_its_observer_is_not_watched_for_ever(
    flops: Callable[..., Outcome], manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flops.cli.inbox.POLL_S", 0.01)
    monkeypatch.setattr("flops.cli.inbox.SILENCE_S", 0.0)
    manager.replies["inbox"] = {"entries": [], "more": False}
    manager.replies["project"] = {"status": status(phase="failed"), "sla": {}, "services": []}
    done = flops("project", "inbox", ID, "-f")
    assert done.exit_code == 1
    assert f"flops project show {ID}" in done.stderr


def test_an_observer_that_hangs_is_waited_for_since_it_will_be_started_again(
    flops: Callable[..., Outcome], manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flops.cli.inbox.POLL_S", 0.01)
    monkeypatch.setattr("flops.cli.inbox.SILENCE_S", 0.0)
    observer = {"role": "observer", "instances": [{"state": "RUNNING"}]}
    hanging = {"status": status(phase="failed"), "services": [observer]}
    manager.replies["inbox"] = {"entries": [], "more": False}
    manager.pages["project"] = [hanging] * 5
    manager.replies["project"] = {"status": status(phase="failed"), "services": []}
    assert flops("project", "inbox", ID, "-f").exit_code == 1
    assert manager.pages["project"] == []


def test_of_a_retried_project_only_the_last_end_ends_the_watching(
    flops: Callable[..., Outcome], manager: Manager
) -> None:
    entries = [entry(1, "project.failed"), entry(2, "retry.requested"), entry(3, "project.completed")]
    manager.replies["inbox"] = {"entries": entries, "more": False}
    manager.replies["project"] = {"status": status(phase="completed")}
    done = flops("project", "inbox", ID, "-f", "--json")
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 3


def test_a_retry_is_watched_from_where_the_inbox_was(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.pages["project"] = [{"status": status(phase="failed", entries=2)}]
    manager.replies["project"] = {"status": status(phase="cancelled")}
    manager.replies["retry"] = {"stage": "building"}
    manager.replies["inbox"] = {"entries": [entry(3, "retry.requested"), entry(4, "project.cancelled")], "more": False}
    done = flops("project", "retry", ID, "--from-stage", "building", "--watch")
    assert done.exit_code == 4
    assert done.stdout.splitlines()[0] == f"{ID} goes on from the stage 'building'."
    assert ("inbox", {"project_id": ID, "after": 2, "limit": 500}) in manager.heard
    assert next(data for name, data in manager.heard if name == "retry")["from_stage"] == "building"


def test_without_a_stage_the_manager_chooses_it(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.replies |= {"project": {"status": status(phase="failed", entries=0)}, "retry": {"stage": "training"}}
    done = flops("project", "retry", ID, "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"project_id": ID, "stage": "training"})
    assert manager.heard[-1][1]["from_stage"] == ""


def test_a_stage_that_there_is_not_is_a_wrong_command_line(flops: Callable[..., Outcome]) -> None:
    assert flops("project", "retry", ID, "--from-stage", "stopping").exit_code == 2


def test_deleting_with_cancel_stops_first_and_waits_for_the_end(
    flops: Callable[..., Outcome], manager: Manager
) -> None:
    manager.replies |= {"cancel": {"phase": "stopping", "outcome": "cancelled"}, "delete": {}}
    manager.pages["project"] = [{"status": status(phase="stopping")}]
    manager.replies["project"] = {"status": status(phase="cancelled")}
    done = flops("project", "delete", ID, "--cancel")
    assert (done.exit_code, done.stdout) == (0, f"{ID} is deleted.\n")
    assert [name for name, _ in manager.heard] == ["cancel", "project", "project", "delete"]


def test_one_token_is_one_request_of_a_user_whoever_sends_it(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.replies["start"] = {"project_id": ID}
    for _ in range(2):
        assert flops("project", "start", "digits_sklearn_small", "--token", "nightly").exit_code == 0
    assert {(question.source, question.id) for question in manager.questions} == {("/user/Admin", "nightly")}
    flops("project", "start", "digits_sklearn_small")
    assert manager.questions[-1].id != "nightly"


def test_an_inbox_that_is_kept_no_more_is_told_of_and_not_waited_for(
    flops: Callable[..., Outcome], manager: Manager
) -> None:
    manager.replies["inbox"] = {"entries": [], "more": False}
    manager.replies["project"] = {"status": status(phase="completed", entries=1234)}
    for options in ((), ("-f",)):
        done = flops("project", "inbox", ID, *options)
        assert (done.exit_code, done.stdout) == (0, "")
        assert "The first 1,234 entries are kept no more" in done.stderr


def test_watching_goes_on_while_the_store_is_away(
    flops: Callable[..., Outcome], manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flops.cli.inbox.POLL_S", 0.01)
    monkeypatch.setattr("flops.cli.inbox.SILENCE_S", 0.0)
    manager.pages["inbox"] = [{"entries": [entry(1)], "more": False}] * 2
    manager.pages["project"] = [StoreUnavailableError("mongodb://h", "it is away")] * 3
    manager.replies["inbox"] = {"entries": [entry(2, "project.completed")], "more": False}
    manager.replies["project"] = {"status": status(phase="completed")}
    done = flops("project", "inbox", ID, "-f", "--json")
    assert done.exit_code == 0
    assert [json.loads(line)["sequence"] for line in done.stdout.splitlines()] == [1, 2]


def test_ctrl_c_detaches_and_says_how_to_come_back(
    flops: Callable[..., Outcome], manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    manager.replies["inbox"] = {"entries": [entry(1)], "more": False}
    monkeypatch.setattr("flops.cli.project.show_entry", interrupt)
    done = flops("project", "inbox", ID, "-f")
    assert done.exit_code == 130
    assert f"flops project inbox {ID} -f" in done.stderr


def test_an_inbox_is_read_from_an_entry_a_moment_or_a_severity_on(
    flops: Callable[..., Outcome], manager: Manager
) -> None:
    late = {"time": "2030-01-02T10:00:00+00:00"}
    entries = [entry(3), entry(4, severity="warning"), entry(5, severity="error", **late), entry(6, **late)]
    manager.replies["inbox"] = {"entries": entries, "more": False}

    def shown(*options: str) -> list[int]:
        return [
            json.loads(line)["sequence"]
            for line in flops("project", "inbox", ID, "--json", *options).stdout.splitlines()
        ]

    assert shown("--severity", "warning") == [4, 5]
    assert shown("--since", "2030-01-01T11:00:00+00:00") == [5, 6]
    shown("--after", "4")
    assert manager.heard[-1][1]["after"] == 4


def test_logs_of_an_unknown_service_name_the_closest_one(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.replies["logs"] = NotFoundError("service or instance", "trmdel1")
    manager.replies["services"] = {"services": [{"name": "trmodel1", "instances": [{"id": "trmodel1.0"}]}]}
    done = flops("logs", "trmdel1")
    assert done.exit_code == 7
    assert "Did you mean 'trmodel1'?" in done.stderr


def test_services_of_an_unknown_app_are_not_none_but_a_mistake(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.replies |= {"services": {"services": []}, "apps": {"apps": [{"name": "observatory", "user": "Ada"}]}}
    assert flops("services", "--app", "observatory").exit_code == 0
    done = flops("services", "--app", "observatry")
    assert done.exit_code == 7
    assert "Did you mean 'observatory'?" in done.stderr


def test_a_model_that_is_not_served_yet_is_answered_with_why(
    flops: Callable[..., Outcome], manager: Manager, tmp_path: Path
) -> None:
    manager.replies["project"] = {"status": status(phase="training"), "sla": {}, "services": []}
    rows = tmp_path / "rows.json"
    rows.write_text("[[1]]")
    done = flops("predict", ID, str(rows))
    assert done.exit_code == 7
    assert "The project is training" in done.stderr


@pytest.mark.parametrize(("file", "exit_code"), [("missing.csv", 7), ("notes.md", 3)])
def test_a_file_that_cannot_be_asked_about_is_refused_before_anybody_is_asked(
    flops: Callable[..., Outcome], tmp_path: Path, file: str, exit_code: int
) -> None:
    (tmp_path / "notes.md").write_text("text")
    assert flops("predict", ID, str(tmp_path / file)).exit_code == exit_code


@pytest.mark.parametrize("name", ["digits_sklearn_small", "digits_multi"])
def test_a_shipped_sla_of_either_kind_is_valid_and_shown(flops: Callable[..., Outcome], name: str) -> None:
    assert flops("sla", "validate", name).exit_code == 0
    assert json.loads(flops("sla", "show", name, "--json").stdout)["customerID"] == "Admin"


def test_validating_tells_what_is_not_built_yet(flops: Callable[..., Outcome], tmp_path: Path) -> None:
    sla = json.loads(flops("sla", "show", "digits_sklearn_small").stdout)
    sla["training_configuration"]["mode"] = "hierarchical"
    file = tmp_path / "sla.json"
    file.write_text(json.dumps(sla))
    done = flops("sla", "validate", str(file))
    assert done.exit_code == 3
    assert "not built yet" in done.stderr


def test_an_entry_shows_its_next_step_and_the_end_of_its_details(capsys: pytest.CaptureFixture[str]) -> None:
    details = "\n".join(f"line {number}" for number in range(40))
    show_entry(entry(1, severity="error", details=details, next_step="Mend it."))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].endswith("✗ entry 1")
    assert shown[-1].endswith("→ Mend it.")
    assert "line 0" in shown[1]
    assert "25 lines more" in shown[7]
    assert "line 39" in shown[-2]
    assert len(shown) == 18


@pytest.mark.parametrize(
    ("url", "ca_file", "lines"),
    [
        ("mqtt://broker.example.org", "", ["-h broker.example.org", "-p 1883", "-u ada", "-P secret"]),
        ("mqtts://b:1", "/ca.pem", ["-h b", "-p 1", "-u ada", "-P secret", "--cafile /ca.pem"]),
        ("mqtts://b:1", "", ["-h b", "-p 1", "-u ada", "-P secret", "--tls-use-os-certs"]),
    ],
)
def test_mosquittos_clients_are_told_how_to_reach_the_broker(
    tmp_path: Path, url: str, ca_file: str, lines: list[str]
) -> None:
    folder = write_client_options(BrokerAccess(url, "ada", "secret", ca_file), tmp_path / "clients")
    for client in ("mosquitto_pub", "mosquitto_sub"):
        assert (folder / client).read_text().splitlines() == lines
        assert (folder / client).stat().st_mode & 0o777 == 0o600


def test_the_brokers_password_is_not_printed(
    flops: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    monkeypatch.setenv("FLOPS_BROKER_URL", "mqtt://b")
    monkeypatch.setenv("FLOPS_BROKER_USERNAME", "ada")
    monkeypatch.setenv("FLOPS_BROKER_PASSWORD_FILE", str(password))
    for arguments in ([], ["--json"], ["--clients"]):
        done = flops("broker", *arguments)
        assert done.exit_code == 0
        assert "secret" not in done.stdout + done.stderr
    assert done.stdout == f"{tmp_path / 'home' / 'run' / 'clients'}\n"


@pytest.mark.parametrize(("phase", "text"), [("stopping", "is being stopped"), ("completed", "is completed already")])
def test_cancelling_says_what_comes_of_it(
    flops: Callable[..., Outcome], manager: Manager, phase: str, text: str
) -> None:
    manager.replies["cancel"] = {"phase": phase}
    assert text in flops("project", "cancel", ID).stdout


def test_what_is_about_to_be_completed_is_not_said_to_be_cancelled(
    flops: Callable[..., Outcome], manager: Manager
) -> None:
    manager.replies["cancel"] = {"phase": "stopping", "outcome": "completed"}
    assert "about to be completed already" in flops("project", "cancel", ID).stdout


def test_all_pages_of_projects_are_listed(flops: Callable[..., Outcome], manager: Manager) -> None:
    first, second = {"projects": [status()], "next": "cursor"}, {"projects": [status(project_id=OTHER_ID)], "next": ""}
    manager.pages["projects"] = [first, second]

    listed = json.loads(flops("project", "list", "--json").stdout)

    assert [item["project_id"] for item in listed] == [ID, OTHER_ID]
    assert [question["after"] for _, question in manager.heard] == ["", "cursor"]


def test_a_user_without_projects_is_named(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.replies["projects"] = {"projects": []}
    done = flops("project", "list", "--user", "Bob")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "Bob has no projects" in done.stderr


def test_data_are_not_put_while_flops_is_down(flops: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("x\n1\n")

    outcome = flops("data", "put", "tag", str(tmp_path / "mine.csv"))

    assert outcome.exit_code == EXIT_UNREACHABLE
    assert "flops up" in outcome.stderr


def test_putting_data_again_says_what_it_replaces(
    flops: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = StoredData()
    monkeypatch.setattr(adapters, "training_data", lambda _: lambda _: server)
    monkeypatch.setattr(installation, "is_up", lambda _: True)
    file = tmp_path / "mine.csv"
    file.write_text("x\n1\n2\n")
    first = flops("data", "put", "tag", str(file))
    file.write_text("x\n1\n")

    second = flops("data", "put", "tag", str(file))

    assert "place" not in first.stdout
    assert "1 examples are stored as tag/mine on node local, in place of the 2 that were there." in second.stdout
