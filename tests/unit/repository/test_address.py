from __future__ import annotations

import pytest

from flops.errors import RepositoryUnavailableError
from flops.repository.address import parse_address, without_credentials


@pytest.mark.parametrize(
    ("url", "location", "host", "path", "ref"),
    [
        ("https://Host.org/o/r.git", "https://Host.org/o/r.git", "host.org", "/o/r.git", ""),
        ("https://h.org/o/r@feature/x", "https://h.org/o/r", "h.org", "/o/r", "feature/x"),
        ("git@h.org:o/r@v1", "git@h.org:o/r", "h.org", "o/r", "v1"),
        ("ssh://git@h.org:22/o/r", "ssh://git@h.org:22/o/r", "h.org:22", "/o/r", ""),
        ("git://h.org/o/r", "git://h.org/o/r", "h.org", "/o/r", ""),
        ("file:///srv/a%20b", "/srv/a b", "", "/srv/a b", ""),
        ("/srv//a/../b/", "/srv/b", "", "/srv/b", ""),
        ("/srv/b@main", "/srv/b", "", "/srv/b", "main"),
        ("example://digits_sklearn", "example://digits_sklearn", "", "digits_sklearn", ""),
    ],
)
def test_an_address_is_taken_apart(url: str, location: str, host: str, path: str, ref: str) -> None:
    address = parse_address(url)
    assert (address.location, address.host, address.path, address.ref) == (location, host, path, ref)


@pytest.mark.parametrize(
    "url",
    ["", "-u/x", "--upload-pack=x", "ext::sh -c x", "fd::7", "ftp://h/o/r", "o/r", "./r", "https://h", "/a\nb"],
)
def test_what_git_must_not_see_is_refused(url: str) -> None:
    with pytest.raises(RepositoryUnavailableError):
        parse_address(url)


def test_a_refused_address_does_not_tell_its_password() -> None:
    with pytest.raises(RepositoryUnavailableError) as caught:
        parse_address("https://me:secret@h.org/o/r")
    assert "secret" not in str(caught.value)
    assert "secret" not in caught.value.url


def test_a_full_hash_names_the_commit() -> None:
    assert parse_address(f"/srv/r@{'a' * 40}").commit == "a" * 40
    assert parse_address("/srv/r@abcdef1").commit == ""


def test_credentials_are_removed_from_any_text() -> None:
    assert without_credentials("fatal: https://u:p@h/r and ssh://t@h/r") == "fatal: https://h/r and ssh://h/r"
