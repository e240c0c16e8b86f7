"""Is this installation in order? One finding a question, each with what to do about it; no secret, no address in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa

from connector import bootstrap, counters, derive, inbox, metrics, migrate, operate
from connector.config import Config
from connector.errors import ConfigError, StoreUnavailable
from connector.keys import Keys
from connector.mapping import Mappings
from connector.messages import MINUTE, SECOND, Milliseconds, Outcome, iso
from connector.sources import declared, segment, tracking
from connector.store import Store
from connector.tables import doors, facts, heartbeats, messages

Level = Literal["ok", "off", "warn", "error"]
"""off: not in use, which may be as intended."""

RECENT: Final = 1_000
"""How many of the newest rows of the log are looked at."""

FINGERPRINT: Final = "secret_fingerprint"
"""The row of ``facts`` that remembers which CONNECTOR_SECRET made the ids of this store."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. do is empty where nothing needs to be done."""

    level: Level
    what: str
    do: str = ""


def check(config: Config, store: Store | None, now: Milliseconds) -> list[Finding]:
    """What was found, in the order in which one would repair it. Writes nothing and asks nobody outside.

    Args: store is None where there is no database yet. The environment itself was judged by ``config.read``.
    """
    findings: list[Finding] = []
    mappings = _mappings(config, findings)
    findings += _doors(config, mappings)
    findings += _sending(config)
    if store is None:
        findings.append(
            Finding("error", "there is no database yet", "start `connector serve`, or run `connector migrate`")
        )
        return findings
    try:
        findings += _schema(store)
        if findings[-1].level != "error":
            with store.reading() as tx:
                findings += _store(tx, config, mappings, now)
    except (StoreUnavailable, ConfigError) as error:
        findings.append(
            Finding("error", f"the database does not answer ({error})", "look at DATABASE_URL and the server")
        )
    return findings


# -- the configuration --------------------------------------------------------------------------------------------


def _mappings(config: Config, findings: list[Finding]) -> Mappings | None:
    try:
        mappings = bootstrap.open_mappings(config)
    except ConfigError as error:
        findings += [Finding("error", mistake, "repair the file; nothing starts before") for mistake in error.mistakes]
        return None
    own = f", those in {config.mappings} first" if config.mappings else ""
    findings.append(Finding("ok", f"mappings: {', '.join(sorted(mappings.sources))} are read{own}"))
    return mappings


def _doors(config: Config, mappings: Mappings | None) -> Iterator[Finding]:
    """Which sources may come in."""
    closed: list[str] = []
    for path, variables in entrances(mappings).items():
        missing = [name for name in variables if not config.secrets_of(name)]
        if not missing:
            told = ", ".join(f"{name}: {len(config.secrets_of(name))} set" for name in variables)
            yield Finding("ok", f"{path} is open ({told})")
        elif path in ("/v1", "/webhooks/segment") or len(missing) < len(variables):
            level: Level = "off" if path == "/v1" else "warn"
            yield Finding(level, f"{path} is closed", f"to open it, set {', '.join(missing)}")
        else:
            closed.append(f"{path} ({', '.join(missing)})")
    yield from _keys(config, mappings)
    if closed:
        yield Finding(
            "off",
            f"{_count(len(closed), 'platform is', 'platforms are')} closed",
            "set what is in brackets to open " + ", ".join(closed),
        )
    if config.secrets_of(segment.SECRETS) and not config.secrets_of(segment.TOKENS):
        yield Finding(
            "warn",
            "Segment signs only the first event of a batch, and no second factor is configured",
            f"set {segment.TOKENS} and send Authorization: Bearer from the webhook, or keep its batch size at 1",
        )
    if not config.secrets_of("INSPECTOR_TOKENS"):
        yield Finding("warn", "the inspector is closed", "to open it, set INSPECTOR_TOKENS")


