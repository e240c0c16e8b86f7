"""The inspector: everything that was decided and why, as JSON under ``/api`` and as plain pages under ``/``.

Both need one of INSPECTOR_TOKENS. The pages only read; what changes identity is posted to the JSON interface.
"""

from __future__ import annotations

from flask import Blueprint

from connector.config import Config
from connector.house import House
from connector.inspector import acts, api, openapi, pages
from connector.inspector.access import Access
from connector.store import Store


def blueprints(config: Config, store: Store, house: House) -> list[Blueprint]:
    """What ``create_app`` is given to serve the inspector."""
    access = Access(config)
    interface = api.blueprint(store, house, access)
    acts.routes(interface, store, house)
    openapi.routes(interface, house)
    return [interface, pages.blueprint(store, house, access)]


__all__ = ["blueprints"]
