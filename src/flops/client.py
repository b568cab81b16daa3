"""FLOps from Python, with the verbs of the command line: ``flops.Client``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from flops.bootstrap import adapters
from flops.cli.data import provide
from flops.cli.inbox import ENDED, follow, history
from flops.cli.session import ASK_TIMEOUT_S, Session
from flops.configuration import CHOICE, Choice
from flops.errors import NoAnswerError, NotFoundError
from flops.inference.client import predict
from flops.sla_library import load_sla
from flops.wire.requests import (
    CancelProject,
    DeleteProject,
    InboxEntry,
    ListData,
    ProjectStatus,
    RetryProject,
    ShowProject,
)
from flops.wire.sla import parse_mock_data_sla, parse_project_sla

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from flops.inference.client import Array
    from flops.wire.events import MockDataProvided

LOOK_S: Final = 0.5
DELETE_TIMEOUT_S: Final = 60.0


class Client:
    """A connection to FLOps. It is made when it is first needed; use one client per thread.

    ``context`` and ``config`` are what ``flops --context`` and ``--config`` take, ``settings`` what ``--set`` takes.

    Raises:
        FlopsError: from every method, as the command line would say it; ``code`` and ``remedy`` are its attributes.
    """

    def __init__(self, context: str = "", *, config: str = "", **settings: object) -> None:
        self._choice = Choice(context, config, tuple((key, str(value)) for key, value in settings.items()))
        self._opened: Session | None = None

    def start(self, sla: str | Mapping[str, Any], *, token: str = "") -> Project:
        """Start a project from an SLA: a path, the name of a shipped one, or the document itself."""
        content = load_sla(sla).content if isinstance(sla, str) else dict(sla)
        document = parse_project_sla(content).to_document()
        return Project(self, self.session.start(document, token=token))

    def projects(self, user: str = "") -> list[Project]:
        """All projects, or those of one user, newest first."""
        return [Project(self, str(item["project_id"])) for item in self.session.projects(user)]

    def project(self, name: str) -> Project:
        """A project by its id, the beginning of one, its repository's name, or ``@latest``."""
        return Project(self, self.session.project_id(name))

    def mock_data(self, sla: str | Mapping[str, Any]) -> MockDataProvided:
        """Put partitions of a public dataset on the learner nodes, as a mock-data SLA says, and wait for it."""
        content = load_sla(sla, "mocks").content if isinstance(sla, str) else dict(sla)
        return provide(self.session, parse_mock_data_sla(content))

    def data(self) -> dict[str, dict[str, int]]:
        """How many examples each node holds under each tag."""
        return dict(self.session.ask("data", ListData())["nodes"])

    @property
    def session(self) -> Session:
        """The connection; made now if there is none yet."""
        if self._opened is None:
            chosen = CHOICE.set(self._choice)
            try:
                self._opened = Session(adapters.read_settings())
            finally:
                CHOICE.reset(chosen)
        return self._opened

    def close(self) -> None:
        """Disconnect; projects go on. The client connects again when it is used again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Project:
    """One project; ``id`` names it."""

    def __init__(self, client: Client, project_id: str) -> None:
        self._client, self.id = client, project_id

    def status(self) -> ProjectStatus:
        """The project at a glance, as it is now."""
        shown = self._client.session.ask("project", ShowProject(project_id=self.id))
        return ProjectStatus.model_validate(shown["status"])

    def events(self, *, after: int = 0, wait: bool = True) -> Iterator[InboxEntry]:
        """The entries of the inbox after a number, oldest first: until the project has ended, or those there are."""
        read = follow if wait else history
        for entry in read(self._client.session, self.id, after=after):
            yield InboxEntry.model_validate(entry)

    def wait(self, timeout_s: float | None = None) -> ProjectStatus:
        """Return the last status once the project has ended, whether completed, failed or cancelled.

        Raises:
            NoAnswerError: it has not ended in time.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (status := self.status()).phase not in ENDED:
            if deadline is not None and time.monotonic() > deadline:
                raise NoAnswerError(f"end of project {self.id}", timeout_s or 0.0)
            time.sleep(LOOK_S)
        return status

    def model(self) -> Model:
        """The trained model.

        Raises:
            NotFoundError: there is none yet.
        """
        status = self.status()
        if not status.model_uri:
            raise NotFoundError("model of project", self.id, remedy=f"The project is {status.phase}: wait() for it.")
        return Model(status)

    def cancel(self) -> None:
        """Stop the project and remove what it runs."""
        session = self._client.session
        session.ask("cancel", CancelProject(project_id=self.id, by=session.settings.user))

    def retry(self, from_stage: str = "") -> str:
        """Let a failed or cancelled project go on; returns the stage that it goes on from."""
        question = RetryProject.model_validate({"project_id": self.id, "from_stage": from_stage})
        return str(self._client.session.ask("retry", question, timeout_s=ASK_TIMEOUT_S)["stage"])

    def delete(self) -> None:
        """Forget an ended project: its inbox, its app, its model's image and server."""
        self._client.session.ask("delete", DeleteProject(project_id=self.id), timeout_s=DELETE_TIMEOUT_S)

    def __repr__(self) -> str:
        return f"Project({self.id!r})"


class Model:
    """A trained model: ``uri`` is MLflow's, on the tracking server at ``tracking_url``; ``url`` is where it answers."""

    def __init__(self, status: ProjectStatus) -> None:
        self.uri, self.tracking_url, self.url = status.model_uri, status.tracking_url, status.inference_url
        self.accuracy = status.best_accuracy
        self._project_id = status.project_id

    def predict(self, rows: Sequence[Any] | Array) -> list[Any]:
        """One prediction per row, from the inference server.

        Raises:
            NotFoundError: the model is not served.
        """
        if not self.url:
            remedy = "Its SLA has to ask for 'deploy_trained_model_image' in 'post_training_steps'."
            raise NotFoundError("inference server of project", self._project_id, remedy=remedy)
        return predict(self.url, rows)

    def __repr__(self) -> str:
        return f"Model({self.uri!r}, accuracy={self.accuracy})"
