"""An environment as a layer: the same packages for the same Python are the same bytes, wherever they were installed."""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from flops.adapters.images.environments import COMPLETE
from flops.adapters.images.oci.assembly import LayerPart
from flops.adapters.images.oci.bill_of_materials import bill_of_materials
from flops.adapters.images.oci.layers import files_below, new_layer
from flops.adapters.images.oci.parts import FORMAT, LayerMemory, Part
from flops.adapters.images.runnable import ENVIRONMENT
from flops.child_process import run_child

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from flops.adapters.images.interpreters import Interpreter
    from flops.adapters.images.oci.bases import BasePython
    from flops.adapters.images.oci.layers import Layer

SBOM: Final = "opt/ml/sbom.cdx.json"
COMPILE_S: Final = 1800.0
# Of no use in an image, or made anew for it.
_LEFT_OUT: Final = frozenset({COMPLETE, "pyvenv.cfg", "CACHEDIR.TAG", ".gitignore", ".lock"})


@dataclass(frozen=True, slots=True)
class EnvironmentTree:
    """An installed environment; ``below`` is one whose layer will lie under this one's."""

    directory: Path
    interpreter: Interpreter
    below: Path | None = None

    def paths(self) -> list[str]:
        """What the layer adds, sorted; compiled code is made for it, whatever else was compiled on this machine."""
        found = files_below(self.directory)
        kept = (path for path in found if path not in _LEFT_OUT and "/__pycache__/" not in path)
        return sorted(path for path in kept if not path.startswith("bin/activate") and not self._is_below(path))

    def key(self, python: BasePython) -> str:
        """What its layer is remembered by."""
        below = "" if self.below is None else self.below.name
        parts = (FORMAT, self.directory.name, below, python.path, python.version)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def _is_below(self, path: str) -> bool:
        if self.below is None:
            return False
        mine, other = f"{self.directory}/{path}", f"{self.below}/{path}"
        try:
            status, known = os.lstat(mine), os.lstat(other)
        except FileNotFoundError:
            return False
        if stat.S_ISLNK(status.st_mode) or stat.S_ISLNK(known.st_mode):
            return status.st_mode == known.st_mode and os.readlink(mine) == os.readlink(other)
        # uv links files of its cache, so that equal ones mostly are the same.
        return os.path.samestat(status, known) or cmp(mine, other, shallow=False)


class EnvironmentLayers:
    """Provides environments as layers; one that is remembered is written only if the registry turns out to lack it."""

    def __init__(self, environments: Path, place: Path, stopping: threading.Event | None) -> None:
        self._memory, self._place, self._stopping = LayerMemory(environments / ".layers"), place, stopping
        self._provided: list[LayerPart] = []

    def provide(self, tree: EnvironmentTree, lock: str, python: BasePython) -> LayerPart:
        """The layer of an environment that will run on the Python of a base image."""
        key, path = tree.key(python), self._place / f"environment-{len(self._provided)}.tar.gz"

        def write() -> Layer:
            return self._write(path, tree, lock, python)

        def content() -> Path:
            if not path.exists():
                write()
            return path

        layer, homes = self._memory.recall(key) or (write(), [])
        provided = LayerPart(layer, Part(layer.digest, layer.size_bytes, content, homes), key)
        self._provided.append(provided)
        return provided

    def keep(self) -> None:
        """Remember all layers, once they were pushed."""
        for own in self._provided:
            self._memory.keep(own.key, own.layer, own.part.homes)

    def _write(self, path: Path, tree: EnvironmentTree, lock: str, python: BasePython) -> Layer:
        paths = tree.paths()
        # Half of all code in such environments is tests of the packages, which nobody runs there.
        sources = [path for path in paths if path.endswith(".py") and "/tests/" not in path]
        _compile(tree, sources, self._place, self._stopping)
        compiled = (_compiled(source, tree.interpreter) for source in sources)
        # Some packages ship files that no Python of today compiles.
        paths += [path for path in compiled if os.path.exists(f"{tree.directory}/{path}")]
        unfinished = path.with_suffix(".unfinished")
        with new_layer(unfinished, self._stopping) as writer:
            writer.add_text(SBOM, bill_of_materials(lock, python.version))
            if tree.below is None:
                writer.add_text(f"{ENVIRONMENT}/pyvenv.cfg", _configuration(python))
            for within in paths:
                source, place = f"{tree.directory}/{within}", f"{ENVIRONMENT}/{within}"
                if within == "bin/python":  # the others of its name are links to it
                    writer.add_link(place, python.path)
                else:
                    writer.add(source, place)
            layer = writer.close("environment")
        unfinished.rename(path)
        return layer


def _configuration(python: BasePython) -> str:
    lines = (f"home = {PurePosixPath(python.path).parent}", "include-system-site-packages = false")
    return "\n".join([*lines, f"version = {python.version}", ""])


def _compile(tree: EnvironmentTree, sources: Sequence[str], scratch: Path, stopping: threading.Event | None) -> None:
    """Compile, so that nothing does it at each start in a read-only image. Times and this machine's paths stay out."""
    workers = os.cpu_count() or 1
    command = [
        *(str(tree.interpreter.path), "-S", "-m", "compileall", "-q", "-q", "-f"),
        *("--invalidation-mode", "unchecked-hash", "-s", str(tree.directory), "-p", f"/{ENVIRONMENT}", "-i"),
    ]

    def compile_some(number: int) -> None:
        listed = scratch / f"sources-{number}"
        listed.write_text("\n".join(str(tree.directory / path) for path in sources[number::workers]), "utf-8")
        # Without a fixed seed, sets in compiled code would be in another order each time.
        environment = {"PYTHONHASHSEED": "0"}
        run_child([*command, str(listed)], environment=environment, timeout_s=COMPILE_S, stopping=stopping,
                  directory=scratch)  # fmt: skip

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(compile_some, range(workers)))


def _compiled(source: str, interpreter: Interpreter) -> str:
    directory, _, name = source.rpartition("/")
    major, minor = interpreter.minor
    return f"{directory}/__pycache__/{name.removesuffix('.py')}.cpython-{major}{minor}.pyc"
