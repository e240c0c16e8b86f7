"""``destinations/klaviyo.toml``: what it may say, what a file of one's own changes, and what is told of mistakes."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from connector import mapping as mappings
from connector.cli import main
from connector.errors import MappingError
from connector.klaviyo.calls import compose
from connector.klaviyo.mapping import WHERE, Backfill, KlaviyoMapping, read
from connector.messages import DAY
from connector.resources import shipped_mappings

SHIPPED = shipped_mappings()
TABLE = tomllib.loads((SHIPPED / WHERE).read_text(encoding="utf-8"))
LEAST = """
[profile]
subscribe = 'type = "identify"'
[[events]]
subscribe = 'type = "track"'
metric = ["event"]
"""


def loaded(folder: Path, text: str) -> KlaviyoMapping:
    (folder / "destinations").mkdir(exist_ok=True)
    (folder / WHERE).write_text(text, encoding="utf-8")
    return mappings.load(SHIPPED, folder).klaviyo


def bodies(klaviyo: KlaviyoMapping, call: dict[str, Any]) -> list[Any]:
    return [one.body["data"]["attributes"] for one in compose(call, 1_790_000_000_000, "m1", klaviyo)]


def metrics(klaviyo: KlaviyoMapping, call: dict[str, Any]) -> list[str]:
    return [one["metric"]["data"]["attributes"]["name"] for one in bodies(klaviyo, call)]


def test_the_shipped_file_sends_everything_but_keeps_nobody_s_history_and_merges_nobody() -> None:
    klaviyo = mappings.load(SHIPPED).klaviyo
    assert (klaviyo.on_conflict, klaviyo.consent, klaviyo.clicked) == ("drop", (), True)
    assert klaviyo.integrations == {"klaviyo", "klaviyo (actions)"}
    assert klaviyo.backfill == Backfill(enabled=False, span_ms=14 * DAY, events=10_000, flag=True)


def test_what_a_file_of_one_s_own_leaves_out_is_as_shipped(tmp_path: Path) -> None:
    mine = loaded(tmp_path, 'on_conflict = "merge"\n[backfill]\nenabled = true\nflag = false\n[profile]\nrest = []')
    assert mine.on_conflict == "merge"
    assert mine.backfill == Backfill(enabled=True, span_ms=14 * DAY, events=10_000, flag=False)
    identify = {"type": "identify", "traits": {"firstName": "Jane", "plan": "pro"}}
    assert bodies(mine, identify) == [{"first_name": "Jane"}]
    assert metrics(mine, {"type": "page"}) == ["Viewed Page"]


def test_events_are_all_one_s_own_or_all_shipped(tmp_path: Path) -> None:
    mine = loaded(
        tmp_path, "[[events]]\nsubscribe = 'event = \"Ordered\"'\nmetric = 'Placed Order'\nrest=['properties']"
    )
    assert metrics(mine, {"type": "track", "event": "Ordered"}) == ["Placed Order"]
    assert metrics(mine, {"type": "page"}) == []


def test_the_first_section_that_subscribes_makes_the_event(tmp_path: Path) -> None:
    mine = loaded(
        tmp_path,
        """
        [[events]]
        subscribe = 'type = "track" and properties.total > 100'
        metric = { "@template" = "Big {{event}}" }
        [[events]]
        subscribe = 'type = "track"'
        metric = ["properties.called", "event"]
        """,
    )
    calls = [
        {"type": "track", "event": "Ordered", "properties": {"total": 101}},
        {"type": "track", "event": "Ordered", "properties": {"total": 100}},
        {"type": "track", "event": "Ordered", "properties": {"total": 100, "called": "Paid"}},
    ]
    assert [metrics(mine, one) for one in calls] == [["Big Ordered"], ["Ordered"], ["Paid"]]


def test_a_page_is_no_event_of_its_name(tmp_path: Path) -> None:
    mine = loaded(tmp_path, "[[events]]\nsubscribe = 'event = \"Home\"'\nmetric = ['event']")
    assert metrics(mine, {"type": "page", "event": "Home"}) == []
    assert metrics(mine, {"type": "track", "event": "Home"}) == ["Home"]


def test_an_alias_or_delete_leaves_under_no_filter(tmp_path: Path) -> None:
    mine = loaded(tmp_path, "[[events]]\nsubscribe = 'type != \"page\"'\nmetric = ['type']")
    assert [metrics(mine, {"type": kind}) for kind in ("group", "alias", "delete")] == [["group"], [], []]


def test_one_filter_at_the_top_is_asked_first(tmp_path: Path) -> None:
    mine = loaded(tmp_path, "subscribe = 'type != \"page\"'")
    assert metrics(mine, {"type": "page"}) == []
    assert metrics(mine, {"type": "screen"}) == ["Viewed Screen"]


def test_a_call_can_be_a_profile_and_an_event(tmp_path: Path) -> None:
    mine = loaded(tmp_path, "[[events]]\nsubscribe = 'type = \"identify\"'\nmetric = 'Identified'")
    drafts = compose({"type": "identify", "traits": {}}, 1_790_000_000_000, "m1", mine)
    assert [(one.kind, one.key) for one in drafts] == [("profile", ""), ("event", "/event")]
    assert drafts[1].body["data"]["attributes"]["unique_id"] == "m1/event"


def test_a_directive_that_fails_for_a_call_leaves_its_field_out(tmp_path: Path) -> None:
    mine = loaded(tmp_path, LEAST + 'fields = { written = { "@template" = { "@path" = "$.properties.how" } } }')
    calls = [{"type": "track", "event": "Ordered", "properties": {"how": how}} for how in ("{{event}}!", 5)]
    assert [one["properties"] for call in calls for one in bodies(mine, call)] == [{"written": "Ordered!"}, {}]
    (draft,) = compose(calls[1], 1_790_000_000_000, "m1", mine)
    assert draft.notes == (
        f'{WHERE}: [[events]] 1 fields "written": /@template @template: expected string, got number',
    )


def test_the_address_of_a_server_leaves_only_where_it_is_asked_for(tmp_path: Path) -> None:
    call = {"type": "identify", "traits": {}, "context": {"ip": "2001:DB8::1"}}
    mine = loaded(tmp_path, "[profile.fields.location]\nip = ['context.ip']")
    assert bodies(mine, call) == [{"location": {"ip": "2001:db8::1"}}]
    assert bodies(mappings.load(SHIPPED).klaviyo, call) == [{}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("on_conflict = 'fight'", "on_conflict: expected one of drop, merge, found 'fight'"),
        ("consents = []", "has the unknown key 'consents'; known are backfill, clicked, consent, events, fql,"),
        ("clicked = 'yes'", "clicked: expected true or false, found 'yes'"),
        ("consent = 'Marketing'", "consent: expected a list of texts, found 'Marketing'"),
        ("subscribe = 'userId != null'", "subscribe: expected no userId and no anonymousId: it is asked before"),
        ("subscribe = 'type ='", "destinations/klaviyo.toml: subscribe:"),
        ("fql = 'sql'", "fql: expected one of strict, segment, found 'sql'"),
        ("[backfill]\nwithin = 'soon'", "[backfill] within: expected a duration such as 14d, found 'soon'"),
        ("[backfill]\nwithin = '0d'", "[backfill] within: expected a duration such as 14d, found '0d'"),
        ("[backfill]\nevents = 10001", "[backfill] events: expected a whole number from 1 to 10000, found 10001"),
        ("[backfill]\ndays = 14", "[backfill] has the unknown key 'days'; known are enabled, events, flag, within"),
        ("[backfill]\nflag = 1", "[backfill] flag: expected true or false, found 1"),
        ("backfill = true", "[backfill]: expected a table, found True"),
        ("[profile.fields]\nemail = ['traits.email']", "[profile.fields] email: expected no identifier: they are"),
        ("[profile.fields]\nanonymous_id = ['a']", "[profile.fields] anonymous_id: expected one of first_name,"),
        ("[profile.fields.location]\nplanet = ['a']", "[profile.fields] location.planet: expected one of first_name,"),
        ("[profile.fields]\ntitle = []", '[profile.fields] "title": expected a list of paths or directives, found []'),
        ("[profile.fields]\ntitle = {'@paht' = 'a'}", '[profile.fields] "title"'),
        ("[profile]\nrest = 'traits'", '[profile] rest: expected paths to try, such as ["traits"], or a directive'),
        ("[profile]\nwithout = [1]", "[profile] without: expected a list of texts, found [1]"),
        ("[profile]\nkeep = []", "[profile] has the unknown key 'keep'"),
        ("[item]\nvalue = []", "[item] has the unknown key 'value'"),
        ("[events]\nmetric = 'x'", "events: expected tables headed [[events]], found {'metric': 'x'}"),
        (
            "[[events]]\nmetric = 'x'",
            "[[events]] 1 subscribe: expected a filter such as 'type = \"track\"', found None",
        ),
        ("[[events]]\nsubscribe = 'type = \"track\"'", "[[events]] 1 metric: expected text, found None"),
        (LEAST + "[[events]]\nsubscribe = 'type = \"page\"'\nmetric = ' '", "[[events]] 2 metric: expected a name"),
        (LEAST + "value = 'properties.$x[('", None),
        (LEAST + "name = 'x'", "[[events]] 1 has the unknown key 'name'"),
        (LEAST + "each = { metric = 'x' }", "[[events]] 1 each: expected items beside it"),
        (LEAST + "items = ['properties.p']\neach = { name = 'x' }", "[[events]] 1 each has the unknown key 'name'"),
        (LEAST + "[events.fields]\nA = [1]", '[[events]] 1 fields "A": expected a list of paths'),
    ],
)
def test_a_mistake_names_its_key_and_what_was_expected(text: str, said: str | None) -> None:
    if said is None:
        read(WHERE, tomllib.loads(text))
        return
    with pytest.raises(MappingError) as caught:
        read(WHERE, tomllib.loads(text))
    assert [one for one in caught.value.mistakes if one.startswith(WHERE) and said in one] != []


def test_all_mistakes_are_told_together() -> None:
    with pytest.raises(MappingError) as caught:
        read(WHERE, {**TABLE, "on_conflict": "x", "clicked": 1, "item": 3})
    assert [one.partition(": expected")[0].removeprefix(f"{WHERE}: ") for one in caught.value.mistakes] == [
        "[item]",
        "on_conflict",
        "clicked",
    ]


def test_a_folder_without_the_file_is_a_mistake(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "mappings"))
    (folder / WHERE).unlink()
    with pytest.raises(MappingError, match=rf"{WHERE}: there is none in"):
        mappings.load(folder)


class TestCommands:
    def check(self, folder: Path, text: str) -> tuple[int, list[str]]:
        (folder / "destinations").mkdir(exist_ok=True)
        (folder / WHERE).write_text(text, encoding="utf-8")
        done = CliRunner().invoke(main, ["mappings", "check", str(folder), "--json"])
        told = [f"{one['level']} {one['what']}" for one in json.loads(done.stdout)["findings"]]
        return done.exit_code, [one for one in told if WHERE in one]

    def test_check_reads_the_file(self, tmp_path: Path) -> None:
        assert self.check(tmp_path, "consent = ['Marketing']") == (
            0,
            [f"ok {WHERE} (yours): 15 fields of a profile, 11 events"],
        )

    def test_check_tells_its_mistakes(self, tmp_path: Path) -> None:
        assert self.check(tmp_path, "clicked = 3") == (
            1,
            [f"error {WHERE}: clicked: expected true or false, found 3"],
        )

    def test_check_tells_what_is_no_path_though_it_looks_like_one(self, tmp_path: Path) -> None:
        code, told = self.check(tmp_path, LEAST + 'value = "properties.price"\nfields = { A = "properties.a" }')
        assert code == 0
        assert told[1:] == [
            f'warn {WHERE}: [[events]] 1 value: "properties.price" is that text itself; write ["properties.price"] for'
            " the value there",
            f'warn {WHERE}: [[events]] 1 fields "A": "properties.a" is that text itself; write ["properties.a"] for the'
            " value there",
        ]
