"""Klaviyo's API for those who ask and wait, over real HTTP: limits, patience, errors, pages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import orjson
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from connector.demo.klaviyo_standin import KEY, KlaviyoStandIn
from connector.demo.loopback import Answer, Asked, LoopbackServer
from connector.destinations import Request
from connector.exchange import Exchange, NoAnswer, Timeouts
from connector.gate import Windows
from connector.klaviyo import wire
from connector.klaviyo.api import Client, Error, Patience, Refused, Tier, Unanswered, errors_of, quoted
from connector.klaviyo.wire import Rate
from tests.klaviyo_sending import configuration

QUICK = Patience(tries=4, first_wait_seconds=0.001, longest_wait_seconds=2.0)
TIMEOUTS = Timeouts(connect_seconds=1.0, read_seconds=0.3, rest_seconds=0.3)
DOCUMENT = Answer(200, {}, b'{"data":[1]}')

Serve = Callable[..., "tuple[Client, list[Asked]]"]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Makes a client of a server that gives these answers one after the other, and what it was asked."""
    servers: list[LoopbackServer] = []

    def maker(*answers: Answer, patience: Patience = QUICK, **more: Any) -> tuple[Client, list[Asked]]:
        asked: list[Asked] = []
        given = iter(answers)

        def respond(one: Asked) -> Answer:
            asked.append(one)
            return next(given)

        servers.append(LoopbackServer(respond))
        servers[-1].start()
        settings = configuration(servers[-1].url)
        return Client(settings, exchange=Exchange(TIMEOUTS), patience=patience, **more), asked

    yield maker
    for one in servers:
        one.stop()


def errors(*ones: dict[str, Any]) -> bytes:
    return orjson.dumps({"errors": list(ones)})


# Questions and answers


def test_a_question_carries_the_key_the_revision_and_an_escaped_query(serve: Serve) -> None:
    client, asked = serve(DOCUMENT)
    query = {"filter": f"equals(email,{quoted('a+b@x.test')})", "page[size]": "10"}
    assert client.get("/api/profiles", query, tier=Tier.PROFILES) == {"data": [1]}
    (one,) = asked
    assert (one.method, one.path, one.body) == (
        "GET",
        "/api/profiles?filter=equals%28email%2C%22a%2Bb%40x.test%22%29&page%5Bsize%5D=10",
        b"",
    )
    assert {name: one.headers[name] for name in ("authorization", "revision", "accept")} == {
        "authorization": f"Klaviyo-API-Key {KEY}",
        "revision": wire.REVISION,
        "accept": "application/vnd.api+json",
    }


def test_a_literal_of_a_filter_is_escaped_so_that_the_stand_in_reads_the_same() -> None:
    assert quoted('a"b\\c') == '"a\\"b\\\\c"'
    with KlaviyoStandIn(limits=False) as api:
        client = Client(configuration(api.url))
        document = {"data": {"type": "profile", "attributes": {"email": "a@x.test", "external_id": 'u"\\1, ü'}}}
        made = client.send("POST", "/api/profile-import", document, tier=Tier.PROFILES)
        query = {"filter": f"equals(external_id,{quoted(made['data']['attributes']['external_id'])})"}
        found = client.get("/api/profiles", query, tier=Tier.PROFILES)
        client.close()
    assert [one["id"] for one in found["data"]] == [made["data"]["id"]]


def test_what_is_sent_arrives_and_an_empty_answer_is_an_empty_document(serve: Serve) -> None:
    client, asked = serve(Answer(202), Answer(204))
    assert client.send("POST", "/api/x", {"data": {"a": "ü"}}, tier=Tier.BULK) == {}
    assert client.send("DELETE", "/api/x/1", {}, tier=Tier.ACCOUNT) == {}
    assert [(one.method, one.path, one.body) for one in asked] == [
        ("POST", "/api/x", '{"data":{"a":"ü"}}'.encode()),
        ("DELETE", "/api/x/1", b""),
    ]


# Patience


