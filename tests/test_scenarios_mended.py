"""What a hostile reading found in forgetting and repairing, each once more."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from connector import operate
from connector.house import House
from connector.messages import Outcome
from connector.resources import shipped_mappings
from connector.store import Store
from connector.tables import inbox
from connector.worker import adopt_rules
from tests import streams
from tests.scenes import GONE, JANE, Scene, browser, email, forget, user
from tests.streams import NOW, at, call, customerio, identify, page, sourced

SHIPPED = (shipped_mappings() / "identity.toml").read_text()


def with_rules(text: str) -> House:
    return streams.house((), (), (("identity.toml", text),))


def test_a_hub_is_nobodys_to_forget_and_others_keep_their_messages(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store, with_rules(SHIPPED.replace("hub_limit = 20\n", "hub_limit = 2\n")))
    calls = [page(n, "kiosk", f"u{n}") for n in range(3)]
    scene.arrives(*calls, forget(browser("kiosk")))
    assert [scene.outcome(one) for one in calls] == [Outcome.LEARNED] * 3


def test_whom_we_were_told_to_suppress_no_operator_links_again(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(identify(0, "b1", None, JANE), forget(email(JANE), suppress=True))
    scene.arrives(operate.link(NOW, user("u1"), email(JANE), reason="a test"))
    assert scene.people() == set()


def test_a_late_event_with_her_user_id_as_the_vendors_is_dropped(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    late = customerio(7, "joe@x.test", user="jane-user-77")
    scene.arrives(identify(1, "b1", "jane-user-77", GONE), forget(email(GONE)), late)
    assert scene.outcome(late) == Outcome.FORGOTTEN


def test_an_echo_of_ours_keeps_no_body(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    echo = call(1, type="identify", messageId=f"{scene.house.keys.prefix}abc", userId="u1", traits={"email": GONE})
    scene.arrives(echo)
    with sqlite_store.reading() as tx:
        assert list(tx.scalars(sa.select(inbox.c.body))) == [""]


def test_a_forgotten_identifiers_number_is_never_given_to_another(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(identify(0, "b1", "u1", GONE), forget(user("u1")), identify(2_000, "b2", "u2"))
    with sqlite_store.reading() as tx:
        assert tx.exec_driver_sql("select min(id) from identifiers").scalar_one() > 3


@pytest.mark.parametrize("link_first", [True, False])
def test_a_link_by_hand_is_taken_back_by_its_message_whichever_comes_first(
    sqlite_store: Store, link_first: bool
) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(identify(0, "b1", "u1"), identify(1, "b2", None, JANE))
    act = operate.link(at(5), user("u1"), email(JANE))
    undo = operate.unlink(at(6), message=f"operator/{act.message_id}")
    scene.arrives(*([act, undo] if link_first else [undo, act]))
    assert scene.people() == {frozenset({"u1"}), frozenset({JANE})}


def test_of_a_forgetting_the_log_keeps_no_address_that_its_reason_names(sqlite_store: Store) -> None:
    scene = Scene(sqlite_store)
    scene.arrives(identify(0, "b1", None, GONE))
    scene.arrives(operate.forget(NOW, email(GONE), reason=f"{GONE} asked by mail"))
    assert GONE.partition("@")[2] not in scene.text()  # not even masked


def test_a_change_of_ranks_turns_the_links_that_are_stored(sqlite_store: Store) -> None:
    phone, email_section = (
        SHIPPED[SHIPPED.index(start) : SHIPPED.index(end)]
        for start, end in (("[types.phone]", "# The rank of every"), ("[types.email]", "[types.phone]"))
    )
    turned = with_rules(SHIPPED.replace(email_section + phone, phone + email_section))
    streams.feed(
        sqlite_store, call(0, type="identify", anonymousId="b1", traits={"email": JANE, "phone": "+4712345678"})
    )
    adopt_rules(sqlite_store, turned)
    with sqlite_store.reading() as tx:
        ends = tx.exec_driver_sql(
            "select a.type, b.type from sightings s join identifiers a on a.id = a_id join identifiers b on b.id = b_id"
        )
        assert ("phone", "email") in [tuple(row) for row in ends]


def test_a_userid_that_its_own_type_blocks_is_not_vouched_for(sqlite_store: Store) -> None:
    blocked = SHIPPED.replace("[types.user_id]\n", '[types.user_id]\nblocked = ["test.*"]\n')
    klaviyo = (
        (shipped_mappings() / "sources/klaviyo.toml").read_text().replace('user_id = "vendor"', 'user_id = "segment"')
    )
    scene = Scene(sqlite_store, streams.house((), (), (("identity.toml", blocked), ("sources/klaviyo.toml", klaviyo))))
    scene.arrives(sourced(1, JANE, "test1"))
    assert [one[1] for one in scene.leaves()] == [None]
