"""Rubbish at every door: no request makes the connector fail, and what is stored of one ends in a decision.

Two ways of making it: from the description of the interface (what is valid by it, and what is nearly so), and from the
mappings (payloads that a platform might send, signed as it signs, with anything in the place of anything).
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

import pytest
import responses
import schemathesis
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, checks
from schemathesis.config import SchemathesisConfig

from connector import app as doors
from connector import inbox, inspector, migrate, pipeline
from connector.bodies import MAX_BODY_BYTES
from connector.inspector.openapi import document
from connector.messages import now_ms
from connector.sources import declared, tracking
from connector.store import Store, open_store
from connector.tables import inbox as inbox_rows
from connector.tables import inbox_todo, messages
from tests import amazon, rubbish, signers
from tests.signers import Signed
from tests.test_openapi import BEARER, closed, operations, story, wrong
from tests.told import configured, house

SETTINGS: Final = {
    "SOURCE_WRITE_KEYS": rubbish.WRITE_KEY,
    **{name: value for secrets in signers.SECRETS.values() for name, value in secrets.items()},
}
HOUSE: Final = house(**SETTINGS)
DESCRIBED: Final = document(HOUSE.mappings.sources)
STRICT: Final = closed(DESCRIBED)
DOORS: Final = (*HOUSE.mappings.sources, tracking.NAME)

SECONDS: Final = 20
"""What no single request may take, on the busiest machine."""


def once(examples: int) -> settings:
    """So many examples. Fixtures outlive an example here on purpose: what one of them left is there for the next."""
    return settings(max_examples=examples, suppress_health_check=list(HealthCheck))


@contextmanager
def opened(store: Store) -> Iterator[Flask]:
    """An application whose doors are all open."""
    config = configured(**SETTINGS)
    app = doors.create_app(config, store, blueprints=inspector.blueprints(config, store, HOUSE))
    yield app
    doors.close(app)


@pytest.fixture
def app(sqlite_store: Store) -> Iterator[Flask]:
    with opened(sqlite_store) as app:
        yield app


@pytest.fixture(scope="module")
def told_story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """An application over a store in which much has happened, for questions only."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('fuzz')}/connector.db")
    migrate.upgrade(store)
    story(store, HOUSE)
    with opened(store) as app:
        yield app
    store.dispose()


def decide(store: Store) -> None:
    """Let the stages have all that waits: nothing may raise, and of every message something was decided."""
    with store.writing() as tx:
        pipeline.process(tx, inbox.take(tx, 10_000), HOUSE, now_ms())
        undecided = sa.select(inbox_rows.c.id).where(inbox_rows.c.id.not_in(sa.select(messages.c.id)))
        assert tx.scalars(undecided).all() == []
        assert tx.scalars(sa.select(inbox_todo.c.inbox_id)).all() == []


# -- from the description -------------------------------------------------------------------------------------------

CHECKS: Final = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]

KNOWN: Final[Mapping[str, Sequence[Any]]] = {
    "message_id": ["e1", "e3", "bad", "segment/i1", "a//b", "\ud7ff"],
    "profile_id": ["0"],
    "type": ["user_id", "email", "anonymous_id", "klaviyo_profile_id", "shoe"],
    "value": ["U1", "jane@x.test", "b1", "shared@x.test", "null"],
    "left": ["U1", "email:jane@x.test", {"type": "user_id", "value": "U1"}, {"type": "email", "value": "ann@x.test"}],
    "right": ["U2", "anonymous_id:b1", {"type": "anonymous_id", "value": "b2"}, {"type": "user_id", "value": "U5"}],
    "as_of": ["2026-09-01T12:30:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1970-01-01"],
    "until": ["2026-09-01T12:30:00Z", "9999-12-31T23:59:59.999999Z"],
    "at": ["2026-09-30", "1969-12-31"],
    "q": ["jane@x.test", "e1"],
    "number": [1, 2, 3, 10**30],
}
"""What the store knows, or nearly: of values out of the blue there is never anything to tell."""


def likely(case: Case[Any], data: st.DataObject, named: set[str]) -> Case[Any]:
    """The same with some values replaced, or added, by what the store may know. Args: named is what it may be given."""
    for part in (case.path_parameters, case.query, case.body):
        if isinstance(part, dict):
            spoken = part.keys() if part is case.path_parameters else part.keys() | named
            for name in sorted(spoken & KNOWN.keys()):
                if data.draw(st.booleans(), label=f"a known {name}"):
                    part[name] = data.draw(st.sampled_from(KNOWN[name]), label=name)
    return case


def fuzz(app: Flask, method: str, path: str, examples: int, afterwards: Callable[[], None] = lambda: None) -> None:
    """Send what is valid by the description, and what is nearly so, and hold each answer against it."""
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app, config=SchemathesisConfig(), headers=BEARER)
    operation = DESCRIBED["paths"][path][method.lower()]
    named = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    spoiled = [GenerationMode.NEGATIVE] if operation.get("parameters") or "requestBody" in operation else []
    for mode in (GenerationMode.POSITIVE, *spoiled):

        @once(examples)
        @given(case=schema[path][method].as_strategy(mode), data=st.data())
        def holds(case: Case[Any], data: st.DataObject) -> None:
            token = BEARER if path.startswith("/api/") else {}
            answer = likely(case, data, named).call(headers=token)
            assert answer.status_code != 500
            case.validate_response(answer, checks=CHECKS)
            afterwards()

        holds()


