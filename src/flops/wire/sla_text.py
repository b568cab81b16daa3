"""Reads the text of an SLA: strict JSON, where every key keeps its line and column for the messages."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, NoReturn

from flops.errors import InvalidSlaError, SlaFault

MAX_SLA_BYTES: Final = 256 * 1024
MAX_SLA_NESTING: Final = 16

# A closing quote is optional, so that an unterminated text is one token and scanning stays linear.
_TOKEN: Final = re.compile(
    r'(?P<text>"(?:[^"\\]|\\.)*+"?)(?P<colon>\s*+:)?|(?P<open>[{\[])|(?P<close>[}\]])|,', re.DOTALL
)
_SPACE: Final = re.compile(r"\s*")
_WORD: Final = re.compile(r"[A-Za-z_]\w*")
_PYTHON_WORDS: Final = {"True": "true", "False": "false", "None": "null"}
_BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_SYNTAX: Final = {
    "Expecting ',' delimiter": ("a comma or a closing bracket is missing here", ""),
    "Expecting ':' delimiter": ("a colon is missing after the key", ""),
    "Expecting value": ("a value is missing here", ""),
    "Extra data": ("something follows after the end of the document", "An SLA is one JSON object."),
    "Unterminated string starting at": ("the closing quote of this text is missing", ""),
    "Invalid control character at": ("a line break or control character stands inside a text", r"Write \n for one."),
    "Invalid \\escape": ("a backslash is followed by something that JSON does not know", r"Write \\ for a backslash."),
    "Invalid \\uXXXX escape": (r"\u is not followed by four hexadecimal digits", r"Write \\ for a backslash."),
}


class Place(NamedTuple):
    """A position in a text; both count from 1, 0 is unknown."""

    line: int = 0
    column: int = 0


UNKNOWN: Final = Place()


@dataclass(frozen=True, slots=True)
class SlaDocument:
    """A parsed SLA; ``places`` maps ``a.b[0]`` paths to where they stand, if it was a text."""

    value: object
    places: dict[str, Place] = field(default_factory=dict)


def read_sla(document: bytes | str | dict[str, Any]) -> SlaDocument:
    """Parse an SLA, or take one that is parsed already.

    Raises:
        InvalidSlaError: it is not JSON, has a key twice, or is too large or too deep.
    """
    if not isinstance(document, bytes | str):
        _check_value(document)
        return SlaDocument(document)
    text = _decoded(document)
    scan = _Scan(text)
    scan.run()
    value = _parsed(text, scan)
    if scan.duplicates:
        raise InvalidSlaError(scan.duplicates)
    _check_value(value)
    return SlaDocument(value, scan.places)


def item_path(parent: str, key: str | int) -> str:
    """The path of a key or index below ``parent``."""
    if isinstance(key, int):
        return f"{parent}[{key}]"
    return f"{parent}.{key}" if parent else key


def _refuse(message: str, hint: str = "", place: Place = UNKNOWN, path: str = "") -> NoReturn:
    raise InvalidSlaError([SlaFault(path, message, hint, *place)]) from None


def _decoded(document: bytes | str) -> str:
    try:
        raw = document.encode() if isinstance(document, str) else document
    except UnicodeEncodeError as error:
        _refuse(f"character {error.start + 1} is half of a surrogate pair and means nothing")
    if len(raw) > MAX_SLA_BYTES:
        _refuse(f"it has more than {MAX_SLA_BYTES:,} bytes")
    if raw.startswith(_BYTE_ORDER_MARKS):
        _refuse("it begins with a byte order mark", "Save the file as UTF-8 without one.", Place(1, 1))
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode()
        _refuse("it is not UTF-8", "Save the file as UTF-8.", _Lines(before).place(len(before)))


class _Lines:
    """Turns positions in a text into lines and columns."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, position: int) -> Place:
        line = bisect_right(self._starts, position)
        return Place(line, position - self._starts[line - 1] + 1)


@dataclass(slots=True)
class _Open:
    """An object or array that the scan is inside of."""

    path: str
    is_object: bool
    keys: set[str] = field(default_factory=set)
    current: str | int = 0


