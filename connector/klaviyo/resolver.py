"""Asks Klaviyo whose the tokens and profiles in ``lookups`` are, in the background and within a third of its limits.

The answers go the way of everything that teaches: by the inbox. So a page view that came before its answer is
recognised when the answer is read, and the order of the two does not matter. One process at a time asks.

Source: https://developers.klaviyo.com/en/reference/get_profiles
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson
import sqlalchemy as sa

from connector import bulk, leases
from connector.config import Config
from connector.errors import ConnectorError, StoreUnavailable, log_failure
from connector.gate import Windows
from connector.keys import Keys
from connector.klaviyo import lookups, rights
from connector.klaviyo.api import LIMITS, Client, Refused, Tier, Unanswered, quoted
from connector.klaviyo.lookups import PROFILE_TYPE, TOKEN_TYPE, Row
from connector.messages import HOUR, MINUTE, Json, Milliseconds, now_ms
from connector.store import Store
from connector.tables import facts

log = logging.getLogger("connector")

FACT: Final = "klaviyo.lookups"
"""The row of ``facts`` that says how it goes: {"at": milliseconds, "ok", "said"}."""

LEASE: Final = "klaviyo.lookups"
LEASE_MS: Final = 2 * MINUTE
SHARE: Final = 3
"""Profiles are read and written within the same limits: one part of so many is for looking up."""

PATH: Final = "/api/profiles"
FIELDS: Final = {"fields[profile]": "email,phone_number,external_id"}
TOKENS: Final = 25
PROFILES: Final = 100
"""How many are asked in a round. Ids of profiles are asked together, tokens one by one: so it is in Klaviyo's API."""

FORBIDDEN_FOR: Final = HOUR
"""After which a key that may not read is tried again: somebody has to change something first."""

PAUSE_SECONDS: Final = 5.0
UNKNOWN: Final = (400, 404)
FORBIDDEN: Final = (
    f"the key may not read profiles: make one with the scope profiles:read (Klaviyo: Settings, API keys), and set"
    f" {rights.KEY} to it; until then nobody is recognised by the token of a link"
)


class Occupied(ConnectorError):
    """Another process asks already."""


