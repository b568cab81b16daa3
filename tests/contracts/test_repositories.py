"""What every Repositories adapter promises, on real Git repositories."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from tests.ml_repositories import commit_files, git, make_repository

from flops.adapters.git import GitRepositories
from flops.errors import RepositoryUnavailableError, RepositoryUnreachableError, StoppingError

if TYPE_CHECKING:
    from pathlib import Path

    from flops.ports import Repositories


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository with two commits, a branch and both kinds of tag."""
    directory = tmp_path / "source"
    make_repository(directory, {"file": "first"})
    git(directory, "tag", "light")
    git(directory, "tag", "--annotate", "release/1.0", "--message", "A release")
    git(directory, "branch", "feature/x")
    commit_files(directory, {"file": "second", "sub/other": "text"})
    return directory


@pytest.fixture
def repositories(tmp_path: Path) -> Repositories:
    return GitRepositories({**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}, examples=tmp_path / "examples")


def first_commit(source: Path) -> str:
    return git(source, "rev-list", "--max-parents=0", "HEAD")


def test_without_a_ref_the_default_branch_is_meant(repositories: Repositories, source: Path) -> None:
    assert repositories.resolve(str(source)) == git(source, "rev-parse", "main")


@pytest.mark.parametrize("ref", ["light", "release/1.0", "feature/x", "refs/heads/feature/x"])
def test_a_branch_or_tag_stands_for_its_commit(repositories: Repositories, source: Path, ref: str) -> None:
    assert repositories.resolve(f"{source}@{ref}") == first_commit(source)


def test_a_full_hash_stands_for_itself(repositories: Repositories, source: Path) -> None:
    commit = first_commit(source)
    assert repositories.resolve(f"{source}@{commit}") == commit


def test_file_urls_are_taken(repositories: Repositories, source: Path) -> None:
    assert repositories.resolve(f"file://{source}@light") == first_commit(source)


def test_examples_are_found_by_name(repositories: Repositories, tmp_path: Path) -> None:
    commit = make_repository(tmp_path / "examples" / "digits", {"file": "x"})
    assert repositories.resolve("example://digits") == commit
    assert repositories.resolve(f"example://digits@{commit}") == commit
    assert repositories.resolve("example://digits@HEAD") == commit
    with pytest.raises(RepositoryUnavailableError, match="flops examples"):
        repositories.resolve("example://other")


