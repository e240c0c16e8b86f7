"""The files in mappings/: what they mean, and what is said about a mistake in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from connector import mapping, resources
from connector.errors import MappingError
from connector.language import UNDEFINED, Value, apply_fields, compile_value
from connector.messages import HOUR, MINUTE
from connector.store import Store
from connector.tables import outbox
from tests.streams import NOW, customerio, feed, house

SHIPPED = resources.shipped_mappings()


def test_the_shipped_files_compile() -> None:
    found = mapping.load(SHIPPED)
    assert set(found.sources) >= {"segment", "klaviyo", "customerio"}
    assert found.rules.limits == {"user_id": 1, "email": 5, "phone": 5}


def test_a_folder_overrides_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    text = (SHIPPED / "sources/klaviyo.toml").read_text(encoding="utf-8")
    (tmp_path / "sources/klaviyo.toml").write_text(text.replace('forward = "all"', 'forward = "repaired"'))
    found = mapping.load(SHIPPED, tmp_path)
    assert (found.sources["klaviyo"].forward, found.sources["customerio"].forward) == ("repaired", "all")


def test_an_override_without_a_door_has_the_shipped_one(tmp_path: Path) -> None:
    """Else a platform that signs would be let in by a secret that nobody set, or by none."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/mailgun.toml").write_text('name = "Mailgun"\nsecrets = "MINE"')
    mine, shipped = (mapping.load(SHIPPED, folder).sources["mailgun"] for folder in (tmp_path, None))
    assert (mine.secrets, shipped.secrets) == ("MINE", "MAILGUN_SIGNING_KEYS")
    assert (mine.door.signature, mine.door.strip, mine.door.probes, dict(mine.door.answers)) == (
        shipped.door.signature,
        (("event-data", "storage"), ("message-headers",), ("body-plain",)),
        shipped.door.probes,
        {400: 406, 413: 406},
    )
    assert mine.door.dedupe is not None
    assert mine.door.dedupe({"_token": "t"}) == "t"


@pytest.mark.parametrize(
    ("text", "hold_ms"),
    [
        ("", HOUR),
        ('compliance_hold = "5m"', 5 * MINUTE),
        ('compliance_hold = "400d"', 72 * HOUR),
        ('compliance_hold = "5m"\ncompliance = []', 72 * HOUR),
    ],
)
def test_compliance_waits_for_its_visitor_as_long_as_the_destination_says(
    sqlite_store: Store, text: str, hold_ms: int
) -> None:
    own = house(files=(("destinations/segment.toml", text),))
    feed(sqlite_store, customerio(5, "jane@x.test", metric="bounced"), house=own)
    with sqlite_store.reading() as tx:
        assert [row.due_at - NOW for row in tx.execute(sa.select(outbox))] == [hold_ms]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("identity.toml", "limit = 1 ", "limit = 2 ", "[types.user_id] limit"),
        ("identity.toml", "limit = 5", "limit = 0", "[types.email] limit: expected a whole number from 1, found 0"),
        ("identity.toml", 'normalise = "phone"', 'normalise = "fax"', "normalise: expected one of"),
        ("identity.toml", '"-1",', '"(",', "'(' is not a regular expression"),
        ("identity.toml", "[types.vendor]", "[types.seller]", "[types.vendor] is missing"),
        ("sources/klaviyo.toml", '"Email Opened"', '"Mail Opened"', "found 'Mail Opened'"),
        ("sources/klaviyo.toml", 'channel = "auto"', 'channel = "radio"', "channel: expected one of auto"),
        ("sources/klaviyo.toml", '"@x-flag"', '"@x-flug"', "@x-flug is unknown; this version knows @path"),
        ("sources/klaviyo.toml", "profile_id = [", "profil = [", "[identifiers] has the unknown key 'profil'"),
        ("sources/customerio.toml", 'unit = "seconds"', 'unit = "weeks"', "@x-time unit: expected seconds"),
        ("sources/customerio.toml", "[event.names]", "[event.names", "this is not TOML"),
        ("destinations/segment.toml", 'on_expiry = "send"', 'on_expiry = "shrug"', "on_expiry: expected one of send"),
        ("destinations/segment.toml", '"1h"', '"soon"', "compliance_hold: expected a duration"),
    ],
)
def test_a_mistake_names_file_key_expected_and_found(tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "mappings"))
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    with pytest.raises(MappingError) as caught:
        mapping.load(folder)
    assert Path(file).name in str(caught.value)
    assert said in str(caught.value)


