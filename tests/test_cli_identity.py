"""The commands that repair identity, and those that tell of it at another time, on both databases."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from connector import answers, bootstrap, config, inbox, queue, resources
from connector.cli import main
from connector.cli.progress import Bars
from connector.house import House
from connector.lock import StoreLock
from connector.messages import HOUR, iso, now_ms
from connector.store import Store
from connector.tables import links, outbox
from connector.worker import ADOPTED, adopt_rules, knows_rules
from tests.test_cli import SECRET, T0, call, email_event, feed

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store_url: str) -> None:
    """A working folder of our own with a secret and a store; on PostgreSQL nobody waits for the worker there is not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONNECTOR_SECRET", SECRET)
    monkeypatch.setenv("DATABASE_URL", store_url)
    monkeypatch.setattr("connector.cli.operating.PATIENCE_SECONDS", 0.0)


@pytest.fixture
def run(store: Store) -> Run:
    """Run a command line; what it ordered is done when this returns."""

    def invoke(line: str, status: int = 0, typed: str = "") -> Result:
        result = CliRunner().invoke(main, shlex.split(line), input=typed)
        assert isinstance(result.exception, SystemExit | type(None)), result.exception
        assert result.exit_code == status, result.output
        if result.exit_code == 0:
            feed(store)  # on PostgreSQL a worker acts on it
        return result

    return invoke


@pytest.fixture
def known(store: Store, run: Run) -> Store:
    """Jane is U1 on b1, Tom is U2 on b2; each got a mail. Derived by the rules there are, as after the first start."""
    run("migrate")
    feed(
        store,
        call("m1", type="identify", anonymousId="b1", userId="U1", traits={"email": "jane@x.test", "plan": "pro"}),
        call("m2", T0 + HOUR, type="identify", anonymousId="b2", userId="U2", traits={"email": "tom@x.test"}),
        email_event("e1", "jane@x.test", T0 + 2 * HOUR),
        email_event("e2", "tom@x.test", T0 + 2 * HOUR),
    )
    return store


def digest(store: Store) -> str:
    with store.reading() as tx:
        return answers.digest(tx, the_house())


def the_house() -> House:
    return bootstrap.open_house(config.read())


def orders(store: Store) -> int:
    """How many orders were ever given."""
    with store.reading() as tx:
        return len([one for one in inbox.read(tx, 0, 1_000) if one.source == "operator"])


def last_order(run: Run) -> Any:
    (entry,) = json.loads(run("log --source operator -n 1 --json").stdout)["entries"]
    return entry


def visitor(run: Run, message_id: str) -> tuple[str | None, str | None]:
    told = json.loads(run(f"explain {message_id} --json").stdout)
    body = told["deliveries"][0]["body"]
    return body.get("userId"), body.get("anonymousId")


def with_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **changed: str) -> Path:
    """An identity.toml of our own. Args: changed are lines of the shipped one, by their key."""
    text = (resources.shipped_mappings() / "identity.toml").read_text()
    for key, line in changed.items():
        text = re.sub(rf"^{key} = .*$", line, text, count=1, flags=re.MULTILINE)
    (tmp_path / "mine").mkdir(exist_ok=True)
    (tmp_path / "mine" / "identity.toml").write_text(text)
    monkeypatch.setenv("MAPPINGS", "mine")
    return tmp_path / "mine" / "identity.toml"


# -- explain -----------------------------------------------------------------------------------------------------------


def test_two_identifiers_are_explained_by_the_path_that_joins_them_and_who_proved_it(run: Run, known: Store) -> None:
    words = run("explain jane@x.test anonymous_id:b1").stdout
    assert "email j•••@x.test and anonymous_id b1 are one person's." in words
    assert "(message segment/m1)" in words
    assert "jane@x.test" not in words
    told = json.loads(run("explain email:jane@x.test U1 --json").stdout)
    assert (told["joined"], [one["proved_by"] for one in told["path"]]) == (True, ["segment/m1"])