def _keys(config: Config, mappings: Mappings | None) -> Iterator[Finding]:
    """Secrets that can be none: pasted in part, or another one."""
    for name, source in sorted((mappings.sources if mappings else {}).items()):
        n = declared.unusable(source, config.secrets_of(source.secrets)) if name != segment.NAME else 0
        if n:
            yield Finding(
                "error",
                f"{_count(n, 'member', 'members')} of {source.secrets} cannot be what {source.name} shows as its key",
                "copy it once more, as a whole; members are separated by commas",
            )


def entrances(mappings: Mappings | None) -> dict[str, tuple[str, ...]]:
    """Where messages may come in, with the variables that open each."""
    known: dict[str, tuple[str, ...]] = {"/v1": (tracking.SECRETS,), "/webhooks/segment": (segment.SECRETS,)}
    for name, source in sorted((mappings.sources if mappings else {}).items()):
        if name != segment.NAME:
            known[f"/webhooks/{name}"] = source.variables
    return known


def _sending(config: Config) -> Iterator[Finding]:
    if not config.segment_write_key:
        yield Finding(
            "warn",
            "SEGMENT_WRITE_KEY is not set: deliveries wait as pending, nothing is lost",
            "make an HTTP API source in Segment and set SEGMENT_WRITE_KEY to its write key",
        )
    else:
        yield Finding("ok", f"deliveries leave for {config.segment_api_url}")


# -- the store ----------------------------------------------------------------------------------------------------


def _schema(store: Store) -> Iterator[Finding]:
    kind = "SQLite" if store.sqlite else "PostgreSQL"
    current, head = migrate.current(store), migrate.head()
    if current == head:
        yield Finding("ok", f"the database answers ({kind}) and its tables are current ({head})")
    else:
        yield Finding(
            "error", f"the tables are at {current or 'nothing'}, this version needs {head}", "run `connector migrate`"
        )


def _store(tx: sa.Connection, config: Config, mappings: Mappings | None, now: Milliseconds) -> Iterator[Finding]:
    told = counters.read(tx)
    yield from _fingerprint(tx, config)
    yield from _rules(tx, mappings)
    yield from _worker(tx, now)
    yield from _backlog(tx, told, now)
    yield from _sources(tx, told)
    recent = _recent(tx)
    yield from _unauthenticated(recent)
    yield from _channels(recent, mappings)


def _fingerprint(tx: sa.Connection, config: Config) -> Iterator[Finding]:
    known = tx.execute(sa.select(facts.c.value).where(facts.c.name == FINGERPRINT)).scalar()
    if known is None:
        yield Finding("ok", "the database does not belong to a CONNECTOR_SECRET yet; the first start decides")
    elif known == Keys(config.secret).fingerprint:
        yield Finding("ok", "CONNECTOR_SECRET is the one this database was made with")
    else:
        yield Finding(
            "error",
            "CONNECTOR_SECRET is not the one this database was made with: all profile ids and messageIds would change",
            "restore the secret that was kept with this database, or give the connector another DATABASE_URL",
        )


def _rules(tx: sa.Connection, mappings: Mappings | None) -> Iterator[Finding]:
    known = tx.execute(sa.select(facts.c.value).where(facts.c.name == derive.FACT)).scalar()
    if mappings is not None and known not in (None, mappings.rules.fingerprint):
        yield Finding(
            "warn",
            "identity.toml changed since who is who was derived: until then answers may mix the old rules and the new",
            "restart `connector serve` or `connector worker`, which derives everything again",
        )


def _worker(tx: sa.Connection, now: Milliseconds) -> Iterator[Finding]:
    seen_at = tx.execute(sa.select(sa.func.max(heartbeats.c.seen_at))).scalar()
    if seen_at is None:
        yield Finding(
            "warn", "no worker has ever run on this database", "start `connector serve` or `connector worker`"
        )
    elif now - seen_at > metrics.WORKER_SILENT_MS:
        yield Finding(
            "error",
            f"no worker is alive; the last was seen at {iso(seen_at)}",
            "start `connector serve` or `connector worker`",
        )
    else:
        yield Finding("ok", "a worker is alive")


