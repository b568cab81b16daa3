"""An ML repository that was written for the existing FLOps runs unchanged."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sklearn.datasets import load_digits
from tests.system.installation import digits_sla

if TYPE_CHECKING:
    from tests.system.installation import Installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LEGACY = Path(__file__).parents[1] / "repositories" / "legacy_mnist_style"


def test_with_flops_utils_a_conda_file_and_old_pins(installation: Installation, tmp_path: Path) -> None:
    repository = tmp_path / "flops_ml_repo_mnist_sklearn"
    shutil.copytree(LEGACY, repository, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-C", str(repository), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "As it always was"]):
        subprocess.run([*git, *arguments], check=True)

    outcome = installation.run_project(digits_sla(ml_repo_url=repository.as_uri()), tmp_path, timeout_s=500)

    assert outcome.exit_code == 0, outcome.entries[-3:]
    assert outcome.last["data"]["best_accuracy"] > 0.85
    digits = load_digits()
    file = tmp_path / "rows.json"
    file.write_text(json.dumps((digits.images[::100].reshape(-1, 64) / 16).tolist()))
    predictions = installation.ok("predict", outcome.project_id, str(file))["predictions"]
    assert sum(map(int.__eq__, predictions, digits.target[::100].tolist())) > 0.8 * len(predictions)
