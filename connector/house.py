"""What the stages are given: rules and mappings, our keyed names, and how long an event may wait."""

from __future__ import annotations

from dataclasses import dataclass

from connector.config import Config
from connector.keys import Keys
from connector.klaviyo.mapping import KlaviyoMapping
from connector.mapping import Destination, Mappings, Source
from connector.messages import Milliseconds
from connector.rules import Rules
from connector.validate import Reader


@dataclass(frozen=True, slots=True)
class House:
    """The settings of one tenant, compiled. klaviyo_deletes: who is forgotten here is deleted there.

    klaviyo_asks: there is a key, so that it can be asked whose a token is. polled: platforms that we ask for their
    events, of which those before the first time do not count.
    """

    mappings: Mappings
    keys: Keys
    reader: Reader
    destination: Destination
    hold_ms: Milliseconds
    klaviyo: KlaviyoMapping | None = None  # where Klaviyo is a destination
    klaviyo_deletes: bool = False
    klaviyo_asks: bool = False
    polled: frozenset[str] = frozenset()

    @property
    def rules(self) -> Rules:
        return self.mappings.rules


def build(config: Config, mappings: Mappings) -> House:
    """The house that a configuration and a folder of mappings describe."""
    keys = Keys(config.secret)
    destination = mappings.destinations["segment"]
    own_channel = frozenset(
        name
        for name, source in mappings.sources.items()
        if name != "segment" and (source.channel == "vendor" or (source.channel == "auto" and _is_open(source, config)))
    )
    reader = Reader(mappings, keys, own_channel, destination.integration["name"])
    return House(
        mappings,
        keys,
        reader,
        destination,
        config.hold_email_ms,
        klaviyo=mappings.klaviyo if "klaviyo" in config.destinations else None,
        klaviyo_deletes=config.klaviyo_delete and "klaviyo" in config.destinations,
        klaviyo_asks=bool(config.klaviyo_api_key),
        polled=frozenset(name for name, one in mappings.sources.items() if _is_polled(one, config)),
    )


def _is_open(source: Source, config: Config) -> bool:
    """Does a platform tell us itself, by its webhook or because we ask?"""
    return _has_door(source, config) or _has_key(source, config)


def _has_door(source: Source, config: Config) -> bool:
    return bool(source.variables) and all(config.secrets_of(name) for name in source.variables)


def _has_key(source: Source, config: Config) -> bool:
    return source.poll is not None and source.poll.enabled and bool(config.klaviyo_api_key)


def _is_polled(source: Source, config: Config) -> bool:
    """Is it by asking alone that its events come, and does what was before not count?"""
    history_counts = source.poll is not None and source.poll.history_counts
    return _has_key(source, config) and not _has_door(source, config) and not history_counts