def test_exactly_the_commit_is_checked_out(repositories: Repositories, source: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    repositories.clone(str(source), first_commit(source), into)
    assert (into / "file").read_text() == "first"
    assert git(into, "rev-parse", "HEAD") == first_commit(source)
    assert not (into / "sub").exists()


def test_a_commit_that_no_branch_points_to_any_more_is_still_the_one(
    repositories: Repositories, source: Path, tmp_path: Path
) -> None:
    commit = git(source, "rev-parse", "HEAD")
    commit_files(source, {"file": "third"})
    into = tmp_path / "into"
    into.mkdir()
    repositories.clone(f"file://{source}", commit, into)
    assert (into / "file").read_text() == "second"


def test_a_server_that_hands_out_tips_only_still_gives_the_commit(source: Path, tmp_path: Path) -> None:
    git(source, "config", "uploadpack.allowAnySHA1InWant", "false")
    git(source, "config", "uploadpack.allowReachableSHA1InWant", "false")
    git(source, "config", "protocol.version", "0")
    environment = {**os.environ, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.version"}
    into = tmp_path / "into"
    into.mkdir()
    commit_files(source, {"file": "third"})
    commit = git(source, "rev-parse", "HEAD~1")
    GitRepositories({**environment, "GIT_CONFIG_VALUE_0": "0"}).clone(f"file://{source}", commit, into)
    assert (into / "file").read_text() == "second"


@pytest.mark.parametrize("ref", ["missing", "a" * 10, "abcdef1"])
def test_a_ref_that_is_not_there_is_told(repositories: Repositories, source: Path, ref: str) -> None:
    with pytest.raises(RepositoryUnavailableError) as caught:
        repositories.resolve(f"{source}@{ref}")
    assert ref in caught.value.reason
    assert caught.value.remedy


def test_a_commit_that_is_not_there_is_told(repositories: Repositories, source: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(RepositoryUnavailableError) as caught:
        repositories.clone(str(source), "a" * 40, into)
    assert "a" * 40 in caught.value.reason


@pytest.mark.parametrize("commit", ["", "main", "--upload-pack=touch", "abcdef1"])
def test_only_full_hashes_are_cloned(repositories: Repositories, source: Path, tmp_path: Path, commit: str) -> None:
    with pytest.raises(RepositoryUnavailableError):
        repositories.clone(str(source), commit, tmp_path / "into")


def test_an_empty_repository_has_no_commit(repositories: Repositories, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "--quiet")
    with pytest.raises(RepositoryUnavailableError, match="no commit yet"):
        repositories.resolve(str(tmp_path / "empty"))


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_repository_that_is_not_there_is_told(repositories: Repositories, tmp_path: Path, form: str) -> None:
    url = form.format(tmp_path / "missing")
    with pytest.raises(RepositoryUnavailableError) as caught:
        repositories.resolve(url)
    assert caught.value.url == url
    assert not caught.value.retryable
    assert "not appear to be a git repository" in caught.value.reason
    assert caught.value.remedy.startswith("Check the path")


@pytest.mark.parametrize("url", ["https://127.0.0.1:1/o/r", "git://127.0.0.1:1/o/r", "ssh://git@127.0.0.1:1/o/r"])
def test_a_host_that_does_not_answer_is_told(repositories: Repositories, url: str) -> None:
    with pytest.raises(RepositoryUnreachableError) as caught:
        repositories.resolve(url)
    assert "refused" in caught.value.reason or "connect" in caught.value.reason
    assert caught.value.remedy


def test_a_server_that_keeps_silent_is_given_up(source: Path) -> None:
    hanging = {**os.environ, "GIT_SSH_COMMAND": "sleep 60 #"}
    with pytest.raises(RepositoryUnreachableError, match=r"did not answer within 0\.3 s"):
        GitRepositories(hanging, list_timeout_s=0.3).resolve(f"git@example.org:{source}")


def test_stopping_ends_git_at_once(source: Path) -> None:
    stopping = threading.Event()
    hanging = {**os.environ, "GIT_SSH_COMMAND": "sleep 60 #"}
    threading.Timer(0.2, stopping.set).start()
    with pytest.raises(StoppingError):
        GitRepositories(hanging, stopping=stopping).resolve(f"git@example.org:{source}")


def test_the_users_own_ssh_command_is_used(source: Path, tmp_path: Path) -> None:
    script = tmp_path / "ssh"
    script.write_text('#!/bin/sh\nshift $(($# - 1))\nexec sh -c "$1"\n')
    script.chmod(0o700)
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\n\tsshCommand = {script}\n[safe]\n\tdirectory = *\n")
    repositories = GitRepositories(
        {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": str(config), "HOME": str(tmp_path)}
    )
    assert repositories.resolve(f"git@example.org:{source}") == git(source, "rev-parse", "HEAD")


def test_nothing_runs_while_cloning(source: Path, tmp_path: Path) -> None:
    """Neither hooks from a template nor what the repository itself brings."""
    template = tmp_path / "template" / "hooks"
    template.mkdir(parents=True)
    hook = template / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o700)
    into = tmp_path / "into"
    into.mkdir()
    environment = {**os.environ, "GIT_TEMPLATE_DIR": str(template.parent)}
    GitRepositories(environment).clone(str(source), first_commit(source), into)
    assert (into / "file").exists()
    assert not (tmp_path / "ran").exists()