def test_two_people_are_explained_by_what_keeps_them_apart_and_what_would_change_it(run: Run, known: Store) -> None:
    feed(known, call("m3", T0 + 3 * HOUR, type="identify", userId="U2", traits={"email": "jane@x.test"}))
    words = run("explain jane@x.test U2").stdout
    assert "Refused: user_id U2 and email j•••@x.test" in words
    assert "a person has at most 1 user_id" in words
    assert "What would change it: taking back the wrong link with `connector unlink`" in words
    assert run("explain jane@x.test nobody", 1).stdout == "Nothing is known under nobody.\n" + (
        "What would change it: a call of the site or server that carries both, or `connector link` by hand.\n"
    )


def test_a_message_is_explained_with_the_rule_that_chose_its_visitor_and_what_was_refused(
    run: Run, known: Store
) -> None:
    feed(
        known,
        call("m3", T0 + HOUR, type="identify", anonymousId="b3", userId="U1"),
        call("m4", T0 + HOUR, type="identify", userId="U2", traits={"email": "jane@x.test"}),
        email_event("e3", "jane@x.test", T0 + HOUR - 1),
    )
    words = run("explain e3").stdout
    assert re.search(r"Browser b1, seen with \S+ \S+ at \S+: chosen, because it is the addressee's", words)
    assert re.search(r"Browser b3, seen with user_id U1 at \S+: not chosen: the addressee's, but", words)
    assert "Because user_id U1 and email j•••@x.test" in words
    assert "(message segment/m1)" in words
    assert "Refused: user_id U2 and email j•••@x.test" in words
    assert "It showed user_id U2 and email j•••@x.test" in run("explain m4").stdout


# -- as of a time ------------------------------------------------------------------------------------------------------


def test_answers_as_of_a_time_know_nothing_later(run: Run, known: Store) -> None:
    feed(known, call("m3", T0 + 5 * HOUR, type="identify", anonymousId="b3", userId="U1", traits={"plan": "free"}))
    then = f"--as-of {iso(T0 + 4 * HOUR)}"
    end = json.loads(run(f"profile user_id U1 {then} --json").stdout)["as_of"]
    assert run(f"explain jane@x.test {then}").stdout.startswith(f"As of {end}: A person, profile ")
    assert run(f"explain e1 {then}").stdout.startswith(f"As of {end}: Email Opened")
    assert f"By the evidence up to {end} its visitor is user_id U1 with anonymous_id b1" in (
        run(f"explain e1 {then}").stdout
    )
    assert run(f"explain jane@x.test U1 {then}").stdout.startswith(f"As of {end}: email j•••@x.test and user_id U1 are")
    profile = run(f"profile user_id U1 {then}").stdout
    assert profile.startswith(f"as of {end}\nprofile ")
    assert not re.search(r"\bb3\b", profile)
    assert re.search(r"\n  plan +pro\n", profile)
    assert re.search(r"\n  plan +free\n", run("profile user_id U1").stdout)
    for what in ("profiles", "links"):
        assert '"b3"' in run(f"export {what}").stdout
        assert '"b3"' not in run(f"export {what} {then}").stdout


def test_what_was_not_there_yet_is_unknown_as_of_that_time(run: Run, known: Store) -> None:
    before = f"--as-of {iso(T0 - HOUR)}"
    assert run(f"explain e1 {before}", 1).stdout.endswith(
        "nothing was known under this value, no message, no identifier, no profile.\n"
    )
    assert "nobody was known by that at that time" in run(f"profile user_id U1 {before}", 1).stderr
    assert "One of them was not known at that time." in run(f"explain jane@x.test U1 {before}", 1).stdout
    assert run(f"export profiles {before}").stdout == ""


