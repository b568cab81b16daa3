"""The images of services, as far as they can be checked without building them."""

from __future__ import annotations

import re
from pathlib import Path

from flops.bootstrap.roles import ROLES

SERVICES = Path(__file__).parents[2] / "services"
DOCKERFILE = (SERVICES / "Dockerfile").read_text(encoding="utf-8")


def test_each_role_has_an_image_that_runs_it_as_an_ordinary_user() -> None:
    targets = dict(
        re.findall(
            r"^FROM service\S* AS ([a-z-]+)\n(?:(?:COPY|HEALTHCHECK|USER|RUN|#) .*\n)+CMD \[\"([a-z-]+)\"\]$",
            DOCKERFILE,
            re.MULTILINE,
        )
    )
    assert targets == {role: role for role in ROLES}
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1] == "10001:10001"


def test_whatever_needs_an_index_gets_its_settings_as_secrets() -> None:
    steps = [line for line in DOCKERFILE.splitlines() if "./build.sh" in line]
    assert steps
    assert all("--mount=type=secret,id=settings --mount=type=secret,id=ca" in line for line in steps)


def test_nothing_has_to_be_pulled_but_the_base() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    sources = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert set(sources) <= {"${BASE}", *stages}
    assert "syntax=" not in DOCKERFILE
