"""Klaviyo's system webhooks, as an operator sees them: which there are, and what becomes of ours.

They are an accelerator. Polling reads the same events in every account, and refills what a webhook that Klaviyo
switched off has missed: nothing is sent twice by Klaviyo, and here one event by both ways is one.

Source: https://developers.klaviyo.com/en/reference/webhooks (revision 2026-10-15)
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote, urlsplit

from connector.config import LOOPBACK
from connector.errors import ConnectorError
from connector.klaviyo.api import Client, Tier, Unanswered
from connector.source_mapping import Source

NAME: Final = "Email identity connector"
"""What ours are called in Klaviyo, which shows neither their secret nor the path of their URL to anybody again."""

DOOR: Final = "/webhooks/klaviyo"
MIN_SECRET: Final = 16
"""Characters of a secret_key, as Klaviyo's pages ask for."""

PATH: Final = "/api/webhooks"
TOPIC: Final = "event:"
WITH_TOPICS: Final = {"include": "webhook-topics"}


class Unfit(ConnectorError):
    """What was asked for cannot be done as it was said."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One system webhook. endpoint_url is as Klaviyo shows it: the host, and ``*****`` for the rest.

    updated_at: ISO 8601; of one that Klaviyo switched off the best that is known of when.
    """

    id: str
    name: str
    endpoint_url: str
    enabled: bool
    updated_at: str | None
    topics: tuple[str, ...]

    @property
    def ours(self) -> bool:
        return self.name == NAME

    @property
    def host(self) -> str:
        return _host(self.endpoint_url)


def listed(client: Client) -> list[Webhook]:
    """All webhooks of the account. Raises: Refused, Unanswered."""
    return [_webhook(one) for page in client.pages(PATH, WITH_TOPICS, tier=Tier.ACCOUNT) for one in _data(page)]


def found(client: Client, webhook_id: str) -> Webhook:
    """One webhook. Raises: Refused (404 if there is none of this id), Unanswered."""
    return _told(client.get(_path(webhook_id), WITH_TOPICS, tier=Tier.ACCOUNT))


def topics(client: Client) -> list[str]:
    """What the account's webhooks can be about: system topics, and one a metric. Raises: Refused, Unanswered."""
    pages = client.pages("/api/webhook-topics", {}, tier=Tier.ACCOUNT)
    return sorted(str(one["id"]) for page in pages for one in _data(page))


def wanted(source: Source) -> list[str]:
    """The topics that the mapping reads, whether an account has them or not."""
    polled = source.poll.metrics.values() if source.poll else ()
    words = {*source.names, *source.because, *polled}
    return sorted({word.partition("/")[0] for word in words if word.startswith(TOPIC)})


def offered(client: Client, source: Source) -> tuple[list[str], list[str]]:
    """The wanted topics that the account has, and those it has not.

    Raises: Unfit if it has none; Refused, Unanswered.
    """
    known, asked = set(topics(client)), wanted(source)
    about = [one for one in asked if one in known]
    if not about:
        raise Unfit(f"this account offers none of the topics that mappings/sources/{source.provider}.toml reads")
    return about, [one for one in asked if one not in known]


def require_none(client: Client, url: str) -> None:
    """Raises: Unfit if there is one of ours to this host already, which would get everything twice."""
    host = _host(url)
    for one in listed(client):
        if one.ours and one.host == host:
            raise Unfit(
                f"there is a webhook to {host} already, {one.id}, {'enabled' if one.enabled else 'switched off'}: keep"
                f" it, or delete it first (`connector klaviyo webhooks delete {one.id}`)"
            )


def create(client: Client, url: str, secret: str, about: Iterable[str]) -> Webhook:
    """Make a webhook to url about these topics, signed with secret.

    Raises: Refused; Unanswered, after which it may be there: ``listed`` tells.
    """
    topics = sorted(about)
    data = {
        "type": "webhook",
        "attributes": {"name": NAME, "endpoint_url": url, "secret_key": secret},
        "relationships": {"webhook-topics": {"data": [{"type": "webhook-topic", "id": one} for one in topics]}},
    }
    made = _told(client.send("POST", PATH, {"data": data}, tier=Tier.ACCOUNT))
    return replace(made, topics=tuple(topics))  # which its answer may leave out


def switch(client: Client, webhook_id: str, *, on: bool) -> Webhook:
    """Have a webhook send again, or no more. Klaviyo replays nothing of the time between. Raises: as ``found``."""
    data = {"type": "webhook", "id": webhook_id, "attributes": {"enabled": on}}
    return _told(client.send("PATCH", _path(webhook_id), {"data": data}, tier=Tier.ACCOUNT))


def delete(client: Client, webhook_id: str) -> None:
    """Remove a webhook, for ever. Raises: as ``found``."""
    client.send("DELETE", _path(webhook_id), {}, tier=Tier.ACCOUNT)


# -- what a person says ---------------------------------------------------------------------------------------------


def endpoint(url: str) -> str:
    """The URL, if Klaviyo can post to it and it is our door.

    Raises: Unfit.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Unfit("--url: that is no URL") from None
    local = parts.scheme == "http" and parts.hostname in LOOPBACK
    if not parts.hostname or not (parts.scheme == "https" or local):
        raise Unfit("--url: Klaviyo posts to https only; give the public https URL of this connector's door")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Unfit("--url: give it without user name, query and fragment: Klaviyo signs what it sends")
    if not parts.path.endswith(DOOR):
        raise Unfit(f"--url: Klaviyo's events are received at {DOOR}; give https://YOUR-HOST{DOOR}")
    return parts.geturl()


def fresh_secret() -> str:
    """A secret nobody knows yet."""
    return secrets.token_hex(20)


def usable_secret(secret: str, variable: str) -> str:
    """The first secret of a variable, if Klaviyo takes it. Raises: Unfit."""
    if len(secret) < MIN_SECRET:
        raise Unfit(
            f"Klaviyo wants at least {MIN_SECRET} characters of a webhook's secret, and the first one of {variable} has"
            f" {len(secret)}; set another, or let --new-secret make one"
        )
    return secret


# -- Klaviyo's documents --------------------------------------------------------------------------------------------


def _host(url: str) -> str:
    """Host and port, as far as it can be read: what Klaviyo shows of a URL, it shows as a text."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _path(webhook_id: str) -> str:
    return f"{PATH}/{quote(webhook_id, safe='')}"


def _data(page: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from page.get("data") or ()


def _told(document: Mapping[str, Any]) -> Webhook:
    """Raises: Unanswered if there is no webhook in it."""
    data = document.get("data")
    if not isinstance(data, Mapping):
        raise Unanswered("Klaviyo's answer holds no webhook; is KLAVIYO_API_URL right?")
    return _webhook(data)


def _webhook(one: Mapping[str, Any]) -> Webhook:
    told = one.get("attributes") or {}
    about = ((one.get("relationships") or {}).get("webhook-topics") or {}).get("data") or ()
    return Webhook(
        id=str(one.get("id") or ""),
        name=str(told.get("name") or ""),
        endpoint_url=str(told.get("endpoint_url") or ""),
        enabled=told.get("enabled") is not False,
        updated_at=told.get("updated_at"),
        topics=tuple(sorted(str(topic["id"]) for topic in about)),
    )
