"""What a training has reached, on disk after every round, so that a restarted aggregator goes on with the next one."""

from __future__ import annotations

import contextlib
import os
import shutil
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from flops.errors import StoreUnavailableError, UndecodableMessageError
from flops.wire.json_text import decode_json, encode_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

KEPT: Final = 2
_META: Final = "meta"
_BEST: Final = "best"
_CURRENT: Final = "current"


@dataclass(frozen=True, slots=True)
class Best:
    """The best global model so far."""

    round: int
    accuracy: float | None
    loss: float | None
    parameters: list[NDArray[Any]]

    def is_beaten_by(self, accuracy: float | None, loss: float | None) -> bool:
        """Whether a model with these is better: by accuracy, then by the lower loss; the earlier one wins a tie."""
        return _rank(accuracy, loss) > _rank(self.accuracy, self.loss)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands after ``round`` rounds. ``report`` is that round's event, ``example`` one model input."""

    round: int
    parameters: list[NDArray[Any]]
    best: Best | None = None
    strategy_state: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    example: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The last ``KEPT`` rounds of one training, each a file that appears at once and complete."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reports = directory / "reports.jsonl"

    def save(self, progress: Progress) -> None:
        """Keep ``progress`` durably, and drop what is older than the one before.

        Raises:
            StoreUnavailableError: the disk does not take it; what was there before is untouched.
        """
        target = self._file(progress.round)
        unfinished = target.with_suffix(".unfinished")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                np.savez(file, **_arrays(progress))  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
            for outdated in self._files()[KEPT:]:
                outdated.unlink(missing_ok=True)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise StoreUnavailableError(str(self._directory), error.strerror or str(error)) from error

    def load(self) -> tuple[Progress | None, list[str]]:
        """The latest progress that can be read, and the names of the files that could not."""
        unreadable: list[str] = []
        for file in self._files():
            try:
                return _read(file), unreadable
            except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, UndecodableMessageError):
                unreadable.append(file.name)
        return None, unreadable

    def inherit(self, others: Sequence[Path]) -> bool:
        """Go on from the first of other directories that has a checkpoint, unless there is one here; whether it does.

        Raises:
            StoreUnavailableError: the disk does not take it.
        """
        heritage = next((other for other in others if any(other.glob("round-*.npz"))), None)
        if heritage is None or self._files():
            return False
        unfinished = self._directory.with_name(f".{self._directory.name}.unfinished")
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(heritage, unfinished)
            shutil.rmtree(self._directory, ignore_errors=True)
            unfinished.rename(self._directory)
        except (OSError, shutil.Error) as error:
            raise StoreUnavailableError(str(self._directory), str(error)) from error
        return True

    def mark_reported(self, report: dict[str, Any]) -> None:
        """Note what was published of a round.

        Raises:
            StoreUnavailableError: the disk does not take it.
        """
        try:
            with self._reports.open("ab") as file:
                file.write(encode_json(report) + b"\n")
        except OSError as error:
            raise StoreUnavailableError(str(self._directory), error.strerror or str(error)) from error

    def reports(self) -> list[dict[str, Any]]:
        """What was published of the rounds so far, in their order; what cannot be read is left out."""
        lines = self._reports.read_bytes().splitlines() if self._reports.exists() else []
        reports = []
        for line in lines:
            with contextlib.suppress(UndecodableMessageError):
                report = decode_json(self._reports.name, line)
                reports += [report] if isinstance(report, dict) else []
        return reports

    def _file(self, round_number: int) -> Path:
        return self._directory / f"round-{round_number:06d}.npz"

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob("round-*.npz"), reverse=True)


def _arrays(progress: Progress) -> dict[str, NDArray[Any]]:
    meta: dict[str, Any] = {
        "round": progress.round,
        "report": progress.report,
        "example": progress.example,
    }
    named = {_CURRENT: progress.parameters, **progress.strategy_state}
    if progress.best is not None:
        best = progress.best
        meta["best"] = {"round": best.round, "accuracy": best.accuracy, "loss": best.loss}
        if best.round != progress.round:
            named[_BEST] = best.parameters
    meta["counts"] = {name: len(arrays) for name, arrays in named.items()}
    flat = {f"{name}.{index}": array for name, arrays in named.items() for index, array in enumerate(arrays)}
    return {_META: np.frombuffer(encode_json(meta), dtype=np.uint8), **flat}


def _read(file: Path) -> Progress:
    # numpy leaves a damaged file open if it opens it itself.
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        meta = decode_json(file.name, archive[_META].tobytes())
        if not isinstance(meta, dict):
            raise UndecodableMessageError(file.name, "it has no description")
        named = {name: [archive[f"{name}.{index}"] for index in range(count)] for name, count in meta["counts"].items()}
    current = named.pop(_CURRENT)
    best = named.pop(_BEST, current)
    return Progress(
        round=meta["round"],
        parameters=current,
        best=Best(**meta["best"], parameters=best) if "best" in meta else None,
        strategy_state=named,
        report=meta["report"],
        example=meta["example"],
    )


def _rank(accuracy: float | None, loss: float | None) -> tuple[float, float]:
    worst = float("-inf")
    return (worst if accuracy is None else accuracy, worst if loss is None else -loss)
