"""What an image looks like to whoever runs it. In a container a file says so, whoever made the image."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

IMAGE: Final = "opt/ml/image.json"
ENVIRONMENT: Final = "opt/ml/env"
CODE: Final = "opt/ml/code"
MODEL: Final = "opt/ml/model"


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image that can be run here: ``python`` in its environment, its ``code``, ``model`` for trained models."""

    image: str
    python: Path
    code: Path
    flavor: str
    commit: str
    url: str
    model: Path | None = None


def contents(flavor: str, commit: str, url: str, *, has_model: bool = False) -> str:
    """The content of the file."""
    places = {"python": f"/{ENVIRONMENT}/bin/python", "code": f"/{CODE}", "model": f"/{MODEL}" if has_model else None}
    return json.dumps({**places, "flavor": flavor, "commit": commit, "url": url})


def image_around(image: str, root: Path = Path("/")) -> LocalImage | None:
    """The image in which this process runs, if it is one of an ML repository."""
    try:
        said = json.loads((root / IMAGE).read_text("utf-8"))
    except FileNotFoundError:
        return None
    places = {name: root / said[name].lstrip("/") for name in ("python", "code", "model") if said[name]}
    return LocalImage(image=image, flavor=said["flavor"], commit=said["commit"], url=said["url"], **places)
