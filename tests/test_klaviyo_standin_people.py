"""The stand-in's people: who is the same person, what is merged, what is a conflict."""

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


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def klaviyo(clock: Clock) -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(clock=clock, limits=False) as running:
        yield running


def with_options(**options: Any) -> KlaviyoStandIn:
    return KlaviyoStandIn(clock=Clock(), limits=False, **options)


def test_an_external_id_and_a_known_email_become_one_profile(klaviyo: KlaviyoStandIn) -> None:
    profile_id = put(klaviyo, email=ANN)

    assert put(klaviyo, external_id="u1", email=ANN) == profile_id
    assert shown(klaviyo) == [{"external_id": "u1", "email": ANN}]
    assert klaviyo.duplicates() == []


def test_a_profile_known_by_email_only_merges_into_the_one_with_the_external_id(klaviyo: KlaviyoStandIn) -> None:
    ann = put(klaviyo, email=ANN, first_name="Ann", properties={"plan": "pro", "seen": 1})
    ask(klaviyo, "POST /api/events", event({"email": ANN}, unique_id="m1"))
    user = put(klaviyo, external_id="u1", properties={"seen": 2})
    assert put(klaviyo, external_id="u1", email=ANN) == user

    [left] = klaviyo.profiles
    assert (left.id, left.identifiers) == (user, {"external_id": "u1", "email": ANN})
    assert (left.traits["first_name"], left.properties) == ("Ann", {"plan": "pro", "seen": 2})
    assert [one.unique_id for one in left.events] == ["m1", f"merged-{ann}"]
    assert ask(klaviyo, f"GET /api/profiles/{ann}")[0] == 404


def test_an_email_of_somebody_with_another_external_id_is_a_409_and_stays(klaviyo: KlaviyoStandIn) -> None:
    put(klaviyo, external_id="u1")
    bob = put(klaviyo, external_id="u2", email=BOB)
    for external_id in ("u1", "u3"):  # one that is known, one that is new
        status, document = ask(klaviyo, IMPORT, profile({"external_id": external_id, "email": BOB}))
        assert (status, document["errors"][0]["meta"]) == (409, {"duplicate_profile_id": bob})

    assert shown(klaviyo) == [{"external_id": "u1"}, {"external_id": "u2", "email": BOB}]


def test_an_email_and_a_phone_number_of_two_profiles_are_a_409(klaviyo: KlaviyoStandIn) -> None:
    ann, phone = put(klaviyo, email=ANN), put(klaviyo, phone_number=PHONE)
    both = {"email": ANN, "phone_number": PHONE}
    for line, document in (
        (IMPORT, profile(both)),
        (IMPORT, profile(both, id=ann)),
        (f"PATCH /api/profiles/{ann}", profile({"phone_number": PHONE}, id=ann)),
    ):
        status, answer = ask(klaviyo, line, document)
        assert (status, answer["errors"][0]["meta"]) == (409, {"duplicate_profile_id": phone})

    assert shown(klaviyo) == [{"email": ANN}, {"phone_number": PHONE}]


def test_a_phone_number_merges_only_if_its_profile_has_nothing_stronger(klaviyo: KlaviyoStandIn) -> None:
    user, ann = put(klaviyo, external_id="u1"), put(klaviyo, email=ANN, phone_number=PHONE)
    put(klaviyo, phone_number="+15005550007")

    answer = ask(klaviyo, IMPORT, profile({"external_id": "u1", "phone_number": PHONE}))
    assert (answer[0], answer[1]["errors"][0]["meta"]) == (409, {"duplicate_profile_id": ann})
    assert put(klaviyo, external_id="u1", phone_number="+15005550007") == user
    assert shown(klaviyo) == [
        {"external_id": "u1", "phone_number": "+15005550007"},
        {"email": ANN, "phone_number": PHONE},
    ]


def test_an_external_id_of_another_is_a_409_but_where_sharing_one_merges() -> None:
    for multi_email, status in ((False, 409), (True, 200)):
        with with_options(multi_email=multi_email) as klaviyo:
            ann, user = put(klaviyo, email=ANN), put(klaviyo, external_id="u1", email=BOB)
            answer = ask(klaviyo, IMPORT, profile({"external_id": "u1"}, id=ann))

            assert (answer[0], len(klaviyo.profiles)) == (status, 1 if multi_email else 2)
            meant = answer[1]["data"]["id"] if multi_email else answer[1]["errors"][0]["meta"]["duplicate_profile_id"]
            assert meant == (ann if multi_email else user)


def test_a_phone_number_merges_into_the_email_where_the_account_does_that() -> None:
    with with_options(merges_phone=True) as klaviyo:
        ann, _ = put(klaviyo, email=ANN), put(klaviyo, phone_number=PHONE)

        assert put(klaviyo, email=ANN, phone_number=PHONE) == ann
        assert shown(klaviyo) == [{"email": ANN, "phone_number": PHONE}]


