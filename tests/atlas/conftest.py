"""A tiny run with its atlas, once with composites and once affine, and a server of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quadric.atlas.service.opening import open_session
from quadric.atlas.service.session import Session
from tests.atlas.serving import Client, serving
from tests.atlas.tiny_run import TinyRun, tiny_run

PARTS: list[dict[str, object]] = [
    {"variant": "composite", "block": 2},
    {"variant": "vanilla", "affine": True, "norm": "constant"},
]


@pytest.fixture(scope="module", params=PARTS, ids=["composite", "affine"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    return tiny_run(tmp_path_factory.mktemp("tiny"), **request.param)


@pytest.fixture(scope="module")
def session(tiny: TinyRun) -> Session:
    session, note = open_session(tiny.atlas, None)
    assert session is not None and note == ""
    return session


@pytest.fixture(scope="module")
def client(tiny: TinyRun, session: Session) -> Iterator[Client]:
    with serving(tiny.atlas, session) as client:
        yield client