@pytest.mark.parametrize("line", ["explain x", "profile user_id U1", "export profiles"])
@pytest.mark.parametrize("time", ["soon", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_cannot_be_read_is_told_in_words(run: Run, line: str, time: str) -> None:
    assert "expected a time in ISO 8601, such as 2026-09-01T10:00:00Z" in run(f"{line} --as-of {time}", 2).stderr


# -- hubs --------------------------------------------------------------------------------------------------------------


def test_hubs_are_listed_with_what_would_release_them(
    run: Run, known: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run("log --hubs").stdout == "no identifier is a hub, and none has a value that is blocked\n"
    with_rules(monkeypatch, tmp_path, hub_limit="hub_limit = 1")
    feed(known, call("m3", T0 + 3 * HOUR, type="identify", userId="U2", traits={"email": "jane@x.test"}))
    head, row = run("log --hubs").stdout.splitlines()
    assert re.split(r"\s{2,}", head) == [
        "TYPE", "VALUE", "LINKED TO", "LIMIT", "FIRST SEEN (UTC)", "LAST SEEN (UTC)", "RELEASED BY",
    ]  # fmt: skip
    assert re.match(r"email +j•••@x.test +2 +1 ", row)
    assert "a hub_limit of 2 or more in [types.email] of identity.toml" in row
    (entry,) = json.loads(run("log --hubs --json -n 1").stdout)["entries"]
    assert (entry["value"], entry["degree"], entry["hub_limit"]) == ("jane@x.test", 2, 1)
    profile = run("profile email jane@x.test").stdout
    assert profile.startswith("email j•••@x.test names nobody: it is linked to 2 stronger identifiers")
    assert "It becomes somebody's again by a hub_limit of 2" in profile
    assert "names nobody" in run("explain jane@x.test").stdout


# -- link --------------------------------------------------------------------------------------------------------------


def test_a_link_is_shown_and_asked_for_before_it_is_made(run: Run, known: Store) -> None:
    line = "link user_id U1 anonymous_id b2 --reason 'she called us' --operator kim"
    refused = run(line, 1, "n\n")
    assert refused.stdout.startswith("\nPeople now: ")
    assert refused.stderr.endswith("Do this? [y/N]: n\nNothing was changed.\n")
    assert orders(known) == 0
    done = run(line, 0, "y\n")
    assert orders(known) == 1
    assert last_order(run)["reason"].endswith("; by kim; reason given: she called us")
    assert known.sqlite == ("linked user_id U1 and anonymous_id b2 by hand" in done.stdout)
    assert "`connector unlink user_id … anonymous_id …` takes it back." in done.stdout
    assert json.loads(run("explain U1 b2 --json").stdout)["joined"] is True


def test_a_dry_run_of_a_link_needs_no_reason_and_changes_nothing(run: Run, known: Store) -> None:
    before = digest(known)
    told = json.loads(run("link email jane@x.test user_id U9 --dry-run --json").stdout)
    assert (told["unknown"], told["refused"], told["act"]) == ([{"type": "user_id", "value": "U9"}], False, None)
    assert "email k•••@x.test was never seen until now." in run("link email kim@x.test user_id U1 --dry-run").stdout
    assert (orders(known), digest(known)) == (0, before)


def test_a_link_that_would_make_one_person_of_two_is_refused_with_the_reason(run: Run, known: Store) -> None:
    before = digest(known)
    words = run("link user_id U1 user_id U2 --reason x --yes", 1).stdout
    assert words.startswith("This link would be refused, so it is not made:\n")
    assert "a person has at most 1 user_id: this link would make one person of user_id U1 and user_id U2" in words
    told = json.loads(run("link user_id U1 user_id U2 --reason x --yes --json", 1).stdout)
    assert (told["refused"], told["act"], told["pair"]["joined"]) == (True, None, False)
    assert "two browsers are never one" in run("link anonymous_id b8 anonymous_id b9 --reason x --yes", 1).stderr
    assert (orders(known), digest(known)) == (0, before)


def test_a_link_releases_what_was_held_and_says_how_many(run: Run, known: Store) -> None:
    feed(known, email_event("e3", "kim@x.test", T0 + HOUR), email_event("e4", "kim@x.test", T0 + 2 * HOUR))
    assert "Held events that leave by it: 2\n" in run("link email kim@x.test user_id U1 --dry-run").stdout
    run("link email kim@x.test user_id U1 --reason r --yes")
    assert (visitor(run, "e3"), visitor(run, "e4")) == (("U1", "b1"), ("U1", "b1"))


# -- unlink ------------------------------------------------------------------------------------------------------------


def test_taking_a_link_back_shows_what_moves_and_undoing_it_restores_it_exactly(run: Run, known: Store) -> None:
    before = digest(known)
    line = "unlink email jane@x.test user_id U1 --reason 'typed at the shop'"
    shown = run(f"{line} --dry-run").stdout
    assert "Email events that change their visitor: 1\n" in shown
    assert "  1 held again: not sent yet: waits again\n" in shown
    assert re.search(r"Email Opened +userId U1 \+ anonymousId b1 +nobody +held_again +segment/e1\n", shown)
    assert visitor(run, "e1") == ("U1", "b1")
    done = run(f"{line} --yes").stdout
    (act,) = re.findall(r"`connector unlink --undo (unlink-\S+) --reason …` restores it exactly", done)
    assert act == last_order(run)["message_id"]
    assert act in run("log --source operator").stdout
    assert digest(known) != before
    assert (
        json.loads(run("explain jane@x.test U1 --json").stdout)["kept_apart_by"][0]["taken_back"]["kind"] == "declared"
    )
    run(f"unlink --undo {act} --reason 'it was right' --yes")
    assert (digest(known), visitor(run, "e1")) == (before, ("U1", "b1"))
    assert f"{act} was undone already, at " in run(f"unlink --undo {act} --reason again --yes", 1).stderr
    assert "nothing was taken back by unlink-0" in run("unlink --undo unlink-0 --reason r --yes", 1).stderr
    assert orders(known) == 2


def test_what_a_message_proved_is_taken_back_by_its_id_alone_if_only_one_has_it(run: Run, known: Store) -> None:
    run("unlink --message m1 --reason 'a test' --yes")
    assert "took back what message segment/m1 proved" in last_order(run)["reason"]
    assert json.loads(run("explain jane@x.test U1 --json").stdout)["joined"] is False
    same = call("m2", type="identify", anonymousId="b9", traits={"email": "kim@x.test"})
    feed(known, replace(same, source="import"))
    assert "several messages are known as m2: say whose, one of import/…, segment/…" in (
        run("unlink --message m2 --reason r --yes", 1).stderr
    )
    run("unlink --message segment/m2 --reason r --yes")
    assert "took back what message segment/m2 proved" in last_order(run)["reason"]
    assert "no message is known as m99" in run("unlink --message m99 --reason r --yes", 1).stderr


def test_all_that_an_identifier_proved_is_taken_back_up_to_a_time(run: Run, known: Store) -> None:
    run(f"unlink --identifier anonymous_id b1 --until {iso(T0 + HOUR)} --reason kiosk --yes")
    assert json.loads(run("explain b1 U1 --json").stdout)["joined"] is False
    feed(known, call("m3", T0 + 3 * HOUR, type="identify", anonymousId="b1", userId="U1"))
    assert json.loads(run("explain b1 U1 --json").stdout)["joined"] is True


def test_what_was_sent_stays_as_sent_unless_it_is_to_be_corrected(run: Run, known: Store) -> None:
    with known.writing() as tx:
        claimed = queue.claim(tx, "segment", limit=10, now=now_ms() + HOUR, claimer="test", for_ms=1)
        queue.settle(tx, "segment", [queue.delivered(claimed, "200")], claimer="test", now=now_ms())
    line = "unlink anonymous_id b1 user_id U1 --reason r"
    assert "1 reattributed: sent already: stays as sent" in run(f"{line} --dry-run").stdout
    assert "1 corrected: sent already: is sent once more" in run(f"{line} --correct --dry-run").stdout
    run(f"{line} --correct --yes")
    with known.reading() as tx:
        assert sorted(tx.scalars(sa.select(outbox.c.status))) == ["delivered", "delivered", "pending"]


def test_a_repair_of_what_nobody_knows_says_that_it_counts_for_what_comes(run: Run, known: Store) -> None:
    words = run("unlink user_id U8 user_id U9 --reason r --dry-run").stdout
    assert "user_id U8 was never seen until now." in words
    assert "Nothing that is known changes by it; it counts for what comes." in words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("link user_id U1 anonymous_id b2", "say why, for the log: --reason"),
        ("link user_id U1 anonymous_id b2 --reason ' '", "say why, for the log: --reason"),
        ("link user_id U1 anonymous_id --reason r", "takes 4 values"),
        ("unlink --reason r", "say what: TYPE VALUE TYPE VALUE, or one of --message, --identifier and --undo"),
        ("unlink user_id U1 --reason r", "say what: TYPE VALUE TYPE VALUE"),
        ("unlink --message m1 --undo x --reason r", "say what: TYPE VALUE TYPE VALUE"),
        ("unlink --message m1 --until 2026-09-01 --reason r", "--until goes with a link or with --identifier"),
        ("unlink --identifier user_id U1 --until soon --reason r", "expected a time in ISO 8601"),
        ("forget email jane@x.test", "say why, for the log: --reason"),
        ("forget email --reason r", "Missing argument 'VALUE'"),
        ("log --hubs --follow", "--hubs is a list of its own"),
        ("log --hubs --source segment", "--hubs is a list of its own"),
        ("export log --as-of 2026-09-01", "--as-of goes with profiles and links"),
        ("rebuild --what-if there-is-none.toml", "does not exist"),
    ],
)
def test_a_command_line_that_cannot_be_meant_ends_with_status_2(run: Run, known: Store, line: str, words: str) -> None:
    assert words in run(line, 2).stderr
    assert orders(known) == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("link shoe 42 user_id U1 --reason r --yes", "type: expected one of user_id, email, phone"),
        ("link user_id null user_id U1 --reason r --yes", "this user_id names nobody"),
        ("link user_id U1 user_id ' U1' --reason r --yes", "these are one identifier: a link has two ends"),
        ("link email info@x.test anonymous_id b1 --reason r --yes", "this address is one that several people read"),
        ("link anonymous_id jo@x.test user_id U1 --reason r --yes", "is an email address, and is kept as one"),
        ("forget email nonsense --reason r --yes", "this email names nobody"),
        ("unlink --identifier user_id guest --reason r --yes", "this user_id names nobody"),
    ],
)
def test_an_order_about_nobody_is_refused_in_words(run: Run, known: Store, line: str, words: str) -> None:
    assert words in run(line, 1).stderr
    assert orders(known) == 0


