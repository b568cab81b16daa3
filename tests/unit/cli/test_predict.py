from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flops.cli.predict import read_rows
from flops.errors import InvalidDataError

if TYPE_CHECKING:
    from pathlib import Path


def test_json_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("[" * 200_000 + "]" * 200_000)

    with pytest.raises(InvalidDataError, match="nested too deeply"):
        read_rows(path)
