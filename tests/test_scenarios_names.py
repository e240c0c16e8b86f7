"""Names that are not what they seem, names of a shop's own, and settings about them that cannot be."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from connector import rules_file
from connector.errors import MappingError
from connector.house import House
from connector.messages import Identifier, Received
from connector.resources import shipped_mappings
from connector.store import Store
from tests import streams
from tests.scenes import JANE, JOE, Scene, browser, email, user
from tests.streams import call, customerio, identify, klaviyo, md5, page, sourced

SHIPPED = (shipped_mappings() / "identity.toml").read_text()


# -- user ids ---------------------------------------------------------------------------------------------------------


def test_a_vendors_user_id_that_is_not_segments_joins_and_never_leaves(store: Store) -> None:
    """Two vendors number their people from 1; the shop's own user 7 is somebody else than either's."""
    scene = Scene(store)
    opened, clicked = customerio(5, JANE, JANE, "cio1", "7"), sourced(6, None, "7", JOE, integration="Iterable")
    scene.happens(opened, clicked)
    assert scene.people() == {frozenset({JANE, "cio1", "7"}), frozenset({JOE, "7"})}
    assert [scene.visitor(one) for one in (opened, clicked)] == [(None, None, None, False)] * 2
    scene.happens(identify(0, "B1", "jane-1", JANE))
    assert scene.visitor(opened) == ("jane-1", "B1", JANE, False)


def test_a_user_id_that_is_the_email_is_both_for_the_site_and_just_the_email_for_a_mail(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = sourced(5, None, JANE)
    scene.happens(event)
    assert scene.visitor(event) == (None, None, None, False), "no call of the site has carried it"
    scene.happens(identify(0, "B1", JANE))
    told = scene.profile(email(JANE))
    assert told is not None
    assert [(one["type"], one["value"]) for one in told["identifiers"]] == [("user_id", JANE), ("email", JANE)]
    assert scene.visitor(event) == (JANE, "B1", JANE, False)


def test_user_ids_that_differ_by_case_are_two_people_and_emails_are_one(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.happens(identify(0, None, "Anna", "ANNA@X.test"), identify(1, None, "anna", "anna@x.TEST"))
    assert scene.people() == {frozenset({"Anna", "anna@x.test"}), frozenset({"anna"})}


# -- role addresses ---------------------------------------------------------------------------------------------------


def test_a_role_address_without_an_account_names_itself_and_no_browser(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = sourced(5, "support@x.test")
    scene.happens(identify(0, "B1", email="support@x.test"), identify(1, "B2", email="Support@X.test"), event)
    assert scene.people() == {frozenset({"support@x.test"})}
    assert [scene.owner(browser(one), 5) for one in ("B1", "B2")] == [set(), set()]
    assert scene.visitor(event) == (None, None, None, False)


def test_a_role_address_with_an_account_is_the_accounts_and_finds_its_browser_through_it(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = sourced(5, "info@x.test")
    scene.happens(identify(0, "B1", "u1", "info@x.test"), identify(1, "B2", email="info@x.test"), event)
    assert scene.people() == {frozenset({"u1", "info@x.test"})}
    assert scene.owner(browser("B2"), 5) == set()
    assert scene.visitor(event) == ("u1", "B1", "info@x.test", False)


# -- junk -------------------------------------------------------------------------------------------------------------

JUNK = [
    "0", "000", "-", "00000000-0000-0000-0000-000000000000", "-1", "null", "NULL", "None", "nil", "undefined", "NaN",
    "anonymous", "guest", "Guest", "not_authenticated", "true", "False", "id", "email", "distinct_id", "distinctId",
    "[object Object]", "", " ",
]  # fmt: skip


@pytest.mark.parametrize("quoted", ["{}", '"{}"', "'{}'", "`{}`", ' "{}" '])
def test_junk_names_nobody_quoted_or_not(sqlite_store: Store, quoted: str) -> None:
    scene = Scene(sqlite_store)
    everything: list[Received] = []
    for n, one in enumerate(JUNK):
        junk = quoted.format(one)
        everything += [identify(n, junk, f"u{n}", f"p{n}@x.test"), identify(n, f"B{n}", junk, f"p{n}@x.test")]
        everything += [customerio(n, f"p{n}@x.test", f"p{n}@x.test", junk, junk)]
    streams.feed(sqlite_store, *everything)
    people = [{f"u{n}", f"p{n}@x.test"} for n in range(len(JUNK))]
    assert scene.people() == {frozenset(one) for one in people}
    assert [scene.owner(browser(f"B{n}"), 99) for n in range(len(JUNK))] == people


def test_an_email_event_whose_ids_are_all_junk_is_refused_and_says_why(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = sourced(5, '"null"', "[object Object]")
    scene.happens(event)
    assert scene.outcome(event) == "quarantined"
    assert "names nobody" in scene.reason(event)


# -- a shop's own identifiers -----------------------------------------------------------------------------------------

LOYALTY = """
[types.loyalty_card]
limit = 2
paths = ["traits.card", "properties.card_number"]
normalise = "lower"
blocked = ["x+", "test.*"]
hub_limit = 2
external_ids = ["loyaltyCard"]

