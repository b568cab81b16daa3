"""Blobs: the bytes of a message's arrays, named by their digest, sent in pieces and put together again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from flops.errors import PayloadTooLargeError, UndecodableMessageError
from flops.wire.learning import MAX_MISSING, BlobRef, Chunk, Need

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


MAX_PIECES: Final = 2**20


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
    """A blob that is being received: pieces in any order, each counted once."""

    def __init__(self, first: Chunk) -> None:
        self._shape = (first.digest, first.size_bytes, first.piece_bytes)
        self._buffer = bytearray(first.size_bytes)
        self._missing = set(range(piece_count(first.size_bytes, first.piece_bytes)))

    @property
    def digest(self) -> str:
        """The digest of the blob that is expected."""
        return self._shape[0]

    @property
    def is_complete(self) -> bool:
        """Whether every piece is there (which says nothing of their being right)."""
        return not self._missing

    def belongs(self, chunk: Chunk) -> bool:
        """Whether a chunk is a piece of this blob, cut in the same way."""
        return self._shape == (chunk.digest, chunk.size_bytes, chunk.piece_bytes)

    def add(self, chunk: Chunk, body: memoryview) -> None:
        """Take a piece; one that is there already, or does not fit, changes nothing."""
        start = chunk.index * chunk.piece_bytes
        if chunk.index in self._missing and len(body) == min(chunk.piece_bytes, chunk.size_bytes - start):
            self._buffer[start : start + len(body)] = body
            self._missing.discard(chunk.index)

    def take(self) -> bytearray | None:
        """The blob if its digest is right, else None."""
        return self._buffer if hashlib.sha256(self._buffer).hexdigest() == self.digest else None

    def need(self) -> Need:
        """Ask for what is missing."""
        return Need(digest=self.digest, missing=sorted(self._missing)[:MAX_MISSING])


class Receiver:
    """Puts the blobs of one sender together, one at a time: a newer one displaces an unfinished one."""

    def __init__(self) -> None:
        self._assembly: Assembly | None = None
        self._blob: tuple[str, bytearray] | None = None

    def add(self, topic: str, chunk: Chunk, body: memoryview, *, limit_bytes: int) -> None:
        """Take one chunk.

        Raises:
            PayloadTooLargeError: the blob would be larger than ``limit_bytes``.
            UndecodableMessageError: it is cut so small that keeping count of its pieces would take too much memory.
        """
        if self._blob is not None and self._blob[0] == chunk.digest:
            return
        if chunk.size_bytes > limit_bytes:
            raise PayloadTooLargeError(topic, chunk.size_bytes, limit_bytes)
        if piece_count(chunk.size_bytes, chunk.piece_bytes) > MAX_PIECES:
            raise UndecodableMessageError(topic, f"its blob is cut into more than {MAX_PIECES:,} pieces")
        if self._assembly is None or not self._assembly.belongs(chunk):
            self._assembly = Assembly(chunk)
        self._assembly.add(chunk, body)
        if self._assembly.is_complete:
            blob, self._assembly = self._assembly.take(), None
            if blob is not None:
                self._blob = (chunk.digest, blob)

    def blob(self, ref: BlobRef) -> bytearray | None:
        """The blob of this name if it is complete."""
        complete = self._blob is not None and self._blob[0] == ref.digest and len(self._blob[1]) == ref.size_bytes
        return self._blob[1] if complete and self._blob is not None else None

    def need(self, ref: BlobRef) -> Need:
        """What to ask the sender for so that the blob becomes complete."""
        if self._assembly is not None and self._assembly.digest == ref.digest:
            return self._assembly.need()
        return Need(digest=ref.digest)

    def forget(self) -> None:
        """Free the memory."""
        self._assembly = self._blob = None


def piece_count(size_bytes: int, piece_bytes: int) -> int:
    """How many pieces a blob is cut into."""
    return -(-size_bytes // piece_bytes)
