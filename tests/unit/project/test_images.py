from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flops.errors import NotFoundError, RepositoryUnavailableError
from flops.project.images import actor_image, image_owner_and_repository, parse_image, trained_model_image

OCI_COMPONENT = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/Owner/Repo",
        "https://github.com/owner/repo.git",
        "https://github.com/owner/repo/",
        "https://github.com/owner/repo@v1.0",
        "https://www.github.com/owner/repo",
        "git@github.com:Owner/Repo.git",
        "ssh://git@github.com/owner/repo.git",
    ],
)
def test_all_ways_to_write_a_github_repository_name_the_same_images(url: str) -> None:
    assert actor_image(url, "learner", "c" * 40) == f"owner/repo/learner:{'c' * 40}"


def test_a_trained_model_is_named_after_its_project() -> None:
    assert trained_model_image("https://github.com/o/r", "a" * 24) == f"o/r/trained-model:{'a' * 24}"


def test_repositories_that_only_look_alike_have_images_of_their_own() -> None:
    urls = [
        "https://github.com/a-b/c",
        "https://gitlab.com/a-b/c",
        "https://gitlab.com/a/b/c",
        "https://gitlab.com/A/b/c",
        "https://git.example.org/a-b/c",
        "https://git.example.org:8443/a-b/c",
        "/srv/a-b/c",
        "/srv/A-b/c",
        "/srv/a.b/c",
        "example://c",
        "https://github.com/local/c",
        "https://github.com/a-b/c_",
        "https://github.com/a-b/.c",
    ]
    assert len({image_owner_and_repository(url) for url in urls}) == len(urls)


@pytest.mark.parametrize("url", ["/srv/Digits", "/srv/Digits/", "file:///srv/Digits", "/srv/Digits/.git"])
def test_a_local_repository_belongs_to_the_owner_local(url: str) -> None:
    owner, repository = image_owner_and_repository(url)
    assert owner == "local"
    assert repository.startswith("digits__")
    assert image_owner_and_repository("/srv/Digits") == (owner, repository)


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1), min_size=1, max_size=4))
def test_names_are_always_valid_for_registries(levels: list[str]) -> None:
    url = "https://git.example.org/" + "/".join(levels)
    try:
        components = image_owner_and_repository(url)
    except RepositoryUnavailableError:
        return
    assert all(OCI_COMPONENT.fullmatch(component) for component in components)
    assert str(parse_image(actor_image(url, "learner", "c" * 40))) == actor_image(url, "learner", "c" * 40)


@pytest.mark.parametrize(
    "image", ["", "a/b:c", "a/../b/c:d", "../a/b:c", "a/b/c:..", "a/b/c:d/e", "A/b/c:d", "a/b/c", "a/b/c:", "/a/b/c:d"]
)
def test_what_could_lead_elsewhere_is_no_image(image: str) -> None:
    with pytest.raises(NotFoundError):
        parse_image(image)
