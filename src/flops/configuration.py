"""Where each setting comes from: flags, the environment, files with named contexts, or the default."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flops.errors import InvalidConfigurationError, InvalidSettingError, NotFoundError
from flops.settings import Settings
from flops.suggestions import did_you_mean, did_you_mean_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX: Final = "FLOPS_"
CONFIG_VARIABLE: Final = "FLOPS_CONFIG"
CONTEXT_VARIABLE: Final = "FLOPS_CONTEXT"
FILE_NAME: Final = "flops.toml"
CONTEXT: Final = "context"
CONTEXTS: Final = "contexts"
MAX_FILE_BYTES: Final = 1024 * 1024
KEYS: Final = tuple(item.name for item in fields(Settings))
NOT_SETTINGS: Final = frozenset(
    {CONFIG_VARIABLE, CONTEXT_VARIABLE, "FLOPS_SERVICE_FILE", "FLOPS_INSTANCE", "FLOPS_MODEL_DATA"}
)
# Whoever names another server names its credentials too: no file may have those of another one sent to its own.
CREDENTIALS: Final = {
    f"{server}_{credential}": f"{server}_url"
    for server in ("broker", "registry")
    for credential in ("username", "password_file", "ca_file")
}
_TABLE: Final = r"^\s*\[\s*(?P<name>[^\]]*?)\s*\]"


class Choice(NamedTuple):
    """What the flags of a command say: a context, a file, and settings by their names."""

    context: str = ""
    file: str = ""
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's text, and where it was said."""

    text: str = field(repr=False)
    origin: str


class ConfigurationFile(NamedTuple):
    """A ``flops.toml`` that was read: settings, and more settings per context."""

    path: Path
    values: dict[str, Value]
    contexts: dict[str, dict[str, Value]]
    context: str = ""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Every setting that is set anywhere, the strongest first."""

    values: dict[str, Value]
    context: str
    files: tuple[ConfigurationFile, ...]
    given: Mapping[str, str] = field(repr=False)

    def environment(self) -> dict[str, str]:
        """The environment in which everything is set that is set anywhere."""
        return {**self.given, **{variable_of(key): value.text for key, value in self.values.items()}}

    def settings(self) -> Settings:
        """The settings.

        Raises:
            InvalidSettingError: a value cannot be used; the message says where it comes from.
        """
        try:
            return Settings.from_environment(self.environment())
        except InvalidSettingError as error:
            value = self.values.get(error.name.removeprefix(PREFIX).lower())
            raise InvalidSettingError(error.name, error.value, error.expected, value.origin if value else "") from error

    def contexts(self) -> dict[str, list[str]]:
        """The names of all contexts, and the files that describe them."""
        names = sorted({name for file in self.files for name in file.contexts})
        return {name: [str(file.path) for file in self.files if name in file.contexts] for name in names}


CHOICE: ContextVar[Choice] = ContextVar("choice", default=Choice())  # noqa: B039  it is frozen


def variable_of(key: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + key.upper()


def read(environment: Mapping[str, str], choice: Choice) -> Configuration:
    """Read the files and put everything in its order.

    Raises:
        InvalidConfigurationError: a file cannot be read, or says what no setting is.
        NotFoundError: there is no such file or context.
    """
    files = tuple(_files(environment, choice))
    context = (
        choice.context or environment.get(CONTEXT_VARIABLE, "") or next((f.context for f in files if f.context), "")
    )
    known = sorted({name for file in files for name in file.contexts})
    if context and context not in known:
        raise NotFoundError("context", context, remedy=did_you_mean(context, known) or _how_to_make(context))
    of_context = [file.contexts.get(context, {}) for file in files]
    said = {
        key: Value(environment[variable_of(key)], f"environment variable {variable_of(key)}")
        for key in KEYS
        if environment.get(variable_of(key))
    }
    # A context that a flag names is as strong as a flag.
    layers = [_flags(choice), *of_context, said] if choice.context else [_flags(choice), said, *of_context]
    return Configuration(_merged([*layers, *(file.values for file in files)]), context, files, environment)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """What looks like a setting in the environment and is none."""
    known = {variable_of(key) for key in KEYS} | NOT_SETTINGS
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def _merged(layers: list[dict[str, Value]]) -> dict[str, Value]:
    merged: dict[str, Value] = {}
    for layer in layers:
        named = set(merged)
        for key, value in layer.items():
            if CREDENTIALS.get(key) not in named:
                merged.setdefault(key, value)
    return merged


def _flags(choice: Choice) -> dict[str, Value]:
    for key, _ in choice.values:
        if key not in KEYS:
            raise NotFoundError("setting", key, remedy=_meant(key))
    return {key: Value(text, "flag --set") for key, text in choice.values}


def _files(environment: Mapping[str, str], choice: Choice) -> Iterator[ConfigurationFile]:
    named = choice.file or environment.get(CONFIG_VARIABLE, "")
    if named:
        path = Path(named).expanduser()
        if not os.path.isfile(path):  # noqa: PTH113  unlike pathlib's, it never raises
            raise NotFoundError("configuration file", named, remedy=did_you_mean_file(str(path)))
        yield read_file(path)
        return
    for path in (Path.cwd() / FILE_NAME, user_file(environment)):
        if os.path.isfile(path):  # noqa: PTH113
            yield read_file(path, must_be_ours=True)


def user_file(environment: Mapping[str, str]) -> Path:
    """Where a user's own configuration is."""
    home = environment.get("HOME", "") or str(Path("~").expanduser())
    return Path(environment.get("XDG_CONFIG_HOME", "") or Path(home) / ".config") / "flops" / FILE_NAME


