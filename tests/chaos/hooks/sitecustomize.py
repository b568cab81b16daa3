"""Python imports this file first where its folder is on PYTHONPATH: lets chaos reach the manager, and no other process."""

from __future__ import annotations

import sys

if sys.orig_argv[-2:] == ["flops.bootstrap", "manager"]:
    import killing_store

    killing_store.install()