@pytest.mark.parametrize(
    "trouble", [Answer(503), Answer(504), Answer(524), Answer(500), Answer(reset=True), Answer(hang=True)]
)
def test_a_question_is_asked_again_and_a_command_is_not(serve: Serve, trouble: Answer) -> None:
    client, asked = serve(trouble, DOCUMENT)
    assert client.get("/api/metrics", tier=Tier.METRICS) == {"data": [1]}
    assert len(asked) == 2
    client, asked = serve(trouble, DOCUMENT)
    with pytest.raises(Unanswered):
        client.send("POST", "/api/webhooks", {"data": {}}, tier=Tier.METRICS)
    assert len(asked) == 1


def test_too_many_requests_are_waited_for_exactly_as_long_as_was_asked(serve: Serve) -> None:
    waits: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return False

    client, asked = serve(Answer(429, {"Retry-After": "2"}), Answer(202), stop=Stop())
    assert client.send("POST", "/api/x", {"data": {}}, tier=Tier.METRICS) == {}
    assert len(asked) == 2
    assert waits[1] == 2.0
    assert waits[2] == pytest.approx(2.0, abs=0.2), "nobody else of this kind asks meanwhile"


def test_a_wait_beyond_patience_and_an_endless_trouble_end_the_question(serve: Serve) -> None:
    client, asked = serve(Answer(429, {"Retry-After": "3"}, errors({"code": "throttled", "detail": "Slow down."})))
    with pytest.raises(Unanswered, match=r"^Klaviyo answered HTTP 429: throttled: Slow down.$") as caught:
        client.get("/api/metrics", tier=Tier.METRICS)
    assert (caught.value.status, caught.value.retry_after_seconds, len(asked)) == (429, 3, 1)

    client, asked = serve(*[Answer(503)] * 9)
    with pytest.raises(Unanswered, match=r"^Klaviyo answered HTTP 503$") as caught:
        client.get("/api/metrics", tier=Tier.METRICS)
    assert (caught.value.status, caught.value.retry_after_seconds, len(asked)) == (503, None, 4)


def test_a_stop_ends_every_wait(serve: Serve) -> None:
    stop = threading.Event()
    stop.set()
    client, asked = serve(DOCUMENT, stop=stop)
    with pytest.raises(Unanswered, match=r"^stopped before Klaviyo was asked$"):
        client.get("/api/metrics", tier=Tier.METRICS)
    assert asked == []


def test_requests_keep_to_both_windows_of_their_kind() -> None:
    now = [100.0]
    windows = Windows((3, 1.0), (5, 60.0), clock=lambda: now[0])
    assert [windows.reserve() for _ in range(7)] == [0.0, 0.0, 0.0, 1.0, 1.0, 60.0, 60.0]
    now[0] = 160.0
    assert windows.reserve() == pytest.approx(0.0)
    assert windows.reserve(at_most=0.5) == pytest.approx(1.0), "and it is not taken"
    assert windows.reserve() == pytest.approx(1.0)
    windows.pause(30.0)
    assert windows.reserve() == pytest.approx(30.0)


@given(
    limits=st.lists(st.tuples(st.integers(1, 4), st.floats(0.1, 10)), min_size=1, max_size=3),
    gaps=st.lists(st.floats(0, 5), max_size=40),
)
def test_no_window_ever_holds_more_than_it_may(limits: list[tuple[int, float]], gaps: list[float]) -> None:
    now = [0.0]
    windows = Windows(*limits, clock=lambda: now[0])
    slots = []
    for gap in gaps:
        now[0] += gap
        slots.append(now[0] + windows.reserve())
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(slots))
    for most, seconds in limits:
        for first, beyond in zip(slots, slots[most:], strict=False):
            assert beyond - first >= seconds - 1e-6


def test_windows_learn_lower_limits_and_never_higher_ones() -> None:
    windows = Windows((3, 1.0), (100, 60.0), clock=lambda: 0.0)
    windows.lower([(2, 1.0), (400, 60.0), (1, 7.0), (0, 1.0)])
    assert [windows.reserve() for _ in range(5)] == [0.0, 0.0, 1.0, 1.0, 2.0]


