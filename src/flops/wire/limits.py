"""How much may come over the wire. Every limit is here, and is checked by the sender and by the receiver.

A message is checked in this order, each step guarding the next: its bytes, its JSON (numbers, keys, nesting, values),
then its fields. What is wrapped in another message has the tighter limits, so that the wrapped one still fits.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MIB: Final = 1024 * 1024


class Bounds(NamedTuple):
    """What one JSON document may measure. ``values`` counts objects, arrays, texts and numbers alike."""

    size_bytes: int
    nesting: int
    values: int


# --- the control plane -----------------------------------------------------------------------------------------------

EVENT: Final = Bounds(size_bytes=MIB, nesting=24, values=50_000)
"""An event. An entry repeats up to 256 KiB of it, an answer holds a page of them."""
CONTROL: Final = Bounds(size_bytes=2 * MIB, nesting=28, values=60_000)
"""A request, an inbox entry, a confirmation."""
ANSWER: Final = Bounds(size_bytes=64 * MIB, nesting=32, values=8_000_000)
"""An answer, which FLOPS_MAX_PAYLOAD_BYTES limits further; also what a process has stored itself."""

PRESENCE: Final = Bounds(size_bytes=256 * 1024, nesting=8, values=10_000)
"""What an instance says of itself; everybody keeps the last of each."""
MAX_PRESENT: Final = 50_000
"""Instances that a manager remembers to be present."""

MAX_ID: Final = 256
"""Characters of an id, a source, a type, a reply topic. They hold no control characters (CloudEvents 1.0, 3.1)."""
MAX_TEXT: Final = 16_384
"""Characters of a text for people: a reason, a remedy, a traceback's end."""
MAX_INTEGER: Final = 2**63 - 1
"""Integers have 64 bits, as in every store."""
MAX_SEQUENCE: Final = 2**53 - 1
"""Sequence numbers are exact in every JSON reader (RFC 8259, 6)."""
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2999
"""Times are in these years and have a zone. A clock may be wrong by decades, but every time can be calculated with."""
MAX_PAGE: Final = 1000
"""Items of one answer."""
MAX_SOURCES: Final = 4096
"""Sources of numbered events of one project: their watermarks are part of its record."""

KEPT_LETTER_BYTES: Final = 64 * 1024
"""What is kept of the payload of a message that could not be understood."""
LETTERS_AT_ONCE: Final = 50
LETTERS_PER_S: Final = 2.0
"""How many dead letters of one topic are kept; more are counted only, since each costs a durable write."""
REJECTIONS_AT_ONCE: Final = 100
REJECTIONS_PER_S: Final = 20.0
"""How many broken SLAs are answered and told to everybody; more are treated as dead letters."""
MAX_WAITING_BYTES: Final = 512 * MIB
MAX_WAITING_MESSAGES: Final = 200_000
"""What may wait in one process for one subscription. More is dropped: whoever relies on it sends it again."""

# --- the learning plane ----------------------------------------------------------------------------------------------

HEADER: Final = Bounds(size_bytes=MIB, nesting=16, values=200_000)
"""The header line of a message; its body is a piece of a blob."""
MAX_MISSING: Final = 1024
"""Pieces that are asked for again at once."""
MAX_PIECES: Final = 2**20
"""Pieces of one blob."""
MAX_MODEL_BYTES: Final = 8 * 1024 * MIB
"""A global model; a learner refuses already what is more than half of its machine's memory."""
MIN_RESULT_LIMIT_BYTES: Final = 64 * MIB
MAX_RESULT_FACTOR: Final = 4
"""What a learner sends back: this many times what it was sent, and at least ``MIN_RESULT_LIMIT_BYTES``."""
MAX_ASSEMBLIES: Final = 4
"""Unfinished blobs of one sender: a foreign piece must not displace what is nearly complete."""

# --- the data plane --------------------------------------------------------------------------------------------------

MAX_DATA_MESSAGE_BYTES: Final = MIB
MAX_SHARES: Final = 100_000
