"""One learner: fetches its share of the node's data, and trains and evaluates the global model on it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from flops.delivery.farewell import await_confirmation
from flops.errors import DataUnavailableError, FlopsError, ModelCodeError, StoppingError
from flops.learning.arrow_file import DATA_FILE
from flops.learning.client import client_app, performing
from flops.learning.flower import stable_id
from flops.learning.participant import Participant
from flops.learning.stopping import close_when_stopping
from flops.wire.events import MAX_TEXT, LearnerFailed
from flops.wire.learning import MAX_REASON, Joining, Leaving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

    from flops.delivery.service import ServiceContext
    from flops.ports import Model, TrainingData


class LearnerConfig(BaseModel):
    """The configuration of one learner instance: it gets the ``share``-th of ``shares`` parts of its node's data."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    data_tags: list[str]
    share: Annotated[int, Field(ge=0)] = 0
    shares: Annotated[int, Field(ge=1)] = 1
    flavor: str = ""
    aggregator: str = ""


def run(
    context: ServiceContext,
    model: Model,
    data: Callable[[], TrainingData],
    write_arrow: Callable[[pa.Table, Path], None],
) -> int:
    """Take part in one project's training until dismissed or stopped; what the learner's code raises is an event."""
    learner = _Learner(context, model)
    close_when_stopping(model, context.stopping)
    try:
        greeting = learner.prepare(data, write_arrow)
        is_dismissed = learner.participant(greeting).take_part(context.stopping)
    finally:
        learner.ending.set()
        model.close()
    return 0 if is_dismissed and await_confirmation(context) else StoppingError.exit_code


class _Learner:
    """A learner between its start and its end; once ``ending`` is set, what fails is nobody's concern."""

    def __init__(self, context: ServiceContext, model: Model) -> None:
        self.ending = threading.Event()
        self._context, self._model = context, model
        self._config = LearnerConfig.model_validate(context.config)

    def prepare(
        self, data: Callable[[], TrainingData], write_arrow: Callable[[pa.Table, Path], None]
    ) -> Joining | Leaving:
        """Load the data, once. Without any the learner stays, to tell an aggregator that comes later why."""
        try:
            self._model.start()
            examples = self._store_share(data(), write_arrow)
            example = self._model.load_data()
        except FlopsError as error:
            self._fail(error)
            return Leaving(reason=error.message[:MAX_REASON], remedy=error.remedy[:MAX_REASON])
        return Joining(node=self._context.identity.node, examples=examples, example=example)

    def participant(self, greeting: Joining | Leaving) -> Participant:
        """This learner in the conversation with its aggregator."""
        identity = self._context.identity
        perform = performing(
            client_app(self._model), stable_id(identity.project_id), stable_id(identity.instance), self._fail
        )
        return Participant(
            self._context.bus,
            self._context.topics,
            identity.project_id,
            identity.instance,
            greeting=greeting,
            perform=perform,
            chunk_bytes=self._context.settings.chunk_bytes,
        )

    def _store_share(self, data: TrainingData, write_arrow: Callable[[pa.Table, Path], None]) -> int:
        """Put this learner's share where its model finds it; how many examples it has."""
        table = data.fetch(self._config.data_tags, share=self._config.share, shares=self._config.shares)
        write_arrow(table, self._context.directory / DATA_FILE)
        return int(table.num_rows)

    def _fail(self, error: FlopsError) -> None:
        if self.ending.is_set() or self._context.stopping.is_set():
            return
        remedy = error.remedy
        if isinstance(error, DataUnavailableError) and not remedy:
            remedy = "See 'flops data list' for the tags that this node holds."
        self._context.events.publish(
            LearnerFailed(
                learner=self._context.identity.instance,
                reason=error.message[:MAX_TEXT],
                where=self._context.identity.node,
                remedy=remedy[:MAX_TEXT],
                details=error.traceback[-MAX_TEXT:] if isinstance(error, ModelCodeError) else "",
                call=error.call if isinstance(error, ModelCodeError) else "",
            )
        )
