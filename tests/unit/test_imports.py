from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = [
    "flwr",
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "sklearn",
    "tensorflow",
    "torch",
    "textual",
    "docker",
    "pymongo",
    "amqtt",
]


def loaded_by(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(ended.stdout.split()) & set(HEAVY)


@pytest.mark.parametrize(
    "module",
    [
        "flops.cli.main",
        "flops.manager.service",
        "flops.observer.service",
        "flops.wire.asyncapi",
        "flops.ports",
        "flops.tui.watching",
    ],
)
def test_no_heavy_library_is_loaded(module: str) -> None:
    assert loaded_by(f"import {module}") == set()


def test_help_loads_no_pydantic_either() -> None:
    statement = "import sys, flops.cli.main as m\nassert 'pydantic' not in sys.modules"
    assert loaded_by(statement) == set()


def test_a_list_of_projects_needs_no_models_no_tables_and_no_http() -> None:
    statement = """
import flops.cli.projects, flops.delivery.requests
from flops.bootstrap import adapters
from flops.errors import BrokerUnreachableError
from flops.settings import Settings
from pathlib import Path
try:
    adapters.connect(Settings(Path(), broker_url="mqtt://127.0.0.1:9"), "x", persistent=False, timeout_s=0.1)
except BrokerUnreachableError:
    pass
import sys
assert "paho.mqtt.client" in sys.modules
unneeded = {"pydantic", "rich", "urllib.request", "email", "dns", "secrets", "shutil"}
assert not unneeded & set(sys.modules), sorted(sys.modules)
import urllib.request
assert urllib.request.urlopen
"""
    assert loaded_by(statement) == set()


def test_a_heavy_library_would_be_noticed() -> None:
    assert loaded_by("import numpy") == {"numpy"}
