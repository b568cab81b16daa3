"""ML repositories through the git command line, with the user's own credentials and never with a question."""

from __future__ import annotations

import os
import re
from functools import cached_property
from typing import TYPE_CHECKING, Final

from flops.child_process import FinishedChild, run_child
from flops.errors import RepositoryUnavailableError, RepositoryUnreachableError
from flops.repository.address import (
    EXAMPLE,
    RepositoryAddress,
    is_full_hash,
    parse_address,
    without_credentials,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from pathlib import Path

LIST_TIMEOUT_S: Final = 60.0
CLONE_TIMEOUT_S: Final = 1800.0
_SSH_COMMAND: Final = "ssh -o BatchMode=yes -o ConnectTimeout=20"
# Set when FLOps itself is run from a git hook; they would point git to the wrong repository.
_POINTERS: Final = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"})
_SHORT_HASH: Final = re.compile(r"[0-9a-f]{7,39}")
_NOISE: Final = re.compile(r"^(?:fatal|error|remote|warning|hint|ERROR):\s*")
_GENERIC: Final = re.compile(r"Could not read from remote repository|Please make sure|and the repository exists")
_ACCESS: Final = (
    "If the repository is private, give the user who runs FLOps a git credential helper or an SSH key that may read "
    "it; 'git ls-remote URL' tells. If it is public, check the spelling."
)
_LOCAL: Final = "Check the path: it has to be a Git repository on this machine that the user who runs FLOps may read."
_REACH: Final = "Check that the host can be reached from this machine (VPN, proxy, firewall) and try again."
_FULL: Final = "No space left on device"
# What git says, and what to try: the first that matches is told to the user.
_REMEDIES: Final = (
    (r"could not read Username|Authentication failed|prompts disabled|HTTP 40[13]|returned error: 40[13]", _ACCESS),
    (r"Permission denied|publickey", _ACCESS),
    (r"Host key verification failed", "Connect once by hand with 'ssh HOST' to accept the host's key."),
    (r"Could not resolve host|Name or service not known|name resolution", "Check the spelling of the host. " + _REACH),
    (r"dubious ownership", "Run 'git config --global --add safe.directory PATH' as the user who runs FLOps."),
    (_FULL, "Free disk space, or point FLOPS_HOME to a larger disk."),
    (r"not found|does not exist|not appear to be a git repository|returned error: 404", _ACCESS),
    (
        r"Connection refused|timed out|Network is unreachable|No route to host|unable to access|unable to connect",
        _REACH,
    ),
)
# What may have passed when git is asked again. A name that cannot be resolved may be misspelt, or the network be down.
_PASSING: Final = re.compile(
    r"Could not resolve host|Name or service not known|name resolution|Connection (?:refused|reset|closed|timed out)"
    r"|timed out|Network is unreachable|No route to host|unable to connect|returned error: (?:429|5\d\d)|early EOF"
    r"|RPC failed|hung up unexpectedly|Failed to connect",
    re.IGNORECASE,
)
_REFUSED: Final = re.compile(rf"{_FULL}|Permission denied|publickey|Host key verification failed", re.IGNORECASE)


class GitRepositories:
    """Fulfils ``Repositories``. ``examples`` is where the repositories behind ``example://`` are."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        examples: Path | None = None,
        stopping: threading.Event | None = None,
        list_timeout_s: float = LIST_TIMEOUT_S,
        clone_timeout_s: float = CLONE_TIMEOUT_S,
    ) -> None:
        self._given_environment = dict(os.environ if environment is None else environment)
        self._examples, self._stopping = examples, stopping
        self._list_timeout_s, self._clone_timeout_s = list_timeout_s, clone_timeout_s

    def resolve(self, url: str) -> str:
        """See the port. A full hash stands for itself once the repository has answered."""
        address = parse_address(url)
        patterns = [] if not address.ref or address.commit else [address.ref, f"{address.ref}^{{}}"]
        listed = self._git(url, ["ls-remote", "--", self._location(address), *patterns], self._list_timeout_s)
        if address.commit:
            return address.commit
        lines = (line.partition("\t") for line in listed.output.splitlines())
        commits = {name: commit for commit, _, name in lines}
        commit = _chosen(commits, address.ref)
        if commit is None:
            raise _no_such_commit(url, address.ref)
        return commit

    def clone(self, url: str, commit: str, into: Path) -> None:
        """See the port. Only this commit is fetched where the server allows that."""
        if not is_full_hash(commit):
            raise _no_such_commit(url, commit)
        location = self._location(parse_address(url))
        object_format = "sha256" if len(commit) == len("0" * 64) else "sha1"
        self._git(url, ["init", "--quiet", "--template=", f"--object-format={object_format}", "--", str(into)])
        within = ["-C", str(into), "-c", "advice.detachedHead=false"]
        fetched = self._try([*within, "fetch", "--quiet", "--depth=1", "--no-tags", "--", location, commit])
        if not fetched.succeeded:
            self._fetch_everything(url, within, location)
        checked_out = self._try([*within, "checkout", "--quiet", "--detach", commit, "--"])
        if not checked_out.succeeded:
            if re.search(r"unable to read tree|not a tree|reference is not", checked_out.errors):
                raise _no_such_commit(url, commit)
            raise _failure(url, checked_out, self._clone_timeout_s)
        head = self._git(url, [*within, "rev-parse", "--verify", "HEAD"]).output.strip()
        if head != commit:
            raise RepositoryUnavailableError(without_credentials(url), f"it gave commit {head} instead of {commit}")

    def _fetch_everything(self, url: str, within: list[str], location: str) -> None:
        """For servers that hand out only what a branch or tag points to."""
        references = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
        self._git(url, [*within, "fetch", "--quiet", "--", location, *references])

    def _location(self, address: RepositoryAddress) -> str:
        if address.scheme != EXAMPLE:
            return address.location
        if self._examples is None or not (self._examples / address.path).is_dir():
            reason = "there is no such example on this machine"
            raise RepositoryUnavailableError(
                address.location, reason, remedy="'flops examples' lists them and makes their repositories."
            )
        return str(self._examples / address.path)

    @cached_property
    def _environment(self) -> dict[str, str]:
        """The user's environment, with every way to ask a question closed and only known transports open.

        An ssh command of the user's own is left as it is: without a terminal it cannot ask either.
        """
        quiet = {name: value for name, value in self._given_environment.items() if name not in _POINTERS}
        quiet.setdefault("GIT_ASKPASS", "")
        quiet |= {
            "GIT_TERMINAL_PROMPT": "0",
            "SSH_ASKPASS_REQUIRE": "never",
            "GCM_INTERACTIVE": "never",
            "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
            "LC_ALL": "C.UTF-8",
        }
        if "GIT_SSH_COMMAND" in quiet or "GIT_SSH" in quiet:
            return quiet
        configured = run_child(["git", "config", "core.sshCommand"], environment=quiet, timeout_s=self._list_timeout_s)
        return quiet if configured.output.strip() else {**quiet, "GIT_SSH_COMMAND": _SSH_COMMAND}

    def _try(self, arguments: list[str], timeout_s: float | None = None) -> FinishedChild:
        return run_child(
            ["git", *arguments],
            environment=self._environment,
            timeout_s=self._clone_timeout_s if timeout_s is None else timeout_s,
            stopping=self._stopping,
        )

    def _git(self, url: str, arguments: list[str], timeout_s: float | None = None) -> FinishedChild:
        try:
            child = self._try(arguments, timeout_s)
        except FileNotFoundError as error:
            reason = "the program 'git' is not installed"
            raise RepositoryUnavailableError(without_credentials(url), reason, remedy="Install git.") from error
        if not child.succeeded:
            raise _failure(url, child, self._clone_timeout_s if timeout_s is None else timeout_s)
        return child


def _chosen(commits: Mapping[str, str], ref: str) -> str | None:
    """What a branch, tag (peeled) or full name stands for; without one, the default branch."""
    if not ref:
        return commits.get("HEAD")
    names = [f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}", f"{ref}^{{}}", ref]
    return next((commits[name] for name in names if name in commits), None)


def _no_such_commit(url: str, ref: str) -> RepositoryUnavailableError:
    if not ref:
        return RepositoryUnavailableError(
            without_credentials(url), "it has no commit yet", remedy="Commit and push something first."
        )
    remedy = "Name a branch, a tag or a full commit hash that has been pushed."
    if _SHORT_HASH.fullmatch(ref):
        remedy = "Give the full commit hash: 'git rev-parse HASH' prints it."
    return RepositoryUnavailableError(
        without_credentials(url), f"it has no branch, tag or commit {ref!r}", remedy=remedy
    )


def _failure(url: str, child: FinishedChild, timeout_s: float) -> RepositoryUnavailableError:
    shown = without_credentials(url)
    if child.exit_code is None:
        remedy = "Check that the host can be reached from this machine (VPN, proxy, firewall) and try again."
        return RepositoryUnreachableError(shown, f"it did not answer within {timeout_s:g} s", remedy=remedy)
    said = without_credentials(child.errors)
    remedy = next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, said, re.IGNORECASE)), "")
    if remedy == _ACCESS and url.startswith(("/", "file:")):
        remedy = _LOCAL
    is_passing = _PASSING.search(said) and not _REFUSED.search(said)
    kind = RepositoryUnreachableError if is_passing else RepositoryUnavailableError
    return kind(shown, f"git says: {_last_words(said)}", remedy=remedy)


def _last_words(errors: str) -> str:
    """The last line of git that carries a reason, without its decoration."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    telling = [line for line in lines if not _GENERIC.search(line)] or lines or ["nothing"]
    telling = [line for line in telling if _FULL in line] or telling
    return _NOISE.sub("", telling[-1]).rstrip(".")
