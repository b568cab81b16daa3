"""The OCI distribution API, version 2, as far as images need it.

See https://github.com/opencontainers/distribution-spec. Neither oras nor dxf would do: see decision 15.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

import requests

from flops.adapters.images.oci.authentication import REMEDY, Authentication
from flops.endpoint import THIS_MACHINE
from flops.errors import AccessDeniedError, RegistryRefusedError, RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flops.registry_access import RegistryAccess

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
INDEXES: Final = frozenset({INDEX, DOCKER_INDEX})
CONNECT_S: Final = 10.0
ANSWER_S: Final = 30.0
CHECK_S: Final = 300.0  # what was sent is digested before it is acknowledged
PAGE: Final = 1000
PIECE_BYTES: Final = 1024 * 1024
MAX_DOCUMENT_BYTES: Final = 4 * 1024 * 1024  # what registries take as a manifest
DELETE_REMEDY: Final = "Let it delete images; for the registry of CNCF: REGISTRY_STORAGE_DELETE_ENABLED=true."
_CATALOGUE: Final = ("registry:catalog:*",)
_ACCEPT: Final = {"Accept": f"{MANIFEST}, {INDEX}, {DOCKER_MANIFEST}, {DOCKER_INDEX}"}
_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest or an index as a registry has it."""

    digest: str
    media_type: str
    content: dict[str, Any]


