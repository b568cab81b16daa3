import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flops.errors import NotFoundError, RepositoryUnavailableError
from flops.examples.repositories import create, names


def git(repository: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Me", "-c", "user.email=me@example.org"]
    command = ["git", "-C", str(repository), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("name", names())
def test_every_example_is_a_repository_of_one_commit(name: str, tmp_path: Path) -> None:
    url = create(name, tmp_path)

    git(tmp_path, "clone", "--quiet", url, "clone")
    assert {"model_manager.py", "data_manager.py", "requirements.txt", "README.md"} <= {
        file.name for file in (tmp_path / "clone").iterdir()
    }
    assert git(tmp_path / "clone", "rev-list", "--count", "HEAD") == "1"


def test_the_examples() -> None:
    assert names() == ["digits_keras", "digits_sklearn", "digits_tensorflow"]


def test_the_same_version_gives_the_same_commit(tmp_path: Path) -> None:
    create("digits_sklearn", tmp_path / "first")
    create("digits_sklearn", tmp_path / "second")

    assert git(tmp_path / "first/digits_sklearn", "rev-parse", "HEAD") == git(
        tmp_path / "second/digits_sklearn", "rev-parse", "HEAD"
    )


def test_the_users_git_configuration_and_hooks_play_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-commit").chmod(0o755)
    (tmp_path / ".gitconfig").write_text(f"[core]\nhooksPath = {hooks}\nautocrlf = true\n[commit]\ngpgSign = true\n")
    create("digits_sklearn", tmp_path / "before")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_AUTHOR_DATE", "2001-01-01T00:00:00")

    create("digits_sklearn", tmp_path / "after")

    monkeypatch.undo()
    assert git(tmp_path / "after/digits_sklearn", "rev-parse", "HEAD") == git(
        tmp_path / "before/digits_sklearn", "rev-parse", "HEAD"
    )


def test_again_changes_nothing(tmp_path: Path) -> None:
    url = create("digits_sklearn", tmp_path)
    index = (tmp_path / "digits_sklearn/.git/index").stat()

    assert create("digits_sklearn", tmp_path) == url == (tmp_path / "digits_sklearn").as_uri()

    assert (tmp_path / "digits_sklearn/.git/index").stat().st_ino == index.st_ino
    assert [entry.name for entry in tmp_path.iterdir()] == ["digits_sklearn"]


@pytest.mark.parametrize("is_committed", [True, False])
def test_somebodys_own_work_stays(tmp_path: Path, *, is_committed: bool) -> None:
    create("digits_sklearn", tmp_path)
    repository = tmp_path / "digits_sklearn"
    (repository / "model_manager.py").write_text("# mine\n")
    if is_committed:
        git(repository, "commit", "--quiet", "--all", "--message", "Try something")

    create("digits_sklearn", tmp_path)

    assert (repository / "model_manager.py").read_text() == "# mine\n"


def test_what_an_earlier_version_made_is_replaced(tmp_path: Path) -> None:
    create("digits_sklearn", tmp_path)
    repository = tmp_path / "digits_sklearn"
    (repository / "README.md").write_text("An earlier version.\n")
    author = "FLOps examples <examples@flops.invalid>"
    git(repository, "commit", "--quiet", "--all", "--amend", f"--author={author}", "--message", "Earlier")

    create("digits_sklearn", tmp_path)

    assert "An earlier version" not in (repository / "README.md").read_text()
    assert git(repository, "status", "--porcelain") == ""


def test_made_by_several_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        urls = set(pool.map(lambda _: create("digits_sklearn", tmp_path), range(4)))

    assert len(urls) == 1
    assert git(tmp_path / "digits_sklearn", "status", "--porcelain") == ""


def test_an_unknown_example(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"There are: digits_keras, digits_sklearn, digits_tensorflow\."):
        create("../digits_sklearn", tmp_path)


def test_a_folder_that_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "digits_sklearn").mkdir()

    with pytest.raises(RepositoryUnavailableError, match="no Git repository"):
        create("digits_sklearn", tmp_path)


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(RepositoryUnavailableError, match="cannot be created"):
        create("digits_sklearn", tmp_path / "file" / "below")


def test_a_machine_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(RepositoryUnavailableError, match="no git on this machine"):
        create("digits_sklearn", tmp_path)
