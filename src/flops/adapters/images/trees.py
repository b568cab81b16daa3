"""Directory trees: measured, made read-only, removed whatever their modes."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path


def size_of(tree: Path) -> int:
    """The bytes of all regular files below, each counted once."""
    total = 0
    pending = [str(tree)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def make_read_only(tree: Path) -> None:
    """Take the right to write from everyone, and every right from group and others."""
    for directory, _, files in os.walk(tree, topdown=False):
        for name in files:
            path = Path(directory, name)
            if not path.is_symlink():
                path.chmod(0o500 if path.stat().st_mode & stat.S_IXUSR else 0o400)
        Path(directory).chmod(0o500)


def remove_tree(tree: Path) -> None:
    """Remove a tree, read-only parts included. Idempotent."""
    if not tree.is_dir() or tree.is_symlink():
        tree.unlink(missing_ok=True)
        return
    for directory, _, _ in os.walk(tree):
        Path(directory).chmod(0o700)
    shutil.rmtree(tree)


def private_directory(path: Path) -> Path:
    """Make a directory that only its owner may enter; so are those of its parents that are made on the way."""
    missing = [path, *path.parents]
    for directory in reversed([parent for parent in missing if not parent.exists()]):
        directory.mkdir(mode=0o700, exist_ok=True)
    return path
