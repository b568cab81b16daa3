"""Runs the role that it is told. Who was deployed by no orchestrator, as the manager, is who its host name says."""

import json
import os
import socket
import sys
from pathlib import Path

from flops.bootstrap.roles import main

role = sys.argv[1]
if "FLOPS_SERVICE_FILE" not in os.environ:
    name = socket.gethostname()
    path = Path(os.environ["FLOPS_HOME"]) / "services" / name / "service.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = dict.fromkeys(("user", "project_id", "image"), "") | {"service": name, "instance": name, "app": "flops"}
    path.write_text(json.dumps({**identity, "node": os.environ.get("FLOPS_NODE", "local"), "role": role, "config": {}}))
    os.environ["FLOPS_SERVICE_FILE"] = str(path)
sys.exit(main(role))
