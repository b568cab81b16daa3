"""The role ``builder``: makes the images that one project needs, tells every step, and ends."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flops.builder.tracking_url import find_tracking_url
from flops.delivery.farewell import await_confirmation
from flops.errors import BuildFailedError, FlopsError, StoppingError
from flops.ports import ActorImages, BuildStep
from flops.project.images import BuildStepName
from flops.wire.events import (
    MAX_TEXT,
    BuildFailed,
    BuildFinished,
    BuildStarted,
    BuildStepFinished,
    BuildStepStarted,
    ImageBuilt,
    Warned,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flops.delivery.service import ServiceContext
    from flops.ports import BuiltImage, ImageBuilder, Tracking
    from flops.retries import FailedAttempt, Retries


def run(
    context: ServiceContext, builder: ImageBuilder, tracking_for: Callable[[str], Tracking], retries: Retries
) -> int:
    """Build what the configuration asks for; returns the exit code.

    A build that fails is an event and the exit code 0: the service has done its work. A build that is stopped says
    nothing and leaves nothing.
    """
    work = _Builder(context, builder, tracking_for, retries)
    try:
        work.build()
    except StoppingError as error:
        return error.exit_code
    return 0 if await_confirmation(context) else StoppingError.exit_code


class _Builder:
    def __init__(
        self, context: ServiceContext, builder: ImageBuilder, tracking_for: Callable[[str], Tracking], retries: Retries
    ) -> None:
        self._context, self._config = context, context.config
        self._builder, self._tracking_for, self._retries = builder, tracking_for, retries
        self._purpose: Literal["actors", "trained-model"] = (
            "actors" if self._config["purpose"] == "actors" else "trained-model"
        )
        self._step = ""
        self._steps: list[str] = []

    def build(self) -> None:
        begun = time.monotonic()
        images, steps, make = self._plan()
        self._steps = [str(step) for step in steps]
        self._context.events.publish(BuildStarted(images=images, steps=self._steps))
        try:
            built = make()
        except StoppingError:
            raise
        except FlopsError as error:
            self._context.events.publish(self._failure(error))
            return
        for image in built:
            self._context.events.publish(
                ImageBuilt(image=image.image, size_bytes=image.size_bytes, duration_s=image.duration_s)
            )
        finished = BuildFinished(purpose=self._purpose, images=images, duration_s=time.monotonic() - begun)
        self._context.events.publish(finished)

    def _plan(self) -> tuple[list[str], Sequence[str], Callable[[], list[BuiltImage]]]:
        if self._purpose == "actors":
            return sorted(self._config["images"].values()), self._builder.actor_steps, self._build_actors
        return (
            [str(self._config["image"])],
            (BuildStepName.DOWNLOAD, *self._builder.model_steps),
            self._build_trained_model,
        )

    def _build_actors(self) -> list[BuiltImage]:
        order = ActorImages(
            url=self._config["url"],
            commit=self._config["commit"],
            flavor=self._config["flavor"],
            images=self._config["images"],
        )
        return self._builder.build_actors(order, self._report, self._warn)

    def _build_trained_model(self) -> list[BuiltImage]:
        config, directory = self._config, self._context.directory
        with tempfile.TemporaryDirectory(dir=directory, prefix="model-") as scratch:
            begun = time.monotonic()
            self._report(BuildStep(BuildStepName.DOWNLOAD))
            model = self._retries.insist(lambda: self._download(Path(scratch) / "model"), self._tell_failed_attempt)
            size_bytes = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
            self._report(BuildStep(BuildStepName.DOWNLOAD, time.monotonic() - begun, size_bytes))
            return [self._builder.build_trained_model(config["image"], config["base_image"], model, self._report)]

    def _download(self, into: Path) -> Path:
        """Fetch the model; the tracking server may be elsewhere than a moment ago."""
        shutil.rmtree(into, ignore_errors=True)
        config = self._config
        url = config.get("tracking_url") or find_tracking_url(self._context, config["tracking_service"])
        return self._tracking_for(url).download_model(config["model_uri"], into)

    def _tell_failed_attempt(self, failed: FailedAttempt) -> None:
        self._warn(failed.told("Downloading the model", failed.error.message), failed.error.remedy)

    def _report(self, step: BuildStep) -> None:
        if self._context.stopping.is_set():
            raise StoppingError
        self._step = str(step.name)
        number = self._steps.index(self._step) + 1 if self._step in self._steps else 0
        place = {"number": number, "steps": len(self._steps)}
        if step.duration_s is None:
            self._context.events.publish(BuildStepStarted(step=self._step, **place))
            return
        self._context.events.publish(
            BuildStepFinished(
                step=self._step,
                duration_s=step.duration_s,
                size_bytes=step.size_bytes,
                detail=step.detail[:MAX_TEXT],
                **place,
            )
        )

    def _warn(self, message: str, remedy: str) -> None:
        self._context.events.publish(Warned(message=message[:MAX_TEXT], remedy=remedy[:MAX_TEXT]))

    def _failure(self, error: FlopsError) -> BuildFailed:
        known = error if isinstance(error, BuildFailedError) else BuildFailedError(self._step, error.message)
        return BuildFailed(
            purpose=self._purpose,
            step=known.step,
            reason=known.reason[:MAX_TEXT],
            where=known.where[:MAX_TEXT],
            remedy=error.remedy[:MAX_TEXT],
            details=known.details[-MAX_TEXT:],
        )
