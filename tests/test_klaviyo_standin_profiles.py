"""The stand-in's profiles: what may be written of them, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connector.demo.klaviyo_standin import KlaviyoStandIn
from connector.messages import MINUTE
from tests.klaviyo_calls import Clock, ask, event, profile, put, refusal, shown

ANN, BOB = "ann@example.com", "bob@example.com"
PHONE = "+15005550006"
IMPORT = "POST /api/profile-import"
AT = "2026-11-20T10:00:00+00:00"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def klaviyo(clock: Clock) -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(clock=clock, limits=False) as running:
        yield running


def resource(klaviyo: KlaviyoStandIn, profile_id: str, **attributes: Any) -> dict[str, Any]:
    places = ("address1", "address2", "city", "country", "latitude", "longitude", "region", "zip", "timezone", "ip")
    plain = dict.fromkeys(("first_name", "last_name", "organization", "locale", "title", "image"))
    known = {"email": None, "phone_number": None, "external_id": None, "anonymous_id": None, "whatsapp_bsuid": None}
    times = {"created": AT, "updated": AT, "last_event_date": None}
    return {
        "type": "profile",
        "id": profile_id,
        "attributes": {**known, **plain, **times, "location": dict.fromkeys(places), "properties": {}, **attributes},
        "links": {"self": f"{klaviyo.url}/api/profiles/{profile_id}/"},
    }


# -- writing ------------------------------------------------------------------------------------------------------


def test_an_import_is_201_the_first_time_and_200_after_and_answers_the_whole_profile(klaviyo: KlaviyoStandIn) -> None:
    first, document = ask(klaviyo, IMPORT, profile({"email": ANN, "first_name": "Ann", "properties": {"plan": "pro"}}))
    profile_id = document["data"]["id"]
    expected = resource(klaviyo, profile_id, email=ANN, first_name="Ann", properties={"plan": "pro"})
    again = ask(klaviyo, IMPORT, profile({"email": ANN, "properties": {"age": 40}}))

    assert (first, document["data"]) == (201, expected)
    expected["attributes"]["properties"] = {"plan": "pro", "age": 40}
    assert again == (200, {"data": expected, "links": {"self": f"{klaviyo.url}/api/profile-import"}})
    assert len(profile_id) == 26


def test_null_clears_and_absence_leaves(klaviyo: KlaviyoStandIn) -> None:
    put(klaviyo, external_id="u1", email=ANN, first_name="Ann", location={"city": "Ulm", "zip": "89073"})
    _, document = ask(klaviyo, IMPORT, profile({"external_id": "u1", "email": None, "location": {"zip": None}}))
    given = document["data"]["attributes"]

    assert (given["email"], given["first_name"], given["location"]["city"], given["location"]["zip"]) == (
        *(None, "Ann"),
        *("Ulm", None),
    )
    assert klaviyo.profile("email", ANN) is None
    put(klaviyo, external_id="u1", first_name=None, location=None)
    _, document = ask(klaviyo, "GET /api/profiles")
    assert document["data"] == [resource(klaviyo, document["data"][0]["id"], external_id="u1")]


def test_properties_are_appended_unappended_and_unset_beside_the_attributes(klaviyo: KlaviyoStandIn) -> None:
    put(klaviyo, email=ANN, properties={"tags": ["a", "b"], "one": 1, "old": True})
    patch = {"append": {"one": 2, "new": 3}, "unappend": {"tags": "a"}, "unset": ["old"]}
    _, document = ask(klaviyo, IMPORT, profile({"email": ANN}, meta={"patch_properties": patch}))

    assert document["data"]["attributes"]["properties"] == {"tags": ["b"], "one": [1, 2], "new": [3]}
    _, document = ask(klaviyo, IMPORT, profile({"email": ANN}, meta={"patch_properties": {"unset": "one"}}))
    assert document["data"]["attributes"]["properties"] == {"tags": ["b"], "new": [3]}


@pytest.mark.parametrize("email", ["ann", "ann@example", "ann@@example.com", "a b@example.com", "ann@-x.com", ""])
def test_an_email_has_to_be_one(klaviyo: KlaviyoStandIn, email: str) -> None:
    assert refusal(ask(klaviyo, IMPORT, profile({"email": email}))) == (
        400,
        [("invalid", "/data/attributes/email", "Invalid email address")],
    )


@pytest.mark.parametrize("number", ["5005550006", "+1 500 555 0006", "+0500555000", "+1500", "+1234567890123456"])
def test_a_phone_number_is_e164(klaviyo: KlaviyoStandIn, number: str) -> None:
    detail = "Invalid phone number format (Example of a valid format: +12345678901)"

    assert refusal(ask(klaviyo, IMPORT, profile({"phone_number": number}))) == (
        400,
        [("invalid", "/data/attributes/phone_number", detail)],
    )


def test_an_external_id_has_at_most_255_characters_and_is_a_string(klaviyo: KlaviyoStandIn) -> None:
    assert ask(klaviyo, IMPORT, profile({"external_id": "é" * 255}))[0] == 201
    for value, detail in (("u" * 256, "Longer than maximum length 255."), (7, "Not a valid string.")):
        assert refusal(ask(klaviyo, IMPORT, profile({"external_id": value}))) == (
            400,
            [("invalid", "/data/attributes/external_id", detail)],
        )


def test_a_profile_is_at_most_100_kb(klaviyo: KlaviyoStandIn) -> None:
    def size(letters: int) -> int:
        return ask(klaviyo, IMPORT, profile({"email": ANN, "properties": {"p": "x" * letters}}))[0]

    frame = 88  # what is around the letters
    assert (
        len(b'{"data":{"type":"profile","attributes":{"email":"ann@example.com","properties":{"p":""}}}}') == frame + 2
    )
    assert [size(100 * 1024 - frame - 2), size(100 * 1024 - frame - 1)] == [201, 413]


def test_a_profile_without_any_identifier_is_refused(klaviyo: KlaviyoStandIn) -> None:
    for line in (IMPORT, "POST /api/profiles"):
        status, [(code, pointer, _)] = refusal(ask(klaviyo, line, profile({"first_name": "Ann", "email": None})))
        assert (status, code, pointer) == (400, "invalid", "/data/attributes")
    assert klaviyo.profiles == []


@pytest.mark.parametrize("line", [IMPORT, "POST /api/profiles", "PATCH /api/profiles/{}"])
def test_an_anonymous_id_is_an_unknown_field_wherever_profiles_are_written(klaviyo: KlaviyoStandIn, line: str) -> None:
    profile_id = put(klaviyo, external_id="u1")
    members = {"id": profile_id} if line.startswith("PATCH") else {}
    answer = ask(klaviyo, line.format(profile_id), profile({"anonymous_id": "a1", "email": ANN}, **members))

    assert refusal(answer) == (
        400,
        [
            (
                "invalid",
                "/data/attributes/anonymous_id",
                "'anonymous_id' is not a valid field for the resource 'profile'.",
            )
        ],
    )


def test_a_token_is_an_identifier_of_an_import_only(klaviyo: KlaviyoStandIn) -> None:
    profile_id = put(klaviyo, email=ANN)
    token = klaviyo.token(profile_id)

    assert put(klaviyo, _kx=token, external_id="u1") == profile_id
    assert shown(klaviyo) == [{"external_id": "u1", "email": ANN}]
    for line, members in (("POST /api/profiles", {}), (f"PATCH /api/profiles/{profile_id}", {"id": profile_id})):
        _, [(_, pointer, _)] = refusal(ask(klaviyo, line, profile({"_kx": token, "email": BOB}, **members)))
        assert pointer == "/data/attributes/_kx"
    assert refusal(ask(klaviyo, IMPORT, profile({"_kx": "made-up"}))) == (
        400,
        [("invalid", "/data/attributes/_kx", "Invalid exchange id.")],
    )


def test_creating_a_profile_that_is_there_is_a_409_that_names_it(klaviyo: KlaviyoStandIn) -> None:
    status, document = ask(klaviyo, "POST /api/profiles", profile({"email": ANN, "phone_number": PHONE}))
    profile_id = document["data"]["id"]
    expected = resource(klaviyo, profile_id, email=ANN, phone_number=PHONE)
    assert (status, document["data"]) == (201, expected)

    for attributes in ({"email": ANN.upper()}, {"external_id": "u2", "phone_number": PHONE}):
        answer = ask(klaviyo, "POST /api/profiles", profile(attributes))
        detail = "A profile already exists with one of these identifiers."
        assert refusal(answer) == (409, [("duplicate_profile", "/data/attributes", detail)])
        assert answer[1]["errors"][0]["meta"] == {"duplicate_profile_id": profile_id}
    assert len(klaviyo.profiles) == 1


def test_changing_a_profile_merges_nobody(klaviyo: KlaviyoStandIn, clock: Clock) -> None:
    ann, bob = put(klaviyo, email=ANN), put(klaviyo, email=BOB)
    clock.now += MINUTE
    line = f"PATCH /api/profiles/{ann}"

    changed = ask(klaviyo, line, profile({"external_id": "u1", "title": "Dr"}, id=ann))
    later = "2026-11-20T10:01:00+00:00"
    expected = resource(klaviyo, ann, email=ANN, external_id="u1", title="Dr", updated=later)
    assert changed == (200, {"data": expected, "links": {"self": f"{klaviyo.url}/api/profiles/{ann}"}})
    answer = ask(klaviyo, line, profile({"email": BOB}, id=ann))
    assert (answer[0], answer[1]["errors"][0]["meta"]) == (409, {"duplicate_profile_id": bob})
    assert shown(klaviyo) == [{"external_id": "u1", "email": ANN}, {"email": BOB}]
    assert refusal(ask(klaviyo, line, profile({}, id=bob)))[1][0][:2] == ("invalid", "/data/id")
    assert refusal(ask(klaviyo, line, profile({})))[1][0][:2] == ("invalid", "/data")
    assert ask(klaviyo, "PATCH /api/profiles/nobody", profile({}, id="nobody"))[0] == 404


def test_an_import_by_id_is_about_that_profile_and_makes_none(klaviyo: KlaviyoStandIn) -> None:
    profile_id = put(klaviyo, email=ANN)

    assert ask(klaviyo, IMPORT, profile({"external_id": "u1"}, id=profile_id))[0] == 200
    assert shown(klaviyo) == [{"external_id": "u1", "email": ANN}]
    assert refusal(ask(klaviyo, IMPORT, profile({"email": BOB}, id="nobody"))) == (
        404,
        [("not_found", None, "A profile with id nobody does not exist.")],
    )


# -- deleting -----------------------------------------------------------------------------------------------------


def deletion(klaviyo: KlaviyoStandIn, profile_id: str | None = None, **attributes: Any) -> tuple[int, Any]:
    named = {"type": "profile", "attributes": attributes, **({"id": profile_id} if profile_id else {})}
    data = {"type": "data-privacy-deletion-job", "attributes": {"profile": {"data": named}}}
    return ask(klaviyo, "POST /api/data-privacy-deletion-jobs", {"data": data})


@pytest.mark.parametrize("kind", ["id", "email", "phone_number"])
def test_a_deletion_is_202_at_once_and_happens_later(klaviyo: KlaviyoStandIn, kind: str) -> None:
    ann = put(klaviyo, email=ANN, phone_number=PHONE)
    put(klaviyo, email=BOB)
    ask(klaviyo, "POST /api/events", event({"email": ANN}, properties={"name": "Ann"}))
    given: dict[str, Any] = {
        "id": {"profile_id": ann},
        "email": {"email": ANN},
        "phone_number": {"phone_number": PHONE},
    }

    assert deletion(klaviyo, **given[kind]) == (202, None)
    assert len(klaviyo.profiles) == 2
    klaviyo.settle()
    assert shown(klaviyo) == [{"email": BOB}]
    assert [(one.profile, one.properties) for one in klaviyo.events] == [(None, {})]


def test_a_deletion_takes_exactly_one_identifier_and_no_external_id(klaviyo: KlaviyoStandIn) -> None:
    place = "/data/attributes/profile/data"
    ann = put(klaviyo, email=ANN, external_id="u1")

    for answer in (deletion(klaviyo), deletion(klaviyo, ann, email=ANN), deletion(klaviyo, email=None)):
        detail = "Exactly one of these identifiers is required: id, email, phone_number."
        assert refusal(answer) == (400, [("invalid", place, detail)])
    detail = "'external_id' is not a valid field for the resource 'profile'."
    assert refusal(deletion(klaviyo, external_id="u1")) == (
        400,
        [("invalid", f"{place}/attributes/external_id", detail)],
    )
    assert deletion(klaviyo, "nobody") == (202, None)
    klaviyo.settle()
    assert [(one.reason, one.what) for one in klaviyo.silent] == [("a deletion of nobody", "id")]
    assert len(klaviyo.profiles) == 1
