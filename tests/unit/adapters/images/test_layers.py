"""Layers tell nothing of where, when and by whom they were made, and say what they are."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from flops.adapters.images.oci.layers import Layer, new_layer
from flops.errors import StoppingError

if TYPE_CHECKING:
    from pathlib import Path

LONG = "/".join(["a-rather-long-name-of-a-folder"] * 6)


def make_tree(root: Path, *, mode: int, time_s: int, backwards: bool) -> Path:
    files = {"b.py": "b", "a/tool": "a", f"{LONG}/deep.py": "deep", "a/empty": ""}
    for name, text in sorted(files.items(), reverse=backwards):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode | (0o100 if name == "a/tool" else 0))
        os.utime(path, (time_s, time_s))
    (root / "lib64").symlink_to("lib")
    return root


def write(tree: Path, file: Path) -> Layer:
    with new_layer(file) as layer:
        layer.add_tree(tree, "opt/ml/code")
        layer.add_text("opt/ml/image.json", "{}")
        return layer.close("code")


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    one = make_tree(tmp_path / "one", mode=0o400, time_s=1_000_000, backwards=False)
    other = make_tree(tmp_path / "some" / "other", mode=0o664, time_s=2_000_000, backwards=True)
    assert write(one, tmp_path / "1") == write(other, tmp_path / "2")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_layer_is_what_it_says(tmp_path: Path) -> None:
    layer = write(make_tree(tmp_path / "tree", mode=0o600, time_s=0, backwards=False), tmp_path / "layer")
    packed = (tmp_path / "layer").read_bytes()
    plain = gzip.decompress(packed)
    assert layer.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert layer.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert layer.size_bytes == len(packed)
    assert Layer.of(layer.descriptor, layer.diff_id) == layer
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        entries = {entry.name: entry for entry in tar}
        assert tar.extractfile(f"opt/ml/code/{LONG}/deep.py").read() == b"deep"  # type: ignore[union-attr]
    assert [*entries][:3] == ["opt", "opt/ml", "opt/ml/code"]
    modes = {name: oct(entries[f"opt/ml/code/{name}"].mode) for name in ("a", "a/tool", "b.py")}
    assert modes == {"a": "0o755", "a/tool": "0o755", "b.py": "0o644"}
    assert entries["opt/ml/code/lib64"].linkname == "lib"
    assert {(entry.uid, entry.gid, entry.uname, entry.mtime) for entry in entries.values()} == {(0, 0, "", 0)}


def test_writing_ends_where_it_is_asked_to(tmp_path: Path) -> None:
    stopping = threading.Event()
    stopping.set()
    tree = make_tree(tmp_path / "tree", mode=0o600, time_s=0, backwards=False)
    with new_layer(tmp_path / "layer", stopping) as layer, pytest.raises(StoppingError):
        layer.add_tree(tree, "opt")
