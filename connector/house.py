"""What the stages are given: rules and mappings, our keyed names, and how long an event may wait."""

from __future__ import annotations

from dataclasses import dataclass

from connector.config import Config
from connector.keys import Keys
from connector.mapping import Destination, Mappings, Source
from connector.messages import Milliseconds
from connector.rules import Rules
from connector.validate import Reader


@dataclass(frozen=True, slots=True)
class House:
    """The settings of one tenant, compiled."""

    mappings: Mappings
    keys: Keys
    reader: Reader
    destination: Destination
    hold_ms: Milliseconds

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
    return House(mappings, keys, reader, destination, config.hold_email_ms)


def _is_open(source: Source, config: Config) -> bool:
    return bool(source.variables) and all(config.secrets_of(name) for name in source.variables)