def _backlog(tx: sa.Connection, told: Mapping[str, int], now: Milliseconds) -> Iterator[Finding]:
    waiting, age = inbox.waiting(tx), metrics.backlog_age(tx, now)
    if age > MINUTE:
        yield Finding(
            "warn",
            f"{_count(waiting, 'message waits', 'messages wait')} to be read, the oldest for {age // SECOND} seconds",
            "see that a worker runs and keeps up",
        )
    else:
        yield Finding("ok", f"{_count(waiting, 'message waits', 'messages wait')} to be read")
    for name, n in sorted(told.items()):
        match name.split("."):
            case ["outbox", destination, "dead"] if n:
                yield Finding(
                    "warn",
                    f"{_count(n, 'delivery', 'deliveries')} to {destination} {'is' if n == 1 else 'are'} dead",
                    "see `connector dead`, then `connector retry`",
                )
            case ["outbox", destination, "pending"] if n:
                yield Finding(
                    "ok", f"{_count(n, 'delivery', 'deliveries')} to {destination} {'is' if n == 1 else 'are'} pending"
                )
            case ["quarantined"] if n:
                yield Finding(
                    "warn",
                    f"{_count(n, 'message is', 'messages are')} quarantined",
                    "see `connector log --outcome quarantined`",
                )


def _count(n: int, one: str, more: str) -> str:
    return f"{n} {one if n == 1 else more}"


def _sources(tx: sa.Connection, told: Mapping[str, int]) -> Iterator[Finding]:
    """The last message of each source, and what was refused."""
    for door in tx.execute(sa.select(doors).where(doors.c.source != operate.SOURCE).order_by(doors.c.source)):
        if door.last_at is not None:
            yield Finding("ok", f"{door.source}: the last message came at {iso(door.last_at)}")
        reasons = {name.split(".", 2)[2]: n for name, n in told.items() if name.startswith(f"rejected.{door.source}.")}
        if not reasons or door.refused_at is None:
            continue
        counted = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in sorted(reasons.items()))
        total = sum(reasons.values())
        since = door.last_at is None or door.refused_at > door.last_at
        yield Finding(
            "warn" if since else "ok",
            f"{door.source}: {total} request{' was' if total == 1 else 's were'} refused ({counted}), the last at"
            f" {iso(door.refused_at)}",
            f"the last one: {door.refused_because}" if since else "",
        )


def _recent(tx: sa.Connection) -> list[Any]:
    columns = (messages.c.source, messages.c.vendor, messages.c.outcome, messages.c.authenticated)
    return list(tx.execute(sa.select(*columns).order_by(messages.c.id.desc()).limit(RECENT)))


def _unauthenticated(recent: list[Any]) -> Iterator[Finding]:
    n = sum(not row.authenticated for row in recent)
    if n:
        yield Finding(
            "warn",
            f"{n} of the last {len(recent)} messages came in batches of which only the first event is signed",
            f"set {segment.TOKENS} and send it from Segment's webhook, or keep its batch size at 1",
        )


def _channels(recent: list[Any], mappings: Mappings | None) -> Iterator[Finding]:
    """Vendors whose events come by Segment's source for them and by their own webhook."""
    ways: dict[str, Counter[str]] = {}
    for row in recent:
        if row.vendor is not None and row.outcome != Outcome.ECHO:
            ways.setdefault(row.vendor, Counter())[row.source if row.source == row.vendor else "segment"] += 1
    for vendor, sources in sorted(ways.items()):
        if len(sources) > 1:
            name = mappings.sources[vendor].name if mappings and vendor in mappings.sources else vendor
            yield Finding(
                "warn",
                f"{name} comes by two channels, its own and Segment's source: one counts, one is evidence only",
                f"keep one of them, or choose with `channel` in mappings/sources/{vendor}.toml",
            )
