"""What a private key of Klaviyo's may do, found out by trying. Nothing is written by it.

Source: https://developers.klaviyo.com/en/docs/authenticate_ (scopes), and the errors as recorded of real accounts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from connector.klaviyo.api import Client, Refused, Tier, Unanswered

KEY: Final = "KLAVIYO_API_KEY"

NO_KEY: Final = (
    f"Klaviyo does not know this key: copy a private one, which begins with pk_, as a whole into {KEY} (Klaviyo:"
    " Settings, API keys)"
)
NO_WEBHOOKS: Final = (
    "webhooks need an account with Advanced KDP, or an OAuth app, and a key with their scopes; polling works without"
)
UNFIT: Final[Mapping[str, Any]] = {"attributes": {"connector_check": True}}
"""No field of any resource of Klaviyo's and nothing of what each of them needs: two reasons for a hard 400."""


@dataclass(frozen=True, slots=True)
class Right:
    """One thing that a key may do, may not do, or of which nothing is known.

    said: plain words; empty for yes. tried: "read", or "refused" where a document was sent that Klaviyo has to refuse.
    """

    what: str
    scope: str
    state: Literal["yes", "no", "unknown"]
    said: str = ""
    tried: Literal["read", "refused"] = "read"


@dataclass(frozen=True, slots=True)
class _Question:
    what: str
    scope: str
    path: str
    tier: Tier
    query: Mapping[str, str]
    type: str = ""


# The smallest answer that shows the right; no address travels for it.
_READS: Final = (
    _Question("read metrics", "metrics:read", "/api/metrics", Tier.METRICS, {"fields[metric]": "name"}),
    _Question("read events", "events:read", "/api/events", Tier.EVENTS, {"page[size]": "1", "fields[event]": "uuid"}),
    _Question(
        "read profiles",
        "profiles:read",
        "/api/profiles",
        Tier.PROFILES,
        {"page[size]": "1", "fields[profile]": "created"},
    ),
    _Question(
        "read the account", "accounts:read", "/api/accounts", Tier.ACCOUNT, {"fields[account]": "public_api_key"}
    ),
    _Question("read tracking settings", "tracking-settings:read", "/api/tracking-settings", Tier.TRACKING, {}),
    _Question("read webhooks", "webhooks:read", "/api/webhooks", Tier.ACCOUNT, {}),
)
_WRITES: Final = (
    _Question("write profiles", "profiles:write", "/api/profile-import", Tier.PROFILES, {}, "profile"),
    _Question("write events", "events:write", "/api/events", Tier.EVENTS, {}, "event"),
)
_DELETES: Final = (
    _Question(
        "delete profiles",
        "data-privacy:write",
        "/api/data-privacy-deletion-jobs",
        Tier.PRIVACY,
        {},
        "data-privacy-deletion-job",
    ),
)


def look(client: Client, *, writing: bool = False, deleting: bool = False) -> list[Right]:
    """What the key may do, each by a request of its own; ends with the first that shows there is no more to know.

    Args: writing and deleting try these too. They can only be tried by writing, so a document is sent that Klaviyo has
    to refuse: 400 means that the key may, 403 that it may not.
    """
    questions = (*_READS, *(_WRITES if writing else ()), *(_DELETES if deleting else ()))
    return list(_asked(client, questions))


def of_the_key(error: Refused) -> bool:
    """Is it the key that may not? A 403 in another form is from somebody in between, who blocks an address."""
    return error.status == 401 or (error.status == 403 and error.code == "permission_denied")


def explained(error: Refused, scope: str) -> str:
    """Why Klaviyo refused, in plain words: what to do about it, where that is known."""
    if error.status == 401:
        return NO_KEY
    if error.status == 403 and not of_the_key(error):
        return f"{error}; if it was not Klaviyo but something in between, try from another address"
    if error.status == 403 and scope.startswith("webhooks:"):
        return NO_WEBHOOKS
    if error.status == 404 and scope.startswith("webhooks:"):
        return "Klaviyo has no webhook of this id; `connector klaviyo webhooks list` shows those there are"
    if error.status == 403:
        return f"set {KEY} to a key with the scope {scope} (Klaviyo: Settings, API keys; scopes cannot be added later)"
    return str(error)


def _asked(client: Client, questions: tuple[_Question, ...]) -> Iterator[Right]:
    for one in questions:
        try:
            yield _ask(client, one)
        except Refused:
            yield Right(one.what, one.scope, "no", NO_KEY)
            return
        except Unanswered as error:
            yield Right(one.what, one.scope, "unknown", str(error))
            return


def _ask(client: Client, one: _Question) -> Right:
    """Raises: Refused where no other question has another answer; Unanswered."""
    tried: Literal["read", "refused"] = "refused" if one.type else "read"
    try:
        if one.type:
            client.send("POST", one.path, {"data": {"type": one.type, **UNFIT}}, tier=one.tier)
        else:
            client.get(one.path, one.query, tier=one.tier)
    except Refused as error:
        if error.status == 401:
            raise
        if error.status == 403:
            return Right(one.what, one.scope, "no", explained(error, one.scope), tried)
        if not (one.type and error.status == 400):
            return Right(one.what, one.scope, "unknown", str(error), tried)
    return Right(one.what, one.scope, "yes", "", tried)