@pytest.mark.parametrize(("method", "path"), sorted(one for one in operations(DESCRIBED) if one[0] == "GET"))
def test_every_question_is_answered_as_described(told_story: Flask, method: str, path: str) -> None:
    fuzz(told_story, method, path, 12)


@pytest.mark.parametrize(
    ("method", "path"), sorted(one for one in operations(DESCRIBED) if one[0] != "GET" and one[1].startswith("/api/"))
)
def test_every_order_is_answered_as_described_and_can_be_done(
    app: Flask, sqlite_store: Store, method: str, path: str
) -> None:
    story(sqlite_store, HOUSE)
    fuzz(app, method, path, 15, lambda: decide(sqlite_store))


@pytest.mark.parametrize(
    ("method", "path"), sorted(one for one in operations(DESCRIBED) if one[1].startswith(("/webhooks/", "/v1/b")))
)
def test_every_door_answers_as_described(app: Flask, sqlite_store: Store, method: str, path: str) -> None:
    fuzz(app, method, path, 4, lambda: decide(sqlite_store))


# -- from the mappings ----------------------------------------------------------------------------------------------


def post(app: Flask, provider: str, sent: Signed, how: str = "", more: Sequence[tuple[str, str]] = ()) -> int:
    """Send it, hold the answer against the description, and give its status."""
    body, beside = rubbish.encoded(sent, how)
    began = time.monotonic()
    headers = [*{**sent.headers, **beside}.items(), *more]
    answer = app.test_client().post(sent.path, data=body, headers=headers)
    assert time.monotonic() - began < SECONDS
    template = f"/webhooks/{provider}/{{secret}}" if sent.path.count("/") == 3 else sent.path
    assert answer.status_code != 500
    assert wrong(STRICT, (template, "post", answer.status_code, answer.get_json())) == []
    return answer.status_code


@pytest.mark.parametrize("provider", DOORS)
def test_what_a_platform_signs_is_stored_or_refused_and_then_decided(store: Store, provider: str) -> None:
    statuses: set[int] = set()
    with opened(store) as app, responses.RequestsMock(assert_all_requests_are_fired=False) as outside:
        outside.get(amazon.CERTIFICATE_URL, body=amazon.made_out())

        @once(20)
        @given(body=rubbish.bodies(provider), how=rubbish.encodings)
        def holds(body: bytes, how: str) -> None:
            statuses.add(post(app, provider, rubbish.signed(provider, body), how))
            decide(store)

        holds()
        assert 200 in statuses
        assert look(app) - {"quarantined"} != set(), "none of it was ever understood"


def look(app: Flask) -> set[str]:
    """Whatever was made of it can be asked for; the outcomes there are."""
    client = app.test_client()
    page = client.get("/api/log?limit=500", headers=BEARER).get_json()
    assert wrong(STRICT, ("/api/log", "get", 200, page)) == []
    for entry in page["entries"][:40]:
        name = quote(f"{entry['source']}/{entry['message_id']}", safe="")
        answer = client.get(f"/api/messages/{name}", headers=BEARER)
        assert answer.status_code == 200, name
        assert wrong(STRICT, ("/api/messages/{message_id}", "get", 200, answer.get_json())) == []
    return {entry["outcome"] for entry in page["entries"]}


@pytest.mark.parametrize("provider", DOORS)
def test_who_cannot_sign_is_refused_whatever_the_headers_say_and_nothing_is_stored(
    app: Flask, sqlite_store: Store, provider: str
) -> None:
    source = HOUSE.mappings.sources.get(provider)
    # Such a platform posts nothing before it has a key, and nothing is what is stored of it.
    tries_first = source is not None and declared.EMPTY in source.door.probes
    shown = f"/webhooks/{provider}/{{secret}}" in DESCRIBED["paths"]

    @once(15)
    @given(body=rubbish.bodies(provider), headers=rubbish.headers(provider), secret=rubbish.secrets)
    def holds(body: bytes, headers: list[tuple[str, str]], secret: str) -> None:
        path = "/v1/batch" if provider == tracking.NAME else f"/webhooks/{provider}"
        path = f"{path}/{quote(secret)}" if shown and secret else path
        assert post(app, provider, Signed({}, path, body), more=headers) != 200 or tries_first

    holds()
    with sqlite_store.reading() as tx:
        assert tx.scalars(sa.select(inbox_rows.c.id)).all() == []


@pytest.mark.parametrize("provider", DOORS)
def test_a_small_body_that_would_be_a_huge_one_is_refused(app: Flask, provider: str) -> None:
    bomb = gzip.compress(b" " * (MAX_BODY_BYTES + 1))
    sent = rubbish.signed(provider, b'{"batch": []}')
    answer = app.test_client().post(sent.path, data=bomb, headers={**sent.headers, "Content-Encoding": "gzip"})
    answers = HOUSE.mappings.sources[provider].door.answers if provider in HOUSE.mappings.sources else {}
    assert len(bomb) < 20_000
    assert answer.status_code == answers.get(413, 413)


def test_every_shipped_platform_is_fuzzed_with_a_signature_of_its_own() -> None:
    assert set(house().mappings.sources) - set(signers.SIGNERS) == set()
