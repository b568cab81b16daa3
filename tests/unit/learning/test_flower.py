"""The private surface of Flower that learning/flower.py stands on: a new version that changes it fails here."""

from __future__ import annotations

import os
from importlib.metadata import version

import numpy as np

from flops.learning.flower import (
    AGGREGATOR_NODE_ID,
    ArrayRecord,
    Error,
    Message,
    MessageType,
    RecordDict,
    act_as_aggregator,
    empty_run,
    identify,
    instruction,
    refused,
    stable_id,
)


def test_the_version_is_the_one_this_was_written_for() -> None:
    assert version("flwr").startswith("1.41.")


def test_flower_tells_nobody_that_it_is_used() -> None:
    assert os.environ["FLWR_TELEMETRY_ENABLED"] == "0"
    assert os.environ["FLWR_DISABLE_UPDATE_CHECK"] == "1"


def test_ids_are_stable_positive_and_never_the_aggregators() -> None:
    assert stable_id("flearner0123456789ab.0") == stable_id("flearner0123456789ab.0")
    ids = {stable_id(f"learner.{number}") for number in range(1000)}
    assert len(ids) == 1000
    assert all(AGGREGATOR_NODE_ID < number < 2**62 for number in ids)


def test_an_instruction_is_built_identified_and_answered() -> None:
    act_as_aggregator(run_id=42)
    message = Message(RecordDict(), 7, MessageType.TRAIN)
    identify(message, "m-1")
    assert (message.metadata.run_id, message.metadata.src_node_id) == (42, AGGREGATOR_NODE_ID)
    heard = instruction(RecordDict(), "train", message_id="m-1", run_id=42, node_id=7)
    reply = Message(RecordDict({"a": ArrayRecord(numpy_ndarrays=[np.ones(1)])}), reply_to=heard)
    assert reply.metadata.reply_to_message_id == "m-1"
    assert (reply.metadata.src_node_id, reply.metadata.dst_node_id) == (7, AGGREGATOR_NODE_ID)


def test_a_reply_can_be_refused() -> None:
    heard = instruction(RecordDict(), "train", message_id="m-1", run_id=42, node_id=7)
    error = refused(Message(RecordDict(), reply_to=heard), "odd")
    assert error.has_error()
    assert not error.has_content()
    assert (error.error.reason, error.metadata.src_node_id) == ("odd", 7)
    assert Message(Error(1, "x"), reply_to=heard).has_error()


def test_an_empty_run_has_its_id() -> None:
    assert empty_run(5).run_id == 5
