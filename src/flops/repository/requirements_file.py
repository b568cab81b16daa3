"""Reads pip's requirements files, includes followed and options understood."""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as ParsedRequirement

from flops.repository.dependencies import Dependencies, InvalidDependencyFileError, Requirement, is_provided

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MAX_FILES: Final = 50
_COMMENT: Final = re.compile(r"(?:^|\s)#.*$")
_HASH: Final = re.compile(r"\s--hash[=\s]\S+")
_URL: Final = re.compile(r"(?:git\+)?(?:https?|ssh)://\S+", re.IGNORECASE)
_INCLUDES: Final = ("-r", "--requirement", "-c", "--constraint")
_PASSED_ON: Final = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index", "--pre",
                     "--no-binary", "--only-binary", "--prefer-binary")  # fmt: skip


@dataclass(slots=True)
class _Reading:
    read: Callable[[str], str | None]
    requirements: list[Requirement] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)


def read_requirements_file(file: str, text: str, read: Callable[[str], str | None]) -> Dependencies:
    """Read a requirements file; ``read`` gives the text of another file of the repository, or None.

    Raises:
        InvalidDependencyFileError: with the line that cannot be used.
    """
    reading = _Reading(read)
    _follow(reading, file, text)
    return Dependencies(file, requirements=tuple(reading.requirements), options=tuple(reading.options))


def requirement_fault(text: str) -> str:
    """Why a line is not a requirement that can be installed, or an empty string."""
    bare = _HASH.sub("", text).strip()
    if "${" in bare:
        return "environment variables are not filled in here"
    if _URL.fullmatch(bare.partition(" ")[0]):
        return ""
    try:
        parsed = ParsedRequirement(bare)
    except InvalidRequirement as error:
        return f"{bare!r} is not a requirement ({str(error).splitlines()[0].rstrip('.')})"
    if parsed.url and not _URL.fullmatch(parsed.url):
        return f"only https, http and git addresses can be installed, not {parsed.url!r}"
    return ""


def _follow(reading: _Reading, file: str, text: str) -> None:
    reading.seen.add(file)
    if len(reading.seen) > _MAX_FILES:
        raise InvalidDependencyFileError(file, f"more than {_MAX_FILES} files include each other")
    for number, line in _logical_lines(text):
        where = f"{file}:{number}"
        if line.startswith("-"):
            _take_option(reading, file, where, line)
        elif not is_provided(line):
            fault = requirement_fault(line)
            if fault:
                raise InvalidDependencyFileError(where, fault, remedy="Write it as in 'numpy==1.26.4'.")
            reading.requirements.append(Requirement(line, where))


def _take_option(reading: _Reading, file: str, where: str, line: str) -> None:
    try:
        words = shlex.split(line.replace("=", " ", 1) if line.startswith("--") else line)
    except ValueError as error:
        raise InvalidDependencyFileError(where, f"this line cannot be read ({error})") from error
    option, value = words[0], " ".join(words[1:])
    if option[:2] in {"-r", "-c"} and len(option) > len("-r"):
        option, value = option[:2], option[2:]
    if option in _INCLUDES:
        _include(reading, file, where, value)
    elif option in {"-e", "--editable"}:
        if not is_provided(value):
            remedy = "List its dependencies instead; the repository's own files can be imported as they are."
            raise InvalidDependencyFileError(where, "editable installs are not supported", remedy=remedy)
    elif option in _PASSED_ON:
        if option in {"-f", "--find-links"} and not _URL.fullmatch(value):
            raise InvalidDependencyFileError(where, "packages can be found at http(s) addresses only, not in folders")
        if "${" in value:
            raise InvalidDependencyFileError(where, "environment variables are not filled in here")
        reading.options.append(line)
    else:
        raise InvalidDependencyFileError(where, f"the option {option} is not supported")


def _include(reading: _Reading, file: str, where: str, value: str) -> None:
    path = posixpath.normpath(posixpath.join(posixpath.dirname(file), value))
    if posixpath.isabs(path) or path.startswith("..") or _URL.match(value):
        raise InvalidDependencyFileError(where, f"{value!r} is outside the repository")
    if path in reading.seen:
        return
    text = reading.read(path)
    if text is None:
        raise InvalidDependencyFileError(where, f"the repository has no file {path!r}")
    _follow(reading, path, text)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, continuations joined, each with the number of its first line."""
    pending, begin = "", 0
    for number, physical in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = _COMMENT.sub("", physical).strip()
        begin = begin or number
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        whole, pending, first, begin = (pending + line).strip(), "", begin, 0
        if whole:
            yield first, whole
    if pending.strip():
        yield begin, pending.strip()
