"""What a command or a server needs before it can begin: the mappings read, the house built."""

from __future__ import annotations

from pathlib import Path

from connector import house, mapping, resources
from connector.config import Config
from connector.house import House
from connector.keys import Keys
from connector.sources import declared


def open_mappings(config: Config, identity: Path | None = None) -> mapping.Mappings:
    """The shipped mappings with the overrides of ``MAPPINGS``. Args: identity is taken in the place of identity.toml.

    Raises: MappingError, all mistakes of all files together.
    """
    prefix = Keys(config.secret).prefix
    found = mapping.load(resources.shipped_mappings(), config.mappings, own_prefix=prefix, identity=identity)
    declared.doors(found.sources)
    return found


def open_house(config: Config, identity: Path | None = None) -> House:
    """The house that a configuration describes. Nothing of the store is touched. Args: identity as above.

    Raises: MappingError, all mistakes of all files together.
    """
    return house.build(config, open_mappings(config, identity))
