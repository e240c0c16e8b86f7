"""``connector mappings``: what is told about the files, what they would do, and the two filters for scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connector.cli import main
from connector.resources import shipped_mappings
from connector.trial import PERSON

SHIPPED = shipped_mappings()
TEXTS = st.text(st.characters(exclude_categories=()), max_size=5)
"""Halves of characters among them, which JSON can say and UTF-8 cannot."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=True) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("@path"), inner, max_size=3),
    max_leaves=6,
)
FILTERS = st.sampled_from(['type = "track"', 'event != "\ud800"', "type >", ""]) | VALUES
LINES = (
    st.fixed_dictionaries({}, optional={"mapping": VALUES, "subscribe": FILTERS, "payload": VALUES}).map(json.dumps)
    | VALUES.map(json.dumps)
    | st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1).filter(str.strip)
)
OURS = {"integration": {"name": "email-identity-connector"}}
KLAVIYO = {"integration": {"name": "Klaviyo"}}
OPENED = {"object_type": "email", "metric": "opened", "event_id": "01E", "timestamp": 1700000000}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder without a .env, as somebody who has not begun yet."""
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, ["mappings", *arguments], input=given)


def lines(*asked: Any) -> str:
    return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in asked)


def answers(*arguments: str, given: str) -> list[Any]:
    done = run(*arguments, given=given)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def overridden(tmp_path: Path, name: str, old: str = "", new: str = "") -> Path:
    """A folder with one file that was changed."""
    text = (SHIPPED / name).read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "mine" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace(old, new, 1))
    return tmp_path / "mine"


def customerio(path: Path, **data: Any) -> str:
    path.write_text(json.dumps({**OPENED, "data": {"recipient": "jane@example.com", **data}}))
    return str(path)


class TestCheck:
    def test_the_shipped_files_have_neither_mistakes_nor_surprises(self) -> None:
        done = run("check", "--json")
        told = json.loads(done.stdout)
        assert (done.exit_code, told["ok"]) == (0, True)
        assert [one for one in told["findings"] if one["level"] != "ok"] == []
        files = [path.relative_to(SHIPPED).as_posix() for path in SHIPPED.rglob("*.toml")]
        assert sorted(one["what"].partition(":")[0] for one in told["findings"]) == sorted(files)

    def test_all_mistakes_of_all_files_are_told_with_status_1(self, tmp_path: Path) -> None:
        overridden(tmp_path, "sources/klaviyo.toml", 'channel = "auto"', 'channel = "radio"')
        overridden(tmp_path, "destinations/segment.toml", "[names]", "[names")
        mine = overridden(tmp_path, "sources/customerio.toml", '"@x-flag" = ["data.machine"]', '"@x-flug" = []')
        done = run("check", str(mine))
        mistakes = [line for line in done.stdout.splitlines() if line.startswith("✗")]
        assert done.exit_code == 1
        assert [line.split(":")[0] for line in mistakes] == [
            "✗ destinations/segment.toml",
            "✗ sources/customerio.toml",
            "✗ sources/klaviyo.toml",
        ]
        assert "@x-flug is unknown" in mistakes[1]

    def test_what_is_allowed_and_would_surprise_is_a_warning(self, tmp_path: Path) -> None:
        mine = overridden(
            tmp_path,
            "sources/customerio.toml",
            "[fields]",
            '[fields]\n"properties.x" = { "@if" = { blank = { "@path" = "$.a" }, then = "y", else = false } }',
        )
        done = run("check", str(mine))
        warnings = [line for line in done.stdout.splitlines() if line.startswith("!")]
        assert done.exit_code == 0
        assert len(warnings) == 2
        assert all('sources/customerio.toml: [fields] "properties.x"' in line for line in warnings)

    def test_a_spec_event_without_a_word_is_a_warning(self, tmp_path: Path) -> None:
        mine = overridden(tmp_path, "sources/customerio.toml", '"email/bounced" = "Email Bounced"\n')
        assert "[event.names] has no word for Email Bounced; if the platform has none" in run("check", str(mine)).stdout

    def test_what_only_all_files_together_can_be_asked_is_told(self, tmp_path: Path) -> None:
        mine = overridden(tmp_path, "sources/postmark.toml")
        (mine / "sources/postmark.toml").rename(mine / "sources/acme.toml")
        done = run("check", str(mine))
        (mistake,) = [line for line in done.stdout.splitlines() if line.startswith("✗")]
        assert done.exit_code == 1
        assert "sources/acme.toml: name or integrations: 'Postmark' is what sources/postmark.toml says" in mistake

    def test_a_file_that_nobody_reads_is_a_warning(self, tmp_path: Path) -> None:
        mine = overridden(tmp_path, "sources/klaviyo.toml")
        (mine / "source").mkdir()
        (mine / "source/acme.toml").write_text('name = "Acme"')
        assert "! source/acme.toml is read by nobody" in run("check", str(mine)).stdout


class TestTry:
    def test_what_is_stored_understood_and_sent(self, tmp_path: Path) -> None:
        done = run(
            "try", "customerio", customerio(tmp_path / "b.json", identifiers={"id": "42"}, headers="secret"), "--json"
        )
        (told,) = json.loads(done.stdout)
        assert json.loads(told["stored"].pop("body")) == {
            **OPENED,
            "data": {"recipient": "jane@example.com", "identifiers": {"id": "42"}},
        }
        assert told["stored"] == {"message_id": "01E", "beside": None}
        assert told["understood"]["event"] == "Email Opened"
        assert told["understood"]["links"] == [
            {
                "kind": "vendor",
                "left": {"type": "email", "value": "jane@example.com"},
                "right": {"type": "customerio_user_id", "value": "42"},
            }
        ]
        assert told["leaves"]["segment"]["timestamp"] == "2023-11-14T22:13:20.000Z"

    def test_people_read_it_masked_unless_they_ask(self, tmp_path: Path) -> None:
        body = customerio(tmp_path / "b.json")
        masked, shown = (run("try", "customerio", body, *more).stdout for more in ([], ["--show-emails"]))
        assert "identifiers  email j•••@example.com" in masked
        assert "jane@" not in masked
        assert "identifiers  email jane@example.com" in shown

    def test_a_second_folder_is_shown_as_a_difference(self, tmp_path: Path) -> None:
        mine = overridden(tmp_path, "sources/customerio.toml", '"email/opened" = "Email Opened"\n')
        done = run("try", "customerio", customerio(tmp_path / "b.json"), "--against", str(mine))
        changed = [line for line in done.stdout.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        assert '-      "event": "Email Opened",' in changed
        assert '+      "event": "email/opened",' in changed
        same = run("try", "customerio", str(tmp_path / "b.json"), "--against", str(SHIPPED))
        assert same.stdout == "no difference\n"

    def test_what_cannot_be_understood_says_why(self, tmp_path: Path) -> None:
        body = tmp_path / "b.json"
        body.write_text(json.dumps({**OPENED, "data": {}}))
        assert "quarantined: the event names no recipient" in run("try", "customerio", str(body)).stdout

    def test_an_unknown_source_and_a_body_that_is_none_are_told(self, tmp_path: Path) -> None:
        body = tmp_path / "b.json"
        body.write_text("no")
        unknown, rubbish = run("try", "acme", str(body)), run("try", "klaviyo", str(body))
        assert (unknown.exit_code, rubbish.exit_code) == (1, 1)
        known = ", ".join(sorted(path.stem for path in SHIPPED.glob("sources/*.toml")))
        assert f"there is no mapping for 'acme'; there are {known}" in unknown.stderr
        assert "the body is not JSON" in rubbish.stderr

    def test_a_difference_is_masked_unless_they_ask(self, tmp_path: Path) -> None:
        mine = overridden(
            tmp_path, "sources/customerio.toml", 'recipient = ["data.recipient"', 'recipient = ["data.to"'
        )
        body = customerio(tmp_path / "b.json", to="joe@example.com")
        masked, shown = (
            run("try", "customerio", body, "--against", str(mine), *more).stdout for more in ([], ["--show-emails"])
        )
        assert ("jane@" in shown, "joe@" in shown) == (True, True)
        assert ("j•••@example.com" in masked, "jane@" in masked, "joe@" in masked) == (True, False, False)

    @pytest.mark.parametrize(
        ("call", "why"),
        [
            ({"type": "group", "anonymousId": "A1", "groupId": "g"}, "not an email event: read as evidence"),
            (
                {"type": "page", "anonymousId": "A1", "integrations": {"Klaviyo": False}},
                "read as evidence; not for Klaviyo: its integrations switch Klaviyo off",
            ),
            (
                {"type": "delete", "userId": "jane-1"},
                "it forgets the person up to its time, where every element of the request is authenticated: sent alone,"
                " or with SEGMENT_WEBHOOK_TOKENS",
            ),
            (
                {"type": "track", "event": "Email Opened", "userId": "1", "context": OURS},
                "an event of ours that came back",
            ),
            (
                {"type": "track", "event": "Ordered", "anonymousId": "jane@example.com", "context": KLAVIYO},
                "not an email event that the mapping lists: read as evidence, not sent on",
            ),
        ],
        ids=["evidence", "switched off", "delete", "echo", "ignored"],
    )
    def test_what_does_not_leave_says_why(self, call: dict[str, Any], why: str, tmp_path: Path) -> None:
        body = tmp_path / "b.json"
        body.write_text(json.dumps({"messageId": "m1", "timestamp": "2026-09-01T10:00:00Z", **call}))
        done = run("try", "segment", str(body))
        assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, f"   leaves       nothing: {why}")

    def test_what_klaviyo_would_be_told_of_the_site_s_calls(self, tmp_path: Path) -> None:
        body = tmp_path / "b.json"
        call = {"type": "page", "name": "Home", "properties": {"url": "https://shop.test/?_kx=tok.AbC123"}}
        body.write_text(
            json.dumps({"messageId": "m1", "timestamp": "2026-09-01T10:00:00Z", "anonymousId": "A1", **call})
        )
        (told,) = json.loads(run("try", "segment", str(body), "--json").stdout)
        assert told["leaves"] == {
            "klaviyo, where DESTINATIONS names it": [
                {
                    "event": {
                        "metric": {"data": {"type": "metric", "attributes": {"name": "Viewed Page"}}},
                        "properties": {"name": "Home", "url": "https://shop.test/"},
                        "time": "2026-09-01T10:00:00.000Z",
                        "unique_id": "m1",
                    },
                    "email, phone_number, external_id": PERSON,
                }
            ]
        }

    def test_what_the_destination_does_not_subscribe_to_does_not_leave(self, tmp_path: Path) -> None:
        mine = tmp_path / "mine"
        (mine / "destinations").mkdir(parents=True)
        (mine / "destinations/segment.toml").write_text("subscribe = 'event != \"Email Opened\"'")
        done = run("try", "customerio", customerio(tmp_path / "b.json"), "--mappings", str(mine))
        why = "destinations/segment.toml does not subscribe to it"
        assert done.stdout.splitlines()[-1] == f"   leaves       nothing: {why}"

    def test_what_is_only_sent_where_it_was_repaired_says_so(self, tmp_path: Path) -> None:
        mine = overridden(tmp_path, "sources/customerio.toml", 'forward = "all"', 'forward = "repaired"')
        body = customerio(tmp_path / "b.json")
        told = [
            json.loads(run("try", "customerio", body, "--json", "--mappings", str(folder)).stdout)[0]
            for folder in (SHIPPED, mine)
        ]
        known = "the ids of its visitor, once they are known"
        assert [one["leaves"]["segment"]["userId, anonymousId"] for one in told] == [
            known,
            f'{known}; if it arrived with a usable id, it is not sent (forward = "repaired")',
        ]


class TestFilters:
    def test_eval_gives_an_output_none_or_an_error_for_each_line(self) -> None:
        given = lines(
            {"mapping": {"a": {"@path": "$.x"}}, "payload": {"x": [1, None]}},
            {"mapping": {"@path": "$.nope"}, "payload": {}},
            {"mapping": {"@path": "$.x", "raw": 1}, "payload": {}},
            {"payload": {}},
            "",
            "{",
            "[]",
        )
        told = answers("eval", given=given)
        assert told[:2] == [{"output": {"a": [1, None]}}, {}]
        assert [list(one) for one in told[2:]] == [["error"]] * 4

    def test_match_refuses_what_segment_would_read_otherwise(self) -> None:
        ambiguous = 'type = "track" and event = "A" or event = "B"'
        asked = {"subscribe": ambiguous, "payload": {"type": "identify", "event": "B"}}
        (strict,) = answers("match", given=lines(asked))
        (exact,) = answers("match", "--fql", "segment", given=lines(asked))
        assert "or" in strict["error"]
        assert exact == {"match": True}

    def test_match_as_segment_says_that_an_unreadable_filter_matches_nothing_and_why(self) -> None:
        (told,) = answers("match", "--fql", "segment", given=lines({"subscribe": 'anonymousId = "a"', "payload": {}}))
        assert (told["match"], bool(told["error"])) == (False, True)

    @pytest.mark.parametrize("payload", [None, [], "x", 5, True])
    def test_a_payload_that_is_no_object_is_an_error(self, payload: Any) -> None:
        matched = answers("match", given=lines({"subscribe": 'type = "track"', "payload": payload}))
        mapped = answers("eval", given=lines({"mapping": {"@path": "$.a"}, "payload": payload}))
        kind = {type(None): "null", list: "array", str: "string", int: "number", bool: "boolean"}[type(payload)]
        assert matched == [{"error": f"payload: expected an object, found {kind}"}]
        assert mapped == [{"error": f"/ data must be an object, got {kind}"}]

    def test_without_a_payload_nothing_matches_and_no_path_finds_anything(self) -> None:
        given = lines({"subscribe": 'type != "track"'}, {"subscribe": 'type != "track"', "payload": {}})
        assert answers("match", given=given) == [{"match": False}, {"match": True}]
        assert answers("eval", given=lines({"mapping": {"a": {"@path": "$.a"}, "b": 1}})) == [{"output": {"b": 1}}]

    def test_what_is_hard_to_write_as_json_comes_back_as_it_went_in(self) -> None:
        odd = [{"a": "\ud800"}, {"\udfff": 2**70}]
        told = answers("eval", given=lines(*({"mapping": one} for one in odd)))
        assert told == [{"output": one} for one in odd]

    def test_a_mapping_of_hundreds_of_levels_is_answered(self) -> None:
        deep = '{"mapping": ' + '{"a":' * 600 + "1" + "}" * 600 + "}"
        assert [len(one) for one in answers("eval", given=lines(deep, {"mapping": {"a": 1}}))] == [1, 1]

    @pytest.mark.parametrize("command", [("eval",), ("match",), ("match", "--fql", "segment")])
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(given=st.lists(LINES, min_size=1, max_size=8))
    @example(given=['{"mapping": {"a": NaN, "b": "\\ud800"}}', '{"mapping": {"a": -Infinity, "b": "\\ud800"}}'])
    @example(
        given=['{"mapping": {"a": 1e400, "b": "\\ud800"}, "subscribe": "event = \\"a\\"", "payload": {"event": NaN}}']
    )
    def test_every_line_has_exactly_one_answer_whatever_it_is(self, command: tuple[str, ...], given: list[str]) -> None:
        done = run(*command, given="\n".join(given))
        told = [json.loads(line, parse_constant=pytest.fail) for line in done.stdout.split("\n")[:-1]]
        assert (done.exit_code, len(told)) == (0, len(given)), done.output
        assert {key for one in told for key in one} <= {"output", "match", "error"}

    def test_a_line_that_is_nested_too_deeply_is_an_error_like_any_other(self) -> None:
        deep = '{"mapping": ' + '{"@json":' * 3_000 + "1" + "}" * 3_000 + ', "payload": {}}'
        assert [list(one) for one in answers("eval", given=lines(deep, {"payload": {}}))] == [["error"], ["error"]]