# -- forget ------------------------------------------------------------------------------------------------------------


def test_forgetting_shows_how_much_it_is_and_what_it_does_not_touch_and_asks(run: Run, known: Store) -> None:
    before = digest(known)
    line = "forget email jane@x.test --reason 'request 4711'"
    shown = run(line, 1, "n\n")
    assert shown.stdout.splitlines()[:7] == [
        "This cannot be undone. It erases:",
        "  3 identifiers, with all links, traits and consents",
        "    user_id U1",
        "    email j•••@x.test",
        "    anonymous_id b1",
        "  2 stored messages: bodies, and what the log says of them",
        "  1 delivery that did not leave, and will not",
    ]
    assert "Not touched: what Segment, Klaviyo, your warehouse and other destinations already have" in shown.stdout
    assert (orders(known), digest(known)) == (0, before)
    done = run(line, 0, "y\n").stdout
    assert known.sqlite == ("3 identifiers, 2 messages, 1 delivery" in done)
    assert run("explain jane@x.test", 1).stdout.startswith("Nothing is known under this value")
    everything = run("export profiles").stdout + run("export links").stdout + run("export log").stdout
    assert "U2" in everything
    assert not re.search('jane@x.test|"U1"|"b1"', everything)


def test_forgetting_somebody_unknown_still_leaves_its_mark(run: Run, known: Store) -> None:
    assert "email w•••@x.test was never seen" in run("forget email who@x.test --dry-run").stdout
    run("forget email who@x.test --reason r --suppress --yes")
    feed(known, call("m9", type="identify", anonymousId="b9", traits={"email": "who@x.test"}))
    assert run("explain who@x.test", 1).stdout.startswith("Nothing is known under this value")


