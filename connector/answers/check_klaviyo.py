"""What ``connector check`` says of Klaviyo: do the settings agree, may the key do what they ask for, does it flow?

``check`` asks nobody outside; ``ask`` asks Klaviyo, for the command line only. No finding holds a key or an address.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import sqlalchemy as sa

from connector import migrate
from connector.answers.check import RECENT, Finding, Level
from connector.config import Config
from connector.errors import StoreUnavailable
from connector.klaviyo import polled, resolver, rights, webhooks
from connector.klaviyo.api import Client, Refused, Unanswered
from connector.klaviyo.rights import Right
from connector.klaviyo.webhooks import Webhook
from connector.mapping import Mappings
from connector.messages import MINUTE, Milliseconds, iso
from connector.store import Store
from connector.tables import facts, messages, polls

NAME: Final = "klaviyo"
TOKENS: Final = "klaviyo_exchange_id"
"""The type of the link tokens that only Klaviyo can resolve."""

POLLING: Final = "polling Klaviyo's events"
RESOLVING: Final = "asking Klaviyo whose a link's token is"
SILENT_MS: Final = 15 * MINUTE
"""After which, beside its pause, a poller that says nothing is no longer at work."""

NEEDS: Final[Mapping[str, tuple[Level, str]]] = {
    "metrics:read": ("error", "without it no email event is read"),
    "events:read": ("error", "without it no email event is read"),
    "profiles:read": ("warn", "without it nobody knows whose a link's token is"),
    "profiles:write": ("error", "without it no profile reaches Klaviyo"),
    "events:write": ("error", "without it no event reaches Klaviyo"),
    "data-privacy:write": ("error", "without it KLAVIYO_DELETE=1 cannot erase anybody"),
}
"""How bad it is if the key may not, and why. What is not listed is a convenience."""


def check(config: Config, mappings: Mappings, store: Store | None, now: Milliseconds) -> Iterator[Finding]:
    """What settings and store say. Nothing at all where Klaviyo is not in use."""
    yield from _settings(config)
    if store is None or not _readable(store):
        return
    with store.reading() as tx:
        if config.klaviyo_api_key:
            yield from _polling(tx, mappings, now)
            resolving = _said(tx, resolver.FACT)
            if resolving is not None:
                yield _fares(RESOLVING, resolving)
        elif _in_use(tx, config, mappings) and any(one.type == TOKENS for one in mappings.rules.landings):
            yield Finding(
                "off",
                "link tokens of Klaviyo's mails cannot be resolved: only Klaviyo knows whose they are",
                "set KLAVIYO_API_KEY, a private key that may read profiles",
            )


def ask(config: Config, mappings: Mappings, client: Client) -> Iterator[Finding]:
    """What Klaviyo says: what the key may do, and the state of our webhooks."""
    found = look(config, client)
    yield from told(found)
    if any(one.scope == "webhooks:read" and one.state == "yes" for one in found):
        try:
            yield from switched_off(webhooks.listed(client), config, mappings)
        except (Refused, Unanswered) as error:
            yield Finding("warn", f"Klaviyo's webhooks cannot be seen ({error})", "run `connector check` again later")


def look(config: Config, client: Client) -> list[Right]:
    """What the key may do, of what the settings ask for."""
    writing = NAME in config.destinations
    return rights.look(client, writing=writing, deleting=writing and config.klaviyo_delete)


def level(one: Right) -> Level:
    """How bad it is."""
    if one.state == "yes":
        return "ok"
    if one.state == "unknown":
        return "warn"
    if one.said == rights.NO_KEY:
        return "error"
    return NEEDS.get(one.scope, ("off", ""))[0]


def told(found: Iterable[Right]) -> Iterator[Finding]:
    """Rights as findings: one for all that it may, one for each that it may not."""
    found = list(found)
    may = [one.what for one in found if one.state == "yes"]
    if may:
        harmless = any(one.tried == "refused" for one in found)
        how = " (writing was tried with what Klaviyo has to refuse)" if harmless else ""
        yield Finding("ok", f"Klaviyo's key may {', '.join(may)}{how}")
    for one in found:
        if one.state == "no" and one.said == rights.NO_KEY:
            yield Finding("error", "Klaviyo does not know the key of KLAVIYO_API_KEY", one.said)
        elif one.state == "no":
            why = NEEDS.get(one.scope, ("", ""))[1]
            yield Finding(level(one), f"Klaviyo's key may not {one.what}{f': {why}' if why else ''}", one.said)
        elif one.state == "unknown":
            yield Finding(
                "warn",
                f"whether Klaviyo's key may {one.what} is not known ({one.said})",
                "run `connector check` again later; what waits for Klaviyo is not lost",
            )


def switched_off(found: Iterable[Webhook], config: Config, mappings: Mappings) -> Iterator[Finding]:
    """Webhooks that should bring us events and do not."""
    source = mappings.sources[NAME]
    wanted, opened = set(webhooks.wanted(source)), bool(config.secrets_of(source.secrets))
    for one in found:
        if one.ours and one.enabled and not opened:
            yield Finding(
                "warn",
                f"Klaviyo's webhook {one.id} sends to a closed door, and will be switched off after 48 hours",
                f"set {source.secrets} to its secret; if that is lost, delete the webhook and make another"
                f" (`connector klaviyo webhooks delete {one.id}`)",
            )
        elif not one.enabled and (one.ours or (opened and wanted & set(one.topics))):
            when = f", last changed at {one.updated_at}" if one.updated_at else ""
            yield Finding(
                "warn",
                f"Klaviyo's webhook {one.id} to {one.endpoint_url} is switched off{when}; polling reads what it misses",
                f"if it is this connector's: `connector klaviyo webhooks enable {one.id}`",
            )


# -- settings and store -------------------------------------------------------------------------------------------


def _settings(config: Config) -> Iterator[Finding]:
    writing, key = NAME in config.destinations, bool(config.klaviyo_api_key)
    if writing and not key:
        yield Finding(
            "error",
            "DESTINATIONS names klaviyo, and KLAVIYO_API_KEY is not set: what is for Klaviyo waits",
            "set KLAVIYO_API_KEY to a private key of Klaviyo's, or take klaviyo out of DESTINATIONS",
        )
    elif writing:
        yield Finding(
            "warn",
            f"deliveries leave for {config.klaviyo_api_url}; if Segment's own Klaviyo destination is on, everything is"
            " written twice, by two rules",
            "see that every destination named Klaviyo is switched off in Segment (Connections, Destinations)",
        )
    elif key:
        yield Finding("ok", "Klaviyo is read only: DESTINATIONS does not name klaviyo, so nothing is written to it")
    if config.klaviyo_delete and not (writing and key):
        yield Finding(
            "warn",
            "KLAVIYO_DELETE=1 does nothing: nothing is written to Klaviyo",
            "set DESTINATIONS=segment,klaviyo and KLAVIYO_API_KEY, or remove it; erase in Klaviyo by hand until then",
        )


def _readable(store: Store) -> bool:
    """Are the tables there that are asked? That they are not is another finding."""
    try:
        return migrate.current(store) == migrate.head()
    except StoreUnavailable:
        return False


def _in_use(tx: sa.Connection, config: Config, mappings: Mappings) -> bool:
    """Do events of Klaviyo's come, by whatever door?"""
    if config.secrets_of(mappings.sources[NAME].secrets):
        return True
    recent = sa.select(messages.c.vendor).order_by(messages.c.id.desc()).limit(RECENT)
    return NAME in tx.execute(recent).scalars().all()


