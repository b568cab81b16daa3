"""A command's connection to the broker: everything it asks for goes through here."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from flops.bootstrap import adapters
from flops.delivery.requests import RequestClient
from flops.errors import NotFoundError
from flops.wire.requests import ListProjects, Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flops.ports import Bus
    from flops.settings import Settings
    from flops.wire.topics import Topics

ASK_TIMEOUT_S: Final = 15.0
CONNECT_TIMEOUT_S: Final = 5.0
PROJECT_ID_LENGTH: Final = 24
LATEST: Final = "@latest"


class Session:
    """One connection, for as long as a command runs."""

    def __init__(self, settings: Settings) -> None:
        client_id = f"cli-{uuid.uuid4().hex[:12]}"
        self.settings: Settings = settings
        self.topics: Topics = adapters.topics(settings)
        self.bus: Bus = adapters.connect(settings, client_id, persistent=False, timeout_s=CONNECT_TIMEOUT_S)
        self._requests = RequestClient(self.bus, self.topics, client_id)

    def ask(self, name: str, message: Message, *, timeout_s: float = ASK_TIMEOUT_S) -> dict[str, Any]:
        """Ask the manager."""
        return self._requests.ask(name, message, timeout_s)

    def projects(self, user: str = "") -> Iterator[dict[str, Any]]:
        """All projects, or those of one user, newest first, as they are needed."""
        after, more = "", True
        while more:
            answer = self.ask("projects", ListProjects(user=user, after=after))
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

    def project_id(self, given: str) -> str:
        """The full id for an id, a unique beginning of one, or ``@latest``.

        Raises:
            NotFoundError: there is none, or several begin like that; the remedy says what there is.
        """
        if len(given) == PROJECT_ID_LENGTH:
            return given
        if given == LATEST:
            latest = next(self.projects(), None)
            if latest is not None:
                return str(latest["project_id"])
        known = [str(item["project_id"]) for item in self.projects()]
        found = [project_id for project_id in known if given and project_id.startswith(given)]
        if len(found) == 1:
            return found[0]
        raise NotFoundError("project", given, remedy=_remedy(found, known))

    def close(self) -> None:
        """Disconnect."""
        self._requests.close()
        self.bus.close()


def _remedy(found: list[str], known: list[str]) -> str:
    if found:
        return f"Several begin like that: {', '.join(found)}."
    if known:
        return f"'{LATEST}' is the latest one; 'flops project list' shows all."
    return "There are no projects yet. Start one with 'flops project start FILE'."


@contextmanager
def session() -> Iterator[Session]:
    """Connect with the settings of the environment."""
    import logging  # noqa: PLC0415  'flops --help' is quick

    settings = adapters.read_settings()
    logging.getLogger().addHandler(logging.NullHandler())
    opened = Session(settings)
    try:
        yield opened
    finally:
        opened.close()
