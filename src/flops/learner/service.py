"""One learner: fetches its share of the node's data, and trains and evaluates the global model on it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from flops.delivery.farewell import await_confirmation
from flops.errors import DataUnavailableError, FlopsError, ModelCodeError
from flops.learning.client import client_app, performing
from flops.learning.flower import stable_id
from flops.learning.participant import Participant
from flops.wire.events import LearnerFailed
from flops.wire.learning import Joining, Leaving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

    from flops.delivery.service import ServiceContext
    from flops.ports import Model, TrainingData

log = logging.getLogger(__name__)

DATA_FILE: Final = "data.arrow"


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
    try:
        greeting = _prepare(context, model, data, write_arrow)
        if _participant(context, model, greeting).take_part(context.stopping):
            await_confirmation(context)
    finally:
        model.close()
    return 0


def _prepare(
    context: ServiceContext,
    model: Model,
    data: Callable[[], TrainingData],
    write_arrow: Callable[[pa.Table, Path], None],
) -> Joining | Leaving:
    """Load the data, once. A learner without any stays, to tell an aggregator that comes later why it takes no part."""
    config = LearnerConfig.model_validate(context.config)
    try:
        table = data().fetch(config.data_tags, share=config.share, shares=config.shares)
        write_arrow(table, context.directory / DATA_FILE)
        examples = table.num_rows
        del table
        return Joining(node=context.identity.node, examples=examples, example=model.load_data())
    except FlopsError as error:
        _fail(context, error)
        return Leaving(reason=error.message, remedy=error.remedy)


def _participant(context: ServiceContext, model: Model, greeting: Joining | Leaving) -> Participant:
    identity = context.identity
    perform = performing(
        client_app(model),
        stable_id(identity.project_id),
        stable_id(identity.instance),
        lambda error: _fail(context, error),
    )
    return Participant(
        context.bus,
        context.topics,
        identity.project_id,
        identity.instance,
        greeting=greeting,
        perform=perform,
        chunk_bytes=context.settings.chunk_bytes,
    )


def _fail(context: ServiceContext, error: FlopsError) -> None:
    is_code = isinstance(error, ModelCodeError)
    remedy = error.remedy or ("Correct the ML repository's code and start the project again." if is_code else "")
    if isinstance(error, DataUnavailableError) and not error.remedy:
        remedy = "See 'flops data list' for the tags that this node holds."
    context.events.publish(
        LearnerFailed(
            learner=context.identity.instance,
            reason=error.message,
            where=context.identity.node,
            remedy=remedy,
            details=error.traceback if isinstance(error, ModelCodeError) else "",
            call=error.call if isinstance(error, ModelCodeError) else "",
        )
    )
