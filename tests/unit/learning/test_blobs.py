"""Blobs: whatever happens to their pieces, what comes out is what went in, or nothing."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flops.errors import PayloadTooLargeError, UndecodableMessageError
from flops.learning.blobs import Blob, Receiver
from flops.wire.learning import BlobRef, Chunk
from flops.wire.limits import MAX_ASSEMBLIES, MAX_MISSING

if TYPE_CHECKING:
    from random import Random

SEGMENTS = st.lists(st.binary(max_size=40), min_size=1, max_size=6).filter(any)


def receive(receiver: Receiver, blob: Blob, order: list[int], piece_bytes: int) -> None:
    pieces = list(blob.pieces(piece_bytes))
    for index in order:
        chunk, body = pieces[index % len(pieces)]
        receiver.add("topic", chunk, memoryview(body), limit_bytes=10_000)


def bytes_of(receiver: Receiver, blob: Blob) -> bytes:
    received = receiver.blob(blob.ref)
    assert received is not None
    return bytes(received)


@given(SEGMENTS, st.integers(1, 50), st.randoms())
def test_pieces_in_any_order_and_repeated_make_the_blob(
    segments: list[bytes], piece_bytes: int, random: Random
) -> None:
    blob = Blob(segments)
    order = list(range(len(list(blob.pieces(piece_bytes))))) * 2
    random.shuffle(order)
    receiver = Receiver()
    receive(receiver, blob, order, piece_bytes)
    assert bytes_of(receiver, blob) == b"".join(segments)


def test_what_is_missing_is_asked_for() -> None:
    blob, receiver = Blob([b"0123456789"]), Receiver()
    assert receiver.need(blob.ref).missing == []
    receive(receiver, blob, [0, 3], piece_bytes=2)
    assert receiver.blob(blob.ref) is None
    need = receiver.need(blob.ref)
    assert need.missing == [1, 2, 4]
    for chunk, body in blob.pieces(2, need.missing):
        receiver.add("topic", chunk, memoryview(body), limit_bytes=100)
    assert bytes_of(receiver, blob) == b"0123456789"


def test_a_blob_in_countless_pieces_is_refused_before_they_are_counted() -> None:
    chunk = Chunk(digest="0" * 64, size_bytes=2**40, piece_bytes=1, index=0)
    with pytest.raises(UndecodableMessageError):
        Receiver().add("topic", chunk, memoryview(b"x"), limit_bytes=2**50)


def test_a_corrupt_piece_makes_the_blob_be_asked_for_again() -> None:
    blob, receiver = Blob([b"0123456789"]), Receiver()
    for chunk, body in blob.pieces(4):
        receiver.add("topic", chunk, memoryview(body.replace(b"5", b"X")), limit_bytes=100)
    assert receiver.blob(blob.ref) is None
    assert receiver.need(blob.ref).missing == []
    receive(receiver, blob, [0, 1, 2], piece_bytes=4)
    assert bytes_of(receiver, blob) == b"0123456789"


def test_pieces_that_do_not_fit_are_ignored() -> None:
    blob, receiver = Blob([b"0123456789"]), Receiver()
    chunk, body = next(blob.pieces(4))
    receiver.add("topic", chunk, memoryview(body[:-1]), limit_bytes=100)
    receiver.add("topic", chunk.model_copy(update={"index": 77}), memoryview(body), limit_bytes=100)
    assert receiver.need(blob.ref).missing == [0, 1, 2]


def test_a_blob_above_the_limit_is_refused_before_memory_is_taken() -> None:
    chunk, body = next(Blob([b"0123456789"]).pieces(4))
    huge = chunk.model_copy(update={"size_bytes": 10**15})
    with pytest.raises(PayloadTooLargeError):
        Receiver().add("topic", huge, memoryview(body), limit_bytes=100)


def test_a_complete_blob_displaces_an_unfinished_one() -> None:
    receiver, old, new = Receiver(), Blob([b"0123456789"]), Blob([b"abcdefghij"])
    receive(receiver, old, [0], piece_bytes=4)
    receive(receiver, new, [0, 1, 2], piece_bytes=4)
    assert receiver.blob(old.ref) is None
    assert bytes_of(receiver, new) == b"abcdefghij"
    assert receiver.need(old.ref).missing == []


def test_foreign_pieces_in_between_do_not_displace_a_blob() -> None:
    receiver, blob = Receiver(), Blob([b"0123456789"])
    for number, (chunk, body) in enumerate(blob.pieces(2)):
        receiver.add("topic", chunk, memoryview(body), limit_bytes=100)
        foreign, piece = next(Blob([bytes([number]) * 10]).pieces(4))
        for _ in range(3):
            receiver.add("topic", foreign, memoryview(piece), limit_bytes=100)
    assert bytes_of(receiver, blob) == b"0123456789"


def test_of_many_unfinished_blobs_the_last_few_are_kept() -> None:
    receiver, blobs = Receiver(), [Blob([bytes([number]) * 10]) for number in range(MAX_ASSEMBLIES + 1)]
    for blob in blobs:
        receive(receiver, blob, [0], piece_bytes=4)
    assert [receiver.need(blob.ref).missing for blob in blobs] == [[], *[[1, 2]] * MAX_ASSEMBLIES]


def test_only_pieces_that_have_come_take_memory() -> None:
    receiver, chunk = Receiver(), Chunk(digest="0" * 64, size_bytes=2**40, piece_bytes=2**20, index=7)
    tracemalloc.start()
    receiver.add("topic", chunk, memoryview(b"x" * 2**20), limit_bytes=2**41)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 3 * 2**20
    assert len(receiver.need(BlobRef(digest="0" * 64, size_bytes=2**40)).missing) == MAX_MISSING


def test_a_foreign_blob_of_another_size_with_the_same_name_is_not_the_blob() -> None:
    receiver, blob = Receiver(), Blob([b"0123456789"])
    forged = Chunk(digest=blob.ref.digest, size_bytes=4, piece_bytes=4, index=0)
    receiver.add("topic", forged, memoryview(b"evil"), limit_bytes=100)
    assert receiver.blob(blob.ref) is None
    receive(receiver, blob, [0, 1, 2], piece_bytes=4)
    assert bytes_of(receiver, blob) == b"0123456789"
