"""An environment's layer: made for the base's Python, compiled, without what lies below it."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
from typing import TYPE_CHECKING, Final

import pytest
from isal import isal_zlib

from flops.adapters.images.environments import COMPLETE
from flops.adapters.images.interpreters import Interpreter, own_interpreter
from flops.adapters.images.oci.bases import BasePython
from flops.adapters.images.oci.bill_of_materials import bill_of_materials
from flops.adapters.images.oci.environment_layer import EnvironmentLayers, EnvironmentTree
from flops.adapters.images.oci.platforms import own_platform, wheels_for

if TYPE_CHECKING:
    from pathlib import Path

LOCK: Final = "six==1.16.0 \\\n    --hash=sha256:00\nthing @ https://example.org/thing.whl\n"
DEBIAN: Final = BasePython("/usr/bin/python3.11", "3.11.2", "2.36")
SITE: Final = "lib/python3/site-packages"


def make_environment(directory: Path, **modules: str) -> Path:
    """What an installer would leave on this machine."""
    (directory / "bin").mkdir(parents=True)
    (directory / "bin" / "python").symlink_to(own_interpreter())
    (directory / "bin" / "python3").symlink_to("python")
    (directory / "bin" / "activate").write_text(f"VIRTUAL_ENV={directory}")
    (directory / "pyvenv.cfg").write_text(f"home = {own_interpreter().parent}\n")
    (directory / COMPLETE).write_text("1")
    for name, text in modules.items():
        path = directory / SITE / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(text)
    return directory


def tree(directory: Path, below: Path | None = None) -> EnvironmentTree:
    return EnvironmentTree(directory, Interpreter(own_interpreter(), ".".join(_own_version())), below)


def _own_version() -> tuple[str, ...]:
    tag = importlib.util.cache_from_source("x.py").rpartition("-")[2].partition(".")[0]
    return tag[0], tag[1:], "0"


def unpacked(path: Path) -> dict[str, tarfile.TarInfo]:
    plain = isal_zlib.decompress(path.read_bytes(), wbits=31)
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return {entry.name.removeprefix("opt/ml/env/"): entry for entry in tar if not entry.isdir()}


def test_the_python_is_that_of_the_base_and_code_is_compiled(tmp_path: Path) -> None:
    made = make_environment(tmp_path / "env", first="x = 1\n", pack__tests__unused="y = 2\n", broken="print 'hello'\n")
    part = EnvironmentLayers(tmp_path / "envs", tmp_path, None).provide(tree(made), LOCK, DEBIAN).part
    entries = unpacked(part.content())
    assert entries["bin/python"].linkname == "/usr/bin/python3.11"
    assert entries["bin/python3"].linkname == "python"
    assert {"pyvenv.cfg", f"{SITE}/first.py", f"{SITE}/pack/tests/unused.py", f"{SITE}/broken.py"} <= set(entries)
    compiled = [name for name in entries if name.endswith(".pyc")]
    assert [name.partition(".")[0] for name in compiled] == [f"{SITE}/__pycache__/first"]
    assert not {"bin/activate", COMPLETE} & set(entries)


def test_wherever_it_was_installed_it_is_the_same(tmp_path: Path) -> None:
    layers = []
    for place in (tmp_path / "here", tmp_path / "some" / "where" / "else"):
        made = make_environment(place / "env", module="def f():\n    return {'a', 'b', 'c', 'd'}\n")
        layers.append(EnvironmentLayers(place / "envs", place, None).provide(tree(made), LOCK, DEBIAN).layer)
    assert layers[0] == layers[1]


def test_what_lies_below_is_left_out_unless_it_differs(tmp_path: Path) -> None:
    below = make_environment(tmp_path / "below", same="x = 1\n", other="x = 1\n")
    above = make_environment(tmp_path / "above", same="x = 1\n", other="x = 2\n", more="x = 3\n")
    assert tree(above, below).paths() == [f"{SITE}/more.py", f"{SITE}/other.py"]


def test_a_remembered_layer_is_written_only_when_it_is_asked_for(tmp_path: Path) -> None:
    made = make_environment(tmp_path / "env", module="x = 1\n")
    first = EnvironmentLayers(tmp_path / "envs", tmp_path, None)
    written = first.provide(tree(made), LOCK, DEBIAN)
    written.part.homes.append("ada/digits/learner")
    first.keep()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    again = EnvironmentLayers(tmp_path / "envs", elsewhere, None).provide(tree(made), LOCK, DEBIAN)
    assert (again.layer, again.part.homes) == (written.layer, ["ada/digits/learner"])
    assert not list(elsewhere.iterdir())
    assert again.part.content().read_bytes() == written.part.content().read_bytes()


def test_the_bill_of_materials_lists_every_package() -> None:
    bill = json.loads(bill_of_materials(LOCK, "3.11.2"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["components"] == [
        {"type": "platform", "name": "cpython", "version": "3.11.2"},
        {"type": "library", "name": "six", "version": "1.16.0", "purl": "pkg:pypi/six@1.16.0"},
        {"type": "library", "name": "thing"},
    ]


@pytest.mark.parametrize(("platform", "wheels"), [("linux/amd64", "x86_64"), ("linux/arm64", "aarch64")])
def test_only_this_machines_platform_needs_no_ready_made_wheels(platform: str, wheels: str) -> None:
    expected = "" if platform == own_platform() else f"{wheels}-manylinux_2_36"
    assert wheels_for(platform, DEBIAN) == expected