def test_two_ids_that_were_never_seen_together_are_a_duplicate_until_they_are(klaviyo: KlaviyoStandIn) -> None:
    user, ann = put(klaviyo, external_id="u1"), put(klaviyo, email=ANN)
    person = {"external_id": ["u1"], "email": [ANN]}

    assert klaviyo.duplicates() == []
    assert klaviyo.duplicates([person]) == [{user, ann}]
    put(klaviyo, external_id="u1", email=ANN)
    assert klaviyo.duplicates([person]) == []


def test_a_changed_email_leaves_the_old_one_to_make_a_duplicate(klaviyo: KlaviyoStandIn) -> None:
    user = put(klaviyo, external_id="u1", email=ANN)
    put(klaviyo, external_id="u1", email=BOB)
    again = put(klaviyo, email=ANN)

    assert shown(klaviyo) == [{"external_id": "u1", "email": BOB}, {"email": ANN}]
    assert klaviyo.duplicates() == [{user, again}]


def test_a_duplicate_is_seen_whichever_way_the_identifier_was_given(klaviyo: KlaviyoStandIn) -> None:
    user = put(klaviyo, external_id="u1")
    for email in (ANN.upper(), BOB):
        ask(klaviyo, f"PATCH /api/profiles/{user}", profile({"email": email}, id=user))

    assert klaviyo.duplicates() == []
    other = put(klaviyo, email=ANN)
    assert klaviyo.duplicates() == [{user, other}]


def test_an_address_is_the_same_in_capitals(klaviyo: KlaviyoStandIn) -> None:
    assert put(klaviyo, email=ANN) == put(klaviyo, email=ANN.title())
    assert shown(klaviyo) == [{"email": ANN.title()}]


def test_a_token_of_a_profile_without_external_id_merges_it_upward(klaviyo: KlaviyoStandIn) -> None:
    ann, user = put(klaviyo, email=ANN), put(klaviyo, external_id="u1")
    token = klaviyo.token(ann)

    assert put(klaviyo, _kx=token, external_id="u1") == user
    assert shown(klaviyo) == [{"external_id": "u1", "email": ANN}]
    found = klaviyo.profile("_kx", token)
    assert found is not None
    assert found.id == user


@pytest.mark.parametrize("reader", [{"external_id": "u2"}, {"email": BOB}, {"external_id": "u3"}, {"email": "c@x.co"}])
def test_a_token_never_gives_its_owner_to_another_who_is_known(klaviyo: KlaviyoStandIn, reader: dict[str, str]) -> None:
    ann = put(klaviyo, external_id="u1", email=ANN)
    put(klaviyo, external_id="u2", email=BOB)
    status, document = ask(klaviyo, IMPORT, profile({"_kx": klaviyo.token(ann), **reader}))

    assert (status, document["errors"][0]["meta"]) == (409, {"duplicate_profile_id": ann})
    assert shown(klaviyo) == [{"external_id": "u1", "email": ANN}, {"external_id": "u2", "email": BOB}]


def test_a_refused_import_changes_nothing(klaviyo: KlaviyoStandIn) -> None:
    put(klaviyo, external_id="u1"), put(klaviyo, email=ANN), put(klaviyo, external_id="u2", phone_number=PHONE)
    attributes = {"external_id": "u1", "email": ANN, "phone_number": PHONE, "first_name": "Ann"}

    assert ask(klaviyo, IMPORT, profile(attributes))[0] == 409
    assert shown(klaviyo) == [{"external_id": "u1"}, {"email": ANN}, {"external_id": "u2", "phone_number": PHONE}]
    assert [one.traits for one in klaviyo.profiles] == [{}, {}, {}]


# -- several addresses --------------------------------------------------------------------------------------------


def test_where_profiles_have_several_addresses_the_former_one_stays() -> None:
    with with_options(multi_email=True) as klaviyo:
        user = put(klaviyo, external_id="u1", email=ANN)
        put(klaviyo, external_id="u1", email=BOB)

        assert put(klaviyo, email=ANN) == user
        [one] = klaviyo.profiles
        assert (one.email, one.other_emails) == (ANN, [BOB])


def test_a_profile_has_at_most_five_addresses_and_a_merge_brings_more() -> None:
    with with_options(multi_email=True) as klaviyo:
        for number in range(4):
            put(klaviyo, external_id="u1", email=f"{number}@x.co")
        put(klaviyo, email=ANN)
        put(klaviyo, external_id="u1", email=ANN)
        [one] = klaviyo.profiles
        assert (one.email, sorted(one.other_emails)) == (ANN, ["0@x.co", "1@x.co", "2@x.co", "3@x.co"])

        put(klaviyo, external_id="u1", email=BOB)
        assert (one.email, len(one.other_emails), klaviyo.profile("email", ANN)) == (BOB, 4, None)


