"""When Klaviyo knows parts of one person on two profiles: each way out, at the stand-in, and what is never done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connector.demo import klaviyo_standin as standin
from connector.demo.klaviyo_standin import KlaviyoStandIn
from connector.store import Store
from tests.klaviyo_sending import Make, deliverers, profile, queued
from tests.outbox_rows import NOW, rows, told

PHONE = "+15005550006"
CORRECT = "merge or correct the two profiles in Klaviyo, then retry"
TWO = "HTTP 409, Klaviyo knows parts of this person on two profiles"


@pytest.fixture
def api() -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(limits=False) as running:
        yield running


@pytest.fixture
def make(sqlite_store: Store, api: KlaviyoStandIn) -> Iterator[Make]:
    with deliverers(sqlite_store, api.url) as maker:
        yield maker


def known(store: Store, make: Make, api: KlaviyoStandIn, *people: dict[str, Any]) -> None:
    """Klaviyo has these profiles already."""
    for number, attributes in enumerate(people):
        queued(store, f"known-{number}", profile(**attributes))
    assert make().deliver_once(NOW) == len(people)
    assert len(api.profiles) == len(people)
    api.requests.clear()


def sent(store: Store, make: Make, body: dict[str, Any], *, merge: bool = False) -> tuple[str, str]:
    """The state of this call after one attempt, and its detail."""
    row = queued(store, "the call", body)
    make(merge=merge).deliver_once(NOW)
    ((_, detail),) = told(store, row)
    return rows(store, "status")[-1][0], detail


def asked(api: KlaviyoStandIn) -> list[str]:
    return [f"{one.method} {one.path.partition('?')[0]}" for one in api.requests]


def people(api: KlaviyoStandIn) -> list[dict[str, str]]:
    return [one.identifiers for one in api.profiles]


def test_with_a_phone_number_that_is_anothers_the_call_goes_without_it(
    sqlite_store: Store, make: Make, api: KlaviyoStandIn
) -> None:
    known(sqlite_store, make, api, {"email": "ada@example.com"}, {"phone_number": PHONE})
    call = profile(email="ada@example.com", phone_number=PHONE, external_id="u_ada", title="Countess")
    assert sent(sqlite_store, make, call) == ("delivered", f"{TWO}; then HTTP 200, sent without the phone number")
    assert people(api) == [{"external_id": "u_ada", "email": "ada@example.com"}, {"phone_number": PHONE}]
    assert [one.traits.get("title") for one in api.profiles] == ["Countess", None]
    assert asked(api) == ["POST /api/profile-import"] * 2


def test_an_address_that_is_another_known_persons_stays_there_and_the_rest_is_written_to_the_right_one(
    sqlite_store: Store, make: Make, api: KlaviyoStandIn
) -> None:
    bob = {"email": "ada@example.com", "external_id": "u_bob"}
    known(sqlite_store, make, api, {"email": "old@example.com", "external_id": "u_ada"}, bob)
    ada, other = api.profiles
    for merge in (False, True):
        call = profile(email="ada@example.com", external_id="u_ada", title="Countess", properties={"plan": "pro"})
        detail = f"{TWO}; then a profile has its external id; then HTTP 200, the profile that has the external id was"
        apart = "the other has an external id of its own, and two known people are never merged; then "
        if merge:
            detail = detail.replace("then a profile", f"then {apart}a profile")
        assert sent(sqlite_store, make, call, merge=merge) == (
            "delivered",
            f"{detail} updated without email and phone number",
        )
        if not merge:
            with sqlite_store.writing() as tx:
                tx.exec_driver_sql("update outbox set message_id = 'before' where message_id = 'the call'")
    api.settle()
    assert people(api) == [{"external_id": "u_ada", "email": "old@example.com"}, bob]
    assert (ada.traits["title"], ada.properties) == ("Countess", {"plan": "pro"})
    assert (other.traits, other.properties) == ({}, {})
    assert api.asked("POST /api/profile-merge") == []


def test_no_profile_without_an_address_is_made_of_a_conflict(
    sqlite_store: Store, make: Make, api: KlaviyoStandIn
) -> None:
    known(sqlite_store, make, api, {"email": "ada@example.com", "external_id": "u_bob"})
    for merge in (False, True):
        state, detail = sent(sqlite_store, make, profile(email="ada@example.com", external_id="u_ada"), merge=merge)
        assert state == "dead"
        end = f"no profile has its external id, and its address is another profile's: {CORRECT}"
        assert detail.startswith(f"{TWO}; then ")
        assert detail.endswith(end)
        with sqlite_store.writing() as tx:
            tx.exec_driver_sql("delete from outbox where message_id = 'the call'")
    assert people(api) == [{"external_id": "u_bob", "email": "ada@example.com"}]


def test_a_phone_number_alone_is_not_dropped_for_a_profile_that_would_have_nothing(
    sqlite_store: Store, make: Make, api: KlaviyoStandIn
) -> None:
    known(sqlite_store, make, api, {"phone_number": PHONE, "external_id": "u_bob"})
    state, detail = sent(sqlite_store, make, profile(phone_number=PHONE, external_id="u_ada"))
    assert (state, people(api)) == ("dead", [{"external_id": "u_bob", "phone_number": PHONE}])
    assert detail.endswith(CORRECT)


def test_without_an_external_id_nothing_tells_which_of_the_two_is_meant(
    sqlite_store: Store, make: Make, api: KlaviyoStandIn
) -> None:
    conflict = standin.answer(409, code="duplicate_profile")
    api.script(conflict, conflict)
    state, detail = sent(sqlite_store, make, profile(email="ada@example.com", phone_number=PHONE))
    assert (state, detail) == (
        "dead",
        f"{TWO}; then 409 without the phone number as well, and no external id tells which is meant: {CORRECT}",
    )
    assert asked(api) == ["POST /api/profile-import"] * 2, "and never again"


def test_every_way_out_is_tried_once_and_then_it_ends(sqlite_store: Store, make: Make, api: KlaviyoStandIn) -> None:
    known(sqlite_store, make, api, {"email": "old@example.com", "external_id": "u_ada"})
    conflict = standin.answer(409, code="duplicate_profile")
    api.script(conflict, conflict, path="/api/profile-import")
    api.script(conflict, path=f"/api/profiles/{api.profiles[0].id}")
    call = profile(email="ada@example.com", phone_number=PHONE, external_id="u_ada", title="Countess")
    state, detail = sent(sqlite_store, make, call)
    assert state == "dead"
    assert detail.startswith(f"{TWO}; then 409 without the phone number as well; then a profile has its external id; ")
    assert asked(api) == [
        "POST /api/profile-import",
        "POST /api/profile-import",
        "GET /api/profiles",
        f"PATCH /api/profiles/{api.profiles[0].id}",
    ]


def test_a_step_that_fails_is_tried_again_later_from_the_beginning(
    sqlite_store: Store, make: Make, api: KlaviyoStandIn
) -> None:
    known(
        sqlite_store,
        make,
        api,
        {"email": "old@example.com", "external_id": "u_ada"},
        {"email": "ada@example.com", "external_id": "u_bob"},
    )
    api.script(standin.answer(503), path="/api/profiles")
    call = profile(email="ada@example.com", external_id="u_ada", title="Countess")
    assert sent(sqlite_store, make, call) == ("pending", f"{TWO}; then HTTP 503")
    make().deliver_once(rows(sqlite_store, "due_at")[-1][0])
    assert rows(sqlite_store, "status")[-1] == ("delivered",)
    assert api.profiles[0].traits["title"] == "Countess"
    assert asked(api).count("POST /api/profile-import") == 2


def test_two_profiles_of_one_person_are_merged_where_the_mapping_says_so(
    sqlite_store: Store, make: Make, api: KlaviyoStandIn
) -> None:
    known(sqlite_store, make, api, {"email": "ada@example.com", "external_id": "u_ada"}, {"phone_number": PHONE})
    ada, other = (one.id for one in api.profiles)
    call = profile(email="ada@example.com", phone_number=PHONE, external_id="u_ada", title="Countess")
    state, detail = sent(sqlite_store, make, call, merge=True)
    assert state == "delivered"
    assert detail == (
        f"{TWO}; then the other has no external id of its own; then a profile has its external id; then Klaviyo was"
        " asked to merge it into the profile that has the external id; then HTTP 200, the profile that has the"
        " external id was updated without email and phone number"
    )
    assert api.asked("POST /api/profile-merge") == [
        {
            "data": {
                "type": "profile-merge",
                "id": ada,
                "relationships": {"profiles": {"data": [{"type": "profile", "id": other}]}},
            }
        }
    ]
    api.settle()
    assert people(api) == [{"external_id": "u_ada", "email": "ada@example.com", "phone_number": PHONE}]
    assert api.profiles[0].traits["title"] == "Countess"


def test_where_klaviyo_will_not_merge_them_the_rest_is_written_to_the_right_one(
    sqlite_store: Store, make: Make, api: KlaviyoStandIn
) -> None:
    known(sqlite_store, make, api, {"email": "ada@example.com", "external_id": "u_ada"}, {"phone_number": PHONE})
    api.script(standin.answer(400), path="/api/profile-merge")
    call = profile(email="ada@example.com", phone_number=PHONE, external_id="u_ada", title="Countess")
    state, detail = sent(sqlite_store, make, call, merge=True)
    assert state == "delivered"
    assert "; then HTTP 400 invalid: scripted …: not merged; then HTTP 200, the profile that has" in detail
    assert [one.traits.get("title") for one in api.profiles] == ["Countess", None]


def test_nothing_is_merged_where_the_mapping_does_not_say_so(
    sqlite_store: Store, make: Make, api: KlaviyoStandIn
) -> None:
    known(sqlite_store, make, api, {"email": "ada@example.com", "external_id": "u_ada"}, {"phone_number": PHONE})
    sent(sqlite_store, make, profile(email="ada@example.com", phone_number=PHONE, external_id="u_ada"))
    api.settle()
    assert len(api.profiles) == 2
    assert api.asked("POST /api/profile-merge") == []


def test_conflicts_in_a_row_do_not_shut_the_gate(sqlite_store: Store, make: Make, api: KlaviyoStandIn) -> None:
    known(sqlite_store, make, api, {"email": "ada@example.com", "external_id": "u_bob"})
    for number in range(8):
        queued(sqlite_store, f"c{number}", profile(email="ada@example.com", external_id=f"u_{number}"))
    queued(sqlite_store, "good", profile(email="eve@example.com"))
    make().deliver_once(NOW)
    assert [state for (state,) in rows(sqlite_store, "status")] == ["delivered", *["dead"] * 8, "delivered"]
