"""A browser that came from a mail, known by the token in its link or cookie once the platform said whose that is."""

from __future__ import annotations

import base64
import json
from itertools import permutations
from typing import Any

import pytest
import sqlalchemy as sa

from connector import clicks
from connector.graph import Graph
from connector.house import House
from connector.keys import Keys
from connector.klaviyo import records
from connector.messages import Identifier, Received
from connector.resources import shipped_mappings
from connector.store import Store
from connector.tables import metadata
from tests import streams
from tests.scenes import JANE, JOE, Scene, browser, email, forget, klaviyo_profile, user
from tests.streams import at, call, identify, klaviyo, page, record

DAY = 24 * 60.0
TOKEN = "c2VjcmV0LXRva2VuLW9mLWphbmU_PT0.AbC123"
OTHER = "YW5vdGhlci10b2tlbg.AbC123"
X = Identifier("klaviyo_user_id", "crm-77")
SHIPPED = (shipped_mappings() / "identity.toml").read_text()
XID = '[[landings]]\nparameter = "kl_xid"\ntype = "klaviyo_user_id"\nkind = "clicked"\n\n[[cookies]]'


def exchange_id(token: str) -> Identifier:
    return Identifier("klaviyo_exchange_id", Keys(streams.SECRET).token(token))


def landing(minutes: float, anonymous: str, token: str = TOKEN, **more: Any) -> Received:
    url = f"https://shop.test/sale?utm_source=k&_kx={token}"
    return page(minutes, anonymous, context={"page": {"url": url}}, **more)


def cookie(**told: str) -> str:
    return base64.b64encode(json.dumps({"cid": "ZGVjb2Rl", **told}).encode()).decode()


# -- which came first -------------------------------------------------------------------------------------------------


def test_a_landing_is_recognised_whichever_came_first_its_answer_or_itself(store: Store) -> None:
    event = klaviyo(50, JANE, "P")
    parts = (landing(10, "hers"), record(30, "P", JANE, token=TOKEN), event)
    for order in permutations(parts):
        with store.writing() as tx:
            for table in metadata.sorted_tables:
                tx.execute(sa.delete(table))
        scene = Scene(store)
        scene.happens(*order)
        assert scene.visitor(event) == (None, "hers", None, False), "the anonymousId leaves alone"
        assert scene.people() == {frozenset({JANE, "P", exchange_id(TOKEN).value})}


def test_an_event_that_waited_leaves_when_the_answer_comes(store: Store) -> None:
    scene = Scene(store)
    event = klaviyo(50, JANE, "P")
    scene.happens(landing(10, "hers"), event)
    assert scene.outcome(event) == "held"
    scene.happens(record(60, "P", JANE, token=TOKEN))
    assert scene.outcome(event) == "stitched_late"
    assert scene.leaves() == [("pending", None, "hers", None)], "neither userId nor address leaves with it"
    assert "this browser landed from a mail to the addressee's profile" in scene.reason(event)
    chain = [(one["left"]["type"], one["right"]["type"], one["kind"]) for one in evidence(scene, event)]
    assert chain == [
        ("klaviyo_exchange_id", "anonymous_id", "clicked"),
        ("email", "klaviyo_profile_id", "vendor"),
        ("klaviyo_profile_id", "klaviyo_exchange_id", "vendor"),
    ]


def evidence(scene: Scene, event: Received) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = scene.message(event)["decision"]["evidence"]
    return found