def test_forgetting_up_to_a_time_leaves_what_came_after_it(run: Run, known: Store) -> None:
    feed(known, call("m3", T0 + 5 * HOUR, type="identify", anonymousId="b3", userId="U1"))
    run(f"forget user_id U1 --at {iso(T0 + 3 * HOUR)} --reason r --yes")
    assert [one["anonymous_id"] for one in json.loads(run("profile user_id U1 --json").stdout)["browsers"]] == ["b3"]


# -- rebuild -----------------------------------------------------------------------------------------------------------


def test_a_rebuild_finds_everything_identical(run: Run, known: Store) -> None:
    before, after, words = run("rebuild").stdout.splitlines()
    assert before.split() == ["before", digest(known)]
    assert after.split() == ["after", digest(known)]
    assert words == "identical: all profiles and links came out as they were"
    assert json.loads(run("rebuild --json").stdout)["identical"] is True


def test_a_rebuild_repairs_what_was_derived_wrongly_and_ends_with_status_1(run: Run, known: Store) -> None:
    right = digest(known)
    with known.writing() as tx:
        tx.execute(sa.delete(links))
    assert "different: what was derived was wrong and is right now." in run("rebuild", 1).stdout
    assert digest(known) == right
    run("rebuild")


def test_a_rebuild_is_refused_while_the_database_is_served(run: Run, known: Store) -> None:
    if not known.sqlite:
        pytest.skip("on PostgreSQL the lease lets others wait")
    lock = StoreLock(config.read().database_url)
    lock.acquire()
    assert "already serves this database" in run("rebuild", 1).stderr
    lock.release()


