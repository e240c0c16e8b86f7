"""Which endpoint is which: its limits, what a key has to be allowed, and the function that answers.

Source: https://github.com/klaviyo/openapi, ``x-klaviyo-ratelimit`` and ``x-klaviyo-scopes`` of each operation
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from connector.demo.klaviyo_standin import events, profiles, reading, settings
from connector.demo.klaviyo_standin.account import Account, Call, Reply
from connector.demo.klaviyo_standin.limits import LARGE, MEDIUM, PRIVACY, SMALL, XLARGE, Tier


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. gated: only for accounts with Advanced KDP."""

    method: str
    path: str
    tier: Tier
    scopes: frozenset[str]
    answer: Callable[[Account, Call], Reply]
    gated: bool = False

    @property
    def name(self) -> str:
        """What its requests are counted under."""
        return f"{self.method} {self.path}"


def _route(
    line: str, tier: Tier, scopes: str, answer: Callable[[Account, Call], Reply], *, gated: bool = False
) -> Route:
    method, path = line.split()
    return Route(method, path, tier, frozenset(scopes.split()), answer, gated)


CONSENT: Final = (
    "profile-subscription-bulk-create-jobs",
    "profile-subscription-bulk-delete-jobs",
    "profile-suppression-bulk-create-jobs",
    "profile-suppression-bulk-delete-jobs",
)
ROUTES: Final = (
    _route("POST /api/profile-import", LARGE, "profiles:write", profiles.import_one),
    _route("POST /api/profiles", LARGE, "profiles:write", profiles.create),
    _route("GET /api/profiles", LARGE, "profiles:read", reading.many_profiles),
    _route("PATCH /api/profiles/*", LARGE, "profiles:write", profiles.change),
    _route("GET /api/profiles/*", LARGE, "profiles:read", profiles.read_one),
    _route("POST /api/profile-merge", MEDIUM, "profiles:write", profiles.merge),
    _route("POST /api/events", XLARGE, "events:write", events.create),
    _route("GET /api/events", XLARGE, "events:read", reading.events),
    _route("GET /api/events/*", MEDIUM, "events:read", reading.one_event),
    _route("GET /api/events/*/profile", XLARGE, "events:read profiles:read", reading.profile_of_event),
    _route("POST /api/event-bulk-create-jobs", MEDIUM, "events:write", events.create_many),
    _route("GET /api/metrics", MEDIUM, "metrics:read", reading.metrics),
    _route("GET /api/accounts", SMALL, "accounts:read", settings.accounts),
    _route("GET /api/tracking-settings", MEDIUM, "tracking-settings:read", settings.tracking),
    _route("GET /api/tracking-settings/*", MEDIUM, "tracking-settings:read", settings.tracking),
    _route("PATCH /api/tracking-settings/*", MEDIUM, "tracking-settings:write", settings.change_tracking),
    _route("GET /api/webhook-topics", SMALL, "webhooks:read", settings.topics, gated=True),
    _route("GET /api/webhooks", SMALL, "webhooks:read", settings.webhooks, gated=True),
    _route("GET /api/webhooks/*", SMALL, "webhooks:read", settings.webhooks, gated=True),
    _route("POST /api/webhooks", SMALL, "webhooks:write events:read", settings.create_webhook, gated=True),
    _route("PATCH /api/webhooks/*", SMALL, "webhooks:write", settings.change_webhook, gated=True),
    _route("DELETE /api/webhooks/*", SMALL, "webhooks:write", settings.delete_webhook, gated=True),
    _route("POST /api/data-privacy-deletion-jobs", PRIVACY, "data-privacy:write", profiles.delete),
    *(_route(f"POST /api/{one}", LARGE, "subscriptions:write profiles:write", settings.consent) for one in CONSENT),
)
SCOPES: Final = frozenset[str]().union(*(route.scopes for route in ROUTES))
"""All that a key can be allowed."""

PREDICTIVE: Final = MEDIUM
"""The limits of GET /api/profiles with ``predictive_analytics``."""

_PATTERNS: Final = [(re.compile(one.path.replace("*", "([^/]+)") + "/?"), one) for one in ROUTES]


def find(method: str, path: str) -> tuple[Route | None, tuple[str, ...], bool]:
    """The endpoint, the variable parts of the path, and whether the path is known under any method."""
    known = False
    for pattern, route in _PATTERNS:
        match = pattern.fullmatch(path)
        if match is not None:
            known = True
            if route.method == method:
                return route, match.groups(), True
    return None, (), known
