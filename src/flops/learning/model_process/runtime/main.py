"""Started by the actor as ``python -I main.py DESCRIPTOR`` in the ML repository's environment."""

from __future__ import annotations

import gc
import importlib.util
import os
import socket
import sys

PACKAGE = "flops_model_process"


def load_runtime() -> None:
    """Import this folder under a name that cannot clash with a module of the ML repository."""
    folder = os.path.dirname(os.path.abspath(__file__))
    location = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location(PACKAGE, location, submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        raise ImportError(location)
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)


def main() -> None:
    """Serve the actor until it says goodbye or is gone."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    sys.argv = [""]
    gc.disable()  # nothing that an import makes is garbage; the session enables it when the code is loaded
    load_runtime()
    importlib.import_module(PACKAGE + ".session").serve(connection)


if __name__ == "__main__":
    main()