"""


def shop(section: str = LOYALTY, **replaced: str) -> House:
    """The shipped settings with a section before the vendors', and some lines replaced."""
    text = SHIPPED.replace("# The rank of every email platform", section + "# The rank of every email platform")
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return streams.house((), (), (("identity.toml", text),))


def external(minutes: float, anonymous: str | None, *ids: tuple[str, str], **more: Any) -> Received:
    listed = [{"type": kind, "id": one, "collection": "users", "encoding": "none"} for kind, one in ids]
    return call(minutes, type="track", event="Cart", anonymousId=anonymous, context={"externalIds": listed}, **more)


def test_a_custom_identifier_joins_by_its_path_and_by_external_ids_under_either_name(store: Store) -> None:
    scene = Scene(store, shop())
    scene.happens(
        call(0, type="identify", userId="u1", traits={"card": "AB-1"}),
        call(1, type="track", event="Sale", anonymousId="till", properties={"card_number": " ab-1 "}),
        external(2, "B1", ("loyalty_card", "Ab-1")),
        external(3, "B2", ("loyaltyCard", "aB-1")),
    )
    assert scene.people() == {frozenset({"u1", "ab-1"})}
    assert [scene.owner(browser(one), 9) for one in ("till", "B1", "B2")] == [{"u1", "ab-1"}] * 3


def test_external_ids_of_accounts_in_other_encodings_or_of_types_not_listed_are_not_used(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, shop())
    wrong: list[dict[str, Any]] = [
        {"type": "loyalty_card", "id": "a1", "collection": "accounts", "encoding": "none"},
        {"type": "loyalty_card", "id": "a2", "collection": "users", "encoding": "base64"},
        {"type": "ga_client_id", "id": "a3", "collection": "users", "encoding": "none"},
        {"type": "anonymous_id", "id": "a4", "collection": "users", "encoding": "none"},
        {"type": "loyalty_card", "id": ["a5"], "collection": "users", "encoding": "none"},
    ]
    scene.happens(call(0, type="page", userId="u1", context={"externalIds": [*wrong, "a6", None]}))
    assert scene.people() == {frozenset({"u1"})}


def test_a_custom_identifier_has_a_rank_a_limit_and_blocked_values_of_its_own(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, shop())
    cards = [call(n, type="identify", userId="u1", traits={"card": f"c{n}"}) for n in range(3)]
    junk = [call(5, type="identify", userId=f"v{n}", traits={"card": one}) for n, one in enumerate(("XXX", "test-1"))]
    scene.happens(*cards, *junk, external(9, "B1", ("loyalty_card", "c9"), userId=None))
    assert scene.people() == {
        frozenset({"u1", "c0", "c1"}),
        frozenset({"c2"}),
        frozenset({"v0"}),
        frozenset({"v1"}),
        frozenset({"c9"}),
    }
    assert scene.refused() == {("u1", "c2", "declared", "loyalty_card")}