def test_an_event_by_webhook_that_names_the_profile_only_finds_the_browser_too(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(50, None, "P")
    scene.happens(landing(10, "hers"), record(60, "P", JANE, token=TOKEN), event)
    assert scene.visitor(event) == (None, "hers", None, False)


def test_a_token_nobody_resolved_yet_is_nobodys(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(50, JANE, "P")
    scene.happens(landing(10, "hers"), record(30, "P", JANE), event)
    assert scene.visitor(event) == (None, None, None, False)
    assert scene.owner(browser("hers"), 50) == set()


# -- the guards -------------------------------------------------------------------------------------------------------


def test_a_forwarded_mail_never_moves_an_address_to_its_reader_not_even_when_they_sign_up_later(store: Store) -> None:
    scene = Scene(store)
    event = klaviyo(50, JANE, "P")
    scene.happens(record(0, "P", JANE, token=TOKEN), landing(10, "readers"), event)
    scene.happens(identify(9_000, "readers", "u2", JOE))
    assert scene.visitor(event) == (None, None, None, False)
    assert scene.people() == {frozenset({JANE, "P", exchange_id(TOKEN).value}), frozenset({"u2", JOE})}
    assert scene.owner(email(JANE), 9_001) == {JANE, "P", exchange_id(TOKEN).value}
    assert scene.owner(browser("readers"), 50) == {"u2", JOE}
    later = klaviyo(9_050, JOE, "P2")
    scene.happens(later)
    assert scene.visitor(later) == ("u2", "readers", JOE, False)


def test_the_readers_own_click_with_the_answer_after_their_sign_up_is_theirs_alone(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(50, JANE, "P")
    scene.happens(landing(10, "readers"), identify(11, "readers", "u2", JOE), event)
    scene.happens(record(20, "P", JANE, token=TOKEN))
    assert scene.visitor(event) == (None, None, None, False)
    assert scene.outcome(event) == "held"


def test_a_second_browser_with_the_same_token_is_not_the_addressees(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(9 * DAY, JANE, "P")
    scene.happens(record(0, "P", JANE, token=TOKEN), landing(10, "own"), landing(DAY, "readers"), event)
    assert scene.visitor(event) == (None, "own", None, False)
    assert turns(scene, email(JANE)) == ["own"]


def test_a_second_browser_with_another_token_of_hers_is_hers(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(9 * DAY, JANE, "P")
    scene.happens(record(0, "P", JANE, token=TOKEN), landing(10, "laptop"), record(1, "P", JANE, token=OTHER), event)
    scene.happens(landing(DAY, "phone", OTHER))
    assert scene.visitor(event) == (None, "phone", None, False)
    assert turns(scene, email(JANE)) == ["phone", "laptop"]


def turns(scene: Scene, one: Identifier) -> list[str]:
    profile = scene.profile(one)
    assert profile is not None
    return [turn["anonymous_id"] for turn in profile["browsers"] if turn.get("clicked")]


@pytest.mark.parametrize(("minutes", "visitor"), [(10.9, None), (11.1, "hers")])
def test_a_machines_click_of_the_same_profile_spoils_a_landing_near_it(
    sqlite_store: Store, minutes: float, visitor: str | None
) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(50, JANE, "P")
    bot = klaviyo(minutes, JANE, "P", "clicked_email", properties={"Bot Click": True})
    scene.happens(landing(10, "hers"), bot, record(30, "P", JANE, token=TOKEN), event)
    assert scene.visitor(event) == (None, visitor, None, False)


def test_a_token_that_was_told_to_be_two_known_peoples_is_neithers(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    known = (identify(0, None, "u1", JANE), identify(0, None, "u2", JOE))
    scene.happens(*known, landing(10, "hers"), record(30, "P1", JANE, token=TOKEN), record(31, "P2", JOE))
    assert turns(scene, email(JANE)) == ["hers"]
    scene.happens(record(40, "P2", JOE, token=TOKEN))
    assert (turns(scene, email(JANE)), turns(scene, email(JOE))) == ([], [])


def test_twenty_five_tokens_of_one_profile_do_not_make_it_nobodys(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(500, JANE, "P")
    tokens = [f"dG9rZW4{number}.AbC123" for number in range(25)]
    scene.arrives(*(landing(n, "hers", token) for n, token in enumerate(tokens)))
    scene.happens(*(record(100 + n, "P", JANE, token=token) for n, token in enumerate(tokens)), event)
    assert scene.hubs() == []
    assert scene.visitor(event) == (None, "hers", None, False)


# -- where a token is handed over -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"context": {"page": {"search": f"?_kx={TOKEN}"}}},
        {"context": {"page": {"search": f"?_kx={TOKEN.replace('_', '%5F')}"}}},
        {"context": {"page": {"url": f"https://shop.test/#/sale?a=1&_kx={TOKEN}"}}},
        {"context": {"page": {"search": "?a=1", "url": f"https://shop.test/?_kx={TOKEN}"}}},
        {"properties": {"url": f"https://shop.test/?_kx={TOKEN}"}},
        {"properties": {"search": f"?_kx={TOKEN}"}},
        {"context": {"externalIds": [{"id": TOKEN, "type": "klaviyo_exchange_id", "collection": "users"}]}},
        {"context": {"externalIds": [{"id": TOKEN, "type": "_kx", "collection": "users", "encoding": "none"}]}},
        {"context": {"externalIds": [{"id": TOKEN, "type": "$exchange_id", "collection": "users"}]}},
        {"properties": {"__kla_id": cookie(**{"$exchange_id": TOKEN})}},
        {"context": {"klaviyo": {"__kla_id": cookie(**{"$exchange_id": TOKEN, "$email": JOE})}}},
    ],
)
def test_a_token_is_read_wherever_a_page_may_carry_it(sqlite_store: Store, given: dict[str, Any]) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(50, JANE, "P")
    scene.happens(page(10, "hers", **given), record(30, "P", JANE, token=TOKEN), event)
    assert scene.visitor(event) == (None, "hers", None, False)


def test_a_token_at_a_path_of_your_own_is_no_more_than_one_in_a_url(sqlite_store: Store) -> None:
    own = SHIPPED.replace('paths = [] # such as "properties.klaviyo_exchange_id"', 'paths = ["properties.kx"]')
    assert own != SHIPPED
    scene = Scene(sqlite_store, streams.house((), (), (("identity.toml", own),)))
    event = klaviyo(50, JANE, "P")
    visits = (page(10, "hers", properties={"kx": TOKEN}), page(11, "hers", "u2", properties={"kx": TOKEN}))
    scene.happens(visits[0], record(30, "P", JANE, token=TOKEN), event)
    assert scene.visitor(event) == (None, "hers", None, False)
    scene.happens(visits[1])
    assert scene.people() == {frozenset({JANE, "P", exchange_id(TOKEN).value}), frozenset({"u2"})}
    assert scene.visitor(event) == (None, None, None, False)
    assert TOKEN not in json.dumps(scene.message(visits[0]))


def test_padding_that_stands_escaped_in_a_link_is_the_same_token_as_in_the_cookie(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    raw = "cGFkZGVkLXRva2Vu==.AbC123"
    event = klaviyo(50, JANE, "P")
    scene.happens(landing(10, "hers", raw.replace("=", "%3D")), record(30, "P", JANE, token=raw), event)
    assert scene.visitor(event) == (None, "hers", None, False)
    scene.happens(page(12, "twice", context={"page": {"search": f"?_kx={raw.replace('=', '%253D')}"}}))
    assert exchange_id(raw).value in {
        one["value"] for one in scene.message(scene.received[-1])["message"]["identifiers"]
    }


def test_a_token_says_nothing_of_the_userid_beside_it(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.happens(landing(10, "readers", user="u2"), record(30, "P", JANE, token=TOKEN))
    assert scene.people() == {frozenset({JANE, "P", exchange_id(TOKEN).value}), frozenset({"u2"})}


def test_a_track_calls_own_urls_are_not_the_pages(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    share = {"url": f"https://shop.test/?_kx={TOKEN}"}
    scene.happens(call(10, type="track", event="Shared", anonymousId="B", properties=share))
    assert scene.people() == set()
    scene.happens(call(11, type="track", event="Shared", anonymousId="B", context={"page": share}))
    assert scene.people() == {frozenset({exchange_id(TOKEN).value})}


def test_an_email_platforms_own_call_lands_nobody(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    context = {"integration": {"name": "Klaviyo"}, "page": {"search": f"?_kx={TOKEN}"}}
    scene.happens(call(10, type="identify", anonymousId="B", traits={"email": JANE}, context=context))
    assert scene.people() == {frozenset({JANE})}


def test_a_cookie_that_is_none_is_a_note_and_an_unidentified_one_teaches_nothing(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    garbage, unknown = (page(n, "B", properties={"__kla_id": value}) for n, value in enumerate(("!!", cookie())))
    scene.happens(garbage, unknown)
    assert scene.people() == set()
    assert scene.message(garbage)["message"]["notes"] == [
        "properties.__kla_id is not the cookie it should be (base64 of JSON) and was not used"
    ]
    assert (scene.outcome(garbage), scene.message(unknown)["message"]["notes"]) == ("learned", [])


# -- addresses in URLs and cookies ------------------------------------------------------------------------------------


def declaring() -> House:
    """A house that believes an address in a URL."""
    declared = SHIPPED.replace('type = "email"\nkind = "hinted"', 'type = "email"\nkind = "declared"')
    assert declared != SHIPPED
    return streams.house((), (), (("identity.toml", declared),))


def test_the_platforms_own_test_of_a_set_up_works_once_utm_email_is_declared(store: Store) -> None:
    scene = Scene(store, declaring())
    event = klaviyo(50, JANE, "P")
    reload = page(10, "tester", context={"page": {"url": "https://shop.test/?utm_email=jane%40x.test"}})
    scene.happens(reload, event)
    assert scene.visitor(event) == (None, "tester", JANE, False)
    assert scene.owner(browser("tester"), 50) == {JANE, "P"}


def test_who_is_signed_in_is_not_overruled_by_an_address_in_a_url(store: Store) -> None:
    scene = Scene(store, declaring())
    hers, his = klaviyo(50, JANE, "P"), klaviyo(51, JOE, "Q")
    url = {"page": {"url": "https://shop.test/?utm_email=joe%40x.test"}}
    scene.happens(identify(10, "B", "u1", JANE, context=url), hers, his)
    assert (scene.visitor(hers), scene.visitor(his)) == (("u1", "B", JANE, False), (None, None, None, False))


def test_of_two_addresses_in_a_url_one_is_believed_whichever_was_known_before(store: Store) -> None:
    scene = Scene(store, declaring())
    both = {"page": {"search": "?utm_email=joe%40x.test&_ke=amFuZUB4LnRlc3Q"}}
    known = page(5, "other", context={"page": {"search": "?utm_email=joe%40x.test"}})
    scene.happens(known, page(10, "B", context=both))
    assert scene.owner(browser("B"), 50) == {JANE}


@pytest.mark.parametrize(
    "given",
    [
        {"context": {"page": {"url": "https://shop.test/?utm_email=jane%40x.test"}}},
        {"context": {"page": {"search": "?_ke=amFuZUB4LnRlc3Q%3D"}}},
        {"context": {"page": {"search": "?_ke=amFuZUB4LnRlc3Q"}}},
        {"properties": {"__kla_id": cookie(**{"$email": JANE})}},
    ],
)
def test_an_address_that_anybody_can_write_is_shown_and_never_acted_on(
    sqlite_store: Store, given: dict[str, Any]
) -> None:
    scene = Scene(sqlite_store)
    event, visit = klaviyo(50, JANE, "P"), page(10, "B", **given)
    scene.happens(visit, event)
    assert scene.visitor(event) == (None, None, None, False)
    assert [(one["left"]["value"], one["kind"]) for one in scene.message(visit)["taught"]] == [(JANE, "hinted")]


def test_an_external_id_in_a_link_counts_where_the_rules_say_so(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, streams.house((), (), (("identity.toml", SHIPPED.replace("[[cookies]]", XID)),)))
    event = klaviyo(50, JANE, "P")
    visit = page(10, "hers", context={"page": {"search": "?kl_xid=crm-77"}})
    scene.happens(visit, event, record(30, "P", JANE, "crm-77"))
    assert scene.visitor(event) == (None, "hers", None, False)
    assert turns(scene, X) == ["hers"]


# -- consent, and being forgotten -------------------------------------------------------------------------------------


def test_a_visitor_who_opted_out_is_recognised_by_no_token(sqlite_store: Store) -> None:
    opting = SHIPPED.replace("opt_out = []", 'opt_out = ["properties.__kla_off"]')
    scene = Scene(sqlite_store, streams.house((), (), (("identity.toml", opting),)))
    event = klaviyo(50, JANE, "P")
    scene.happens(landing(10, "hers", properties={"__kla_off": True}), record(30, "P", JANE, token=TOKEN), event)
    assert scene.visitor(event) == (None, None, None, False)
    later = klaviyo(70, JANE, "P")
    scene.happens(
        landing(60, "hers", OTHER, properties={"__kla_off": False}), record(65, "P", JANE, token=OTHER), later
    )
    assert scene.visitor(later) == (None, "hers", None, False)


def test_cookies_and_tokens_are_kept_out_of_traits_and_of_whatever_is_shown(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    traits = {
        "email": JANE,
        "__kla_id": cookie(**{"$exchange_id": TOKEN}),
        "first": f"https://shop.test/?_kx={TOKEN}&a=1",
    }
    visit = call(10, type="identify", anonymousId="B", userId="u1", traits=traits)
    event = klaviyo(11, JANE, "P", "clicked_email", properties={"URL": f"https://shop.test/?_kx={TOKEN}&a=1"})
    scene.happens(visit, event)
    assert scene.traits(user("u1")) == {"email": JANE, "first": "https://shop.test/?a=1"}
    [(_, body)] = scene.deliveries()
    assert body is not None
    assert body["properties"]["link_url"] == "https://shop.test/?a=1"
    for one in (visit, event):
        raw = json.loads(scene.message(one)["message"]["raw"])
        assert raw != json.loads(one.body)
        assert not {secret for secret in (TOKEN, traits["__kla_id"]) if secret in json.dumps(scene.message(one))}
    assert exchange_id(TOKEN).value in str(scene.message(visit)["message"]["identifiers"]), "only its keyed hash"


def test_forgetting_somebody_forgets_the_tokens_of_their_links(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(landing(10, "hers"), record(30, "P", JANE, token=TOKEN), klaviyo(50, JANE, "P"))
    scene.arrives(forget(email(JANE)))
    text = scene.text()
    assert not {one for one in (JANE, TOKEN.lower(), exchange_id(TOKEN).value, "hers") if one in text}


# -- profiles that became one -----------------------------------------------------------------------------------------


def test_a_token_of_a_profile_that_was_merged_into_another_is_the_others(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    event = klaviyo(50, None, "P2")
    merged = records.of_profile("P2", {"email": JANE}, Keys(streams.SECRET), at(40), formerly="P1")
    assert merged is not None
    scene.happens(landing(10, "hers"), record(30, "P1", token=TOKEN), event)
    assert scene.visitor(event) == (None, None, None, False)
    scene.happens(merged)
    assert scene.visitor(event) == (None, "hers", None, False)
    assert owner(scene, "hers", 50) == ("P1", JANE), "the profile that the token was told to be, and what both have"


# -- the other way round ----------------------------------------------------------------------------------------------


def owner(scene: Scene, anonymous: str, minutes: float) -> tuple[str | None, str | None] | None:
    """The profile and the address of whom a browser is by clicks at a time."""
    with scene.store.reading() as tx:
        graph = Graph(tx, scene.house.rules)
        number = graph.find([browser(anonymous)])[browser(anonymous)].id
        found = clicks.owners(graph, [(number, at(minutes))])[0]
        if found is None:
            return None
        values = [None if one is None else graph.nodes[one].identifier.value for one in (found.profile, found.address)]
        return values[0], values[1]


def test_whose_a_browser_is_by_click_is_told_with_profile_and_address(store: Store) -> None:
    scene = Scene(store)
    scene.happens(landing(10, "hers"), page(20, "nobodys"))
    assert (owner(scene, "hers", 15), owner(scene, "nobodys", 15)) == ((None, None), None)
    scene.happens(record(30, "P", JANE, token=TOKEN))
    assert [owner(scene, "hers", minutes) for minutes in (5, 15, 50)] == [("P", JANE)] * 3
    scene.happens(record(40, "P2", JOE, token=OTHER), landing(45, "hers", OTHER))
    assert [owner(scene, "hers", minutes) for minutes in (44, 46)] == [("P", JANE), ("P2", JOE)], "in turns"
    scene.happens(identify(60, "hers", "u3"))
    assert owner(scene, "hers", 15) is None, "somebody was identified on it"


def test_the_id_in_a_link_names_the_profile_that_a_token_stands_for_too(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    visit = page(10, "hers", context={"page": {"search": "?kl_pid=P"}})
    scene.happens(visit, record(30, "P", JANE))
    assert owner(scene, "hers", 50) == ("P", JANE)
    assert scene.owner(klaviyo_profile("P"), 50) == {"P", JANE}
    scene.happens(page(60, "readers", context={"page": {"search": "?kl_pid=P"}}))
    assert owner(scene, "readers", 61) is None
    scene.happens(identify(70, None, "u1", JANE))
    assert scene.owner(user("u1"), 71) == {"u1", "P", JANE}