def test_threads_share_the_windows_of_one_client() -> None:
    with KlaviyoStandIn() as api:
        client = Client(configuration(api.url))
        failed: list[Exception] = []

        def ask() -> None:
            try:
                for _ in range(3):
                    client.get("/api/metrics", tier=Tier.METRICS)
            except Exception as error:  # shown below
                failed.append(error)
            client.close()

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert failed == []
        assert len(api.requests) == 12


# Refusals


def test_a_refusal_says_what_klaviyo_said_and_quotes_nobody(serve: Serve) -> None:
    body = errors(
        {
            "id": "x",
            "status": 409,
            "code": "duplicate_profile",
            "title": "Conflict.",
            "detail": "A profile already exists with 'ada@x.test', that is +15005550006 or \"Ada\".",
            "source": {"pointer": "/data/attributes/properties/eve@x.test"},
            "links": {},
            "meta": {"duplicate_profile_id": "01M1"},
        },
        {"status": "400", "code": "invalid", "title": "Invalid input.", "source": {"parameter": "filter"}, "meta": []},
    )
    client, _ = serve(Answer(409, {"Retry-After": "7"}, body))
    with pytest.raises(Refused) as caught:
        client.send("POST", "/api/profile-import", {"data": {}}, tier=Tier.PROFILES)
    error = caught.value
    assert (error.status, error.code, error.retry_after_seconds) == (409, "duplicate_profile", 7)
    assert error.meta == {"duplicate_profile_id": "01M1"}
    assert error.pointer == "/data/attributes/properties/eve@x.test", "for programs"
    assert str(error) == (
        "Klaviyo answered HTTP 409: duplicate_profile: A profile already exists with …, that is … or …."
        " (/data/attributes/properties/…)"
    )
    assert error.errors[1] == Error(400, "invalid", "Invalid input.", "", "filter", {})
    assert str(error.errors[1]) == "invalid: Invalid input. (filter)"


@pytest.mark.parametrize("scope", [True, False])
def test_what_a_key_may_not_do_is_told_by_its_code(scope: bool) -> None:
    with KlaviyoStandIn(limits=False) as api:
        client = Client(configuration(api.url, KEY if scope else "wrong"))
        with pytest.raises(Refused) as caught:
            client.get("/api/webhooks", tier=Tier.ACCOUNT)
        client.close()
    expected = (403, "permission_denied") if scope else (401, "authentication_failed")
    assert (caught.value.status, caught.value.code) == expected
    assert ("Advanced KDP" in caught.value.detail) == scope


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (
            Answer(200, {}, b"<html>log in</html>"),
            Unanswered,
            "HTTP 200, but not in Klaviyo's form (a proxy?); is KLAVIYO_API_URL right?",
        ),
        (Answer(302, {"Location": "/x"}), Refused, "Klaviyo answered HTTP 302: is KLAVIYO_API_URL right?"),
        (Answer(404), Refused, "Klaviyo answered HTTP 404: is KLAVIYO_API_URL right?"),
    ],
)
def test_an_answer_of_somebody_else_is_none_of_klaviyos(
    serve: Serve, answer: Answer, error: type[Exception], message: str
) -> None:
    client, _ = serve(answer)
    with pytest.raises(error) as caught:
        client.get("/api/metrics", tier=Tier.METRICS)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"errors":{}}', b'{"errors":["x",null]}', b'{"errors":[]}'],
)
def test_a_body_that_says_no_errors_has_none(body: bytes) -> None:
    assert errors_of(body) == []


def test_errors_are_read_whatever_is_missing_or_of_another_kind() -> None:
    body = errors(
        {}, {"status": True, "code": 7, "detail": ["x"], "source": [], "meta": "x"}, {"source": {"pointer": 1}}
    )
    assert errors_of(body) == [Error(), Error(), Error()]
    unknown = {
        "status": 400,
        "code": "invalid",
        "detail": "'last_name' is not a valid field for the resource 'profile'.",
    }
    assert str(errors_of(errors(unknown))[0]) == f"invalid: {unknown['detail']}"


json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**6) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["errors", "source", "pointer", "code", "detail", "status", "meta"]), inner)
    ),
    max_leaves=20,
)


