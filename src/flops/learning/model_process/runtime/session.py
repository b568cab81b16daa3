"""The model process: answers the actor's calls with the help of the ML repository's code, one after the other."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import platform
import select
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np

from . import conversion, protocol
from .flavor import check_flavor

if TYPE_CHECKING:
    import socket
    from types import ModuleType

    Arrays = list[np.ndarray[Any, Any]]
    Answer = tuple[dict[str, Any], Arrays]

MAX_MESSAGE_CHARS = 2_000
MAX_TRACEBACK_CHARS = 16_000
FOLDER = os.path.dirname(os.path.abspath(__file__))


def serve(connection: socket.socket) -> None:
    """Answer calls until the actor says goodbye or is gone."""
    threading.Thread(target=_end_with_actor, args=(connection.fileno(),), daemon=True).start()
    session = Session()
    while not session.is_over:
        try:
            call, arrays = protocol.receive(connection)
        except EOFError:
            return
        answer, results = session.answer(call, arrays)
        protocol.send(connection, answer, results)


def _end_with_actor(descriptor: int) -> None:
    """Kill this session's processes, in the middle of a call too, when the other end of the socket is gone."""
    poll = select.poll()
    poll.register(descriptor, 0)
    if any(event & select.POLLHUP for _, event in poll.poll()):
        os.killpg(0, signal.SIGKILL)


class Session:
    """One actor's conversation with the ML repository's code."""

    def __init__(self) -> None:
        self.is_over = False
        self._pid = os.getpid()
        self._code = ""
        self._flavor = ""
        self._manager: Any = None
        self._prepared: Any = None
        self._is_single: bool | None = None
        self._running = ""
        self._calls = {
            "hello": self._hello,
            "load_data": self._load_data,
            "get_parameters": self._get_parameters,
            "fit": self._fit,
            "evaluate": self._evaluate,
            "prepare_export": self._prepare_export,
            "export": self._export,
            "bye": self._bye,
        }

    def answer(self, call: dict[str, Any], arrays: Arrays) -> Answer:
        """Do what a call asks for. Whatever the ML repository's code raises is an answer."""
        self._running = str(call.get("call"))
        try:
            answer, results = self._calls[self._running](call, arrays)
        except BaseException as error:  # noqa: BLE001 -- the boundary between the user's code and the actor
            answer, results = {"error": self._describe(error)}, []
        if os.getpid() != self._pid:  # a child that the user's code forked has found its way out of it
            os._exit(1)
        return answer, results

    def _hello(self, call: dict[str, Any], _: Arrays) -> Answer:
        if call["version"] != protocol.VERSION:
            message = f"the actor speaks version {call['version']} of the protocol, this is {protocol.VERSION}"
            raise protocol.ProtocolError(message)
        self._code, self._flavor = call["code"], call["flavor"]
        sys.path[:0] = [os.path.join(FOLDER, "provided"), self._code]
        self._running = "import model_manager"
        module = importlib.import_module("model_manager")
        self._watch_data(sys.modules.get("data_manager"))
        self._running = "ModelManager()"
        self._manager = module.ModelManager()
        if os.environ.get("FLOPS_MODEL_DATA"):  # time to spare, as the actor is still fetching the data
            with contextlib.suppress(ImportError):
                importlib.import_module("datasets")
        gc.freeze()
        gc.enable()
        return {"version": protocol.VERSION, "python": platform.python_version(), "numpy": np.__version__}, []

    def _watch_data(self, module: ModuleType | None) -> None:
        """Remember the structure of the data that ``DataManager.get_data`` hands over."""
        manager = getattr(module, "DataManager", None)
        get_data = getattr(manager, "get_data", None)
        if not callable(get_data):
            return

        @functools.wraps(get_data)
        def watched(*arguments: Any, **named: Any) -> Any:
            data = get_data(*arguments, **named)
            self._prepared = conversion.input_structure(None, data)
            return data

        setattr(manager, "get_data", watched)  # noqa: B010 -- a class that only exists at run time

    def _load_data(self, _call: dict[str, Any], _: Arrays) -> Answer:
        self._use("set_model_data")
        return {"input": conversion.input_structure(self._manager, None) or self._prepared or {}}, []

    def _get_parameters(self, _call: dict[str, Any], _: Arrays) -> Answer:
        check_flavor(self._use("get_model"), self._flavor)
        return {}, self._parameters()

    def _fit(self, _call: dict[str, Any], parameters: Arrays) -> Answer:
        self._set_parameters(parameters)
        examples = conversion.to_count(self._use("fit_model"), "the number of training examples", 1)
        return {"examples": examples}, self._parameters()

    def _evaluate(self, _call: dict[str, Any], parameters: Arrays) -> Answer:
        self._set_parameters(parameters)
        result = self._use("evaluate_model")
        if not isinstance(result, (list, tuple)) or len(result) != 3:  # noqa: PLR2004 -- as the message says
            message = "a tuple of loss, accuracy and number of examples is expected from evaluate_model()"
            raise TypeError(message)
        loss, accuracy = conversion.to_number(result[0], "the loss"), conversion.to_number(result[1], "the accuracy")
        examples = conversion.to_count(result[2], "the number of evaluation examples", 0)
        return {"examples": examples}, [np.array([loss, accuracy])]

    def _prepare_export(self, _call: dict[str, Any], _: Arrays) -> Answer:
        self._running = "importing MLflow"
        from .export import prepare_export  # noqa: PLC0415 -- only an aggregator's environment can

        prepare_export(self._flavor)
        return {}, []

    def _export(self, call: dict[str, Any], parameters: Arrays) -> Answer:
        self._set_parameters(parameters)
        model = self._use("get_model")
        self._running = "saving the model"
        from .export import export_model  # noqa: PLC0415 -- only an aggregator's environment can

        return {"warnings": export_model(model, self._flavor, call["directory"], call["example"])}, []

    def _bye(self, _call: dict[str, Any], _: Arrays) -> Answer:
        self.is_over = True
        return {}, []

    def _parameters(self) -> Arrays:
        parameters = self._use("get_model_parameters")
        self._is_single = conversion.is_single(parameters)
        return conversion.to_arrays(parameters)

    def _set_parameters(self, parameters: Arrays) -> None:
        if self._is_single is None and len(parameters) == 1:
            self._is_single = conversion.is_single(self._use("get_model_parameters"))
        self._use("set_model_parameters", parameters[0] if self._is_single else parameters)

    def _use(self, method: str, *arguments: Any) -> Any:
        self._running = method
        return getattr(self._manager, method)(*arguments)

    def _describe(self, error: BaseException) -> dict[str, str]:
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename.startswith(FOLDER):
            frames = frames.tb_next
        try:
            text = "".join(traceback.format_exception(type(error), error, frames))
            message = str(error)
        except Exception as failure:  # noqa: BLE001 -- the user's exception may not even be printable
            text = message = f"(it cannot be printed: {type(failure).__name__})"
        return {
            "call": self._running,
            "type": type(error).__name__,
            "message": _cut(message, MAX_MESSAGE_CHARS),
            "traceback": _cut(text.replace(self._code + os.sep, "") if self._code else text, MAX_TRACEBACK_CHARS),
        }


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]}\n[…]\n{text[-limit // 2 :]}"
