"""The platforms of images, as registries and as uv call them."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from flops.wire.sla import platform_of

if TYPE_CHECKING:
    from flops.adapters.images.oci.bases import BasePython

_MACHINES: Final = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}


def own_platform() -> str:
    """The platform of this machine."""
    return platform_of(platform.machine())


def wheels_for(target: str, python: BasePython) -> str:
    """Uv's name of another platform than this machine's; empty for this one, where packages can be built, too."""
    return "" if target == own_platform() else f"{_MACHINES[target]}-manylinux_{python.glibc.replace('.', '_')}"
