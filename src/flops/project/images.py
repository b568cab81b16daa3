"""What images are called: ``<owner>/<repository>/<actor>:<tag>``, valid for every OCI registry."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from flops.errors import NotFoundError
from flops.repository.address import RepositoryAddress, parse_address

LEARNER: Final = "learner"
AGGREGATOR: Final = "aggregator"
TRAINED_MODEL: Final = "trained-model"
LOCAL_OWNER: Final = "local"
_GITHUB: Final = "github.com"
_COMPONENT: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"(?P<owner>{_COMPONENT})/(?P<repository>{_COMPONENT})/(?P<actor>{_COMPONENT}):(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}})"
)
_MAX_COMPONENT: Final = 80


class BuildStepName(StrEnum):
    """The steps of a build, in their order."""

    CLONE = "clone"
    CHECK = "check"
    RESOLVE = "resolve"
    INSTALL_LEARNER = "install learner environment"
    INSTALL_AGGREGATOR = "install aggregator environment"
    DOWNLOAD = "download model"
    STORE = "store"
    PUSH = "push"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """The parts of an image's name."""

    owner: str
    repository: str
    actor: str
    tag: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.repository}/{self.actor}:{self.tag}"


def parse_image(image: str) -> ImageReference:
    """Take an image's name apart.

    Raises:
        NotFoundError: no image can have this name.
    """
    match = _REFERENCE.fullmatch(image)
    if match is None:
        kind = "image"
        raise NotFoundError(kind, image, remedy="An image is called <owner>/<repository>/<actor>:<tag>.")
    return ImageReference(**match.groupdict())


def image_owner_and_repository(url: str) -> tuple[str, str]:
    """The first two components of the names of a repository's images.

    Repositories on GitHub keep their own names; everywhere else a digest of the address keeps two of them apart.

    Raises:
        RepositoryUnavailableError: ``url`` is not the address of a repository.
    """
    address = parse_address(url)
    levels = [level for level in _identity_path(address).split("/") if level] or ["repository"]
    owner = LOCAL_OWNER if not address.host or len(levels) == 1 else "-".join(levels[:-1])
    names = (_component(owner), _component(levels[-1]))
    if _is_github(address) and owner != LOCAL_OWNER and names == (owner, levels[-1]):
        return names
    place = address.host or address.scheme
    digest = hashlib.sha256(f"{place}/{'/'.join(levels)}".encode()).hexdigest()[:12]
    return names[0], f"{names[1]}__{digest}"


def actor_image(url: str, actor: str, commit: str) -> str:
    """The image in which an actor of the repository at this commit runs."""
    owner, repository = image_owner_and_repository(url)
    return str(ImageReference(owner, repository, actor, commit))


def trained_model_image(url: str, project_id: str) -> str:
    """The image that serves what a project has trained."""
    owner, repository = image_owner_and_repository(url)
    return str(ImageReference(owner, repository, TRAINED_MODEL, project_id))


def _is_github(address: RepositoryAddress) -> bool:
    return address.host.partition(":")[0].removeprefix("www.") == _GITHUB


def _identity_path(address: RepositoryAddress) -> str:
    path = address.path.rstrip("/")
    path = path.removesuffix("/.git") if path.endswith("/.git") else path.removesuffix(".git")
    return path.lower() if _is_github(address) else path


def _component(text: str) -> str:
    """The nearest valid OCI name component."""
    words = re.sub(r"[^a-z0-9._-]+", "-", text.lower()[:_MAX_COMPONENT])
    words = re.sub(r"[._-]{2,}", lambda run: run[0] if set(run[0]) == {"-"} or run[0] == "__" else "-", words)
    return words.strip("._-") or "repository"
