"""Blobs: the bytes of a message's arrays, named by their digest, sent in pieces and put together again."""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING

from flops.errors import PayloadTooLargeError, UndecodableMessageError
from flops.wire.learning import BlobRef, Chunk, Need
from flops.wire.limits import MAX_ASSEMBLIES, MAX_MISSING, MAX_PIECES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Shape = tuple[str, int, int]


class Blob:
    """Bytes that are kept in the segments they came in, so that nothing is copied to send them."""

    def __init__(self, segments: Sequence[bytes]) -> None:
        self._segments = segments
        digest = hashlib.sha256()
        for segment in segments:
            digest.update(segment)
        self.ref = BlobRef(digest=digest.hexdigest(), size_bytes=sum(map(len, segments)))

    def pieces(self, piece_bytes: int, only: Iterable[int] = ()) -> Iterator[tuple[Chunk, bytes]]:
        """The pieces, or ``only`` those asked for, each with its header."""
        count = piece_count(self.ref.size_bytes, piece_bytes)
        for index in list(only) or range(count):
            if 0 <= index < count:
                yield self._header(piece_bytes, index), self._slice(index * piece_bytes, piece_bytes)

    def _header(self, piece_bytes: int, index: int) -> Chunk:
        return Chunk(digest=self.ref.digest, size_bytes=self.ref.size_bytes, piece_bytes=piece_bytes, index=index)

    def _slice(self, start: int, length: int) -> bytes:
        parts, position = [], 0
        for segment in self._segments:
            low, high = max(start - position, 0), min(start + length - position, len(segment))
            if low < high:
                parts.append(memoryview(segment)[low:high])
            position += len(segment)
        return b"".join(parts)


class Assembly:
    """A blob that is being received: pieces in any order, each counted once.

    Only pieces that have come take memory, whatever size was announced.
    """

    def __init__(self, first: Chunk) -> None:
        self._shape = _shape(first)
        self._count = piece_count(first.size_bytes, first.piece_bytes)
        self._pieces: dict[int, memoryview] = {}

    @property
    def is_complete(self) -> bool:
        """Whether every piece is there (which says nothing of their being right)."""
        return len(self._pieces) == self._count

    def add(self, chunk: Chunk, body: memoryview) -> None:
        """Take a piece; one that is there already, or does not fit, changes nothing."""
        start = chunk.index * chunk.piece_bytes
        if chunk.index not in self._pieces and len(body) == min(chunk.piece_bytes, chunk.size_bytes - start):
            self._pieces[chunk.index] = body

    def take(self) -> bytearray | None:
        """The blob if its digest is right, else None. The pieces are given up one by one, to hold nothing twice."""
        digest, size_bytes, piece_bytes = self._shape
        blob = bytearray(size_bytes)
        for index in range(self._count):
            body = self._pieces.pop(index)
            blob[index * piece_bytes : index * piece_bytes + len(body)] = body
        return blob if hashlib.sha256(blob).hexdigest() == digest else None

    def need(self) -> Need:
        """Ask for what is missing."""
        missing = (index for index in range(self._count) if index not in self._pieces)
        return Need(digest=self._shape[0], missing=list(islice(missing, MAX_MISSING)))


class Receiver:
    """Puts the blobs of one sender together and keeps the last complete one.

    Of unfinished ones it keeps the few that were heard of last, so that foreign pieces do not displace it.
    """

    def __init__(self) -> None:
        self._assemblies: dict[Shape, Assembly] = {}
        self._blob: tuple[str, bytearray] | None = None

    def add(self, topic: str, chunk: Chunk, body: memoryview, *, limit_bytes: int) -> None:
        """Take one chunk.

        Raises:
            PayloadTooLargeError: the blob would be larger than ``limit_bytes``, or than the memory that is left.
            UndecodableMessageError: it is cut so small that keeping count of its pieces would take too much memory.
        """
        if self._blob is not None and self._blob[0] == chunk.digest:
            return
        if chunk.size_bytes > limit_bytes:
            raise PayloadTooLargeError(topic, chunk.size_bytes, limit_bytes)
        if piece_count(chunk.size_bytes, chunk.piece_bytes) > MAX_PIECES:
            raise UndecodableMessageError(topic, f"its blob is cut into more than {MAX_PIECES:,} pieces")
        assembly = self._assembly_of(chunk)
        assembly.add(chunk, body)
        if assembly.is_complete:
            del self._assemblies[_shape(chunk)]
            try:
                blob = assembly.take()
            except MemoryError as error:
                raise PayloadTooLargeError(topic, chunk.size_bytes, limit_bytes) from error
            if blob is not None:
                self._assemblies.clear()
                self._blob = (chunk.digest, blob)

    def blob(self, ref: BlobRef) -> bytearray | None:
        """The blob of this name if it is complete."""
        complete = self._blob is not None and self._blob[0] == ref.digest and len(self._blob[1]) == ref.size_bytes
        return self._blob[1] if complete and self._blob is not None else None

    def need(self, ref: BlobRef) -> Need:
        """What to ask the sender for so that the blob becomes complete."""
        unfinished = (item for shape, item in self._assemblies.items() if shape[:2] == (ref.digest, ref.size_bytes))
        assembly = next(unfinished, None)
        return Need(digest=ref.digest) if assembly is None else assembly.need()

    def forget(self) -> None:
        """Free the memory."""
        self._assemblies.clear()
        self._blob = None

    def _assembly_of(self, chunk: Chunk) -> Assembly:
        """The blob that a piece belongs to, now the one heard of last; beyond a few, the oldest is given up."""
        shape = _shape(chunk)
        assembly = self._assemblies.pop(shape, None) or Assembly(chunk)
        while len(self._assemblies) >= MAX_ASSEMBLIES:
            del self._assemblies[next(iter(self._assemblies))]
        self._assemblies[shape] = assembly
        return assembly


def _shape(chunk: Chunk) -> Shape:
    return chunk.digest, chunk.size_bytes, chunk.piece_bytes


def piece_count(size_bytes: int, piece_bytes: int) -> int:
    """How many pieces a blob is cut into."""
    return -(-size_bytes // piece_bytes)
