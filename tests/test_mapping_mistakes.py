"""Mistakes in a source's or a destination's file that would lose events in silence: each is told before it can."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from connector import destination_mapping, rules_file, source_mapping
from connector.errors import MappingError
from connector.mapping import load
from connector.resources import shipped_mappings

ACME = """
secrets = "ACME_SECRETS"
[door]
signature = "secret"
[event]
path = ["kind"]
[event.names]
opened = "Email Opened"
[identifiers]
recipient = ["to"]
[fields]
timestamp = ["at"]
"properties.campaign_name" = ["campaign.name"]
"""


def mistakes(text: str) -> tuple[str, ...]:
    with pytest.raises(MappingError) as caught:
        source_mapping.read("sources/acme.toml", tomllib.loads(text))
    return caught.value.mistakes


def test_it_is_right_as_it_is() -> None:
    source_mapping.read("sources/acme.toml", tomllib.loads(ACME))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"ACME_SECRETS"', '"acme secrets"', "secrets: expected the name of an environment variable"),
        ('recipient = ["to"]', 'email = ["to"]', "[identifiers]: expected one of recipient, profile_id, user_id"),
        ("[event.names]", 'machine_opens = ["proxied"]\n[event.names]', "[event] machine_opens: expected words of"),
        ("[event.names]", '[event.absent]\n"Email Opened" = "no"\n[event.names]', "absent: expected no name that"),
        ("timestamp =", 'event = ["kind"]\ntimestamp =', '[fields] "event": expected timestamp, properties.<name> or'),
        ("timestamp =", '"name" = ["kind"]\ntimestamp =', '[fields] "name": expected timestamp, properties.<name> or'),
        (
            "timestamp =",
            '"properties" = { "@path" = "$.c" }\ntimestamp =',
            '[fields] "properties": expected either this',
        ),
        ('["campaign.name"]', '{ "@x-header" = "X-Id" }', '[door] headers: expected "x-id", which an @x-header reads'),
        ('["campaign.name"]', '{ "@x-flag" = "bot" }', '@x-flag: expected paths to try, such as ["bot"]'),
        ('["campaign.name"]', '{ "@x-text" = "n" }', '@x-text: expected paths to try, such as ["n"]'),
        (
            '["at"]',
            '{ "@x-time" = { value = "at", unit = "seconds" } }',
            '@x-time: expected paths to try, such as ["at"]',
        ),
        ('["at"]', '{ "@x-json" = { value = ["at"], read = 5 } }', "@x-json: expected paths or a directive, found 5"),
    ],
)
def test_what_could_never_work_is_told(old: str, new: str, said: str) -> None:
    assert old in ACME
    assert [one for one in mistakes(ACME.replace(old, new, 1)) if said in one] != []


def test_a_table_of_fields_is_the_same_as_keys_with_dots() -> None:
    told = ACME + '[fields.context]\nip = ["ip"]\npage.url = ["url"]\n'
    source = source_mapping.read("sources/acme.toml", tomllib.loads(told))
    assert {key: value({"url": "u", "ip": "i"}) for key, value in source.fields.items() if "context" in key} == {
        "context.ip": "i",
        "context.page.url": "u",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[names]\nUnsubscribe = "x"', '[names] "Unsubscribe": expected one of Segment\'s'),
        ("[names]\nUnsubscribed = 5", "[names] Unsubscribed: expected text, found 5"),
        ("subscribe = 'userId != null'", "subscribe: expected no userId and no context.traits"),
        ("subscribe = 'context.traits.email != null'", "subscribe: expected no userId and no context.traits"),
        ("subscribe = 5", "subscribe: expected text, found 5"),
    ],
)
def test_a_destination_that_drops_or_misnames_is_told(text: str, said: str) -> None:
    with pytest.raises(MappingError) as caught:
        destination_mapping.read("destinations/segment.toml", tomllib.loads(text))
    assert said in str(caught.value)


def test_a_filter_may_speak_of_users_in_quotes() -> None:
    table: dict[str, Any] = {"subscribe": 'properties.campaign_name != "userId context.traits"'}
    assert destination_mapping.read("destinations/segment.toml", table).subscribes({"properties": {}})


def test_an_override_without_integration_keeps_what_we_call_ourselves(tmp_path: Any) -> None:
    (tmp_path / "destinations").mkdir()
    (tmp_path / "destinations/segment.toml").write_text('on_expiry = "drop"')
    found, shipped = load(shipped_mappings(), tmp_path), load(shipped_mappings())
    assert found.destinations["segment"].on_expiry == "drop"
    assert found.destinations["segment"].integration == shipped.destinations["segment"].integration


@pytest.mark.parametrize("name", ["BadName", "a-b", "9a"])
def test_a_file_whose_name_cannot_be_a_door_is_told(tmp_path: Any, name: str) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / f"sources/{name}.toml").write_text(ACME)
    with pytest.raises(MappingError, match=f"sources/{name}.toml: expected small letters"):
        load(shipped_mappings(), tmp_path)


def test_all_mistakes_of_the_rules_are_told_together() -> None:
    text = (shipped_mappings() / "identity.toml").read_text()
    table = tomllib.loads(text)
    table["clicked"] = {"alone": 3, "sweep_links": 1, "sweep_within": "2h"}
    table["types"]["email"]["limit"] = 0
    table["hubs"] = 1
    with pytest.raises(MappingError) as caught:
        rules_file.load(table)
    assert [one.partition(": expected")[0] for one in caught.value.mistakes] == [
        "identity.toml: 'hubs' is not a key of it; expected blocked, clicked, consent, cookies, hub_limit,"
        " landings, role_addresses, types",
        "identity.toml: [types.email] limit",
        "identity.toml: [clicked] alone",
        "identity.toml: [clicked] sweep_links",
        "identity.toml: [clicked] sweep_within",
    ]


@pytest.mark.parametrize("name", ["operator", "import", "tracking_api", "declared"])
def test_a_platform_cannot_be_called_like_a_source_of_ours(tmp_path: Any, name: str) -> None:
    """What comes in as "operator" would be obeyed."""
    (tmp_path / "sources").mkdir()
    (tmp_path / f"sources/{name}.toml").write_text(ACME)
    with pytest.raises(MappingError, match=f"sources/{name}.toml: the name is taken"):
        load(shipped_mappings(), tmp_path)
