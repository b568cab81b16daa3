"""The frames that an actor and its model process exchange; docs/reference/model-process.md describes them.

A frame is a fixed prefix, a JSON header and the arrays in numpy's npy format. Nothing is ever unpickled. This module
runs on both sides: in the actor's interpreter and in the ML repository's, which may be an old one.
"""

from __future__ import annotations

import functools
import io
import json
import struct
import tokenize
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

VERSION = 1
MAX_HEADER_BYTES = 1024 * 1024
MAX_ARRAYS_BYTES = 4 * 1024 * 1024 * 1024
NUMERIC_KINDS = "biufc"

_PREFIX = struct.Struct("!4sIQ")
_MAGIC = b"FLMP"
_NPY_PREFIX_BYTES = 10
_MAX_NPY_HEADER_BYTES = 4096
_JOIN_BELOW_BYTES = 1024 * 1024
_MALFORMED_NPY = (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError, OverflowError)


class ProtocolError(Exception):
    """What was received is no frame, or what is to be sent fits in none."""


def send(connection: socket.socket, header: dict[str, Any], arrays: Sequence[np.ndarray[Any, Any]] = ()) -> None:
    """Send one frame. The header is a JSON object; its key ``arrays`` is the protocol's own.

    Raises:
        ProtocolError: an array is not numeric, or a limit is exceeded. Nothing was sent.
        OSError: the other side is gone.
    """
    parts: list[bytes | memoryview] = []
    sizes = []
    for array in arrays:
        npy_header, data = _encode(np.asarray(array))
        parts += [npy_header, data]
        sizes.append(len(npy_header) + data.nbytes)
    text = json.dumps({**header, "arrays": sizes}, allow_nan=False).encode()
    total = sum(sizes)
    _check_limits(len(text), total)
    parts = [_PREFIX.pack(_MAGIC, len(text), total), text, *parts]
    if total < _JOIN_BELOW_BYTES:
        parts = [b"".join(parts)]
    for part in parts:
        connection.sendall(part)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[np.ndarray[Any, Any]]]:
    """Receive one frame. The arrays are writable and each owns its memory.

    Raises:
        EOFError: the other side is gone, possibly in the middle of a frame.
        ProtocolError: what came is no frame; the connection cannot be used any further.
    """
    magic, header_bytes, total = _PREFIX.unpack(_read(connection, _PREFIX.size))
    if magic != _MAGIC:
        message = f"a frame begins with {_MAGIC!r}, not with {magic!r}"
        raise ProtocolError(message)
    _check_limits(header_bytes, total)
    header = _parse_header(bytes(_read(connection, header_bytes)))
    sizes = _sizes(header.pop("arrays", None), total)
    return header, [_decode(_read(connection, size)) for size in sizes]


def _check_limits(header_bytes: int, arrays_bytes: int) -> None:
    for name, size, limit in (("header", header_bytes, MAX_HEADER_BYTES), ("arrays", arrays_bytes, MAX_ARRAYS_BYTES)):
        if size > limit:
            message = f"the {name} of a frame may have {limit:,} bytes, not {size:,}"
            raise ProtocolError(message)


def _parse_header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"the header of a frame is no JSON: {error}"
        raise ProtocolError(message) from None
    if not isinstance(header, dict):
        message = "the header of a frame is no JSON object"
        raise ProtocolError(message)
    return header


def _sizes(sizes: object, total: int) -> list[int]:
    is_list = isinstance(sizes, list) and all(type(size) is int and size >= 0 for size in sizes)
    if not isinstance(sizes, list) or not is_list or sum(sizes) != total:
        message = "the header of a frame does not list the sizes of its arrays"
        raise ProtocolError(message)
    return sizes


def _read(connection: socket.socket, size: int) -> memoryview:
    buffer = np.empty(size, np.uint8).data
    position = 0
    while position < size:
        received = connection.recv_into(buffer[position:])
        if not received:
            raise EOFError
        position += received
    return buffer


def _encode(array: np.ndarray[Any, Any]) -> tuple[bytes, memoryview]:
    if array.dtype.kind not in NUMERIC_KINDS:
        message = f"an array of {array.dtype} cannot be sent; only numbers and booleans can"
        raise ProtocolError(message)
    fortran_order = bool(array.flags.f_contiguous and not array.flags.c_contiguous)
    ordered = array.T if fortran_order else array
    if not ordered.flags.c_contiguous:
        ordered = np.ascontiguousarray(ordered)
    return _npy_header(array.dtype.str, array.shape, fortran_order), ordered.reshape(-1).view(np.uint8).data


@functools.lru_cache(maxsize=4096)
def _npy_header(descr: str, shape: tuple[int, ...], fortran_order: bool) -> bytes:  # noqa: FBT001 -- part of a cache key
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": fortran_order, "shape": shape})
    return file.getvalue()


def _decode(npy: memoryview) -> np.ndarray[Any, Any]:
    prefix = bytes(npy[:_NPY_PREFIX_BYTES])
    header_end = _NPY_PREFIX_BYTES + int.from_bytes(prefix[8:], "little")
    if len(prefix) < _NPY_PREFIX_BYTES or header_end > min(len(npy), _MAX_NPY_HEADER_BYTES):
        message = "an array is cut off"
        raise ProtocolError(message)
    dtype, shape, fortran_order = _parse_npy_header(bytes(npy[:header_end]))
    count = functools.reduce(lambda product, length: product * length, shape, 1)
    if count * dtype.itemsize != len(npy) - header_end:
        message = f"an array of {dtype} with the shape {shape} does not have {len(npy) - header_end:,} bytes"
        raise ProtocolError(message)
    if not count:
        return np.empty(shape, dtype)
    flat = np.frombuffer(npy, dtype, count, header_end)
    return flat.reshape(shape[::-1]).T if fortran_order else flat.reshape(shape)


@functools.lru_cache(maxsize=4096)
def _parse_npy_header(text: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    file = io.BytesIO(text)
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    except _MALFORMED_NPY as error:
        message = f"an array is not in the npy format: {error}"
        raise ProtocolError(message) from None
    if version != (1, 0) or file.tell() != len(text) or dtype.kind not in NUMERIC_KINDS or min(shape, default=0) < 0:
        message = f"an array of {dtype} with the shape {shape} is not accepted"
        raise ProtocolError(message)
    return dtype, shape, fortran_order