def test_a_custom_identifier_that_too_many_share_is_a_hub_by_its_own_limit(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, shop())
    scene.happens(*(call(n, type="identify", userId=f"u{n}", traits={"card": "shared"}) for n in range(3)))
    assert scene.people() == {frozenset({f"u{n}"}) for n in range(3)}
    assert scene.hubs() == [("shared", 3, 2)]


def test_the_address_in_a_property_counts_where_the_settings_say_so(sqlite_store: Store) -> None:
    tracking = '["traits.email", "context.traits.email"]'
    told = call(0, type="track", event="Order", anonymousId="B1", properties={"email": "Jane@X.test"})
    scene = Scene(sqlite_store, shop("", **{tracking: '["traits.email", "context.traits.email", "properties.email"]'}))
    scene.happens(told)
    assert scene.owner(browser("B1"), 0) == {JANE}
    assert Scene(sqlite_store).house.rules.types["email"].paths == ("traits.email", "context.traits.email")


def test_a_parameter_of_the_url_counts_as_said_by_the_site_where_the_settings_say_so(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, shop("", **{'kind = "hinted"': 'kind = "declared"'}))
    event = sourced(5, JANE)
    landed = page(0, "B1", context={"page": {"url": "https://shop.test/", "search": "?utm_email=Jane%40x.test"}})
    scene.happens(landed, event)
    assert scene.owner(browser("B1"), 0) == {JANE}
    assert scene.visitor(event) == (None, "B1", JANE, False)


def test_a_raised_limit_lets_a_sixth_email_in(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, shop("", **{"[types.email]\nlimit = 5": "[types.email]\nlimit = 6"}))
    scene.happens(*(identify(n, None, "u1", f"p{n}@x.test") for n in range(7)))
    assert {len(person) for person in scene.people()} == {7, 1}
    assert scene.refused() == {("u1", "p6@x.test", "declared", "email")}


def test_a_type_placed_above_the_email_is_linked_to_first(sqlite_store: Store) -> None:
    """The rank is the order of the sections: it says which identifier of a message the others hang on."""
    above = SHIPPED.replace("[types.email]\n", LOYALTY.strip() + "\n\n[types.email]\n")
    scene = Scene(sqlite_store, streams.house((), (), (("identity.toml", above),)))
    scene.happens(
        call(0, type="identify", anonymousId="B1", traits={"email": JANE, "phone": "+4712345678", "card": "c1"})
    )
    told = scene.profile(email(JANE))
    assert told is not None
    assert {(one["left"]["value"], one["right"]["value"]) for one in told["links"]} == {
        ("c1", JANE),
        ("c1", "+4712345678"),
        ("c1", "B1"),
    }


