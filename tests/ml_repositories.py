"""Small ML repositories, made as real Git repositories."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MODEL_MANAGER: Final = """\
from data_manager import DataManager
from flops_utils.ml_repo_templates import ModelManagerTemplate


class ModelManager(ModelManagerTemplate):
    def set_model_data(self):
        self.data = DataManager().get_data()

    def get_model(self):
        return self

    def get_model_parameters(self):
        return []

    def set_model_parameters(self, parameters):
        pass

    def fit_model(self):
        return 1

    def evaluate_model(self):
        return 0.0, 1.0, 1
"""
DATA_MANAGER: Final = """\
from flops_utils.ml_repo_templates import DataManagerTemplate


class DataManager(DataManagerTemplate):
    def _prepare_data(self):
        pass

    def get_data(self):
        return None, None
"""
TINY: Final = {
    "model_manager.py": MODEL_MANAGER,
    "data_manager.py": DATA_MANAGER,
    "requirements.txt": "six==1.16.0\niniconfig\nflops-utils\n",
}


def git(directory: Path, *arguments: str) -> str:
    """Run git in a directory, free of the settings of whoever runs the tests."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **{f"GIT_{who}_{what}": "test@invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    finished = subprocess.run(
        ["git", "-C", str(directory), *arguments], env=environment, check=True, capture_output=True, text=True
    )
    return finished.stdout.strip()


def make_repository(directory: Path, files: Mapping[str, str]) -> str:
    """Make a Git repository with one commit on ``main``; returns the commit."""
    directory.mkdir(parents=True)
    git(directory, "init", "--quiet", "--initial-branch=main")
    return commit_files(directory, files)


def commit_files(directory: Path, files: Mapping[str, str]) -> str:
    """Write files and commit them; returns the commit."""
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--allow-empty", "--message", "A commit")
    return git(directory, "rev-parse", "HEAD")
