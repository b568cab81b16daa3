"""What an environment consists of, as a CycloneDX document: scanners find it in an image by its file's name."""

from __future__ import annotations

import json
from typing import Any

from flops.adapters.images.uv import versions_in


def bill_of_materials(lock: str, python: str) -> str:
    """The packages of a lock and the Python below them. Equal locks give equal bills: no time, no serial number."""
    components = [_component(name, number) for name, number in sorted(versions_in(lock).items())]
    interpreter = {"type": "platform", "name": "cpython", "version": python}
    document = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": [interpreter, *components]}
    return json.dumps(document, indent=1)


def _component(name: str, number: str) -> dict[str, Any]:
    known = {"version": number, "purl": f"pkg:pypi/{name}@{number}"} if number else {}
    return {"type": "library", "name": name, **known}
