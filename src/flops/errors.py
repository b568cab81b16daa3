"""The one tree of errors that FLOps raises on purpose.

An error carries facts as attributes and composes its message from them. ``code`` is stable and documented in
docs/reference/errors.md, ``retryable`` says whether the same call may succeed later, ``exit_code`` is what a
command ends with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator

CORRECT_THE_CODE = "Correct the ML repository's code and start the project again."
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INVALID = 3
EXIT_CANCELLED = 4
EXIT_UNREACHABLE = 5
EXIT_DENIED = 6
EXIT_NOT_FOUND = 7
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class FlopsError(Exception):
    """Anything that FLOps refuses or cannot do, with what to do next in ``remedy``."""

    code: ClassVar[str] = "flops.error"
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """One line for a person: what happened, then what to do next."""
        return f"{self.message} {self.remedy}".strip()


class InvalidSettingError(FlopsError):
    """A setting of FLOps has a value that cannot be used."""

    code = "settings.invalid"
    exit_code = EXIT_USAGE

    def __init__(self, name: str, value: str, expected: str, origin: str = "") -> None:
        self.name, self.value, self.expected, self.origin = name, value, expected, origin
        remedy = f"The value comes from: {origin}." if origin else ""
        super().__init__(f"The setting {name} has the value {value!r}, but {expected} is expected.", remedy=remedy)


class InvalidConfigurationError(FlopsError):
    """A configuration file cannot be read, or says what no setting is; ``line`` counts from 1 (0: unknown)."""

    code = "configuration.invalid"
    exit_code = EXIT_USAGE

    def __init__(self, path: str, line: int, reason: str, *, remedy: str = "") -> None:
        self.path, self.line, self.reason = path, line, reason
        place = f", line {line}" if line else ""
        super().__init__(f"The configuration {path}{place}: {reason}.", remedy=remedy)


@dataclass(frozen=True, slots=True)
class SlaFault:
    """One thing that is wrong in an SLA; ``path`` says where, ``line`` and ``column`` count from 1 (0: unknown)."""

    path: str
    message: str
    hint: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """One line for a person."""
        place = f"line {self.line}, column {self.column}" if self.line else ""
        where = ", ".join(filter(None, (self.path, place)))
        return " ".join(filter(None, (f"{where}: {self.message}." if where else f"{self.message}.", self.hint)))


class InvalidSlaError(FlopsError):
    """An SLA cannot be used. ``errors`` lists every fault in it, in the order of the document."""

    code = "sla.invalid"
    exit_code = EXIT_INVALID

    def __init__(self, errors: list[SlaFault]) -> None:
        self.errors = errors
        listed = "".join(f"\n  - {fault}" for fault in errors)
        super().__init__(f"The SLA has {len(errors)} fault{'s' if len(errors) != 1 else ''}:{listed}")


class UndecodableMessageError(FlopsError):
    """A message on the wire is not what its topic promises."""

    code = "wire.undecodable"
    exit_code = EXIT_INVALID

    def __init__(self, topic: str, reason: str) -> None:
        self.topic, self.reason = topic, reason
        super().__init__(f"A message on {topic} could not be understood: {reason}.")


class PayloadTooLargeError(FlopsError):
    """A message is larger than what may travel in one piece."""

    code = "wire.too-large"
    exit_code = EXIT_INVALID

    def __init__(self, topic: str, size_bytes: int, limit_bytes: int) -> None:
        self.topic, self.size_bytes, self.limit_bytes = topic, size_bytes, limit_bytes
        super().__init__(f"A message for {topic} has {size_bytes:,} bytes; at most {limit_bytes:,} may be sent.")


class BrokerUnreachableError(FlopsError):
    """The MQTT broker does not answer."""

    code = "broker.unreachable"
    retryable = True
    exit_code = EXIT_UNREACHABLE

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(
            f"The broker at {url} cannot be reached: {reason}.",
            remedy="Start FLOps with 'flops up', or check FLOPS_BROKER_URL.",
        )


class NotStartedError(FlopsError):
    """Nothing of FLOps runs on this machine, and no broker is configured."""

    code = "not-started"
    retryable = True
    exit_code = EXIT_UNREACHABLE

    def __init__(self, home: str) -> None:
        self.home = home
        super().__init__(
            f"FLOps does not run: nothing was started in {home}.",
            remedy="Start it with 'flops up', or set FLOPS_BROKER_URL to a broker that runs elsewhere.",
        )


class AccessDeniedError(FlopsError):
    """Credentials were refused."""

    code = "access.denied"
    exit_code = EXIT_DENIED


class NoAnswerError(FlopsError):
    """A request was sent but nobody answered in time."""

    code = "request.unanswered"
    retryable = True
    exit_code = EXIT_UNREACHABLE

    def __init__(self, request: str, timeout_s: float) -> None:
        self.request, self.timeout_s = request, timeout_s
        super().__init__(
            f"Nobody answered the request '{request}' within {timeout_s:g} s.",
            remedy="Is the manager running? 'flops doctor' tells.",
        )


class RequestRefusedError(FlopsError):
    """A request was answered with an error; the answer's own code and faults are kept."""

    code = "request.refused"

    def __init__(
        self, message: str, *, refusal_code: str, remedy: str = "", errors: list[dict[str, object]] | None = None
    ) -> None:
        self.refusal_code, self.errors = refusal_code, errors or []
        super().__init__(message, remedy=remedy)