class Resolver:
    """Asks in rounds. Args: holder is what we are called in the lease."""

    def __init__(
        self,
        config: Config,
        store: Store,
        client: Client,
        now: Callable[[], Milliseconds] = now_ms,
        holder: str | None = None,
    ) -> None:
        self.store = store
        self.client = client
        self.now = now
        self.holder = holder or f"{socket.gethostname()}/{os.getpid()}"
        self._keys = Keys(config.secret)
        self._key = self._keys.record(config.klaviyo_api_key)
        self._windows = Windows(*((most // SHARE, seconds) for most, seconds in LIMITS[Tier.PROFILES]))

    def run(self, stop: threading.Event) -> None:
        """Rounds until stopped; then somebody else may ask at once."""
        try:
            while not stop.is_set():
                stop.wait(self._round(stop))
        finally:
            with suppress(StoreUnavailable), self.store.writing() as tx:
                leases.give_back(tx, LEASE, self.holder)
            self.client.close()

    def resolve_once(self, stop: threading.Event) -> int:
        """Ask what is due, up to a round's worth; how many rows were answered.

        Raises: Refused, Unanswered, StoreUnavailable. What was answered stays answered.
        """
        now = self.now()
        with self.store.reading() as tx:
            if _is_forbidden(tx, now, self._key):
                return 0
            profiles = lookups.due(tx, PROFILE_TYPE, now, PROFILES)
            tokens = lookups.due(tx, TOKEN_TYPE, now, TOKENS)
        if not profiles and not tokens:
            return 0
        try:
            with self.store.writing() as tx:
                self._renew(tx)
            answered = self._ask(profiles, "id", stop)
            for row in tokens:
                answered += self._ask([row], "_kx", stop)
        except Occupied:
            return 0
        return answered

    # -- one question -------------------------------------------------------------------------------------------------

    def _ask(self, rows: Sequence[Row], name: str, stop: threading.Event) -> int:
        """Ask for these together and store the answer. Where one of them spoils the question they are asked apart.

        Raises: Occupied, Refused, Unanswered.
        """
        if not rows or not self._windows.wait(stop):
            return 0
        values = [quoted(row.token or row.value) for row in rows]
        asked = f"equals({name},{values[0]})" if len(rows) == 1 else f"any({name},[{','.join(values)}])"
        query = {"filter": asked, "page[size]": str(PROFILES), **FIELDS}
        try:
            document = self.client.get(PATH, query, tier=Tier.PROFILES)
        except Refused as error:
            if error.status not in UNKNOWN:
                raise
            if len(rows) > 1:
                half = len(rows) // 2
                return self._ask(rows[:half], name, stop) + self._ask(rows[half:], name, stop)
            document = {}
        except Unanswered:
            if not stop.is_set():
                self._keep([], rows)
            raise
        found = dict(_profiles(document))
        by_token = name == "_kx"
        answered = [(row, *one) for row in rows for one in _of(row, found, by_token=by_token)]
        self._keep(answered, [], missing=[row for row in rows if row.key not in {one[0].key for one in answered}])
        return len(rows)

    def _keep(
        self, answered: Sequence[tuple[Row, str, Json]], postponed: Sequence[Row], missing: Sequence[Row] = ()
    ) -> None:
        """What was said, in one transaction. Raises: Occupied if the lease was lost: somebody else asks the same."""
        now = self.now()
        with self.store.writing() as tx:
            self._renew(tx)
            for row, profile_id, attributes in answered:
                lookups.settle(tx, row, profile_id, attributes, self._keys, now)
            for row in missing:
                lookups.missing(tx, row, now)
            lookups.postpone(tx, postponed, now)

    def _renew(self, tx: sa.Connection) -> None:
        if not leases.take(tx, LEASE, self.holder, self.now(), LEASE_MS):
            raise Occupied("another process asks Klaviyo already")

    # -- a round, whatever comes --------------------------------------------------------------------------------------

    def _round(self, stop: threading.Event) -> float:
        """One round, and what is said of it; the seconds until the next."""
        try:
            answered = self.resolve_once(stop)
        except Refused as error:
            until = self.now() + (FORBIDDEN_FOR if rights.of_the_key(error) else MINUTE)
            self._say(_explained(error), ok=False, until=until)
            return PAUSE_SECONDS
        except Unanswered as error:
            if not stop.is_set():
                self._say(str(error), ok=False)
            return float(error.retry_after_seconds or PAUSE_SECONDS)
        except StoreUnavailable as error:
            log.warning("the store is unavailable", extra={"action": "lookups", "because": str(error)})
            return PAUSE_SECONDS
        except Exception as error:  # the loop must outlive a defect
            log_failure("lookups", error)
            return PAUSE_SECONDS
        if not answered:
            return PAUSE_SECONDS
        self._say(f"{answered} asked and answered", ok=True)
        return 0.0

    def _say(self, said: str, *, ok: bool, until: Milliseconds | None = None) -> None:
        """Note how it goes, for `connector check`; what is not well is logged too. Args: until, nothing is asked."""
        if not ok:
            log.warning("Klaviyo was not asked", extra={"action": "lookups", "because": said})
        value = orjson.dumps({"at": self.now(), "ok": ok, "said": said, "until": until, "key": self._key}).decode()
        upsert = "on conflict (name) do update set value = excluded.value"
        with suppress(StoreUnavailable), self.store.writing() as tx:
            bulk.insert_rows(tx, facts, ("name", "value"), [(FACT, value)], upsert)


def _is_forbidden(tx: sa.Connection, now: Milliseconds, key: str) -> bool:
    """Were we told within the hour that this key may not? Of another process too, and from before a restart."""
    noted = tx.execute(sa.select(facts.c.value).where(facts.c.name == FACT)).scalar()
    told = orjson.loads(noted) if noted else {}
    until = told.get("until")
    return until is not None and now < until <= now + FORBIDDEN_FOR and told.get("key") == key


def _explained(error: Refused) -> str:
    if error.status == 401:
        return rights.NO_KEY
    return FORBIDDEN if rights.of_the_key(error) else str(error)


def _profiles(document: Mapping[str, Any]) -> Iterator[tuple[str, Json]]:
    """The (id, attributes) of the profiles in an answer."""
    data = document.get("data")
    for one in data if isinstance(data, list) else ():
        if isinstance(one, dict) and isinstance(one.get("id"), str):
            yield one["id"], one.get("attributes")


def _of(row: Row, found: Mapping[str, Json], *, by_token: bool) -> Iterator[tuple[str, Json]]:
    """The profile that a row asked for. A token stands for one; an answer with several says nothing."""
    if by_token:
        yield from found.items() if len(found) == 1 else ()
    elif row.value in found:
        yield row.value, found[row.value]