class RegistryClient:
    """Speaks to one registry. Names of repositories are those of the registry, its namespace included.

    Any call raises RegistryUnavailableError when the registry does not answer, AccessDeniedError when it does not let
    us, and RegistryRefusedError when it will not do what is asked.
    """

    def __init__(self, access: RegistryAccess) -> None:
        self._access = access
        self._session = requests.Session()
        # No proxy leads to this machine itself.
        self._session.trust_env = urlsplit(access.url).hostname not in THIS_MACHINE
        self._authentication = Authentication(access, self._get)

    def find_digest(self, repository: str, reference: str) -> str:
        """The digest of what a tag or digest stands for; empty if there is nothing."""
        answer = self._ask("HEAD", f"{repository}/manifests/{reference}", _pull(repository), headers=_ACCEPT)
        return "" if answer is None else answer.headers.get("Docker-Content-Digest", "")

    def manifest(self, repository: str, reference: str) -> StoredManifest | None:
        """What a tag or digest stands for, if there is anything."""
        answer = self._ask("GET", f"{repository}/manifests/{reference}", _pull(repository), headers=_ACCEPT)
        if answer is None:
            return None
        content = answer.json()
        media_type = answer.headers.get("Content-Type", "").partition(";")[0] or str(content.get("mediaType"))
        return StoredManifest(f"sha256:{hashlib.sha256(answer.content).hexdigest()}", media_type, content)

    def put_manifest(self, repository: str, reference: str, content: bytes, media_type: str) -> None:
        """Store a manifest, all of whose blobs are there, under a tag or its digest."""
        self._insist("PUT", f"{repository}/manifests/{reference}", _push(repository), data=content,
                     headers={"Content-Type": media_type})  # fmt: skip

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete what a digest stands for, with all tags of it. Idempotent."""
        self._ask("DELETE", f"{repository}/manifests/{digest}", (f"repository:{repository}:delete,pull",))

    def repositories(self) -> Iterator[str]:
        """All that the registry lets us see."""
        for page in self._pages(f"_catalog?n={PAGE}", _CATALOGUE):
            yield from page.get("repositories") or ()

    def tags(self, repository: str) -> Iterator[str]:
        """All tags of a repository; none where it is unknown."""
        for page in self._pages(f"{repository}/tags/list?n={PAGE}", _pull(repository)):
            yield from page.get("tags") or ()

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a repository has a blob."""
        return self._ask("HEAD", f"{repository}/blobs/{digest}", _pull(repository)) is not None

    def read_document(self, repository: str, digest: str) -> bytes:
        """The content of a small blob, checked against its digest."""
        answer = self._insist("GET", f"{repository}/blobs/{digest}", _pull(repository))
        if f"sha256:{hashlib.sha256(answer.content).hexdigest()}" != digest:
            raise self._unavailable(f"the blob {digest} arrived damaged")
        return answer.content

    def read_blob(self, repository: str, digest: str) -> Iterator[bytes]:
        """The pieces of a blob, unchecked."""
        answer = self._insist("GET", f"{repository}/blobs/{digest}", _pull(repository), stream=True)
        try:
            with closing(answer):
                yield from answer.iter_content(PIECE_BYTES)
        except requests.RequestException as error:
            raise self._unavailable(_reason(error)) from error

    def mount(self, repository: str, digest: str, source: str) -> bool:
        """Take a blob over from another repository of the registry; False if that has to be done by uploading."""
        scopes = (*_push(repository), *_pull(source))
        path = f"{repository}/blobs/uploads/?mount={digest}&from={source}"
        answer = self._ask("POST", path, scopes)
        return answer is not None and answer.status_code == HTTPStatus.CREATED

    def upload(self, repository: str, digest: str, content: IO[bytes]) -> None:
        """Send a blob in one piece; the registry checks the digest."""
        begun = self._insist("POST", f"{repository}/blobs/uploads/", _push(repository))
        place = urljoin(begun.url, begun.headers["Location"])
        place += f"{'&' if urlsplit(place).query else '?'}digest={digest}"
        headers = {"Content-Type": "application/octet-stream"}
        self._insist("PUT", place, _push(repository), data=content, headers=headers)

    def _pages(self, path: str, scopes: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
        answer = self._ask("GET", path, scopes)
        while answer is not None:
            yield answer.json()
            following = answer.links.get("next", {}).get("url")
            answer = self._ask("GET", urljoin(answer.url, following), scopes) if following else None

    def _insist(self, method: str, path: str, scopes: tuple[str, ...], **options: Any) -> requests.Response:  # noqa: ANN401
        answer = self._ask(method, path, scopes, **options)
        if answer is None:
            raise RegistryRefusedError(self._access.url, f"it knows nothing of {path.partition('?')[0]}")
        return answer

    def _ask(self, method: str, path: str, scopes: tuple[str, ...], **options: Any) -> requests.Response | None:  # noqa: ANN401
        """The registry's answer, None where it is 404. ``path`` may be a whole URL."""
        url = urljoin(f"{self._access.origin}/v2/", path)
        content = options.get("data")
        own = options.pop("headers", {})
        answer = self._send(method, url, {**own, **self._credentials(url, scopes)}, **options)
        if answer.status_code == HTTPStatus.UNAUTHORIZED and self._is_own(url):
            self._authentication.learn(answer)
            if content is not None and hasattr(content, "seek"):
                content.seek(0)
            answer = self._send(method, url, {**own, **self._credentials(url, scopes)}, **options)
        return self._judge(answer)

    def _credentials(self, url: str, scopes: tuple[str, ...]) -> dict[str, str]:
        return self._authentication.headers(scopes) if self._is_own(url) else {}

    def _is_own(self, url: str) -> bool:
        return urlsplit(url)[:2] == urlsplit(self._access.origin)[:2]

    def _get(self, url: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> requests.Response:
        return self._send("GET", url, headers, params=params)

    def _send(self, method: str, url: str, headers: Mapping[str, str], **options: Any) -> requests.Response:  # noqa: ANN401
        verify, timeouts_s = self._access.ca_file or True, (CONNECT_S, CHECK_S if method == "PUT" else ANSWER_S)
        try:
            return self._session.request(
                method, url, headers=headers, timeout=timeouts_s, verify=verify, auth=_as_they_are, **options
            )
        except (requests.RequestException, OSError) as error:
            raise self._unavailable(_reason(error)) from error

    def _judge(self, answer: requests.Response) -> requests.Response | None:
        status = answer.status_code
        if answer.ok:
            return answer
        if status == HTTPStatus.NOT_FOUND:
            return None
        said = _said(answer)
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise AccessDeniedError(f"The registry {self._access.url} refuses access: {said}.", remedy=REMEDY)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
            raise self._unavailable(said)
        remedy = DELETE_REMEDY if status == HTTPStatus.METHOD_NOT_ALLOWED and answer.request.method == "DELETE" else ""
        raise RegistryRefusedError(self._access.url, said, remedy=remedy)

    def _unavailable(self, reason: str) -> RegistryUnavailableError:
        return RegistryUnavailableError(self._access.url, reason, remedy="Does it run? Check FLOPS_REGISTRY_URL.")


def _as_they_are(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from adding credentials of its own (.netrc)."""
    return request


def _pull(repository: str) -> tuple[str, ...]:
    return (f"repository:{repository}:pull",)


def _push(repository: str) -> tuple[str, ...]:
    return (f"repository:{repository}:pull,push",)


def _said(answer: requests.Response) -> str:
    """What a registry gives as its reason: a list of errors with codes, or nothing but a status."""
    try:
        errors = json.loads(answer.content[:MAX_DOCUMENT_BYTES])["errors"]
        told = "; ".join(f"{error.get('message') or error['code']}" for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        told = ""
    return f"{told or answer.reason or 'no reason'} ({answer.request.method}, status {answer.status_code})"


def _reason(error: Exception) -> str:
    """The innermost reason: what libraries wrap around it says nothing to a person."""
    cause = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner  # type: ignore[assignment]
    return str(cause).rstrip(".") or type(cause).__name__