def exit_code_of(error: FlopsError) -> int:
    """What a command ends with; an error that came over the wire ends it as the same error of this machine would."""
    code = error.refusal_code if isinstance(error, RequestRefusedError) else error.code
    return {kind.code: kind.exit_code for kind in _kinds(FlopsError)}.get(code, error.exit_code)


def _kinds(kind: type[FlopsError]) -> Iterator[type[FlopsError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


class OverloadedError(FlopsError):
    """The manager has too many requests to answer already."""

    code = "manager.overloaded"
    retryable = True
    exit_code = EXIT_UNREACHABLE

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        super().__init__(
            f"The manager has {waiting:,} requests to answer already.", remedy="Ask again in a few seconds."
        )


class NotFoundError(FlopsError):
    """Something asked for by name or id does not exist."""

    code = "not-found"
    exit_code = EXIT_NOT_FOUND

    def __init__(self, kind: str, name: str, *, remedy: str = "") -> None:
        self.kind, self.name = kind, name
        super().__init__(f"There is no {kind} {name!r}.", remedy=remedy)


class CannotWriteError(FlopsError):
    """A file that a command should write cannot be written."""

    code = "file.unwritable"

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"{path} cannot be written: {reason.lower()}.", remedy="Name a file in a folder that you may write to."
        )


class AddressUnavailableError(FlopsError):
    """An address at which something should listen cannot be had."""

    code = "address.unavailable"

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host, self.port, self.reason = host, port, reason
        super().__init__(
            f"Nothing can listen at port {port} of {host}: {reason.lower()}.",
            remedy="Choose another port, or none: then a free one is taken.",
        )


class StaleVersionError(FlopsError):
    """Somebody else saved the project in between; load it again and redo the step."""

    code = "store.stale"
    retryable = True

    def __init__(self, project_id: str) -> None:
        self.project_id = project_id
        super().__init__(f"Project {project_id} was changed by another manager in between.")


class StoreUnavailableError(FlopsError):
    """The store cannot be read or written, for instance because the disk is full."""

    code = "store.unavailable"
    retryable = True

    def __init__(self, where: str, reason: str) -> None:
        self.where, self.reason = where, reason
        is_full = "full" in reason or "space" in reason or "quota" in reason
        super().__init__(
            f"The store {where} cannot be used: {reason}.",
            remedy="Free some space on its disk; what was accepted before goes on by itself." if is_full else "",
        )


class RecordTooLargeError(FlopsError):
    """A project has grown beyond what a store can hold of one."""

    code = "store.too-large"

    def __init__(self, project_id: str, size_bytes: int, limit_bytes: int) -> None:
        self.project_id, self.size_bytes, self.limit_bytes = project_id, size_bytes, limit_bytes
        super().__init__(
            f"Project {project_id} would take {size_bytes:,} bytes in the store, which holds {limit_bytes:,} of one."
        )


class OrchestratorUnavailableError(FlopsError):
    """The orchestrator does not answer."""

    code = "orchestrator.unavailable"
    retryable = True
    exit_code = EXIT_UNREACHABLE

    def __init__(self, orchestrator: str, reason: str) -> None:
        self.orchestrator, self.reason = orchestrator, reason
        super().__init__(f"The orchestrator {orchestrator} cannot be reached: {reason}.")


class DeploymentRefusedError(FlopsError):
    """The orchestrator will not run a service: no such node, image, or not enough resources."""

    code = "orchestrator.refused"

    def __init__(self, service: str, reason: str, *, remedy: str = "") -> None:
        self.service, self.reason = service, reason
        super().__init__(f"The service {service} cannot be deployed: {reason}.", remedy=remedy)


class RepositoryUnavailableError(FlopsError):
    """The ML repository cannot be reached or has no such commit."""

    code = "repository.unavailable"

    def __init__(self, url: str, reason: str, *, remedy: str = "") -> None:
        self.url, self.reason = url, reason
        super().__init__(f"The ML repository {url} cannot be used: {reason}.", remedy=remedy)


class RepositoryUnreachableError(RepositoryUnavailableError):
    """The ML repository's server does not answer, or the network does not reach it."""

    code = "repository.unreachable"
    retryable = True


class RegistryUnavailableError(FlopsError):
    """The registry of images cannot be asked."""

    code = "registry.unavailable"
    retryable = True
    exit_code = EXIT_UNREACHABLE

    def __init__(self, registry: str, reason: str, *, remedy: str = "") -> None:
        self.registry, self.reason = registry, reason
        super().__init__(f"The registry {registry} cannot be used: {reason}.", remedy=remedy)


class RegistryRefusedError(FlopsError):
    """The registry of images will not do what it is asked for, and would not the next time."""

    code = "registry.refused"

    def __init__(self, registry: str, reason: str, *, remedy: str = "") -> None:
        self.registry, self.reason = registry, reason
        super().__init__(f"The registry {registry} refuses: {reason}.", remedy=remedy)


class BuildFailedError(FlopsError):
    """An image could not be built. ``step`` says in which step, ``where`` at which line or package."""

    code = "build.failed"

    def __init__(self, step: str, reason: str, *, where: str = "", remedy: str = "", details: str = "") -> None:
        self.step, self.reason, self.where, self.details = step, reason, where, details
        place = f" ({where})" if where else ""
        super().__init__(f"The build failed at '{step}'{place}: {reason}", remedy=remedy)


class DownloadFailedError(BuildFailedError):
    """What a build needs could not be downloaded, for a reason that may pass."""

    code = "build.download-failed"
    retryable = True


class ModelCodeError(FlopsError):
    """The ML repository's own code raised; ``traceback`` is what it printed."""

    code = "model.raised"

    def __init__(self, call: str, reason: str, traceback: str) -> None:
        self.call, self.reason, self.traceback = call, reason, traceback
        super().__init__(f"{call} of the ML repository raised {reason}.", remedy=CORRECT_THE_CODE)


class ModelProcessEndedError(ModelCodeError):
    """The process that runs the ML repository's code is gone; ``traceback`` is the end of what it printed."""

    code = "model.ended"

    def __init__(self, call: str, reason: str, output: str) -> None:
        super().__init__(call, reason, output)
        self.message = f"The process of the ML repository's code {reason}, in {call}."
        self.args = (self.message,)


class DataUnavailableError(FlopsError):
    """The data that was asked for is not on this node, or its data server does not answer."""

    code = "data.unavailable"


class InvalidDataError(FlopsError):
    """A tag, name or file of training data is refused."""

    code = "data.invalid"
    exit_code = EXIT_INVALID


class TrackingUnavailableError(FlopsError):
    """The tracking server does not answer or refuses."""

    code = "tracking.unavailable"
    retryable = True
    exit_code = EXIT_UNREACHABLE


class StoppingError(FlopsError):
    """The service was asked to stop while it waited for something."""

    code = "service.stopping"
    exit_code = EXIT_CANCELLED

    def __init__(self) -> None:
        super().__init__("The service is stopping.")


class UnknownStrategyError(FlopsError):
    """The SLA names an aggregation strategy that there is not, or an option that it does not take."""

    code = "strategy.unknown"
    exit_code = EXIT_INVALID

    def __init__(self, name: str, reason: str, *, remedy: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"The strategy {name!r} cannot be used: {reason}.", remedy=remedy)


class TrainingImpossibleError(FlopsError):
    """The training cannot go on; ``round`` says where it ended, ``details`` holds a learner's traceback if any."""

    code = "training.impossible"

    def __init__(self, reason: str, *, round_number: int = 0, remedy: str = "", details: str = "") -> None:
        self.reason, self.round_number, self.details = reason, round_number, details
        super().__init__(reason, remedy=remedy)


class ServerNotReadyError(FlopsError):
    """A server that a service runs as its child does not come up; ``output`` is the end of what it printed."""

    code = "server.not-ready"

    def __init__(self, reason: str, output: str) -> None:
        self.reason, self.output = reason, output
        super().__init__(f"The server does not come up: {reason}.")


class StartFailedError(FlopsError):
    """A process of FLOps itself does not come up; ``log`` is where it writes to, ``output`` the end of that."""

    code = "start.failed"
    retryable = True
    exit_code = EXIT_UNREACHABLE

    def __init__(self, process: str, reason: str, log: str, output: str) -> None:
        self.process, self.reason, self.log, self.output = process, reason, log, output
        ends = f"; its log ends with:\n{output}" if output else ", and has written nothing."
        super().__init__(f"The {process} {reason}{ends}", remedy=f"The whole log is {log}.")


class ProjectNotEndedError(FlopsError):
    """A project that is under way cannot be deleted."""

    code = "project.not-ended"

    def __init__(self, project_id: str, phase: str) -> None:
        self.project_id, self.phase = project_id, phase
        is_stopping = phase == "stopping"
        remedy = "Its end is seconds away; to wait for it" if is_stopping else "To stop and delete it"
        super().__init__(
            f"Project {project_id} is {phase}, so it cannot be deleted.",
            remedy=f"{remedy}: flops project delete {project_id} --cancel",
        )


class NotRetryableError(FlopsError):
    """A project cannot go on from the stage that was asked for."""

    code = "project.not-retryable"

    def __init__(self, project_id: str, reason: str, *, remedy: str = "") -> None:
        self.project_id, self.reason = project_id, reason
        super().__init__(f"Project {project_id} cannot be retried: {reason}.", remedy=remedy)


class TokenUsedError(FlopsError):
    """A token that makes a request unique was used for another request before."""

    code = "request.token-used"
    exit_code = EXIT_INVALID

    def __init__(self, token: str, project_id: str) -> None:
        self.token, self.project_id = token, project_id
        super().__init__(
            f"The token {token!r} has started project {project_id} already, and with another SLA.",
            remedy="Choose another token for another project.",
        )


class CommandInterruptedError(FlopsError):
    """A command was ended with Ctrl-C."""

    code = "interrupted"
    exit_code = EXIT_INTERRUPTED

    def __init__(self) -> None:
        super().__init__("Interrupted.")


class UnexpectedError(FlopsError):
    """A command met an error that FLOps does not know; ``trace`` is the file that says where."""

    code = "unexpected"

    def __init__(self, error: Exception, trace: str) -> None:
        self.error, self.trace = error, trace
        super().__init__(
            f"Something unexpected has happened: {type(error).__name__}: {error}.",
            remedy=f"That is a mistake of FLOps. Please report it with the file {trace}",
        )


class InferenceUnavailableError(FlopsError):
    """The inference server of a project does not answer."""

    code = "inference.unavailable"
    retryable = True
    exit_code = EXIT_UNREACHABLE

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(
            f"The inference server at {url} does not answer: {reason}.",
            remedy="'flops services' tells whether it runs.",
        )


class PredictionRefusedError(FlopsError):
    """The inference server does not take the given rows."""

    code = "prediction.refused"
    exit_code = EXIT_INVALID

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"The model at {url} does not take this input: {reason}.")
