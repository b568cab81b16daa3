"""The actor's side of the model process."""

from __future__ import annotations

import os
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from flops.errors import ModelCodeError, ModelProcessEndedError
from flops.learning.model_process.environment import model_environment
from flops.learning.model_process.interpreter import Interpreter
from flops.learning.model_process.runtime import protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_LOADING: Final = "loading the code"
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class ModelProcess:
    """Fulfils ``ports.Model`` with a process in the ML repository's environment.

    The process is started by the first call, or early by ``start``, stays for all later calls, and is started again
    by the next call after it died. Calls may come from any thread; they are made one after the other.
    """

    def __init__(  # noqa: PLR0913, PLR0917 -- facts that do not depend on each other
        self,
        python: Path,
        code: Path,
        directory: Path,
        data: Path | None = None,
        flavor: str = "",
        environment: Mapping[str, str] | None = None,
        *,
        call_timeout_s: float | None = None,
    ) -> None:
        """``python`` runs the repository's ``code``; ``directory`` becomes the process's own; ``data`` is an Arrow
        stream file that has to be there by ``load_data``; ``environment`` is added to what the process sees.
        """  # noqa: D205 -- nothing to say beyond the arguments
        self._python = python.absolute()
        self._code = code.absolute()
        self._directory = directory.absolute()
        self._data = data.absolute() if data else None
        self._flavor = flavor
        self._environment = dict(environment or {})
        self._call_timeout_s = call_timeout_s
        self._turn = threading.Lock()
        self._interpreter: Interpreter | None = None
        self._is_ready = False
        self._wants_data = False
        self._is_closed = False

    def start(self) -> None:
        """Start the process and let it load the repository's code, without waiting for it. Idempotent.

        Raises:
            ModelProcessEndedError: the interpreter cannot be started.
        """
        with self._turn:
            self._start()

    def load_data(self) -> dict[str, Any]:
        """As the port says; after a crash the data are loaded again by themselves."""
        answer, _ = self._call("load_data")
        self._wants_data = True
        structure = answer.get("input")
        return structure if isinstance(structure, dict) else {}

    def get_parameters(self) -> list[Any]:
        """As the port says."""
        return self._call("get_parameters")[1]

    def fit(self, parameters: list[Any]) -> tuple[list[Any], int]:
        """As the port says."""
        answer, fitted = self._call("fit", parameters)
        return fitted, int(answer.get("examples", 0))

    def evaluate(self, parameters: list[Any]) -> tuple[float, float, int]:
        """As the port says. Loss and accuracy may be NaN."""
        answer, measures = self._call("evaluate", parameters)
        loss, accuracy = measures[0]
        return float(loss), float(accuracy), int(answer.get("examples", 0))

    def prepare_export(self) -> None:
        """As the port says."""
        self._call("prepare_export")

    def export(self, parameters: list[Any], into: Path, example: dict[str, Any]) -> list[str]:
        """As the port says. ``into`` does not exist yet, or is empty."""
        answer, _ = self._call("export", parameters, {"directory": str(into.absolute()), "example": example})
        return [str(warning) for warning in answer.get("warnings", [])]

    def cancel(self) -> None:
        """Kill the process; a pending call raises ModelProcessEndedError. Any thread; the next call starts it again."""
        interpreter = self._interpreter
        if interpreter:
            interpreter.kill("was cancelled")

    def close(self) -> None:
        """End the process and all its children for good; a pending call raises. Idempotent, any thread."""
        self._is_closed = True
        interpreter = self._interpreter
        if interpreter and self._turn.acquire(blocking=False):
            try:
                interpreter.close(politely=self._is_ready)
                self._interpreter = None
            finally:
                self._turn.release()
        elif interpreter:
            interpreter.kill("was closed")

    def _call(
        self, call: str, arrays: Sequence[Any] = (), facts: Mapping[str, Any] = _NOTHING
    ) -> tuple[dict[str, Any], list[Any]]:
        with self._turn:
            interpreter = self._start()
            try:
                self._make_ready(interpreter)
                return self._exchange(interpreter, call, facts, arrays)
            except ModelProcessEndedError:
                self._forget(interpreter)
                raise

    def _start(self) -> Interpreter:
        if self._is_closed:
            call = "a call after the end"
            raise ModelProcessEndedError(call, "was closed", "")
        if self._interpreter is None:
            work = self._directory / "work"
            work.mkdir(mode=0o700, parents=True, exist_ok=True)
            environment = model_environment(os.environ, self._directory, self._data, self._environment)
            self._interpreter = Interpreter(self._python, work, environment)
            facts = {"version": protocol.VERSION, "code": str(self._code), "flavor": self._flavor}
            self._interpreter.send("hello", facts)
        return self._interpreter

    def _make_ready(self, interpreter: Interpreter) -> None:
        if self._is_ready:
            return
        try:
            interpreter.receive(_LOADING, self._call_timeout_s)
            if self._wants_data:
                self._exchange(interpreter, "load_data", {})
        except ModelCodeError:
            self._forget(interpreter)
            raise
        self._is_ready = True

    def _exchange(
        self, interpreter: Interpreter, call: str, facts: Mapping[str, Any], arrays: Sequence[Any] = ()
    ) -> tuple[dict[str, Any], list[Any]]:
        interpreter.send(call, facts, arrays)
        return interpreter.receive(call, self._call_timeout_s)

    def _forget(self, interpreter: Interpreter) -> None:
        interpreter.close(politely=False)
        self._interpreter = None
        self._is_ready = False