def test_mistakes_of_all_files_are_reported_together(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "mappings"))
    for name in ("klaviyo", "customerio"):
        (folder / f"sources/{name}.toml").write_text('channel = "radio"')
    with pytest.raises(MappingError) as caught:
        mapping.load(folder)
    assert len(caught.value.mistakes) == 2


@pytest.mark.parametrize(
    ("spec", "payload", "value"),
    [
        (["a.b", "c"], {"c": 1}, 1),
        (["a.b", "c"], {"a": {"b": 2}, "c": 1}, 2),
        (["a", "b"], {"a": "", "b": "x"}, "x"),
        ({"@path": "$.a[1].b"}, {"a": [{}, {"b": 3}]}, 3),
        ({"@path": "$.a['b c']"}, {"a": {"b c": 4}}, 4),
        ({"@path": "$.a.b"}, {"a": None}, None),
        ({"@path": "$.a.b"}, {"a": 0}, 0),
        ({"@template": "{{a}}-{{ b.c }}-{{nope}}"}, {"a": 1, "b": {"c": True}}, "1-true-"),
        ({"@literal": "x"}, {}, "x"),
        ("plain", {}, "plain"),
        ({"@x-time": {"value": ["t"], "unit": "seconds"}}, {"t": 1_600_000_000.5}, "2020-09-13T12:26:40.500Z"),
        ({"@x-time": {"value": ["t"], "unit": "milliseconds"}}, {"t": "1600000000000"}, "2020-09-13T12:26:40.000Z"),
        ({"@x-time": {"value": ["t"], "unit": "seconds"}}, {"t": "soon"}, UNDEFINED),
        ({"@x-flag": ["a", "b"]}, {"a": False, "b": "True"}, True),
        ({"@x-flag": ["a", "b"]}, {"a": "0.0"}, False),
        ({"@x-flag": ["a", "b"]}, {}, UNDEFINED),
        ({"@x-text": ["n"]}, {"n": 23}, "23"),
    ],
)
def test_values(spec: object, payload: object, value: object) -> None:
    assert compile_value(spec, "here")(payload) == value


def test_dotted_keys_make_objects_and_nothing_is_left_out() -> None:
    fields: dict[str, Value] = {
        "properties.a": lambda _: 1,
        "properties.b": lambda _: None,
        "context.c": lambda _: UNDEFINED,
        "timestamp": lambda _: "t",
    }
    assert apply_fields(fields, {}) == {"properties": {"a": 1}, "timestamp": "t"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('dedupe = ["event_id"]', 'dedupe = "event_id"', '[door] dedupe: expected paths to try, such as ["event_id"]'),
        ('path = { "@template" = "{{object_type}}/{{metric}}" }', 'path = "metric"', "[event] path: expected paths"),
        ('profile_id = ["data.identifiers.cio_id"]', 'profile_id = "cio_id"', '[identifiers] "profile_id": expected'),
        ('profile_id = ["data.identifiers.cio_id"]', "profile_id = 5", '[identifiers] "profile_id": expected'),
        ('profile_id = ["data.identifiers.cio_id"]', "profile_id = {}", '[identifiers] "profile_id": expected'),
        ('profile_id = ["data.identifiers.cio_id"]', "ambiguous = true", "[identifiers] ambiguous: expected"),
    ],
)
def test_what_would_be_the_same_for_every_event_is_a_mistake(tmp_path: Path, old: str, new: str, said: str) -> None:
    """A forgotten pair of brackets would make one event of all, or one person of everybody."""
    text = (SHIPPED / "sources/customerio.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/customerio.toml").write_text(text.replace(old, new))
    with pytest.raises(MappingError) as caught:
        mapping.load(SHIPPED, tmp_path)
    assert [one for one in caught.value.mistakes if said in one] != []


def test_two_files_cannot_speak_for_one_platform(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    shutil.copy(SHIPPED / "sources/postmark.toml", tmp_path / "sources/acme.toml")
    with pytest.raises(MappingError, match=r"acme.toml: name or integrations: 'Postmark' is what"):
        mapping.load(SHIPPED, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("anonymousId != null", "Segment cannot read it, so that nothing would leave: character 1"),
        ('type = "track" and (', "Segment cannot read it"),
    ],
)
def test_a_filter_that_segment_cannot_read_does_not_drop_everything_in_silence(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "destinations").mkdir()
    (tmp_path / "destinations/segment.toml").write_text(f"subscribe = '{text}'\nfql = \"segment\"")
    with pytest.raises(MappingError) as caught:
        mapping.load(SHIPPED, tmp_path)
    assert said in str(caught.value)
