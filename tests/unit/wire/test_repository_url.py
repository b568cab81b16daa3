from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flops.wire.repository_url import split_reference, url_fault


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/owner/repository",
        "https://github.com/Owner/Repository.git",
        "https://host:8443/owner/repository@v1.0",
        "https://[::1]:8443/owner/repository",
        "http://127.0.0.1/owner/repository",
        "ssh://git@host/owner/repository",
        "ssh://git@host:2222/owner/repository@feature/x",
        "git@github.com:owner/repository.git",
        "git@host:repository@0123abc",
        "git://host/repository",
        "file:///srv/git/repository",
        "/srv/git/a repository",
        "/srv/git/repository@main",
        "example://digits_sklearn",
        "example://digits_sklearn@main",
    ],
)
def test_the_usual_forms_are_taken(url: str) -> None:
    assert url_fault(url) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("--upload-pack=touch /tmp/x", "dash"),
        ("ext::sh -c touch% /tmp/x", "transport helper"),
        ("fd::7", "transport helper"),
        ("::x", "transport helper"),
        ("https://host/repo\n--x", "control characters"),
        ("https://host/repo\x00", "control characters"),
        ("https://host/\u2028repo", "control characters"),
        (" https://host/repo", "outer spaces"),
        ("ssh://-oProxyCommand=touch/repo", "no host"),
        ("ssh://-x@host/repo", "names no repository"),
        ("ssh://git@-host/repo", "no host"),
        ("git@-oProxyCommand=x:repo", "not a form"),
        ("-x@host:repo", "dash"),
        ("git@host:-repo", "not a form"),
        ("https://host/repo@--upload-pack=x", "reference that begins with a dash"),
        ("https://user:secret@host/repo", "credential"),
        ("https://token@host/repo", "credential"),
        ("ssh://git:secret@host/repo", "credential"),
        ("ftp://host/repo", "scheme 'ftp'"),
        ("javascript://host/repo", "scheme"),
        ("https:///repo", "no host"),
        ("https://host", "names no repository"),
        ("https://host:port/repo", "cannot be read"),
        ("https://[::1/repo", "cannot be read"),
        ("example://../x", "names no example"),
        ("example://", "names no example"),
        ("example://@main", "names no example"),
        ("example://digits@-x", "reference that begins with a dash"),
        ("", "not a form"),
        ("repository", "not a form"),
    ],
)
def test_what_git_could_misread_or_everybody_could_read_is_refused(url: str, reason: str) -> None:
    fault = url_fault(url)
    assert fault is not None
    assert reason in fault[0]


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("github.com/owner/repository", "https://github.com/owner/repository"),
        ("./repository", "absolute path"),
        ("~/repository", "absolute path"),
        ("htps://host/owner/repository", "https, http"),
    ],
)
def test_a_near_miss_gets_a_hint(url: str, hint: str) -> None:
    fault = url_fault(url)
    assert fault is not None
    assert hint in fault[1]


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://host/o/r", ("https://host/o/r", "")),
        ("https://host/o/r@v1", ("https://host/o/r", "v1")),
        ("ssh://git@host/o/r", ("ssh://git@host/o/r", "")),
        ("ssh://git@host/o/r@feature/x", ("ssh://git@host/o/r", "feature/x")),
        ("git@host:o/r", ("git@host:o/r", "")),
        ("git@host:o/r@v1", ("git@host:o/r", "v1")),
        ("/srv/r@main", ("/srv/r", "main")),
        ("example://digits@v1", ("example://digits", "v1")),
        ("/srv/r", ("/srv/r", "")),
        ("https://host/o/r@a..b", ("https://host/o/r@a..b", "")),
        ("https://host/o/r@", ("https://host/o/r@", "")),
    ],
)
def test_a_reference_is_split_off(url: str, parts: tuple[str, str]) -> None:
    assert split_reference(url) == parts


@given(st.text(max_size=80) | st.text(alphabet="-@:/.[]aé1 git", max_size=40))
def test_any_text_has_an_answer(url: str) -> None:
    fault = url_fault(url)
    assert fault is None or fault[0]
    assert not url.startswith("-") or fault is not None
