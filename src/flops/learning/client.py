"""The Flower client app that a learner runs: an instruction in, the ML repository's model does it, a reply out."""

from __future__ import annotations

import logging
import time
import traceback
from typing import TYPE_CHECKING, Final

from flops.errors import FlopsError, ModelCodeError
from flops.learning.flower import (
    CLIENT_RAISED,
    ArrayRecord,
    ClientApp,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
    new_context,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.ports import Model

log = logging.getLogger(__name__)

ARRAYS: Final = "arrays"
METRICS: Final = "metrics"
EXAMPLES: Final = "num-examples"
DURATION: Final = "duration-s"
ACCURACY: Final = "accuracy"
LOSS: Final = "loss"


def client_app(model: Model) -> ClientApp:
    """A client app that trains and evaluates ``model``."""
    app = ClientApp()

    @app.train()
    def train(message: Message, _: Context) -> Message:
        started = time.perf_counter()
        parameters, examples = model.fit(_parameters(message))
        _require_examples("fit_model", examples)
        return _reply(message, started, examples, {}, ArrayRecord(numpy_ndarrays=parameters))

    @app.evaluate()
    def evaluate(message: Message, _: Context) -> Message:
        started = time.perf_counter()
        loss, accuracy, examples = model.evaluate(_parameters(message))
        _require_examples("evaluate_model", examples)
        return _reply(message, started, examples, {LOSS: float(loss), ACCURACY: float(accuracy)})

    return app


def performing(
    app: ClientApp, run_id: int, node_id: int, on_failed: Callable[[FlopsError], None]
) -> Callable[[Message], Message]:
    """A function that does instructions with ``app``; what that raises becomes an answer, told to ``on_failed`` too."""
    context = new_context(run_id, node_id)

    def perform(message: Message) -> Message:
        try:
            return app(message, context)
        except FlopsError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  a process boundary: what a learner meets is an answer
            failure = ModelCodeError(message.metadata.message_type, repr(error), traceback.format_exc())
        log.error("task failed", exc_info=failure, extra={"reason": failure.message})
        try:
            on_failed(failure)
        except FlopsError as error:
            log.error("failure not told", extra={"reason": error.message})  # noqa: TRY400  the aggregator hears it
        details = failure.traceback if isinstance(failure, ModelCodeError) else ""
        return Message(Error(CLIENT_RAISED, f"{failure.message}\n{details}"), reply_to=message)

    return perform


def _parameters(message: Message) -> list[object]:
    """The global model; the message gives its own copy up.

    Flower's ``keep_input=False`` would do the same, but collects garbage twice a call, which takes longer than a round.
    """
    record = message.content.array_records[ARRAYS]
    return [record.pop(key).numpy() for key in list(record)]


def _require_examples(call: str, examples: int) -> None:
    if examples < 1:
        raise ModelCodeError(call, f"no error, but returned {examples} examples", "")


def _reply(
    message: Message, started: float, examples: int, metrics: dict[str, float], arrays: ArrayRecord | None = None
) -> Message:
    facts = MetricRecord({**metrics, EXAMPLES: int(examples), DURATION: time.perf_counter() - started})
    content = RecordDict({METRICS: facts})
    if arrays is not None:
        content[ARRAYS] = arrays
    return Message(content, reply_to=message)
