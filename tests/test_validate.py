"""What a stored element means, and what is said when it means nothing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from connector import mapped, validate
from connector.errors import InvalidMessage
from connector.house import House
from connector.messages import Identifier, Kind, Stored, iso, parse_time

NOW = parse_time("2026-10-02T00:00:00Z") or 0


def stored(body: object, source: str = "segment", **fields: Any) -> Stored:
    text = body if isinstance(body, str) else orjson.dumps(body).decode()
    defaults: dict[str, Any] = {"received_at": NOW, "authenticated": True, "envelope": None, "rotten": None}
    return Stored(1, source, "m1", text, **{**defaults, **fields})


def reasons(house: House, body: object, **fields: Any) -> list[str]:
    with pytest.raises(InvalidMessage) as caught:
        validate.read(stored(body, **fields), house.reader)
    return list(caught.value.reasons)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"type": "track", "event": "X", "userId": 42}, "userId: expected text, found a number"),
        ({"type": "page", "anonymousId": ["a"]}, "anonymousId: expected text, found a list"),
        ({"type": "page"}, "userId: neither userId nor anonymousId: Segment itself discards such calls"),
        ({"type": "page", "userId": "", "anonymousId": None}, "userId: neither userId nor anonymousId"),
        ({"type": "track", "userId": "u"}, "event: a track call needs the name of its event"),
        ({"type": "track", "userId": "u", "event": 7}, "event: expected text, found a number"),
        ({"type": "purchase", "userId": "u"}, "type: expected one of identify, track, page"),
        ({"userId": "u"}, "type: "),
        ({"type": "alias", "userId": "u"}, "previousId: an alias call needs previousId and userId"),
        ({"type": "identify", "userId": "u", "traits": "Jane"}, "traits: expected an object, found text"),
        ({"type": "identify", "userId": "u", "context": ["x"]}, "context: expected an object, found a list"),
        ([1, 2], "expected an object with a Segment call, found a list"),
        ('{"type":"page","userId":"u","properties":{"price":NaN}}', "it contains NaN, which is not JSON"),
        ('{"type":"page","userId":"u","properties":' + '{"a":' * 300 + "1" + "}" * 300 + "}", "nested deeper than 200"),
        ('{"type":"page"', "the element is not JSON"),
    ],
)
def test_what_is_no_call_is_refused_in_words_a_person_understands(house: House, body: object, reason: str) -> None:
    said = reasons(house, body)
    assert len(said) == 1
    assert reason in said[0]


def test_every_thing_that_is_wrong_is_named(house: House) -> None:
    assert len(reasons(house, {"type": "track", "event": 1, "userId": 2, "properties": "x"})) == 3


@pytest.mark.parametrize("empty", [[], None, {}])
def test_empty_objects_come_in_several_forms(house: House, empty: object) -> None:
    body = {"type": "page", "userId": "u", "context": empty, "integrations": empty, "properties": empty}
    message = validate.read(stored(body), house.reader)
    assert (message.context, message.integrations, message.properties) == ({}, {}, {})


def test_halves_of_characters_nuls_and_huge_numbers_are_replaced(house: House) -> None:
    body = r'{"type":"track","event":"cut \ud83d","userId":"u","properties":{"a":"x\u0000y","n":1e21,"i":1e999}}'
    message = validate.read(stored(body), house.reader)
    assert (message.event, message.properties) == ("cut \ufffd", {"a": "x\ufffdy", "n": 1e21, "i": None})


@pytest.mark.parametrize(
    ("timestamp", "sender", "expected", "noted"),
    [
        ("2026-10-01T12:00:00.123Z", None, "2026-10-01T12:00:00.123Z", False),
        ("2026-10-01 12:00:00+02:00", None, "2026-10-01T10:00:00.000Z", False),
        ("2027-01-01T00:00:00Z", None, "2026-10-02T00:00:00.000Z", True),
        ("2026-10-01T12:00:00Z", "2026-10-01T11:00:00Z", "2026-10-01T11:00:00.000Z", True),
        ("1999-12-31T23:59:59Z", None, "2026-10-02T00:00:00.000Z", True),
        ("yesterday", "2026-10-01T11:00:00Z", "2026-10-01T11:00:00.000Z", True),
        (None, None, "2026-10-02T00:00:00.000Z", False),
    ],
)
def test_event_time_is_the_timestamp_but_never_after_the_receipt(
    house: House, timestamp: str | None, sender: str | None, expected: str, noted: bool
) -> None:
    body = {"type": "page", "userId": "u", "timestamp": timestamp, "receivedAt": sender}
    message = validate.read(stored(body), house.reader)
    assert (iso(message.at), bool(message.notes)) == (expected, noted)


def test_a_batch_says_things_for_all_its_calls_and_each_call_wins(house: House) -> None:
    envelope = '{"context":{"library":{"name":"x"},"locale":"en"},"type":"page"}'
    message = validate.read(stored({"userId": "u", "context": {"locale": "de"}}, envelope=envelope), house.reader)
    assert (message.type, message.context) == ("page", {"library": {"name": "x"}, "locale": "de"})


def test_the_strongest_identifier_is_linked_to_each_other_one(house: House) -> None:
    body = {
        "type": "identify",
        "userId": "u1",
        "anonymousId": "b1",
        "traits": {"email": " Jane@X.test", "phone": "00 44 123456"},
    }
    message = validate.read(stored(body), house.reader)
    user = Identifier("user_id", "u1")
    assert set(message.links) == {
        (user, Identifier("email", "jane@x.test"), Kind.DECLARED),
        (user, Identifier("phone", "+44123456"), Kind.DECLARED),
        (user, Identifier("anonymous_id", "b1"), Kind.DECLARED),
    }


@pytest.mark.parametrize(
    "junk", ["null", '"undefined"', "0000-0000", "-1", "Guest", "[object Object]", "NaN", "'None'"]
)
def test_junk_names_nobody_and_the_log_says_so(house: House, junk: str) -> None:
    message = validate.read(stored({"type": "page", "userId": junk, "anonymousId": "b1"}), house.reader)
    assert message.identifiers == (Identifier("anonymous_id", "b1"),)
    assert message.notes == ("userId names nobody (blocked or malformed value) and was not used",)


def test_an_email_is_an_email_wherever_it_stands(house: House) -> None:
    message = validate.read(stored({"type": "page", "userId": "Jane@x.test", "anonymousId": "jo@x.test"}), house.reader)
    assert set(message.identifiers) == {
        Identifier("user_id", "Jane@x.test"),
        Identifier("email", "jane@x.test"),
        Identifier("email", "jo@x.test"),
    }


def test_delete_and_alias_want_an_authenticated_request(house: House) -> None:
    for call in ({"type": "alias", "userId": "u", "previousId": "p"}, {"type": "delete", "userId": "u"}):
        assert "is obeyed only where every element" in reasons(house, call, authenticated=False)[0]
    erasing = validate.read(stored({"type": "delete", "userId": "u"}), house.reader)
    assert (erasing.type, erasing.identifiers, erasing.links) == ("delete", (Identifier("user_id", "u"),), ())


def test_an_alias_is_shown_and_joins_nobody(house: House) -> None:
    message = validate.read(stored({"type": "alias", "userId": "u", "previousId": "b1"}), house.reader)
    assert [kind for _, _, kind in message.links] == [Kind.ALIASED]
    assert validate.read(stored({"type": "alias", "userId": "u", "previousId": "u"}), house.reader).links == ()


def test_a_groups_traits_are_the_groups(house: House) -> None:
    body = {"type": "group", "userId": "u", "groupId": "g", "traits": {"email": "office@corp.test"}}
    assert validate.read(stored(body), house.reader).identifiers == (Identifier("user_id", "u"),)


def test_a_vendors_unlisted_word_is_kept_and_ignored(house: House) -> None:
    payload = {"topic": "event:klaviyo.opened_push", "external_id": "e", "payload": {"data": {}}}
    message = validate.read(stored(payload, source="klaviyo"), house.reader)
    assert message.email is not None
    assert message.email.ignored == mapped.UNLISTED


def test_an_email_event_whose_ids_are_all_junk_is_refused(house: House) -> None:
    body = {"type": "track", "event": "Email Opened", "anonymousId": "null", "userId": "guest"}
    assert "the event names nobody" in reasons(house, body)[0]


def test_an_email_event_without_addressee_is_refused(house: House) -> None:
    payload = {"topic": "event:klaviyo.opened_email", "external_id": "e", "payload": {"data": {}}}
    assert "names no recipient" in reasons(house, payload, source="klaviyo")[0]


def test_customerio_links_the_profile_to_its_own_address_not_to_the_one_mailed(house: House) -> None:
    data = {"recipient": "boss@x.test", "identifiers": {"id": "42", "email": "jane@x.test", "cio_id": "c1"}}
    payload = {"event_id": "e", "object_type": "email", "metric": "opened", "timestamp": 1790000000, "data": data}
    message = validate.read(stored(payload, source="customerio"), house.reader)
    assert message.email is not None
    assert message.email.recipient == Identifier("email", "boss@x.test")
    linked = {end for stronger, weaker, _ in message.links for end in (stronger, weaker)}
    assert linked == {
        Identifier("email", "jane@x.test"),
        Identifier("customerio_profile_id", "c1"),
        Identifier("customerio_user_id", "42"),
    }
