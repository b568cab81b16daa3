"""A command's connection to the broker: everything it asks for goes through here."""

from __future__ import annotations

import gc
import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

from flops.bootstrap import adapters
from flops.delivery.requests import RequestClient
from flops.errors import NotFoundError
from flops.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flops.ports import Bus
    from flops.settings import Settings
    from flops.wire.requests import Message
    from flops.wire.topics import Topics

ASK_TIMEOUT_S: Final = 15.0
CONNECT_TIMEOUT_S: Final = 5.0
PROJECT_ID_LENGTH: Final = 24
LATEST: Final = "@latest"
HEX_DIGITS: Final = frozenset("0123456789abcdef")
MOST_NAMED: Final = 5


class Session:
    """One connection, for as long as a command runs."""

    def __init__(self, settings: Settings, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        client_id = f"cli-{uuid.uuid4().hex[:12]}"
        self.settings: Settings = settings
        self.topics: Topics = adapters.topics(settings)
        self.bus: Bus = adapters.connect(settings, client_id, persistent=False, timeout_s=connect_timeout_s)
        self._requests = RequestClient(self.bus, self.topics, client_id)

    def ask(
        self, name: str, message: Message | Mapping[str, Any], *, timeout_s: float = ASK_TIMEOUT_S
    ) -> dict[str, Any]:
        """Ask the manager."""
        return self._requests.ask(name, message, timeout_s)

    @property
    def answered_at(self) -> str:
        """The time of the last answer, by the clock of whoever gave it."""
        return self._requests.answered_at

    def projects(self, user: str = "") -> Iterator[dict[str, Any]]:
        """All projects, or those of one user, newest first, as they are needed."""
        after, more = "", True
        while more:
            answer = self.ask("projects", {"user": user, "after": after})
            yield from answer["projects"]
            after = str(answer.get("next", ""))
            more = bool(after)

    def start(self, sla: Mapping[str, Any], *, token: str = "") -> str:
        """Request a project; returns its id once it is accepted. A user's same token is the same request."""
        source = f"/user/{sla['customerID']}" if token else ""
        answer = self._requests.ask_on(
            self.topics.project_start(), sla, ASK_TIMEOUT_S, kind="project.request", request_id=token, source=source
        )
        return str(answer["project_id"])

    def first_projects(self, limit: int, timeout_s: float) -> list[dict[str, Any]]:
        """The newest projects, for somebody who does not wait long."""
        return list(self.ask("projects", {"limit": limit}, timeout_s=timeout_s)["projects"])

    def project_id(self, given: str) -> str:
        """The full id for an id, a unique beginning of one, a name, ``@latest`` or ``NAME@latest``.

        A project's name is that of its ML repository.

        Raises:
            NotFoundError: there is none, or several begin like that; the remedy says what there is.
        """
        if len(given) == PROJECT_ID_LENGTH and set(given) <= HEX_DIGITS:
            return given
        name, is_latest = given.removesuffix(LATEST), given.endswith(LATEST)
        if is_latest and not name:
            found = [str(item["project_id"]) for item in self.first_projects(1, ASK_TIMEOUT_S)]
            return found[0] if found else _none_like(given, [], {})
        names = {str(item["project_id"]): project_name(item) for item in self.projects()}
        found = [project_id for project_id in names if name and project_id.startswith(name) and not is_latest]
        found = found or [project_id for project_id, known in names.items() if known == name]
        if len(found) == 1 or (found and is_latest):
            return found[0]
        return _none_like(given, found, names)

    def instance(self, given: str) -> str:
        """The full name for that of a service or instance, or for a unique beginning of one.

        Raises:
            NotFoundError: none begins like that, or several do.
        """
        listed = self.ask("services", {})["services"]
        names = [str(item["name"]) for item in listed]
        instances = [str(item["id"]) for service in listed for item in service["instances"]]
        if given in {*names, *instances}:
            return given
        found = [name for name in names if given and name.startswith(given)]
        found = found or [name for name in instances if given and name.startswith(given)]
        if len(found) == 1:
            return found[0]
        hint = f"Several begin like that: {_some(found)}." if found else did_you_mean(given, [*instances, *names])
        raise NotFoundError("service or instance", given, remedy=hint)

    def close(self) -> None:
        """Disconnect."""
        self._requests.close()
        self.bus.close()


def project_name(status: Mapping[str, Any]) -> str:
    """What people call a project: the last part of its ML repository's address."""
    from flops.wire.repository_url import split_reference  # noqa: PLC0415  a list does without

    address, _ = split_reference(str(status.get("ml_repo_url", "")))
    return address.rstrip("/").rpartition("/")[2].rpartition(":")[2].removesuffix(".git")


def _none_like(given: str, found: list[str], names: Mapping[str, str]) -> NoReturn:
    raise NotFoundError("project", given, remedy=_remedy(given, found, names))


def _remedy(given: str, found: list[str], names: Mapping[str, str]) -> str:
    if found and names[found[0]] == given:
        return f"Several are called so: {_some(found)}. '{given}{LATEST}' is the latest of them."
    if found:
        return f"Several begin like that: {_some(found)}."
    if names:
        hint = did_you_mean(given, sorted({*names, *names.values()}))
        closest = f"{hint} " if hint.startswith("Did") else ""
        return f"{closest}'{LATEST}' is the latest one; 'flops project list' shows all."
    return "There are no projects yet. Start one with 'flops project start FILE'."


def _some(found: list[str]) -> str:
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more


def quiet_logs() -> None:
    """Keep warnings of libraries out of what a command prints."""
    import logging  # noqa: PLC0415  'flops --help' is quick

    logging.getLogger().addHandler(logging.NullHandler())


@contextmanager
def session() -> Iterator[Session]:
    """Connect with the settings of the environment."""
    settings = adapters.read_settings()
    quiet_logs()
    opened = Session(settings)
    gc.freeze()  # neither now nor at the end is there garbage in what was loaded
    gc.enable()
    try:
        yield opened
    finally:
        opened.close()


def caller(opened: Session) -> str:
    """Who asks, as far as that is known."""
    return os.environ.get("USER", "") or opened.settings.user
