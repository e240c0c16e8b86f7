"""The inspector over HTTP: who may look, the JSON routes, and the pages."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from connector import answers, inbox, inspector
from connector import app as doors
from connector.bodies import READERS
from connector.elements import dedupe_key
from connector.inspector.access import WINDOW_SECONDS, WRONG, Access
from connector.inspector.pages import percent, sentence
from connector.masking import mask
from connector.messages import Received
from connector.store import Store
from tests.told import NOW, call, configured, feed, house, identify, opened, page

BEARER = {"Authorization": "Bearer the-token"}
HOUSE = house()


def application(store: Store, **settings: str) -> Flask:
    config = configured(**settings)
    return doors.create_app(config, store, blueprints=inspector.blueprints(config, store, house(**settings)))


@pytest.fixture
def client(sqlite_store: Store) -> Iterator[FlaskClient]:
    app = application(sqlite_store)
    yield app.test_client()
    doors.close(app)


def told(client: FlaskClient, path: str, status: int = 200) -> Any:
    response = client.get(path, headers=BEARER)
    assert (response.status_code, response.content_type) == (status, "application/json")
    return orjson.loads(response.data)


def signed_in(client: FlaskClient, token: str = "the-token") -> FlaskClient:
    assert client.post("/sign-in", data={"token": token}).status_code == 303
    return client


def text_of(client: FlaskClient, path: str, status: int = 200) -> str:
    response = client.get(path)
    assert response.status_code == status
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", response.text, flags=re.DOTALL)))


def story(store: Store) -> None:
    feed(store, HOUSE, [page("p1", "10:00:00", "A1"), opened("o1", "11:00:00", "jane@x.test")])
    feed(
        store,
        HOUSE,
        [identify("i1", "10:05:00", "A1", email="jane@x.test"), call("bad", "9:00", type="track", userId=3)],
    )
    feed(store, HOUSE, [identify("i2", "13:00:00", "A1", user_id="U1", email="jane@x.test")])
    feed(store, HOUSE, [identify("i3", "14:00:00", "A2", user_id="U2", email="jane@x.test")])


# -- the JSON interface -------------------------------------------------------------------------------------------

ROUTES = (
    "/api/stats", "/api/messages/o1", "/api/log", "/api/profiles?type=email&value=jane@x.test", "/api/profiles/0",
    "/api/held", "/api/dead", "/api/quarantined", "/api/", "/api/anything/else",
)  # fmt: skip


@pytest.mark.parametrize("path", ROUTES)
def test_no_route_answers_without_a_token(client: FlaskClient, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic dGhlLXRva2VuOg=="}):
        response = client.get(path, headers=headers)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, 'Bearer realm="connector"')
        assert orjson.loads(response.data) == {"message": "send Authorization: Bearer with one of INSPECTOR_TOKENS"}
    signed_in(client)
    assert client.get(path).status_code == 401, "the pages' cookie opens no JSON route"


@pytest.mark.parametrize("path", [*ROUTES, "/", "/messages/o1", "/profiles/0"])
def test_an_inspector_without_tokens_is_closed_and_names_the_variable(sqlite_store: Store, path: str) -> None:
    app = application(sqlite_store, INSPECTOR_TOKENS="")
    response = app.test_client().get(path, headers=BEARER)
    assert response.status_code == 403
    assert "set INSPECTOR_TOKENS and restart the connector" in response.text
    doors.close(app)


def test_every_token_of_the_list_is_good(client: FlaskClient) -> None:
    for token in ("the-token", "an-older-token"):
        assert client.get("/api/stats", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_the_routes_give_the_answers(client: FlaskClient, sqlite_store: Store) -> None:
    story(sqlite_store)
    with sqlite_store.reading() as tx:
        person = answers.profile(tx, HOUSE, "email", "jane@x.test")
        assert person is not None
        assert told(client, "/api/stats") == answers.stats(tx)
        assert told(client, "/api/messages/o1") == answers.message(tx, HOUSE, "o1")
        assert told(client, "/api/log?outcome=learned&limit=2") == answers.log_page(tx, outcome="learned", limit=2)
        assert told(client, "/api/log?q=jane@x.test&before=3") == answers.log_page(tx, q="jane@x.test", before=3)
        assert told(client, "/api/log?source=segment&event=Email+Opened") == answers.log_page(tx, event="Email Opened")
        assert told(client, "/api/profiles?type=email&value=JANE@x.test") == person
        assert told(client, f"/api/profiles/{person['profile_id']}") == person
        assert told(client, "/api/held") == {"entries": answers.held(tx)}
        assert told(client, "/api/dead") == {"entries": []}
        assert told(client, "/api/quarantined?limit=1") == {"entries": answers.quarantined(tx)}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/messages/nothing", "no message is known by this messageId, incoming or outgoing"),
        ("/api/profiles/0", "there is no profile with this id"),
        ("/api/profiles?type=email&value=nobody@x.test", "this email was never seen"),
        ("/api/anything/else", "there is no /api/anything/else"),
    ],
)
def test_what_is_not_there_is_a_404_in_words(client: FlaskClient, path: str, words: str) -> None:
    assert told(client, path, 404) == {"message": words}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/log?limit=0", "limit: expected a whole number from 1 to 500"),
        ("/api/log?limit=501", "limit: expected a whole number from 1 to 500"),
        ("/api/log?before=-1", "before: expected a whole number from 1"),
        ("/api/log?before=٣", "before: expected a whole number from 1"),
        ("/api/log?outcome=lost", "outcome: expected one of passed, stitched"),
        ("/api/log?sauce=segment", "'sauce' is not a parameter here; expected only outcome, source"),
        ("/api/stats?x=1", "'x' is not a parameter here; this takes none"),
        (
            "/api/profiles?type=email&value=a@x.test&limit=1",
            "'limit' is not a parameter here; expected only type, value",
        ),
        ("/api/profiles?type=email", "give both, as in /api/profiles?type=email&value=jane@example.com"),
        ("/api/profiles?type=shoe&value=42", "type: expected one of user_id, email, phone"),
        ("/api/profiles?type=user_id&value=null", "value: this names nobody"),
    ],
)
def test_a_bad_parameter_is_a_400_in_words(client: FlaskClient, path: str, words: str) -> None:
    assert told(client, path, 400)["message"].startswith(words)


def test_a_store_that_is_away_is_a_503(sqlite_store: Store) -> None:
    app = application(sqlite_store)
    with sqlite_store.writing() as tx:
        tx.exec_driver_sql("drop table counters")
    response = app.test_client().get("/api/stats", headers=BEARER)
    assert response.status_code == 503
    doors.close(app)


NUL = ("/messages/%00", "/profiles/a%00b", "/log?q=%00", "/log?source=%00", "/log?event=a%00", "/log?%00=1")


@pytest.mark.parametrize("path", [*NUL, "/profiles?type=email&value=a%00b@x.test", "/%00"])
def test_a_nul_is_a_400_in_words_before_anything_is_asked(store: Store, path: str) -> None:
    app = application(store)
    client = app.test_client()
    assert client.get(f"/api{path}").status_code == 401
    assert told(client, f"/api{path}", 400) == {"message": "the address contains a NUL character (%00): leave it out"}
    doors.close(app)


@pytest.mark.parametrize("path", ["/messages/%00", "/profiles/a%00b", "/?q=%00", "/?outcome=held%00"])
def test_a_nul_is_a_400_in_words_on_the_pages_too(store: Store, path: str) -> None:
    app = application(store)
    client = signed_in(app.test_client())
    assert "the address contains a NUL character" in text_of(client, path, 400)
    doors.close(app)


@pytest.mark.parametrize("message_id", ["m" * 201, "tab\there", "ü" * 300])
def test_a_message_is_found_by_the_id_its_sender_gave_it_however_it_is_stored(
    client: FlaskClient, sqlite_store: Store, message_id: str
) -> None:
    stored = dedupe_key(message_id, "")
    assert stored != message_id
    one = replace(page(message_id, "10:00:00", "A1"), message_id=stored)
    path = quote(message_id)
    with sqlite_store.writing() as tx:
        inbox.store(tx, [one])
    assert told(client, f"/api/messages/{path}")["decision"]["outcome"] == "waiting"
    feed(sqlite_store, HOUSE, [])
    signed_in(client)
    assert told(client, f"/api/messages/{path}")["message"]["message_id"] == stored
    assert told(client, f"/api/messages/segment/{path}")["message"]["message_id"] == stored
    assert [entry["message_id"] for entry in told(client, f"/api/log?q={path}")["entries"]] == [stored]
    assert "learned" in text_of(client, f"/messages/{path}")


def test_a_deeply_nested_body_is_shown_as_it_came(client: FlaskClient, sqlite_store: Store) -> None:
    deep = '{"messageId":"deep","d":' + "[" * 400 + '"jane@x.test"' + "]" * 400 + "}"
    feed(sqlite_store, HOUSE, [Received("segment", "deep", deep, NOW)])
    signed_in(client)
    assert deep.replace("jane@", "j•••@") in html.unescape(client.get("/messages/deep").text)
    assert told(client, "/api/messages/deep")["message"]["raw"] == deep


# -- signing in ---------------------------------------------------------------------------------------------------


def test_a_page_without_a_session_is_a_form_and_a_401(client: FlaskClient, sqlite_store: Store) -> None:
    story(sqlite_store)
    for path in ("/", "/messages/o1", "/profiles/0"):
        response = client.get(path)
        assert (response.status_code, 'action="/sign-in"' in response.text) == (401, True)
        assert "messages/o1" not in response.text
        assert "Email Opened" not in response.text
    response = client.post("/sign-in", data={"token": "wrong"})
    assert (response.status_code, "Set-Cookie" in response.headers) == (401, False)
    assert "That is none of the inspector's tokens." in html.unescape(response.text)


def test_the_session_cookie_is_for_this_site_only_and_holds_no_token(client: FlaskClient) -> None:
    plain = client.post("/sign-in", data={"token": "the-token"}).headers["Set-Cookie"]
    assert plain.startswith("connector_inspector=")
    assert {"HttpOnly", "Path=/", "SameSite=Strict", "Max-Age=43200"} <= set(plain.split("; "))
    assert "Secure" not in plain.split("; ")
    assert "the-token" not in plain
    behind_tls = client.post("/sign-in", data={"token": "the-token"}, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in behind_tls.headers["Set-Cookie"].split("; ")


def test_a_session_lasts_until_signing_out(client: FlaskClient) -> None:
    signed_in(client)
    assert client.get("/").status_code == 200
    assert client.post("/sign-out").status_code == 303
    assert client.get("/").status_code == 401


def test_a_session_ends_when_its_token_is_withdrawn_or_the_cookie_is_forged(sqlite_store: Store) -> None:
    cookie = Access(configured()).cookie("an-older-token")
    assert Access(configured()).by_cookie(cookie)
    assert not Access(configured(INSPECTOR_TOKENS="the-token")).by_cookie(cookie)
    assert not Access(configured(CONNECTOR_SECRET="another secret, as long")).by_cookie(cookie)
    assert not Access(configured()).by_cookie(cookie[:-2])
    assert not Access(configured()).by_cookie(Access(configured()).cookie("never a token"))


def test_a_session_ends_with_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    access = Access(configured())
    cookie = access.cookie("the-token")
    monkeypatch.setattr("connector.inspector.access.SESSION_SECONDS", -1)
    assert not access.by_cookie(cookie)


def test_guessing_is_slow_for_who_guesses_and_nobody_else() -> None:
    now = [1_000.0]
    access = Access(configured(), clock=lambda: now[0])
    decisions = [access.by_token("wrong", "192.0.2.1") for _ in range(WRONG)]
    assert decisions == ["unknown"] * WRONG
    assert access.by_token("wrong", "192.0.2.1") == "slow down"
    assert access.by_token("the-token", "192.0.2.1") == "welcome", "behind a router both have one address"
    assert access.by_token("wrong", "192.0.2.2") == "unknown"
    now[0] += WINDOW_SECONDS
    assert access.by_token("wrong", "192.0.2.1") == "unknown"


def test_too_many_wrong_tokens_are_a_429_on_both_ways_in(client: FlaskClient) -> None:
    for _ in range(WRONG):
        client.get("/api/stats", headers={"Authorization": "Bearer wrong"})
    wrong = {"Authorization": "Bearer wrong"}
    for response in (client.get("/api/stats", headers=wrong), client.post("/sign-in", data={"token": "wrong"})):
        assert (response.status_code, response.headers["Retry-After"]) == (429, "60")
    assert client.get("/api/stats", headers=BEARER).status_code == 200
    assert client.post("/sign-in", data={"token": "the-token"}).status_code == 303


def test_the_sign_in_form_waits_for_nobody_where_the_places_to_read_are_taken(client: FlaskClient) -> None:
    bodies = client.application.extensions["connector"].bodies
    with ExitStack() as taken:
        for _ in range(READERS):
            taken.enter_context(bodies.place())
        response = client.post("/sign-in", data={"token": "the-token"})
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert client.get("/").status_code == 401
    signed_in(client)


# -- the pages ----------------------------------------------------------------------------------------------------


def test_pages_load_nothing_from_elsewhere_and_are_not_kept(client: FlaskClient, sqlite_store: Store) -> None:
    story(sqlite_store)
    signed_in(client)
    nonces = set()
    for path in ("/", "/messages/o1", "/profiles/0", "/messages/nothing"):
        response = client.get(path)
        policy = response.headers["Content-Security-Policy"]
        (nonce,) = re.findall(r'<style nonce="([^"]+)">', response.text)
        nonces.add(nonce)
        assert policy == (
            f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action 'self'; base-uri 'none';"
            " frame-ancestors 'none'"
        )
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert re.findall(r'(?:href|src|action)="(?!/|#|data:,")[^"]*"| style="|<script|onclick', response.text) == []
    assert len(nonces) == 4


def test_the_overview_shows_the_rate_before_and_after_and_the_latest_decisions(
    client: FlaskClient, sqlite_store: Store
) -> None:
    signed_in(client)
    assert "as they arrived none yet after the connector none yet" in text_of(client, "/")
    story(sqlite_store)
    text = text_of(client, "/")
    assert "as they arrived 100 % after the connector 0 %" in text
    assert "stitched_late 1 held 0" in text
    assert (
        "2026-09-01 11:00:00 Email Opened klaviyo j•••@x.test stitched_late A1 held until the identity was known"
        in text
    )
    assert "quarantined userId: expected text, found a number" in text
    assert text_of(client, "/?outcome=stitched_late").count("segment learned") == 0
    assert "Decisions about j•••@x.test" in text_of(client, "/?q=jane@x.test")
    assert "expected one of passed" in text_of(client, "/?outcome=lost", 400)


def test_no_page_shows_an_address(client: FlaskClient, sqlite_store: Store) -> None:
    story(sqlite_store)
    feed(
        sqlite_store,
        HOUSE,
        [
            opened(
                "o2", "16:00:00", "jane@x.test", properties={"url": "https://s.test/?e=jane%40x.test&f=<jane@x.test>"}
            )
        ],
    )
    signed_in(client)
    with sqlite_store.reading() as tx:
        person = answers.profile(tx, HOUSE, "email", "jane@x.test")
    assert person is not None
    for path in ("/", "/messages/o1", "/messages/o2", f"/profiles/{person['profile_id']}"):
        response = client.get(path)
        assert (response.status_code, re.findall(r"jane(?:@|%40|&#64;)x", response.text)) == (200, [])
        assert "j•••" in response.text


def test_addresses_in_names_of_things_are_masked_too(client: FlaskClient, sqlite_store: Store) -> None:
    """In event names, vendors, messageIds and the links made of them, and in addresses of unusual looks."""
    name = "Sent to jane@x.test"
    feed(
        sqlite_store,
        HOUSE,
        [
            call("jane@x.test-1", "10:00:00", type="track", event=name, anonymousId="A1"),
            identify("jane@x.test-2", "10:05:00", "A1", email="jane@x.test", name='"jane doe"@x.test jane%40x.test'),
            opened("jane@x.test-3", "11:00:00", "jane@x.test", context={"integration": {"name": "jane@x.test"}}),
        ],
    )
    signed_in(client)
    overview = client.get("/").text
    paths = re.findall(r'href="(/decisions/\d+)"', overview)
    assert len(paths) == 3
    for page_of in (overview, *(client.get(path).text for path in paths)):
        assert re.findall(r"jane[^<]{0,12}(?:@|%40|&#64;)x", html.unescape(page_of)) == []
    assert "Sent to j•••@x.test" in text_of(client, paths[-1])
    assert "j•••@x.test-2" in text_of(client, paths[0]), "the link it stands on, by its message"
    assert client.get("/decisions/99").status_code == 404
    assert client.get(f"/decisions/{10**30}").status_code == 404


def test_the_pages_lead_from_a_decision_to_its_message_and_its_person(client: FlaskClient, sqlite_store: Store) -> None:
    story(sqlite_store)
    signed_in(client)
    links = re.findall(r'href="(/decisions/[^"]+)"', client.get("/").text)
    assert len(links) == 6
    assert 'href="/messages/i1"' in client.get("/messages/o1").text
    for path in links:
        assert client.get(path).status_code == 200
    text = text_of(client, "/messages/o1")
    assert "Because email j•••@x.test and anonymous_id A1: a call of the site or server carried both" in text
    assert "since then enriched: now U1 + A1" in text
    (person,) = re.findall(r'href="(/profiles/[^"]+)"', client.get("/messages/o1").text)
    text = text_of(client, person)
    assert "anonymousId Theirs from (UTC) until A1 its beginning now" in text
    assert "this link would make one person of user_id U2 and user_id U1" in text


def test_what_a_page_shows_of_others_is_escaped(client: FlaskClient, sqlite_store: Store) -> None:
    evil = "<script>alert(1)</script>"
    feed(sqlite_store, HOUSE, [page(evil, "10:00:00", evil), identify("i1", "11:00:00", evil, user_id=evil)])
    signed_in(client)
    for path in ("/", f"/messages/{evil}", "/messages/i1", f"/?q={evil}"):
        response = client.get(path)
        assert (response.status_code, "<script" in response.text) == (200, False)
        assert "&lt;script&gt;" in response.text


def test_masks_and_figures_read_well() -> None:
    assert mask("Jane.Doe+x@mail.x.test, b@y.test") == "J•••@mail.x.test, b•••@y.test"
    assert mask("https://s.test/?e=jane%40x.test&n=1") == "https://s.test/?e=j•••%40x.test&n=1"
    assert mask("no address: a @ b, @handle, 100 %") == "no address: a @ b, @handle, 100 %"
    assert mask('"a b"@x.test {"e":"\\"a b\\"@x.test"} %22a%20b%22%40x.test') == (
        '"•••"@x.test {"e":"\\"•••\\"@x.test"} %•••%40x.test'
    )
    assert mask(r"jane%2540x.test jane\u0040x.test jane&#64;x.test a@b@x.test") == (
        r"j•••%2540x.test j•••\u0040x.test j•••&#64;x.test a•••@b@x.test"
    )
    assert sentence("by a@x.test at 2026-09-01T10:05:00.000Z") == "by a•••@x.test at 2026-09-01 10:05:00"
    assert [percent(share) for share in (None, 0.0, 0.004, 0.123, 0.996, 1.0)] == [
        "none yet", "0 %", "0.4 %", "12 %", "99.6 %", "100 %",
    ]  # fmt: skip