@given(st.one_of(st.binary(max_size=50), json.map(orjson.dumps), st.lists(json).map(lambda ones: errors(*ones))))  # type: ignore[arg-type] # on purpose not what it should be
def test_no_body_is_too_strange_to_be_read(body: bytes) -> None:
    for one in errors_of(body):
        assert isinstance(str(one), str)


@pytest.mark.parametrize(
    ("headers", "rate"),
    [
        (
            {"ratelimit-limit": "350, 350;w=1, 3500;w=60", "ratelimit-remaining": "349", "ratelimit-reset": "0"},
            Rate(((350, 1.0), (3500, 60.0)), 349, 0),
        ),
        ({"ratelimit-limit": "10,10; w=1,150 ;w=60;comment=x"}, Rate(((10, 1.0), (150, 60.0)))),
        ({"ratelimit-limit": "lots", "ratelimit-remaining": "-1", "ratelimit-reset": "soon"}, Rate()),
        ({}, Rate()),
    ],
)
def test_what_is_told_of_limits_is_read_as_far_as_it_can_be(headers: dict[str, str], rate: Rate) -> None:
    assert wire.rate_of(headers) == rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("17", 17), (" 0 ", 0), ("86400", 3600), ("1.5", None), ("soon", None), ("-1", None), ("", None), ("٣", None)],
)
def test_only_whole_seconds_are_a_time_to_wait(text: str, seconds: int | None) -> None:
    assert wire.retry_after({"retry-after": text}) == seconds


def test_klaviyos_limits_are_those_of_its_stand_in() -> None:
    with KlaviyoStandIn() as api:
        for path, tier in (
            ("profiles", Tier.PROFILES),
            ("events", Tier.EVENTS),
            ("metrics", Tier.METRICS),
            ("accounts", Tier.ACCOUNT),
        ):
            answered = requests.get(f"{api.url}/api/{path}", headers=wire.headers(KEY), timeout=5)
            told = wire.rate_of({name.lower(): value for name, value in answered.headers.items()})
            assert told.limits == wire.LIMITS[tier], path


# Pages


def test_pages_are_followed_to_the_end_one_at_a_time() -> None:
    with KlaviyoStandIn(limits=False) as api:
        client = Client(configuration(api.url))
        for number in range(5):
            document = {"data": {"type": "profile", "attributes": {"email": f"p{number}@x.test"}}}
            client.send("POST", "/api/profile-import", document, tier=Tier.PROFILES)
        before = len(api.requests)
        pages = client.pages("/api/profiles", {"page[size]": "2"}, tier=Tier.PROFILES)
        assert len(next(pages)["data"]) == 2
        assert len(api.requests) == before + 1
        assert [len(one["data"]) for one in pages] == [2, 1]
        client.close()


def test_a_link_to_another_host_is_not_followed_and_neither_is_a_circle(serve: Serve) -> None:
    for elsewhere in ("https://evil.test/api/events", "//evil.test/x", "/api/events", 7, "http://[", ["x"]):
        client, asked = serve(Answer(200, {}, orjson.dumps({"data": [1], "links": {"next": elsewhere}})))
        pages = client.pages("/api/events", tier=Tier.EVENTS)
        assert next(pages)["data"] == [1]
        with pytest.raises(Unanswered, match=r"^Klaviyo's link to the next page leads elsewhere"):
            next(pages)
        assert len(asked) == 1


# The exchange


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (Answer(200, {}, b"x" * 9_000), "HTTP 200, but it was too long or too slow to be read to its end"),
        (Answer(200, {"Content-Encoding": "gzip"}, b"no gzip"), "HTTP 200, but it broke off"),
        (Answer(hang=True), "no answer in 0.3 s: may have arrived"),
    ],
)
def test_an_answer_that_is_not_whole_is_none(answer: Answer, detail: str) -> None:
    server = LoopbackServer(lambda _asked: answer)
    server.start()
    exchange = Exchange(TIMEOUTS)
    with pytest.raises(NoAnswer) as caught:
        exchange.ask(Request(f"{server.url}/x?who=ada", {}, b"", "GET"), max_bytes=8_000)
    exchange.close()
    server.stop()
    assert (caught.value.kind, caught.value.detail) == ("unknown", detail)