def read_file(path: Path, *, must_be_ours: bool = False) -> ConfigurationFile:
    """Read one file.

    Raises:
        InvalidConfigurationError: somebody else may have written it, it is no TOML, or it says what no setting is.
    """
    import tomllib  # noqa: PLC0415  most commands meet no file

    path = path.absolute()
    try:
        with path.open("rb") as file:
            owner = os.fstat(file.fileno()).st_uid
            content = file.read(MAX_FILE_BYTES + 1)
        if must_be_ours and owner not in {0, os.getuid()}:
            remedy = "Read it, then name it with --config if you trust it."
            raise InvalidConfigurationError(str(path), 0, "it belongs to another user", remedy=remedy)
        if len(content) > MAX_FILE_BYTES:
            raise InvalidConfigurationError(str(path), 0, f"it has more than {MAX_FILE_BYTES:,} bytes")
        text = content.decode()
        document = tomllib.loads(text)
    except OSError as error:
        raise InvalidConfigurationError(str(path), 0, (error.strerror or str(error)).lower()) from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, or nested too deeply
        found = re.search(r"line (\d+)", str(error))
        raise InvalidConfigurationError(str(path), int(found[1]) if found else 0, f"no valid TOML: {error}") from error
    return _Reader(path, text).file(document)


class _Reader:
    """Turns a TOML document into values that know their lines."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._lines = path, text.splitlines()

    def file(self, document: dict[str, Any]) -> ConfigurationFile:
        contexts, chosen = document.pop(CONTEXTS, {}), document.pop(CONTEXT, "")
        if not isinstance(chosen, str):
            raise self._wrong("", CONTEXT, "the name of a context is expected as 'context'")
        if not isinstance(contexts, dict) or not all(isinstance(item, dict) for item in contexts.values()):
            raise self._wrong("", CONTEXTS, "every context is a table: [contexts.NAME]")
        values = self._values("", document)
        by_name = {name: self._values(f"{CONTEXTS}.{name}", item) for name, item in contexts.items()}
        return ConfigurationFile(self._path, values, by_name, chosen)

    def _values(self, table: str, document: dict[str, Any]) -> dict[str, Value]:
        return {key: self._value(table, key, value) for key, value in document.items()}

    def _value(self, table: str, key: str, value: object) -> Value:
        if key not in KEYS:
            raise self._wrong(table, key, f"there is no setting '{key}'", _meant(key))
        line = self._line_of(table, key)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            value = ",".join(value)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self._wrong(table, key, f"'{key}' has to be a text or a number")
        return Value(str(value), f"{self._path}{f', line {line}' if line else ''}")

    def _wrong(self, table: str, key: str, reason: str, remedy: str = "") -> InvalidConfigurationError:
        return InvalidConfigurationError(str(self._path), self._line_of(table, key), reason, remedy=remedy)

    def _line_of(self, table: str, key: str) -> int:
        """In which line a key of a table is set, as it is usually written; 0 if that cannot be told."""
        wanted = re.compile(rf"""^\s*(["']?){re.escape(key)}\1\s*(=|\.)|^\s*\[\s*{re.escape(key)}\s*[\].]""")
        inside = ""
        for number, line in enumerate(self._lines, 1):
            if inside == table and wanted.match(line):
                return number
            if header := re.match(_TABLE, line):
                inside = re.sub(r"""["'\s]""", "", header["name"])
                if table == "" and wanted.match(line):
                    return number
        return 0


def _meant(key: str) -> str:
    hint = did_you_mean(key.lower().removeprefix(PREFIX.lower()), KEYS)
    return hint if hint.startswith("Did") else "'flops config show' lists all settings."


def _how_to_make(context: str) -> str:
    return f"Describe it in {FILE_NAME} with a table [{CONTEXTS}.{context}]; 'flops config show' names the files."
