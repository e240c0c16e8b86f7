"""What a command or a server needs before it can begin: the mappings read, the house built."""

from __future__ import annotations

from connector import house, mapping, resources
from connector.config import Config
from connector.house import House
from connector.keys import Keys


def open_mappings(config: Config) -> mapping.Mappings:
    """The shipped mappings with the overrides of ``MAPPINGS``.

    Raises: MappingError, all mistakes of all files together.
    """
    return mapping.load(resources.shipped_mappings(), config.mappings, own_prefix=Keys(config.secret).prefix)


def open_house(config: Config) -> House:
    """The house that a configuration describes. Nothing of the store is touched.

    Raises: MappingError, all mistakes of all files together.
    """
    return house.build(config, open_mappings(config))
