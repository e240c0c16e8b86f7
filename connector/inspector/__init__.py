"""The inspector: everything that was decided and why, as JSON under ``/api`` and as plain pages under ``/``.

Both need one of INSPECTOR_TOKENS. Reads only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint

from connector.config import Config
from connector.inspector import api, pages
from connector.inspector.access import Access
from connector.store import Store

if TYPE_CHECKING:
    from connector.pipeline import House


def blueprints(config: Config, store: Store, house: House) -> list[Blueprint]:
    """What ``create_app`` is given to serve the inspector."""
    access = Access(config)
    return [api.blueprint(store, house, access), pages.blueprint(store, house, access)]


__all__ = ["blueprints"]