def _polling(tx: sa.Connection, mappings: Mappings, now: Milliseconds) -> Iterator[Finding]:
    """Are events read, and how far are they?"""
    poll = mappings.sources[NAME].poll
    if poll is None or not poll.enabled:
        yield Finding("off", f"Klaviyo's events are not polled: [poll] in mappings/sources/{NAME}.toml says so")
        return
    told = _said(tx, polled.FACT)
    if told is None:
        yield Finding("warn", f"{POLLING} has not begun", "start `connector serve` or `connector worker`")
    elif told.get("ok") and now - told["at"] > SILENT_MS + 2 * poll.every_ms:
        yield Finding("warn", f"{POLLING} stopped: {_last(told)}", "see that a worker runs")
    else:
        yield _fares(POLLING, told)
    asked = sa.select(sa.func.count(), sa.func.count(polls.c.task)).where(polls.c.source == NAME)
    metrics, reading = tx.execute(asked).one()
    if reading:
        yield Finding("ok", f"{reading} of {metrics} metrics of Klaviyo's are being read, and go on where they were")


def _fares(what: str, told: Mapping[str, Any]) -> Finding:
    """How a background reader fares, by its own words."""
    if told.get("ok"):
        return Finding("ok", f"{what} works: {_last(told)}")
    return Finding("warn", f"{what} failed: {_last(told)}", "it is tried again by itself; see what the key may do")


def _last(told: Mapping[str, Any]) -> str:
    said = f", {told['said']}" if told.get("said") else ""
    return f"the last time was {iso(told['at'])}{said}"


def _said(tx: sa.Connection, fact: str) -> dict[str, Any] | None:
    """What a background reader noted of itself: at, ok, said."""
    text = tx.execute(sa.select(facts.c.value).where(facts.c.name == fact)).scalar()
    told: dict[str, Any] | None = json.loads(text) if text else None
    return told
