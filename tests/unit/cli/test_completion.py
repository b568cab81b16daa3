"""Shells are offered live ids, and nothing at all where nobody answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.doubles.answers import ID, OTHER_ID, status

from flops.cli.completion import SHELLS
from flops.cli.session import project_name
from flops.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.doubles.answers import Manager, Outcome

CHECKS = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}


@pytest.fixture
def complete(flops: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    def run(line: str) -> list[str]:
        with monkeypatch.context() as patched:
            patched.setenv("_FLOPS_COMPLETE", "bash_complete")
            patched.setenv("COMP_WORDS", line)
            patched.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
            done = flops()
        assert done.stderr == ""
        return [item.partition(",")[2] for item in done.stdout.splitlines() if item]

    return run


def test_ids_of_projects_are_offered(complete: Callable[[str], list[str]], manager: Manager) -> None:
    assert manager
    assert complete("flops project show ") == [ID, OTHER_ID, "@latest"]
    assert complete("flops project inbox 0123f") == [OTHER_ID]
    assert complete("flops predict @") == ["@latest"]
    assert complete("flops predict y") == ["y@latest"]


def test_instances_are_offered(complete: Callable[[str], list[str]], manager: Manager) -> None:
    manager.replies["services"] = {
        "services": [{"name": "trm1", "role": "inference", "instances": [{"id": "trm1.0", "state": "running"}]}]
    }
    assert complete("flops logs tr") == ["trm1.0"]


def test_where_nothing_is_up_nothing_is_offered_or_said(complete: Callable[[str], list[str]]) -> None:
    assert complete("flops project show ") == []
    assert complete("flops --config /nowhere logs ") == []


def test_commands_options_and_slas_are_offered(complete: Callable[[str], list[str]]) -> None:
    assert "start" in complete("flops project st")
    assert "--watch" in complete("flops project start --w")
    assert "digits_sklearn_small" in complete("flops project start digits_sk")
    assert "digits_multi" in complete("flops mock-data digits_m")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_one_that_its_shell_can_read(flops: Callable[..., Outcome], shell: str) -> None:
    done = flops("completion", shell)
    assert (done.exit_code, "_FLOPS_COMPLETE" in done.stdout) == (0, True)
    if shutil.which(shell):
        subprocess.run(CHECKS[shell], input=done.stdout, text=True, check=True, timeout=10)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("example://digits_sklearn", "digits_sklearn"),
        ("https://host/owner/Repo.git@main", "Repo"),
        ("git@host:owner/repo", "repo"),
        ("git@host:repo.git", "repo"),
        ("/srv/git/mine/", "mine"),
        ("", ""),
    ],
)
def test_a_project_is_called_by_its_repository(url: str, name: str) -> None:
    assert project_name({"ml_repo_url": url}) == name


@pytest.mark.parametrize(("given", "found"), [("digits", ID), ("other@latest", OTHER_ID)])
def test_a_name_stands_for_a_project(flops: Callable[..., Outcome], manager: Manager, given: str, found: str) -> None:
    urls = {ID: "example://digits", OTHER_ID: "example://other", "f" * 24: "example://other"}
    listed = [status(project_id=key, ml_repo_url=url) for key, url in urls.items()]
    manager.replies |= {"projects": {"projects": listed}, "project": {"status": status(), "sla": {}, "services": []}}
    assert flops("project", "show", given).exit_code == 0
    assert manager.heard[-1] == ("project", {"project_id": found})


def test_a_name_that_several_have_is_refused_with_what_to_write(
    flops: Callable[..., Outcome], manager: Manager
) -> None:
    assert manager
    done = flops("project", "show", "y")
    assert (done.exit_code, "'y@latest' is the latest of them" in done.stderr) == (7, True)


def test_the_beginning_of_a_service_is_enough_for_its_logs(flops: Callable[..., Outcome], manager: Manager) -> None:
    service = {"name": "trm1", "role": "inference", "instances": [{"id": "trm1.0", "state": "running"}]}
    manager.replies |= {"services": {"services": [service]}, "logs": {"text": "hello\n"}}
    manager.pages["logs"] = [NotFoundError("service or instance", "tr")]
    done = flops("logs", "tr")
    assert (done.stdout, manager.heard[-1][1]["service"]) == ("hello\n", "trm1")


ASK_SHELLS = {
    "bash": 'COMP_WORDS=(flops project start digits_s); COMP_CWORD=3; _flops_completion flops; echo "${COMPREPLY[@]}"',
    "fish": "complete -C 'flops project start digits_s'",
}


@pytest.mark.parametrize("shell", ASK_SHELLS)
def test_a_shell_that_has_read_its_script_offers_shipped_slas_beside_files(
    flops: Callable[..., Outcome], shell: str, tmp_path: Path
) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    asked = subprocess.run(
        [shell, "-c", f"{flops('completion', shell).stdout}\n{ASK_SHELLS[shell]}"],
        env={**os.environ, "PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert asked.stdout.split() == ["digits_sklearn_small"]
