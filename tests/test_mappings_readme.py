"""mappings/README.md is kept true: its files compile, and its examples give what they say."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from connector import destination_mapping, poll_mapping, source_mapping
from connector.cli import main
from connector.errors import MappingError
from connector.klaviyo import calls
from connector.klaviyo import mapping as klaviyo_mapping
from connector.klaviyo.fields import ATTRIBUTES
from connector.language.kit import KIT
from connector.language.own import OWN

TEXT = (Path(__file__).resolve().parents[1] / "mappings" / "README.md").read_text(encoding="utf-8")


def block(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```toml\n(.+?)\n```", TEXT, re.DOTALL)
    assert found, marker
    return found[1]


def examples(command: str) -> list[tuple[str, str]]:
    blocks = re.findall(rf"```{command}\n(.+?)\n```", TEXT, re.DOTALL)
    return [(asked, told) for one in blocks for asked, told in re.findall(r"^(\{.+\})\n→ (\{.*\})$", one, re.MULTILINE)]


@pytest.mark.parametrize("command", ["eval", "match"])
def test_every_example_gives_what_it_says(command: str) -> None:
    told = examples(command)
    assert len(told) == len(
        re.findall("^→", "\n".join(re.findall(rf"```{command}\n(.+?)\n```", TEXT, re.DOTALL)), re.M)
    )
    lines = "\n".join(asked for asked, _ in told)
    done = CliRunner().invoke(main, ["mappings", command], input=lines)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [json.loads(said) for _, said in told]


def test_the_source_uses_every_key_there_is() -> None:
    table = tomllib.loads(block("source"))
    source = source_mapping.read("sources/acme.toml", table)
    assert source.name_of("failed", {"severity": "hard"}) == "Email Bounced"
    assert set(table["door"]) == source_mapping.DOOR_KEYS
    assert set(table["event"]) == source_mapping.EVENT_KEYS
    assert set(table["poll"]) == poll_mapping.POLL_KEYS
    assert source_mapping.KEYS - set(table) == {"email_platforms", "projects"}  # of segment.toml only


def test_the_destination_compiles() -> None:
    destination = destination_mapping.read("destinations/segment.toml", tomllib.loads(block("destination")))
    flags: list[dict[str, bool]] = [{"machine_open": True}, {"machine_open": False}, {}]
    assert [destination.subscribes({"type": "track", "properties": one}) for one in flags] == [False, True, True]


def test_klaviyo_s_file_uses_every_key_there_is_and_does_what_it_says() -> None:
    table = tomllib.loads(block("klaviyo"))
    klaviyo = klaviyo_mapping.read(klaviyo_mapping.WHERE, table)
    ((event,), profile, item, backfill) = (table[one] for one in ("events", "profile", "item", "backfill"))
    assert [set(one) for one in (table, event, profile, item, backfill, event["each"])] == [
        klaviyo_mapping.KEYS,
        klaviyo_mapping.EVENT_KEYS,
        klaviyo_mapping.PROFILE_KEYS,
        klaviyo_mapping.ITEM_KEYS,
        klaviyo_mapping.BACKFILL_KEYS,
        klaviyo_mapping.EACH_KEYS,
    ]
    products = [{"name": "Uno", "price": 2.5, "quantity": 3, "sku": "46493-32"}]
    call = {"type": "track", "event": "Order Completed", "properties": {"order_id": "o1", "products": products}}
    made = [one.body["data"]["attributes"] for one in calls.compose(call, 0, "m1", klaviyo)]
    uno = {"ProductName": "Uno", "ItemPrice": 2.5, "Quantity": 3, "RowTotal": 7.5, "sku": "46493-32"}
    assert [(one["unique_id"], one["value"], one["properties"]) for one in made] == [
        ("m1", 7.5, {"Items": [uno], "ItemNames": ["Uno"], "OrderId": "o1"}),
        ("m1/0", 7.5, {"OrderId": "o1", **uno}),
    ]


def test_every_field_of_a_klaviyo_profile_is_told() -> None:
    assert [name for name in ATTRIBUTES if f"`{name.rpartition('.')[2]}`" not in TEXT] == []


def test_every_directive_has_an_example() -> None:
    told = "\n".join(asked for asked, _ in examples("eval"))
    named = {name for name in [*KIT, *OWN] if f'"{name}"' not in told}
    assert named <= {"@liquid", "@x-header", "@x-digest"}
    assert all(f"`{name}" in TEXT for name in named)


def test_a_misspelt_key_is_told() -> None:
    with pytest.raises(MappingError, match="has the unknown key 'dedup'"):
        source_mapping.read("sources/acme.toml", tomllib.loads(block("source").replace("dedupe", "dedup")))
