"""One started interpreter of an ML repository's environment, and the socket to it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from flops.errors import ModelCodeError, ModelProcessEndedError
from flops.learning.model_process.output import Output
from flops.learning.model_process.runtime import protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAIN: Final = Path(__file__).with_name("runtime") / "main.py"
_DISCONNECTED_S: Final = 1.0
_GOODBYE_S: Final = 1.0
_OUTPUT_S: Final = 0.5
_KILLED_S: Final = 10.0


class Interpreter:
    """Runs until it is closed, killed, or dies by itself; then its children are killed too."""

    def __init__(self, python: Path, directory: Path, environment: Mapping[str, str]) -> None:
        self._connection, theirs = socket.socketpair()
        self._killed_because = ""
        try:
            with theirs:
                self._process = _started(python, directory, environment, theirs.fileno())
        except OSError as error:
            self._connection.close()
            call, reason = "the start", f"could not be started with {python} ({error.strerror})"
            raise ModelProcessEndedError(call, reason, "") from None
        assert self._process.stdout is not None  # noqa: S101 -- it is a pipe
        self._output = Output(self._process.stdout)
        self._reaper = threading.Thread(target=self._reap, name="model-reaper", daemon=True)
        self._reaper.start()

    def send(self, call: str, facts: Mapping[str, Any], arrays: Sequence[Any] = ()) -> None:
        """Send a call.

        Raises:
            ModelCodeError: the arrays cannot be sent.
            ModelProcessEndedError: the process is gone.
        """
        try:
            protocol.send(self._connection, {"call": call, **facts}, arrays)
        except protocol.ProtocolError as error:
            raise ModelCodeError(call, str(error), "") from None
        except OSError:
            raise self._ended(call) from None

    def receive(self, call: str, timeout_s: float | None) -> tuple[dict[str, Any], list[Any]]:
        """The answer to ``call``; the process is killed when there is none in time.

        Raises:
            ModelCodeError: the ML repository's code raised.
            ModelProcessEndedError: the process is gone.
        """
        try:
            with self._deadline(timeout_s):
                answer, arrays = protocol.receive(self._connection)
        except (EOFError, OSError):
            raise self._ended(call) from None
        except protocol.ProtocolError as error:
            self.kill(f"has broken the protocol ({error})")
            raise self._ended(call) from None
        if "error" in answer:
            raise _code_error(call, answer["error"])
        return answer, arrays

    def kill(self, because: str) -> None:
        """End the process and all its children at once; a pending call raises. Idempotent, any thread."""
        if self._reaper.is_alive():
            self._killed_because = self._killed_because or because
            _kill_tree(self._process.pid)
            self._reaper.join(_KILLED_S)

    def close(self, *, politely: bool) -> None:
        """End the process, if ``politely`` by itself, and release the socket."""
        if politely:
            with contextlib.suppress(ModelCodeError):
                self.send("bye", {})
                self._reaper.join(_GOODBYE_S)
        self.kill("was closed")
        self._connection.close()

    def _reap(self) -> None:
        self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):  # a child that escaped may hold the other end open
            self._connection.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def _deadline(self, timeout_s: float | None) -> Iterator[None]:
        if timeout_s is None:
            yield
            return
        timer = threading.Timer(timeout_s, self.kill, (f"was killed, as it did not answer within {timeout_s:g} s",))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _ended(self, call: str) -> ModelProcessEndedError:
        self._reaper.join(_DISCONNECTED_S)
        self.kill("was killed, as it had closed its connection")
        reason = self._killed_because or _reason(self._process.returncode)
        return ModelProcessEndedError(call, reason, self._output.tail(_OUTPUT_S))


def _started(python: Path, directory: Path, environment: Mapping[str, str], descriptor: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(python), "-I", "-u", "-X", "utf8", "-X", "faulthandler", str(MAIN), str(descriptor)],
        cwd=directory,
        env=environment,
        pass_fds=(descriptor,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _kill_tree(pid: int) -> None:
    try:
        descendants = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        descendants = []
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for descendant in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):
            descendant.kill()


def _reason(returncode: int | None) -> str:
    if returncode is None:
        return "does not end"
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    name = signal.Signals(-returncode).name if -returncode in list(signal.Signals) else f"signal {-returncode}"
    hint = ", as happens when the memory runs out" if -returncode == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"


def _code_error(call: str, error: object) -> ModelCodeError:
    facts = error if isinstance(error, dict) else {}
    reason = ": ".join(filter(None, (str(facts.get("type", "")), str(facts.get("message", "")))))
    return ModelCodeError(str(facts.get("call", call)), reason, str(facts.get("traceback", "")))
