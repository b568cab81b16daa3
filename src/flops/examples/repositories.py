"""Turns the example ML repositories of the package into Git repositories that projects can be started from."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from flops.errors import NotFoundError, RepositoryUnavailableError

_SHIPPED: Final = Path(__file__).with_name("repositories")
_EMAIL: Final = "examples@flops.invalid"
_DATE: Final = "2026-01-01T00:00:00+00:00"
_IDENTITY: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "FLOps examples"), ("EMAIL", _EMAIL), ("DATE", _DATE))
}
_OWN_CONFIGURATION: Final = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}


def names() -> list[str]:
    """The shipped examples, sorted."""
    return sorted(folder.name for folder in _SHIPPED.iterdir() if (folder / "model_manager.py").is_file())


def create(name: str, directory: Path) -> str:
    """Make the example a Git repository ``directory/name`` and return its URL.

    Idempotent: the same version of FLOps gives the same commit. What an earlier version made is replaced, unless
    somebody has worked on it since.

    Raises:
        NotFoundError: there is no such example.
        RepositoryUnavailableError: the repository cannot be made, with Git's own reason.
    """
    if name not in names():
        raise NotFoundError("example", name, remedy=f"There are: {', '.join(names())}.")
    target = directory.absolute() / name
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".") as temporary:
            fresh = Path(temporary) / name
            _make(_SHIPPED / name, fresh)
            if not _stays(target, fresh):
                _replace(target, fresh)
    except OSError as error:
        raise RepositoryUnavailableError(target.as_uri(), f"it cannot be created ({error})") from error
    return target.as_uri()


def _make(shipped: Path, fresh: Path) -> None:
    shutil.copytree(shipped, fresh, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile)
    _git(fresh, "init", "--quiet", "--template=", "--initial-branch=main")
    _git(fresh, "add", "--all")
    _git(fresh, "commit", "--quiet", "--no-verify", "--message=Recognise handwritten digits")


def _stays(target: Path, fresh: Path) -> bool:
    """Whether ``target`` is the same commit already, or holds somebody's own work."""
    if not target.exists():
        return False
    if not (target / ".git").exists():
        raise RepositoryUnavailableError(
            target.as_uri(), "the folder is there but is no Git repository", remedy="Move or remove it."
        )
    if _git(target, "rev-parse", "HEAD") == _git(fresh, "rev-parse", "HEAD"):
        return True
    return bool(_git(target, "status", "--porcelain")) or _git(target, "log", "--format=%ae") != _EMAIL


def _replace(target: Path, fresh: Path) -> None:
    if target.exists():
        target.rename(fresh.with_name("outdated"))
    try:
        fresh.rename(target)
    except OSError:
        if not (target / ".git").exists():  # else another process was quicker with the same
            raise


def _git(repository: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    options = ("-c", "core.autocrlf=false", "-c", "commit.gpgSign=false", "-c", "core.fileMode=false")
    try:
        finished = subprocess.run(
            ["git", *options, *arguments],
            cwd=repository,
            env={**environment, **_IDENTITY, **_OWN_CONFIGURATION},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
    except FileNotFoundError:
        remedy = "Install Git and try again."
        raise RepositoryUnavailableError(
            repository.as_uri(), "there is no git on this machine", remedy=remedy
        ) from None
    except subprocess.CalledProcessError as error:
        raise RepositoryUnavailableError(repository.as_uri(), error.stderr.strip() or "git failed") from None
    return finished.stdout.strip()
