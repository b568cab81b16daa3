import json
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flops.learning.model_process.runtime import protocol

Array = np.ndarray[Any, Any]
NUMERIC = hnp.boolean_dtypes() | hnp.integer_dtypes() | hnp.unsigned_integer_dtypes() | hnp.floating_dtypes()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def exchange(header: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], list[Array]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        theirs.settimeout(5)
        protocol.send(ours, header, arrays)
        return protocol.receive(theirs)


def frame(header: bytes, arrays: bytes = b"", *, magic: bytes = b"FLMP", total: int | None = None) -> bytes:
    return struct.pack("!4sIQ", magic, len(header), len(arrays) if total is None else total) + header + arrays


def receive(data: bytes) -> tuple[dict[str, Any], list[Array]]:
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(data)
        theirs.settimeout(5)
        return protocol.receive(theirs)


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def with_array(content: bytes) -> bytes:
    return frame(json.dumps({"arrays": [len(content)]}).encode(), content)


TWO_ZEROS = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", bytes(16))


@given(arrays=st.lists(hnp.arrays(NUMERIC, hnp.array_shapes(min_dims=0, min_side=0, max_side=5)), max_size=4))
def test_arrays_arrive_with_dtype_shape_and_values(arrays: list[Array]) -> None:
    _, received = exchange({}, arrays)

    assert len(received) == len(arrays)
    for sent, got in zip(arrays, received, strict=True):
        assert got.dtype == sent.dtype
        assert got.shape == sent.shape
        assert got.tobytes() == sent.tobytes()


@given(header=st.dictionaries(st.text().filter(lambda key: key != "arrays"), st.text() | st.integers() | st.none()))
def test_headers_arrive(header: dict[str, Any]) -> None:
    assert exchange(header, []) == (header, [])


@pytest.mark.parametrize(
    "array",
    [
        np.array(2.5),
        np.array(True),  # noqa: FBT003 -- an array of one boolean
        np.arange(12, dtype=np.float16).reshape(3, 4)[:, ::2],
        np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
        np.empty((0, 3), np.float32),
        np.arange(5, dtype=">i4"),
        np.array([1 + 2j], np.complex64),
        np.array([np.nan, np.inf, -0.0]),
    ],
    ids=["0-d", "bool", "non-contiguous", "fortran", "empty", "big-endian", "complex", "nan"],
)
def test_unusual_arrays_arrive_unchanged(array: Array) -> None:
    _, [received] = exchange({}, [array])

    assert received.dtype == array.dtype
    assert received.shape == array.shape
    assert received.tobytes() == array.tobytes()


def test_received_arrays_can_be_written_to() -> None:
    _, [first, second] = exchange({}, [np.zeros(3), np.zeros(3)])

    first += 1

    assert first.tolist() == [1, 1, 1]
    assert second.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "array",
    [np.array([{}, None], object), np.array(["a"]), np.array([(1, 2)], "i4,i4"), np.array(["2026-01-01"], "M8[D]")],
    ids=["object", "text", "structured", "date"],
)
def test_what_is_not_numeric_is_refused_before_anything_is_sent(
    pair: tuple[socket.socket, socket.socket], array: Array
) -> None:
    ours, theirs = pair
    theirs.settimeout(0)

    with pytest.raises(protocol.ProtocolError, match="only numbers and booleans"):
        protocol.send(ours, {}, [np.zeros(2), array])

    with pytest.raises(BlockingIOError):
        theirs.recv(1)


def test_a_large_array_passes_a_reader_that_is_busy() -> None:
    array = np.arange(3_000_000, dtype=np.float64)
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(protocol.send, ours, {}, [array])
        _, [received] = protocol.receive(theirs)
        sending.result(5)

    assert np.array_equal(received, array)


@given(cut=st.integers(0, 200))
def test_a_frame_that_is_cut_off_is_the_end_of_the_connection(cut: int) -> None:
    text = json.dumps({"call": "fit", "arrays": [len(TWO_ZEROS)]}).encode()
    whole = frame(text, TWO_ZEROS)

    with pytest.raises(EOFError):
        receive(whole[: min(cut, len(whole) - 1)])


@pytest.mark.parametrize(
    "data",
    [
        frame(b"{}", magic=b"HTTP"),
        frame(b"{"),
        frame(b"[]"),
        frame(b"\xff\xfe"),
        frame(b"[" * 200_000),
        frame(b"{}"),
        frame(b'{"arrays": [-1, 1]}'),
        frame(b'{"arrays": [true]}', b"a"),
        frame(b'{"arrays": [1.0]}', b"a"),
        frame(b'{"arrays": [5]}', b"ab"),
        frame(b'{"arrays": [1]}', total=2**60),
        struct.pack("!4sIQ", b"FLMP", 2**31, 0),
    ],
)
def test_hostile_frames_are_refused(data: bytes) -> None:
    with pytest.raises(protocol.ProtocolError):
        receive(data)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"x" * 100,
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", bytes(8)),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", bytes(16)),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -2), }", bytes(16)),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4), }"),
        npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }", bytes(8)),
        npy("{'descr': '<f8', 'fortran_order': False}"),
        npy("__import__('os').abort()"),
        npy("(" * 3_000),
        npy("{'descr': '<U1', 'fortran_order': False, 'shape': (1,), }", bytes(4)),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }" + " " * 5_000, bytes(8)),
    ],
)
def test_hostile_arrays_are_refused(content: bytes) -> None:
    with pytest.raises(protocol.ProtocolError):
        receive(with_array(content))


@given(header=st.text(alphabet="{}[]()'\":,0123456789 \\descrfotan_orshp<|fi8OTue\n#", max_size=200))
def test_no_npy_header_does_worse_than_being_refused(header: str) -> None:
    with pytest.raises(protocol.ProtocolError):
        receive(with_array(npy(header, bytes(8))))


@given(data=st.binary(max_size=400))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises((EOFError, protocol.ProtocolError)):
        receive(data)
