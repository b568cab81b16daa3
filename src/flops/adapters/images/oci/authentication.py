"""Answers what a registry asks for: HTTP Basic, or a bearer token of the server that it names.

See https://distribution.github.io/distribution/spec/auth/token/.
"""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from requests.utils import parse_dict_header

from flops.errors import AccessDeniedError, RegistryRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests

    from flops.registry_access import RegistryAccess

TOKEN_S: Final = 60.0  # what a token without a term holds for, says the specification
RESERVE_S: Final = 10.0
REMEDY: Final = "Check FLOPS_REGISTRY_USERNAME and FLOPS_REGISTRY_PASSWORD_FILE."


class Authentication:
    """What one client knows of one registry's demands; ``get`` fetches a URL, given parameters and headers."""

    def __init__(self, access: RegistryAccess, get: Callable[..., requests.Response]) -> None:
        self._access, self._get = access, get
        self._scheme = ""
        self._parameters: Mapping[str, str] = {}
        self._tokens: dict[str, tuple[str, float]] = {}

    def learn(self, answer: requests.Response) -> None:
        """Understand an answer 401; what was granted before holds no longer."""
        scheme, _, parameters = answer.headers.get("WWW-Authenticate", "").partition(" ")
        self._scheme = scheme.lower()
        self._parameters = {name: value or "" for name, value in parse_dict_header(parameters).items()}
        self._tokens.clear()

    def headers(self, scopes: tuple[str, ...]) -> dict[str, str]:
        """What a request has to carry that needs these scopes.

        Raises:
            AccessDeniedError: the registry's token server refuses the credentials.
        """
        if self._scheme == "bearer":
            return {"Authorization": f"Bearer {self._token(scopes)}"}
        return self._basic() if self._scheme == "basic" else {}

    def _basic(self) -> dict[str, str]:
        if not self._access.username:
            return {}
        pair = f"{self._access.username}:{self._access.password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}

    def _token(self, scopes: tuple[str, ...]) -> str:
        wanted = " ".join(scopes)
        token, ends = self._tokens.get(wanted, ("", 0.0))
        if time.monotonic() >= ends:
            answer = self._fetch(scopes)
            token = str(answer.get("token") or answer.get("access_token") or "")
            holds_s = max(float(answer.get("expires_in") or TOKEN_S) - RESERVE_S, 0.0)
            self._tokens[wanted] = (token, time.monotonic() + holds_s)
        return token

    def _fetch(self, scopes: tuple[str, ...]) -> dict[str, Any]:
        realm = self._parameters.get("realm", "")
        if urlsplit(realm).scheme != "https" and self._access.origin.startswith("https:"):
            raise RegistryRefusedError(self._access.url, f"its token server {realm} does not use HTTPS")
        service = {"service": self._parameters["service"]} if "service" in self._parameters else {}
        answer = self._get(realm, params={**service, "scope": list(scopes)}, headers=self._basic())
        if answer.status_code in {401, 403}:
            raise AccessDeniedError(f"The token server of the registry {self._access.url} refuses.", remedy=REMEDY)
        if not answer.ok:
            raise RegistryRefusedError(self._access.url, f"its token server answers {answer.status_code}")
        return dict(answer.json())
