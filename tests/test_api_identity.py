"""Who is who over HTTP: questions about it at any time, and the orders that repair it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient

from connector import answers, inbox, inspector, queue
from connector import app as doors
from connector.answers.finding import TooMany, ends_of
from connector.inspector.acts import MOST_BYTES
from connector.messages import DAY, HOUR, Identifier, now_ms
from connector.store import Store
from tests.told import NOW, configured, feed, house, identify, opened, stitch

BEARER = {"Authorization": "Bearer the-token"}
HOUSE = house()
U1, U2 = {"type": "user_id", "value": "U1"}, {"type": "user_id", "value": "U2"}
B2 = {"type": "anonymous_id", "value": "b2"}
WHY = {"reason": "she called us"}

ORDERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/api/links", {"left": U1, "right": B2, **WHY}),
    ("/api/links/0/revoke", {"left": U1, "right": B2, **WHY}),
    ("/api/profiles/forget", {**U1, **WHY}),
    ("/api/dead/1/retry", WHY),
)


@pytest.fixture
def client(store: Store) -> Iterator[FlaskClient]:
    """The application over a store where Jane is U1 on b1, Tom is U2 on b2, and each got a mail."""
    feed(
        store,
        HOUSE,
        [
            identify("m1", "10:00:00", "b1", user_id="U1", email="jane@x.test"),
            identify("m2", "11:00:00", "b2", user_id="U2", email="tom@x.test"),
            opened("e1", "12:00:00", "jane@x.test"),
            opened("e2", "12:00:00", "tom@x.test"),
        ],
    )
    config = configured()
    app = doors.create_app(config, store, blueprints=inspector.blueprints(config, store, HOUSE))
    yield app.test_client()
    doors.close(app)


def got(client: FlaskClient, path: str, status: int = 200) -> Any:
    response = client.get(path, headers=BEARER)
    assert (response.status_code, response.content_type) == (status, "application/json"), response.text
    return orjson.loads(response.data)


def post(client: FlaskClient, path: str, body: object, status: int) -> Any:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    response = client.post(path, data=data, headers=BEARER)
    assert (response.status_code, response.content_type) == (status, "application/json"), response.text
    return orjson.loads(response.data)


def orders(store: Store) -> list[str]:
    with store.reading() as tx:
        return [one.message_id for one in inbox.read(tx, 0, 1_000) if one.source == "operator"]


def link_id(client: FlaskClient) -> str:
    """Of the declared link of U1 and jane@x.test."""
    for link in got(client, "/api/profiles?type=user_id&value=U1")["links"]:
        if link["right"]["type"] == "email":
            return str(link["link_id"])
    raise AssertionError("they are not linked")


# -- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "body"), ORDERS)
def test_no_order_is_taken_without_the_token_and_never_for_a_cookie(
    client: FlaskClient, store: Store, path: str, body: dict[str, Any]
) -> None:
    assert client.post("/sign-in", data={"token": "the-token"}).status_code == 303
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        response = client.post(path, data=orjson.dumps(body), headers=headers)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, 'Bearer realm="connector"')
    assert orders(store) == []


@pytest.mark.parametrize("path", ["/api/hubs", "/api/explain?left=a&right=b"])
def test_no_question_is_answered_without_the_token(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 401


# -- questions --------------------------------------------------------------------------------------------------------


def test_the_routes_give_the_answers_at_any_time(client: FlaskClient, store: Store) -> None:
    at, then = NOW - 9 * DAY + 10 * HOUR + 30 * 60_000, "as_of=2026-09-01T10:30:00Z"
    feed(store, HOUSE, [identify("m3", "13:00:00", "b3", user_id="U1", email="jane@x.test")])
    with store.reading() as tx:
        person = answers.profile(tx, HOUSE, "user_id", "U1", at)
        assert person is not None
        assert [one["anonymous_id"] for one in person["browsers"]] == ["b1"]
        assert got(client, f"/api/profiles?type=user_id&value=U1&{then}") == person
        assert got(client, f"/api/profiles/{person['profile_id']}?{then}") == person
        assert got(client, "/api/messages/e1?as_of=2026-09-02") == answers.message(tx, HOUSE, "e1", NOW - 8 * DAY)
        pair = answers.explain_pair(tx, HOUSE, "jane@x.test", "user_id:U1")
        assert got(client, "/api/explain?left=jane@x.test&right=user_id:U1") == pair
        assert got(client, f"/api/explain?left=b3&right=U1&{then}")["joined"] is False
        assert got(client, "/api/hubs?limit=1&after=1") == {"entries": [], "next": None}
    assert got(client, f"/api/messages/e1?{then}", 404)["message"].startswith("no message is known")
    assert got(client, f"/api/profiles?type=user_id&value=U2&{then}", 404) == {
        "message": "this user_id was never seen up to that time"
    }


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/explain?left=a", "give both, as in /api/explain?left=jane@example.com&right=user_id:1042"),
        ("/api/explain?left=a&right=b&x=1", "'x' is not a parameter here; expected only left, right, as_of"),
        ("/api/explain?left=a&right=b&as_of=soon", "as_of: expected a time in ISO 8601"),
        ("/api/profiles?type=user_id&value=U1&as_of=soon", "as_of: expected a time in ISO 8601"),
        ("/api/profiles/0?as_of=soon", "as_of: expected a time in ISO 8601"),
        ("/api/messages/e1?as_of=soon", "as_of: expected a time in ISO 8601"),
        ("/api/hubs?limit=0", "limit: expected a whole number from 1 to 500"),
        ("/api/hubs?before=1", "'before' is not a parameter here; expected only limit, after"),
    ],
)
def test_a_bad_question_is_a_400_in_words(client: FlaskClient, path: str, words: str) -> None:
    assert got(client, path, 400)["message"].startswith(words)


# -- orders -----------------------------------------------------------------------------------------------------------


def test_a_link_is_previewed_then_ordered_then_made_and_logged(client: FlaskClient, store: Store) -> None:
    order = {"left": U1, "right": B2, "operator": "kim", **WHY}
    shown = post(client, "/api/links?preview=1", order, 200)
    assert (shown["refused"], shown["unknown"], orders(store)) == (False, [], [])
    told = post(client, "/api/links", order, 202)
    assert orders(store) == [told["act"]]
    assert got(client, told["see"])["decision"]["outcome"] == "waiting"
    stitch(store, HOUSE, now_ms())
    reason = got(client, told["see"])["decision"]["reason"]
    assert reason.startswith("linked user_id U1 and anonymous_id b2 by hand")
    assert reason.endswith("; by kim; reason given: she called us")
    assert got(client, "/api/explain?left=U1&right=b2")["joined"] is True


def test_a_link_of_two_user_ids_is_refused_with_the_reason_and_not_stored(client: FlaskClient, store: Store) -> None:
    told = post(client, "/api/links", {"left": U1, "right": U2, **WHY}, 409)
    assert told["message"] == "this link would be refused, so it is not made; preview=1 says more"
    assert "a person has at most 1 user_id" in " ".join(told["in_words"])
    assert post(client, "/api/links?preview=1", {"left": U1, "right": U2, **WHY}, 200)["refused"] is True
    assert orders(store) == []


@pytest.mark.parametrize("ends", [{}, {"left": {"type": "email", "value": "Jane@X.test"}, "right": U1}])
def test_a_link_is_revoked_by_its_id_with_or_without_its_ends(
    client: FlaskClient, store: Store, ends: dict[str, Any]
) -> None:
    path = f"/api/links/{link_id(client)}/revoke"
    shown = post(client, f"{path}?preview=1", {**ends, **WHY}, 200)
    (event,) = shown["events"]
    assert (event["message"], event["before"]["user_id"], event["what"]) == ("segment/e1", "U1", "held_again")
    assert orders(store) == []
    told = post(client, path, {**ends, **WHY}, 202)
    stitch(store, HOUSE, now_ms())
    assert got(client, "/api/explain?left=U1&right=jane@x.test")["joined"] is False
    assert told["act"].startswith("unlink-")
    assert post(client, path, {"until": "2026-09-01T12:00:00Z", "correct": True, **ends, **WHY}, 202)


def test_a_link_that_is_not_there_or_not_theirs_is_refused(client: FlaskClient, store: Store) -> None:
    assert post(client, "/api/links/0/revoke", WHY, 404) == {"message": "there is no link with this id"}
    other = {"left": U1, "right": B2, **WHY}
    assert post(client, f"/api/links/{link_id(client)}/revoke", other, 400) == {
        "message": "left, right: these are not the ends of the link with this id"
    }
    assert orders(store) == []


def test_a_search_for_a_link_ends_in_time_and_finds_the_ends_of_any(
    store: Store, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.answers.finding.PAGE", 1)
    wanted = link_id(client)
    with store.reading() as tx:
        assert ends_of(tx, HOUSE, wanted) == (Identifier("user_id", "U1"), Identifier("email", "jane@x.test"))
        assert ends_of(tx, HOUSE, "0") is None
        with pytest.raises(TooMany, match="give its two ends as left and right"):
            ends_of(tx, HOUSE, "0", seconds=0)
    monkeypatch.setattr("connector.inspector.acts.ends_of", lambda tx, house, one: ends_of(tx, house, one, 0))
    assert "give its two ends" in post(client, "/api/links/0/revoke", WHY, 503)["message"]


def test_a_person_is_forgotten_by_an_order_that_shows_first_whom_it_erases(client: FlaskClient, store: Store) -> None:
    order = {"type": "email", "value": "jane@x.test", "suppress": True, "at": "2026-09-30", **WHY}
    shown = post(client, "/api/profiles/forget?preview=1", order, 200)
    assert shown["erased"] == {"identifiers": 3, "messages": 2, "deliveries": 1}
    assert [one["value"] for one in shown["gone"]] == ["U1", "jane@x.test", "b1"]
    assert got(client, "/api/messages/e1")["decision"]["outcome"] == "stitched"
    told = post(client, "/api/profiles/forget", order, 202)
    stitch(store, HOUSE, now_ms())
    assert got(client, "/api/messages/e1")["decision"]["outcome"] == "forgotten"
    assert got(client, "/api/profiles?type=email&value=jane@x.test", 404)
    assert got(client, told["see"])["decision"]["reason"].startswith("forgotten up to 2026-09-30T00:00:59.999Z")


def test_a_dead_delivery_is_retried_by_an_order(client: FlaskClient, store: Store) -> None:
    with store.writing() as tx:
        claimed = queue.claim(tx, "segment", limit=1, now=NOW + HOUR, claimer="test", for_ms=1)
        queue.settle(tx, "segment", [queue.dead(claimed, "refused", "HTTP 400")], claimer="test", now=NOW)
    (row,) = got(client, "/api/dead")["entries"]
    path = f"/api/dead/{row['id']}/retry"
    assert post(client, f"{path}?preview=1", WHY, 200)["said"] == "1 dead letter is pending again"
    told = post(client, path, WHY, 202)
    stitch(store, HOUSE, now_ms())
    assert got(client, "/api/dead") == {"entries": []}
    assert "she called us" in got(client, told["see"])["decision"]["reason"]
    for number in (row["id"], 10**30):
        assert post(client, f"/api/dead/{number}/retry", WHY, 404)["message"].startswith("no dead delivery has this id")


@pytest.mark.parametrize(("path", "body"), ORDERS)
def test_an_order_without_a_reason_is_a_400(client: FlaskClient, store: Store, path: str, body: dict[str, Any]) -> None:
    path = path.replace("/0/", f"/{link_id(client)}/")
    ends = {"left": U1, "right": {"type": "email", "value": "jane@x.test"}} if "revoke" in path else {}
    given = {name: value for name, value in {**body, **ends}.items() if name != "reason"}
    if "dead" in path:
        with store.writing() as tx:
            tx.exec_driver_sql("update outbox set status = 'dead'")
    for reason in ({}, {"reason": " "}, {"reason": None}, {"reason": 3}, {"reason": "a\x00b"}, {"operator": 3, **WHY}):
        assert "reason" in post(client, path, {**given, **reason}, 400)["message"]
    assert orders(store) == []


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/api/links", b"", b"the body is not JSON; expected an object such as "),
        ("/api/links", b"left=U1&reason=r", b"the body is not JSON"),
        ("/api/links", [WHY], b"the body: expected a JSON object"),
        (
            "/api/links",
            {"left": U1, "right": B2, "why": "x"},
            b"'why' is not a key here; expected only reason, operator",
        ),
        ("/api/links", {"left": U1, **WHY}, b'right: expected {"type": '),
        ("/api/links", {"left": {**U1, "x": 1}, "right": B2, **WHY}, b'left: expected {"type": '),
        ("/api/links", {"left": {"type": "user_id", "value": 7}, "right": B2, **WHY}, b'left: expected {"type": '),
        ("/api/links", {"left": {"type": "shoe", "value": "7"}, "right": B2, **WHY}, b"type: expected one of user_id"),
        (
            "/api/links",
            {"left": {"type": "user_id", "value": "a\x00"}, "right": B2, **WHY},
            b"this user_id names nobody",
        ),
        ("/api/links", {"left": U1, "right": U1, **WHY}, b"these are one identifier"),
        ("/api/links", {"left": U1, "right": B2, "correct": 1, **WHY}, b"correct: expected true or false"),
        (
            "/api/links",
            {"left": {"type": "email", "value": "info@x.test"}, "right": B2, **WHY},
            b"this address is one that several people read",
        ),
        ("/api/links?preview=yes", {"left": U1, "right": B2, **WHY}, b"preview: expected 1"),
        ("/api/links?dry=1", {"left": U1, "right": B2, **WHY}, b"'dry' is not a parameter here; expected only preview"),
        ("/api/links/0/revoke", {"left": U1, "right": B2, "until": "soon", **WHY}, b"left, right: these are not"),
        ("/api/profiles/forget", {"type": "email", **WHY}, b"type, value: expected two texts"),
        ("/api/profiles/forget", {**U1, "at": "soon", **WHY}, b"at: expected a time in ISO 8601"),
        ("/api/profiles/forget", {**U1, "at": 5, **WHY}, b"at: expected a time in ISO 8601"),
        ("/api/profiles/forget", {**U1, "suppress": "yes", **WHY}, b"suppress: expected true or false"),
        ("/api/dead/1/retry", {"ids": [1], **WHY}, b"'ids' is not a key here; expected only reason, operator"),
    ],
)
def test_an_order_that_cannot_be_meant_is_a_400_in_words(
    client: FlaskClient, store: Store, path: str, body: object, words: bytes
) -> None:
    assert post(client, path, body, 400)["message"].startswith(words.decode())
    assert orders(store) == []


def test_a_body_that_no_order_needs_is_a_413(client: FlaskClient, store: Store) -> None:
    order = {"left": U1, "right": B2, "reason": "x" * MOST_BYTES}
    assert post(client, "/api/links", order, 413) == {"message": "the body is too large: expected at most 64 KB"}
    assert orders(store) == []
