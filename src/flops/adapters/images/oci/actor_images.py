"""The images of a repository's actors: base, environment, code."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from flops.adapters.images.interpreters import Choice, Interpreter, choose_interpreter, fits
from flops.adapters.images.oci.assembly import Assembly, LayerPart, PlatformImage
from flops.adapters.images.oci.environment_layer import EnvironmentLayers, EnvironmentTree
from flops.adapters.images.oci.layers import new_layer
from flops.adapters.images.oci.parts import Part, Pusher
from flops.adapters.images.oci.platforms import wheels_for
from flops.adapters.images.runnable import CODE, IMAGE, contents
from flops.adapters.images.uv import versions_in
from flops.errors import BuildFailedError
from flops.project.images import AGGREGATOR, LEARNER, BuildStepName

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from pathlib import Path

    from flops.adapters.images.oci.bases import Base, BasePython, Bases
    from flops.adapters.images.oci.client import RegistryClient
    from flops.adapters.images.preparation import Preparation, Target

ACTORS: Final = (LEARNER, AGGREGATOR)
_PYTHON_REMEDY: Final = "build FLOps' own images on a base with that Python"


@dataclass(slots=True)
class _Platform:
    """What the images of one platform are made of."""

    bases: dict[str, Base]
    layers: dict[str, list[LayerPart]] = field(default_factory=dict)

    @property
    def python(self) -> BasePython:
        return self.bases[LEARNER].python


class ActorAssembly:
    """One build of actors' images."""

    def __init__(
        self,
        steps: Preparation,
        client: RegistryClient,
        bases: Bases,
        environment: Mapping[str, str],
        stopping: threading.Event | None,
    ) -> None:
        self._steps, self._client, self._bases = steps, client, bases
        self._environment, self._stopping = environment, stopping
        self._layers = EnvironmentLayers(steps.environments, steps.workplace, stopping)

    def make(self, missing: Mapping[str, tuple[str, str]], platforms: tuple[str, ...]) -> None:
        """Build, and push for each actor to a repository of the registry, under a tag.

        Raises:
            BuildFailedError: see the port.
        """
        steps, code = self._steps, self._steps.workplace / "checkout"
        steps.provide_code(code)
        steps.check(code)
        made: dict[str, _Platform] = {}
        targets = steps.resolve(lambda wanted: [self._choose(wanted, platform, made) for platform in platforms])
        learners, aggregators = (steps.install(actor, targets) for actor in ACTORS)
        with steps.progress.step(BuildStepName.STORE) as done:
            code_layer = self._code_layer(code)
            for images, target, *installed in zip(made.values(), targets, learners, aggregators, strict=True):
                trees = [steps.environments / environment.digest for environment in installed]
                below, above = self._environment_layers(target, trees, images.python)
                images.layers[LEARNER] = [below, code_layer]
                images.layers[AGGREGATOR] = [*above, code_layer]
            every = {own.layer for images in made.values() for layers in images.layers.values() for own in layers}
            done.size_bytes = sum(layer.size_bytes for layer in every)
        self._push(missing, made)

    def _choose(self, wanted: str, platform: str, made: dict[str, _Platform]) -> Choice:
        """The base image decides on the Python; packages are installed by one of the same minor version."""
        steps = self._steps
        find = self._bases.find
        images = _Platform({actor: steps.progress.insist(partial(find, actor, platform)) for actor in ACTORS})
        made[platform] = images
        minor = ".".join(images.python.version.split(".")[:2])
        own = choose_interpreter(f"=={minor}", steps.uv, self._environment)
        if not own.is_exact:
            reason = f"the base images run on Python {minor}, which the builder does not have to install packages with."
            remedy = f"Install Python {minor} there, or {_PYTHON_REMEDY} that it has."
            raise BuildFailedError(BuildStepName.RESOLVE, reason, remedy=remedy)
        wheels = wheels_for(platform, images.python)
        interpreter = Interpreter(own.interpreter.path, images.python.version, wheels)
        return Choice(interpreter, fits(interpreter, wanted), "the base image", _PYTHON_REMEDY)

    def _code_layer(self, code: Path) -> LayerPart:
        order, path = self._steps.order, self._steps.workplace / "code.tar.gz"
        with new_layer(path, self._stopping) as writer:
            writer.add_tree(code, CODE)
            writer.add_text(IMAGE, contents(order.flavor, order.commit, order.url))
            layer = writer.close("code")
        return LayerPart(layer, Part(layer.digest, layer.size_bytes, lambda: path))

    def _environment_layers(
        self, target: Target, trees: list[Path], python: BasePython
    ) -> tuple[LayerPart, list[LayerPart]]:
        """The learner's layer, and those of the aggregator: the learner's and what it lacks, where that is all."""
        locks = [target.lock(actor) for actor in ACTORS]
        versions = [versions_in(lock).items() for lock in locks]
        learner = EnvironmentTree(trees[0], target.interpreter)
        below = self._layers.provide(learner, locks[0], python)
        if versions[0] <= versions[1]:
            rest = EnvironmentTree(trees[1], target.interpreter, below=trees[0])
            return below, [below, self._layers.provide(rest, locks[1], python)]
        whole = EnvironmentTree(trees[1], target.interpreter)
        return below, [self._layers.provide(whole, locks[1], python)]

    def _push(self, missing: Mapping[str, tuple[str, str]], made: Mapping[str, _Platform]) -> None:
        progress = self._steps.progress
        with progress.step(BuildStepName.PUSH) as done:
            pusher = Pusher(self._client, progress, self._stopping)
            assembly = Assembly(self._client, pusher, self._steps.workplace)
            for actor, (repository, tag) in missing.items():
                images = {
                    platform: PlatformImage(
                        images.bases[actor], images.layers[actor], self._labels(actor, images.python)
                    )
                    for platform, images in made.items()
                }
                assembly.push(images, repository, tag)
            self._layers.keep()
            done.size_bytes = pusher.sent_bytes

    def _labels(self, actor: str, python: BasePython) -> dict[str, str]:
        order = self._steps.order
        return {
            "org.opencontainers.image.title": f"FLOps {actor}",
            "org.opencontainers.image.source": order.url,
            "org.opencontainers.image.revision": order.commit,
            "fl.flops.actor": actor,
            "fl.flops.flavor": order.flavor,
            "fl.flops.version": version("flops-fl"),
            "fl.flops.python": python.version,
        }