# -- settings that cannot be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("hub_limit = 20", "hub_limit = 0", "hub_limit"),
        ("hub_limit = 20", 'hub_limit = "20"', "hub_limit"),
        ("hub_limit = 20", "hub_limits = 20", "'hub_limits'"),
        ("limit = 1 #", "limit = 2 #", "[types.user_id] limit"),
        ("[types.email]\nlimit = 5", "[types.email]\nlimit = -1", "[types.email] limit"),
        ("[types.email]\nlimit = 5", "[types.email]\nlimit = true", "[types.email] limit"),
        ("[types.email]\nlimit = 5", "[types.email]\nlimits = 5", "'limits'"),
        ('normalise = "email"', 'normalise = "mail"', "[types.email] normalise"),
        ("[types.phone]\nlimit = 5", '[types.phone]\nblocked = ["("]\nlimit = 5', "[types.phone] blocked"),
        ("[types.phone]\nlimit = 5", "[types.phone]\nhub_limit = 1.5\nlimit = 5", "[types.phone] hub_limit"),
        ("[types.phone]\nlimit = 5", '[types.phone]\nexternal_ids = "x"\nlimit = 5', "[types.phone] external_ids"),
        ('paths = ["userId"]', 'paths = "userId"', "[types.user_id] paths"),
        ('    "-1",', '    "[",', "blocked"),
        ('    "-1",', "    -1,", "blocked"),
        ("[types.email]", "[types.e_mail]", "[types.email] is missing"),
        ("[types.phone]", "[types.klaviyo_profile_id]", "[types.klaviyo_profile_id]"),
        ("[types.phone]", "[types.Phone]", "[types.Phone]"),
        ("[clicked]", "[types.after]\n\n[clicked]", "[types.anonymous_id] must come last"),
        ('alone = "7d"', 'alone = "a week"', "[clicked] alone"),
        ('machine = "60s"', "machine = 60", "[clicked] machine"),
        ('machine = "60s"', 'machines = "60s"', "[clicked]"),
        ('type = "klaviyo_profile_id"', 'type = "klaviyo"', "[[landings]] number 1 type"),
        ('kind = "clicked"', 'kind = "vendor"', "[[landings]] number 1 kind"),
        ('type = "email"\nkind = "hinted"', 'type = "email"\nkind = "clicked"', "[[landings]] number 2 kind"),
        ('parameter = "utm_email"\n', "", "[[landings]] number 2"),
        ('"hinted"\ndecode = "base64"', '"hinted"\ndecode = "rot13"', "[[landings]] number 4 decode"),
        ('"hinted"\ndecode = "base64"', '"hinted"\nunwrap = "base64"', "[[landings]] number 4"),
        ("token = true", "token = 1", "[types.klaviyo_exchange_id] token"),
        ("token = true", "", "[[landings]] number 3 kind"),
        ("token = true", "", "[[cookies]] number 1 type"),
        ("[types.phone]\nlimit = 5", "[types.phone]\ntoken = true", "[types.phone] has token = true"),
        ("[[cookies]]", "[cookies]", "[[cookies]]"),
        ('email = "hinted"', 'email = "clicked"', "[[cookies]] number 1 email"),
        ('email = "hinted"', 'mail = "hinted"', "[[cookies]] number 1"),
        ('paths = ["context.klaviyo.__kla_id", ', "paths = [1, ", "[[cookies]] number 1 paths"),
        ("required = []", 'required = "analytics"', "[consent] required"),
        ("required = []", "needed = []", "[consent]"),
        ("opt_out = []", "opt_out = [1]", "[consent] opt_out"),
    ],
)
def test_a_setting_that_cannot_be_names_file_and_key(old: str, new: str, key: str) -> None:
    assert old in SHIPPED
    with pytest.raises(MappingError) as told:
        rules_file.load(tomllib.loads(SHIPPED.replace(old, new, 1)))
    assert str(told.value).startswith("identity.toml: ")
    assert key in str(told.value)


def test_tokens_are_no_reason_to_derive_everything_anew_when_a_store_is_upgraded() -> None:
    table = tomllib.loads(SHIPPED)
    with_tokens = rules_file.load(table).fingerprint
    table["types"]["klaviyo_exchange_id"]["hub_limit"] = 7
    assert rules_file.load(table).fingerprint != with_tokens
    del table["types"]["klaviyo_exchange_id"], table["cookies"]
    table["landings"] = [one for one in table["landings"] if one["type"] != "klaviyo_exchange_id"]
    assert rules_file.load(table).fingerprint == with_tokens


def test_a_setting_that_cannot_be_stops_the_house_from_being_built() -> None:
    with pytest.raises(MappingError, match=r"identity.toml: \[types.user_id\] limit"):
        streams.house((), (), (("identity.toml", SHIPPED.replace("limit = 1 #", "limit = 2 #")),))


def test_a_vendors_hash_shaped_or_hidden_profile_is_a_name_like_any_other(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(5, None, md5(JANE))
    scene.happens(klaviyo(1, JOE, md5(JANE)), identify(0, None, "u1", JOE), identify(0, None, "u2", JANE), event)
    assert scene.people() == {frozenset({"u1", JOE, md5(JANE)}), frozenset({"u2", JANE})}
    assert scene.visitor(event) == ("u1", None, JOE, False)
    assert scene.profile(user("u1")) == scene.profile(Identifier("klaviyo_profile_id", md5(JANE)))


def test_a_browser_of_that_name_is_not_a_user_of_that_name(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = sourced(9, JANE)
    scene.happens(identify(0, "same", email=JANE), page(1, None, "same"), event)
    assert scene.people() == {frozenset({JANE}), frozenset({"same"})}
    assert scene.visitor(event) == (None, "same", JANE, False)