class _Scan:
    """Finds where every key and item of a JSON text stands, and the keys that occur twice."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._stack: list[_Open] = []
        self.lines = _Lines(text)
        self.places: dict[str, Place] = {}
        self.duplicates: list[SlaFault] = []

    def run(self) -> None:
        for token in _TOKEN.finditer(self._text):
            if token["open"]:
                self._enter(token)
            elif token["close"]:
                del self._stack[-1:]
            elif token["colon"]:
                self._note_key(token)
            elif not token["text"] and self._stack and isinstance(self._stack[-1].current, int):
                self._stack[-1].current += 1
                self._note_item(token)

    def _enter(self, token: re.Match[str]) -> None:
        if len(self._stack) == MAX_SLA_NESTING:
            place = self.lines.place(token.start())
            _refuse(f"it is nested more than {MAX_SLA_NESTING} levels deep", place=place)
        path = item_path(self._stack[-1].path, self._stack[-1].current) if self._stack else ""
        self._stack.append(_Open(path, is_object=token[0] == "{"))
        if token[0] == "[":
            self._note_item(token)

    def _note_item(self, token: re.Match[str]) -> None:
        if not self._stack[-1].is_object and (space := _SPACE.match(self._text, token.end())):
            path = item_path(self._stack[-1].path, self._stack[-1].current)
            self.places[path] = self.lines.place(space.end())

    def _note_key(self, token: re.Match[str]) -> None:
        if not self._stack:
            return
        try:
            key = json.loads(token["text"])
        except ValueError:
            return
        inside, place = self._stack[-1], self.lines.place(token.start())
        path = item_path(inside.path, key)
        if key in inside.keys:
            self.duplicates.append(SlaFault(path[:200], "the key occurs twice", "Remove one of them.", *place))
        inside.keys.add(key)
        inside.current = key
        self.places[path] = place


class _ConstantError(Exception):
    """A number that Python's parser would accept, but JSON does not have."""


def _raise_constant(name: str) -> object:
    raise _ConstantError(name)


def _parsed(text: str, scan: _Scan) -> object:
    try:
        return json.loads(text, parse_constant=_raise_constant)
    except json.JSONDecodeError as error:
        message, hint, position = _diagnosis(text, error)
        _refuse(message, hint, scan.lines.place(position))
    except _ConstantError as error:
        blanked = _TOKEN.sub(lambda token: " " * len(token[0]), text)
        _refuse(f"{error} is not a JSON number", place=scan.lines.place(max(0, blanked.find(str(error)))))
    except ValueError:
        _refuse("it holds a number with far too many digits")


def _diagnosis(text: str, error: json.JSONDecodeError) -> tuple[str, str, int]:
    """What is probably meant by a syntax error: message, hint and position."""
    name = error.msg.removesuffix(": ")
    message, hint = _SYNTAX.get(name, (f"it is not JSON ({name})", ""))
    if name.startswith(("Unterminated", "Invalid")):
        return message, hint, error.pos
    if not text.strip():
        return "it is empty", "'flops sla list' shows examples.", 0
    position = _skip_space(text, error.pos)
    comma = _trailing_comma(text, position)
    if comma is not None:
        return "a comma stands before a closing bracket", "Remove the comma.", comma
    message, hint = _misspelling(text, position, error) or (message, hint)
    return message, hint, position


def _skip_space(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _trailing_comma(text: str, position: int) -> int | None:
    """Where the comma is that a syntax error at ``position`` is about, if it is one before a closing bracket."""
    comma = position if text[position : position + 1] == "," else len(text[:position].rstrip()) - 1
    is_last = text[_skip_space(text, comma + 1) :][:1] in ("}", "]")
    return comma if comma >= 0 and text[comma] == "," and is_last else None


def _misspelling(text: str, position: int, error: json.JSONDecodeError) -> tuple[str, str] | None:
    here = text[position : position + 2]
    word = _WORD.match(text, position)
    name = word[0][:60] if word else ""
    if not here:
        return "it ends too early", "A closing bracket is missing."
    if here in ("//", "/*") or here[0] in "#%":
        return "comments are not allowed in JSON", "Remove the comment."
    if here[0] == "'":
        return "single quotes are not allowed in JSON", 'Use double quotes (").'
    if name in _PYTHON_WORDS:
        return f"{name} is not JSON", f"Write {_PYTHON_WORDS[name]}."
    if name:
        kind = "key" if "property name" in error.msg else "text"
        return f"the {kind} {name} has no quotes", f'Write "{name}".'
    if "property name" in error.msg:
        return "a key in double quotes is expected here", ""
    return None


def _check_value(value: object) -> None:
    """Refuse what pydantic or the wire could not carry: half surrogates, keys that are no texts, deep nesting."""
    pending: list[tuple[str, object, int]] = [("", value, 1)]
    while pending:
        path, item, depth = pending.pop()
        if depth > MAX_SLA_NESTING + 1:
            _refuse(f"it is nested more than {MAX_SLA_NESTING} levels deep")
        if isinstance(item, str) and not _is_unicode(item):
            _refuse("the text holds half of a surrogate pair, which means nothing", path=path)
        if isinstance(item, dict):
            if not all(isinstance(key, str) and _is_unicode(key) for key in item):
                _refuse("a key is not a text", path=path)
            pending.extend((item_path(path, key), child, depth + 1) for key, child in item.items())
        elif isinstance(item, list):
            pending.extend((item_path(path, index), child, depth + 1) for index, child in enumerate(item))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
