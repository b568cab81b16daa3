from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from flops.adapters.local_processes.launch import launch
from flops.adapters.local_processes.process import ProcessSpec

if TYPE_CHECKING:
    from pathlib import Path

PRINT_ENVIRONMENT = "import json, os; print(json.dumps(dict(os.environ)))"


@pytest.mark.parametrize(("group", "is_told"), [("", True), ("builder1", False)])
def test_the_store_s_url_with_its_password_reaches_no_service(tmp_path: Path, group: str, *, is_told: bool) -> None:
    spec = ProcessSpec(
        id="p",
        command=(sys.executable, "-c", PRINT_ENVIRONMENT),
        directory=str(tmp_path / "p"),
        log_file=str(tmp_path / "p.log"),
        group=group,
    )

    started = launch(spec, tmp_path, {"FLOPS_STORE_URL": "mongodb://ada:secret@h", "FLOPS_USER": "Ada"}, frozenset())
    assert started.wait(20) == 0

    seen = json.loads((tmp_path / "p.log").read_text())
    assert ("FLOPS_STORE_URL" in seen) is is_told
    assert seen["FLOPS_USER"] == "Ada"
