"""The live routes: what they ask for, who waits for whom, and what is said of a mistake."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.atlas.serving import Client, serving
from tests.atlas.tiny_run import TinyRun


def test_what_can_be_asked(tiny: TinyRun, client: Client) -> None:
    assert client.ask("/api/capabilities").json == {
        "encode": True, "compose": True, "steer": True, "model": tiny.model.metadata.model_name,
    }  # fmt: skip


ENCODE = {"text": "a", "id": 0}
STEER = {"text": "ab", "id": 0, "along": "gradient", "amount": 0.1}
MEMBER = {"id": 0, "weight": 1}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("encode", {"txt": "a", "id": 0}, "no field 'txt'; did you mean 'text'?"),
        ("encode", {"id": 0}, "'text' is missing"),
        ("encode", {"text": "a"}, None),
        ("encode", {**ENCODE, "text": ""}, "no token"),
        ("encode", {**ENCODE, "text": 3}, "text is 3, expected a text"),
        ("encode", {**ENCODE, "text": "x" * 2001}, "text has 2001 characters, at most 2000"),
        ("encode", {**ENCODE, "id": 3}, "no form 3"),
        ("encode", {**ENCODE, "id": -1}, "id is -1"),
        ("encode", {**ENCODE, "id": 0.0}, "id is 0.0"),
        ("encode", {**ENCODE, "id": True}, "id is True"),
        ("encode", {**ENCODE, "axes_of": "page"}, "axes_of is 'page', expected 'form'"),
        ("compose", {"members": [], "points": 5}, "a list of 1 to 32 members"),
        ("compose", {"members": [MEMBER] * 33, "points": 5}, "a list of 1 to 32 members"),
        ("compose", {"members": [MEMBER], "points": 2049}, "points is 2049"),
        ("compose", {"members": [MEMBER], "points": 0}, "points is 0"),
        ("compose", {"members": [MEMBER]}, None),
        ("compose", {"members": [{"id": 0}]}, "a member's 'weight' is missing"),
        ("compose", {"members": [{**MEMBER, "w": 1}]}, "no field a member's 'w'"),
        ("compose", {"members": [{**MEMBER, "weight": "1"}]}, "weight is '1', expected a number"),
        ("compose", {"members": [{**MEMBER, "weight": 1e300}]}, "weight is 1e+300"),
        ("compose", {"members": [{**MEMBER, "weight": True}]}, "weight is True"),
        ("compose", {"members": [{**MEMBER, "weight": 0}]}, "nothing is left"),
        ("compose", {"members": [MEMBER, {"id": 0, "weight": -1}]}, "nothing is left"),
        ("compose", {"members": [{"id": 3, "weight": 1}]}, "no form 3"),
        ("compose", {"members": [7]}, "a member's is no JSON object"),
        ("steer", {**STEER, "along": "x"}, "along is 'x', expected 'gradient' or 'level set'"),
        ("steer", {**STEER, "along": ["gradient"]}, "along is ['gradient']"),
        ("steer", {**STEER, "amount": 5}, "amount is 5, expected a number from -4 to 4"),
        ("steer", {**STEER, "along": "level set", "amount": 721}, "from -720 to 720"),
        ("steer", {**STEER, "position": 2}, "position 2 is outside the text, which has 2"),
        ("steer", {**STEER, "position": -2}, None),
        ("steer", {**STEER, "axes": [1, 1]}, "axes 1 and 1"),
        ("steer", {**STEER, "axes": [0, 1]}, "axes 0 and 1"),
        ("steer", {**STEER, "axes": [1, 99]}, "axes 1 and 99"),
        ("steer", {**STEER, "axes": [1]}, "two whole numbers"),
        ("steer", {**STEER, "axes": "12"}, "two whole numbers"),
        ("steer", {**STEER, "id": None}, "id is None"),
    ],
)
def test_questions_are_checked_by_name_type_and_range(
    client: Client, name: str, value: dict[str, Any], said: str | None
) -> None:
    answer = client.post(f"/api/{name}", value)
    if said is None:
        assert answer.status == 200, answer.body
    else:
        assert answer.status == 400 and said in answer.json["error"], answer.json
        assert set(answer.json) == {"error"}


def test_a_question_is_only_posted(client: Client) -> None:
    assert client.ask("/api/encode").status == 404
    assert client.post("/api/capabilities", {}).status == 405


def test_two_browsers_type_at_once(client: Client) -> None:
    texts = ["Monday", "the river", "six", "nobody asked"] * 3

    def path(text: str) -> Any:
        return client.post("/api/encode", {"text": text, "id": 5}).json["path"]

    alone = {text: path(text) for text in texts}
    with ThreadPoolExecutor(6) as browsers:
        for text, found in zip(texts, browsers.map(path, texts), strict=True):
            assert found["values"] == pytest.approx(alone[text]["values"], rel=1e-6)


@dataclass
class Slow:
    """A session that takes its time, and notes how many work at once."""

    atlas: Any = None
    asked: list[str] = field(default_factory=list)
    working: int = 0
    most: int = 0
    may_go_on: threading.Event = field(default_factory=threading.Event)

    def capabilities(self) -> dict[str, Any]:
        return {"encode": True, "compose": False, "steer": True, "model": "slow"}

    def encode(self, text: str, form: int | None) -> dict[str, Any]:
        self.asked.append(text)
        self.working += 1
        self.most = max(self.most, self.working)
        self.may_go_on.wait(30)
        self.working -= 1
        return {"form": form}


def test_questions_wait_in_turn_while_files_are_given(tiny: TinyRun) -> None:
    slow = Slow()
    with serving(tiny.atlas, slow) as client, ThreadPoolExecutor(4) as browsers:  # type: ignore[arg-type]
        assert client.post("/api/compose", {}).status == 404
        asked = [
            browsers.submit(client.post, "/api/encode", {"text": str(i), "id": i}) for i in range(4)
        ]
        while not slow.asked:
            time.sleep(0.01)
        assert client.ask("/forms.arrow").status == 200
        slow.may_go_on.set()
        assert [each.result().json for each in asked] == [{"form": i} for i in range(4)]
    assert slow.most == 1 and sorted(slow.asked) == ["0", "1", "2", "3"]


def test_a_browser_that_has_gone_is_not_waited_for(tiny: TinyRun) -> None:
    slow = Slow()
    with serving(tiny.atlas, slow) as client, ThreadPoolExecutor(2) as browsers:  # type: ignore[arg-type]
        first = browsers.submit(client.post, "/api/encode", {"text": "first", "id": 0})
        while not slow.asked:
            time.sleep(0.01)
        body = b'{"text": "gone", "id": 0}'
        with socket.create_connection(("127.0.0.1", client.port)) as wire:
            wire.sendall(
                f"POST /api/encode HTTP/1.1\r\nHost: {client.host}\r\n"
                f"Origin: http://{client.host}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            # Both are answered by one loop, so that this answer says that the question was read.
            client.ask("/atlas.json")
        client.ask("/atlas.json")
        last = browsers.submit(client.post, "/api/encode", {"text": "last", "id": 1})
        slow.may_go_on.set()
        assert first.result().status == last.result().status == 200
    assert slow.asked == ["first", "last"]