def patched(klaviyo: KlaviyoStandIn, **patch: Any) -> tuple[int, Any]:
    return ask(klaviyo, IMPORT, profile({"external_id": "u1"}, meta={"patch_identifiers": patch}))


def test_an_address_is_appended_and_taken_away_again() -> None:
    with with_options(multi_email=True) as klaviyo:
        put(klaviyo, external_id="u1", email=ANN)
        other = put(klaviyo, email="c@x.co")

        assert patched(klaviyo, append={"email": BOB})[0] == 200
        found = klaviyo.profile("email", BOB)
        assert found is not None
        assert (found.email, found.other_emails) == (ANN, [BOB])
        assert patched(klaviyo, unappend={"email": BOB})[0] == 200
        assert (found.other_emails, klaviyo.profile("email", BOB)) == ([], None)
        status, document = patched(klaviyo, append={"email": "c@x.co"})
        assert (status, document["errors"][0]["meta"]) == (409, {"duplicate_profile_id": other})
        put(klaviyo, external_id="u1", email=None)
        patched(klaviyo, append={"email": BOB})
        assert (found.email, found.other_emails) == (BOB, [])


def test_where_profiles_have_one_address_no_second_one_is_appended(klaviyo: KlaviyoStandIn) -> None:
    document = profile({"email": ANN}, meta={"patch_identifiers": {"append": {"email": BOB}}})

    status, [(_, pointer, _)] = refusal(ask(klaviyo, IMPORT, document))
    assert (status, pointer, klaviyo.profiles) == (400, "/data/meta/patch_identifiers", [])


# -- merging by hand ----------------------------------------------------------------------------------------------


def merge(klaviyo: KlaviyoStandIn, into: str, *sources: str) -> tuple[int, Any]:
    named = [{"type": "profile", "id": one} for one in sources]
    data = {"type": "profile-merge", "id": into, "relationships": {"profiles": {"data": named}}}
    return ask(klaviyo, "POST /api/profile-merge", {"data": data})


def test_a_merge_is_201_at_once_and_happens_later(klaviyo: KlaviyoStandIn, clock: Clock) -> None:
    user, ann = put(klaviyo, external_id="u1", email=BOB), put(klaviyo, external_id="u2", email=ANN, phone_number=PHONE)
    link = {"self": f"{klaviyo.url}/api/profiles/{user}/"}

    assert merge(klaviyo, user, ann) == (201, {"data": {"type": "profile", "id": user, "links": link}})
    assert ask(klaviyo, f"GET /api/profiles/{ann}")[0] == 200
    clock.now += MINUTE
    assert ask(klaviyo, f"GET /api/profiles/{ann}")[0] == 404
    assert shown(klaviyo) == [{"external_id": "u1", "email": BOB, "phone_number": PHONE}]
    [event] = klaviyo.events
    assert event.metric is not None
    assert event.profile is not None
    assert (event.metric.name, event.metric.integration["name"], event.profile.id) == (
        "Merged Profile",
        "Klaviyo",
        user,
    )


def test_settle_does_what_is_left_to_do(klaviyo: KlaviyoStandIn) -> None:
    user, ann = put(klaviyo, external_id="u1"), put(klaviyo, email=ANN)
    merge(klaviyo, user, ann)
    merge(klaviyo, user, ann)  # asked for twice before it was done
    klaviyo.settle()

    assert shown(klaviyo) == [{"external_id": "u1", "email": ANN}]
    assert len(klaviyo.events) == 1


def test_a_merge_has_exactly_one_source_that_is_there_and_another(klaviyo: KlaviyoStandIn) -> None:
    user, ann = put(klaviyo, external_id="u1"), put(klaviyo, email=ANN)
    pointer = "/data/relationships/profiles/data"

    for sources in ((), (ann, user)):
        assert refusal(merge(klaviyo, user, *sources))[1][0][1] == pointer
    assert refusal(merge(klaviyo, user, user))[1][0][1] == f"{pointer}/0/id"
    assert (merge(klaviyo, user, "nobody")[0], merge(klaviyo, "nobody", user)[0]) == (404, 404)
    klaviyo.settle()
    assert len(klaviyo.profiles) == 2


# -- what a test looks at -----------------------------------------------------------------------------------------


def test_profiles_without_an_email_are_told_apart(klaviyo: KlaviyoStandIn) -> None:
    put(klaviyo, email=ANN)
    phone = put(klaviyo, phone_number=PHONE)
    ask(klaviyo, "POST /api/events", event({"anonymous_id": "a1"}))

    assert [one.identifiers for one in klaviyo.emailless()] == [{"phone_number": PHONE}, {}]
    assert klaviyo.emailless()[0].id == phone


def test_consent_is_only_taken_note_of(klaviyo: KlaviyoStandIn) -> None:
    assert ask(klaviyo, "POST /api/profile-subscription-bulk-delete-jobs", {"data": 1}) == (202, None)
    assert klaviyo.consents == [("profile-subscription-bulk-delete-jobs", {"data": 1})]
