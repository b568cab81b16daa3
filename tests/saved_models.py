"""Trained models, saved by the export of the model process in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import flops

EXPORT = Path(flops.__file__).parent / "learning" / "model_process" / "runtime" / "export.py"

# A subclass of the repository's own: whoever loads the model has no module ``model_manager``.
MODEL_MANAGER = """
from sklearn.linear_model import LogisticRegression

class DigitsClassifier(LogisticRegression):
    pass
"""
TRAIN_AND_EXPORT = """
import importlib.util, json, sys
import numpy as np
from sklearn.datasets import load_digits
from model_manager import DigitsClassifier

directory, export_file = sys.argv[1:]
spec = importlib.util.spec_from_file_location("export", export_file)
export = importlib.util.module_from_spec(spec)
spec.loader.exec_module(export)
images, labels = load_digits(return_X_y=True)
model = DigitsClassifier(max_iter=30).fit(images, labels)
export.prepare_export("sklearn")
warnings = export.export_model(model, "sklearn", directory, {"shape": [64], "dtype": "float64"})
warnings += export.export_model(model, "sklearn", directory + "-without-example", {})
print(json.dumps({"warnings": warnings, "predictions": model.predict(images[:20]).tolist()}))
"""


@dataclass(frozen=True)
class SavedModel:
    """A saved model, the interpreter it was saved with, and what it predicts for the first digits."""

    python: Path
    directory: Path
    without_example: Path
    predictions: list[int]
    warnings: list[str]


def train_and_export(python: Path, directory: Path) -> SavedModel:
    """Train a classifier of the digits with the interpreter ``python`` and save it below ``directory``.

    It is saved twice: with the structure of one input known, and without it.
    """
    code = directory / "code"
    code.mkdir(parents=True)
    (code / "model_manager.py").write_text(MODEL_MANAGER)
    (code / "train.py").write_text(TRAIN_AND_EXPORT)
    model = directory / "model"
    command = [
        str(python),
        "-W",
        "error::FutureWarning",
        str(code / "train.py"),
        str(model),
        str(EXPORT),
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=directory)
    assert finished.returncode == 0, finished.stderr
    answer = json.loads(finished.stdout)
    return SavedModel(python, model, directory / "model-without-example", answer["predictions"], answer["warnings"])
