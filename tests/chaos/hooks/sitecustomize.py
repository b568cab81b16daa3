"""Python imports this file first where its folder is on PYTHONPATH: chaos reaches the manager, and nobody else."""

from __future__ import annotations

import sys

if sys.orig_argv[-2:] == ["flops.bootstrap", "manager"]:
    import killing_store  # type: ignore[import-not-found]  # its folder is on PYTHONPATH

    killing_store.install()