def test_what_if_tells_what_another_file_would_change_and_changes_nothing(
    run: Run, known: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(known, call("m3", T0 + 3 * HOUR, type="identify", userId="U2", traits={"email": "jane@x.test"}))
    file = with_rules(monkeypatch, tmp_path, hub_limit="hub_limit = 1")
    monkeypatch.delenv("MAPPINGS")
    before = digest(known)
    words = run(f"rebuild --what-if {file}").stdout
    assert words.startswith("Nothing was changed: the new file reads messages as the old one did")
    assert "Profiles: 2 before, 2 after\n" in words
    assert "Email events whose visitor would change: 1\n  0 would gain one, 1 lose theirs, 0 have another\n" in words
    assert re.search(r"\n  lost +userId U1 \+ anonymousId b1 +nobody +segment/e1\n", words)
    told = json.loads(run(f"rebuild --what-if {file} --json").stdout)
    assert (told["email_events"]["lost"], told["profiles"]["split"]) == (1, 0)
    assert digest(known) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("blocked = [", "new.toml: this is not TOML"),
        ("hub_limit = 0", "new.toml: hub_limit: expected a whole number from 1, found 0"),
        ("kiosk = 1", "new.toml: 'kiosk' is not a key of it"),
    ],
)
def test_what_if_names_file_and_key_of_a_wrong_file(
    run: Run, known: Store, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "new.toml").write_text(text)
    assert words in run("rebuild --what-if new.toml", 1).stderr


# -- a changed identity.toml -------------------------------------------------------------------------------------------


def test_a_changed_file_is_adopted_by_whatever_prepares_the_store(
    run: Run, known: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    feed(known, call("m3", T0 + 3 * HOUR, type="identify", userId="U2", traits={"email": "jane@x.test"}))
    before = digest(known)
    with_rules(monkeypatch, tmp_path, hub_limit="hub_limit = 1")
    assert not knows_rules(known, the_house())
    assert "! identity.toml changed since who is who was derived" in run("check").stdout
    assert f"{ADOPTED}." in run("migrate").stderr
    assert knows_rules(known, the_house())
    assert json.loads(run("log --hubs --json").stdout)["entries"][0]["value"] == "jane@x.test"
    assert ADOPTED not in run("migrate").stderr
    assert "identity.toml changed" not in run("check").stdout
    monkeypatch.delenv("MAPPINGS")
    if known.sqlite:  # a command that works alone prepares it as well
        assert f"{ADOPTED}." in run("retry --dead").stderr
    else:
        assert adopt_rules(known, the_house())
    assert digest(known) == before


def test_a_first_store_has_nothing_to_derive_and_says_nothing(run: Run, store: Store) -> None:
    assert ADOPTED not in run("migrate").stderr
    assert knows_rules(store, the_house())
    assert not adopt_rules(store, the_house())


def test_a_changed_file_is_not_adopted_under_the_feet_of_who_serves(
    run: Run, known: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not known.sqlite:
        pytest.skip("on PostgreSQL the lease lets others wait")
    with_rules(monkeypatch, tmp_path, hub_limit="hub_limit = 1")
    lock = StoreLock(config.read().database_url)
    lock.acquire()
    assert "already serves this database" in run("migrate", 1).stderr
    lock.release()
    assert not knows_rules(known, the_house())


def test_the_bars_of_long_work_end_their_lines(known: Store, capsys: pytest.CaptureFixture[str]) -> None:
    bars = Bars(known)
    for what, n in (("reading names", 2), ("reading names", 4), ("linking", 6)):
        bars(what, n)
    bars.close()
    assert "reading names" in capsys.readouterr().err
