"""The role ``mock-data``: provides the mock data that one request asks for, and ends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pydantic import ValidationError

from flops.data.datasets import load_dataset
from flops.data.mock_provider import divide, spread
from flops.delivery.farewell import await_confirmation
from flops.errors import EXIT_FAILED, DataUnavailableError, FlopsError, InvalidDataError, StoppingError
from flops.wire.events import MAX_TEXT, MockDataFailed, MockDataProvided
from flops.wire.sla import MockDataConfiguration

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.delivery.service import ServiceContext
    from flops.ports import TrainingData

logger = logging.getLogger(__name__)

DATASETS_DIRECTORY = "datasets"
_REQUEST_LENGTH = 12


def run(context: ServiceContext, connect: Callable[[str], TrainingData]) -> int:
    """Provide what ``context.config`` asks for, say so in one event, and return the exit code once that is confirmed.

    ``context.config`` has the fields of a mock data SLA's ``mock_data_configuration``, and ``nodes``, the names of the
    nodes to put the data on. ``connect`` gives a node's training data.
    """
    exit_code, dataset = 0, str(context.config.get("dataset_name", ""))
    try:
        context.events.publish(_provide(context, connect))
    except FlopsError as error:
        reason, remedy = error.message[:MAX_TEXT], error.remedy[:MAX_TEXT]
        context.events.publish(MockDataFailed(dataset=dataset, reason=reason, remedy=remedy))
    except Exception as error:
        logger.exception("mock data failed unexpectedly")
        reason = f"{type(error).__name__}: {error}"[:MAX_TEXT]
        context.events.publish(MockDataFailed(dataset=dataset, reason=reason, remedy="The service's log says more."))
        exit_code = EXIT_FAILED
    return exit_code if await_confirmation(context) else StoppingError.exit_code


def _provide(context: ServiceContext, connect: Callable[[str], TrainingData]) -> MockDataProvided:
    order, nodes = _read_config(context)
    table = load_dataset(order.dataset_name, cache=context.settings.home / DATASETS_DIRECTORY)
    request = (context.identity.project_id or context.identity.service)[:_REQUEST_LENGTH]
    connections = {node: connect(node) for node in nodes}
    placed = spread(divide(table, order), connections, tag=order.data_tag, request=request)
    return MockDataProvided(
        dataset=order.dataset_name, data_tag=order.data_tag, partitions=placed, examples=table.num_rows
    )


def _read_config(context: ServiceContext) -> tuple[MockDataConfiguration, list[str]]:
    fields = dict(context.config)
    nodes = list(dict.fromkeys(fields.pop("nodes", [])))
    try:
        order = MockDataConfiguration.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidDataError(f"The mock data request is wrong at {place!r}: {first['msg']}.") from error
    if not nodes:
        message = "There is no learner node to put mock data on."
        raise DataUnavailableError(message, remedy="Give a node the capability 'learner' (FLOPS_LOCAL_NODES).")
    return order, nodes
