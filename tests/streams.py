"""Builders of what the doors receive, a run of it through the stages, and a look at what the store then knows."""

from __future__ import annotations

import hashlib
import json
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from connector import config, counters, inbox, log, mapping, pipeline, stitch, validate
from connector.errors import InvalidMessage
from connector.graph import Graph
from connector.house import House, build
from connector.keys import Keys
from connector.klaviyo import records
from connector.messages import DAY, MINUTE, Identifier, Message, Received, Stored, iso
from connector.resolve import earliest_identifier
from connector.resources import shipped_mappings
from connector.store import Store
from connector.tables import clicks, identifiers, messages, outbox
from tests.oracle import Oracle, read_act

NOW = 1_790_000_000_000  # 2026-09-21T14:13:20Z, when the doors receive what these tests send
T0 = NOW // DAY * DAY - 10 * DAY  # midnight, ten days earlier

SECRET = "a secret of the tests, long enough"


# -- houses ---------------------------------------------------------------------------------------------------------


@cache
def house(
    own_channels: tuple[str, ...] = (),
    lines: tuple[tuple[str, str], ...] = (),
    files: tuple[tuple[str, str], ...] = (),
) -> House:
    """A house with the shipped mappings.

    Args: own_channels are vendors whose webhook is configured. lines are (file, line): the line replaces the first
    of the shipped file that sets the same key, ``("sources/klaviyo.toml", 'user_id = "segment"')``.
    files are (file, text) beside the shipped ones.
    """
    variables = {"klaviyo": "KLAVIYO_WEBHOOK_SECRETS", "customerio": "CUSTOMERIO_SIGNING_KEYS"}
    environ = {"CONNECTOR_SECRET": SECRET, **{variables[name]: "s" for name in own_channels}}
    read = config.read(environ, Path("/nonexistent/.env"))
    with tempfile.TemporaryDirectory() as folder:
        for file, line in lines:
            _override(Path(folder) / file, (shipped_mappings() / file).read_text().splitlines(), line)
        for file, text in files:
            (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / file).write_text(text)
        mappings = mapping.load(shipped_mappings(), Path(folder), own_prefix=Keys(SECRET).prefix)
        own = Path(folder) / "identity.toml"
        table = tomllib.loads((own if own.exists() else shipped_mappings() / "identity.toml").read_text())
    built = build(read, mappings)
    _identity_of[id(built)] = table
    return built


_identity_of: dict[int, Mapping[str, Any]] = {}  # the houses are cached: their ids are theirs for ever


def identity_of(house: House) -> Mapping[str, Any]:
    """The ``identity.toml`` that a house was built with, parsed."""
    return _identity_of.get(id(house)) or tomllib.loads((shipped_mappings() / "identity.toml").read_text())


def _override(target: Path, shipped: list[str], line: str) -> None:
    key = line.partition("=")[0].strip()
    number = next(number for number, one in enumerate(shipped) if one.startswith(f"{key} = "))
    changed = [*shipped[:number], line, *shipped[number + 1 :]]
    assert changed != shipped, f"{target.name} has this line already"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(changed))


# -- what the doors receive ------------------------------------------------------------------------------------------


_numbers = count(1)


def at(minutes: float) -> int:
    """The event time this many minutes after the tests' beginning."""
    return T0 + round(minutes * MINUTE)


def md5(email: str) -> str:
    return hashlib.md5(email.encode()).hexdigest()  # noqa: S324 - what some email sources send


def sha256(email: str) -> str:
    return hashlib.sha256(email.encode()).hexdigest()


def call(minutes: float | None = 0, *, received_at: int = NOW, source: str = "segment", **fields: Any) -> Received:
    """A Segment call; fields that are None are left out."""
    body = {name: value for name, value in fields.items() if value is not None}
    body.setdefault("messageId", f"m{next(_numbers)}")
    if minutes is not None:
        body.setdefault("timestamp", iso(at(minutes)))
    return Received(source, body["messageId"], json.dumps(body), received_at)


def page(minutes: float, anonymous: str | None = None, user: str | None = None, **more: Any) -> Received:
    return call(minutes, type="page", anonymousId=anonymous, userId=user, **more)


def identify(
    minutes: float, anonymous: str | None = None, user: str | None = None, email: str | None = None, **more: Any
) -> Received:
    traits = {"email": email} if email else {}
    return call(minutes, type="identify", anonymousId=anonymous, userId=user, traits=traits, **more)


def sourced(
    minutes: float,
    anonymous: str | None = None,
    user: str | None = None,
    email: str | None = None,
    event: str = "Email Opened",
    integration: str | None = "Klaviyo",
    **more: Any,
) -> Received:
    """An email event in Segment's own form, as one of its email sources sends it: disguise (b)."""
    context: dict[str, Any] = {"integration": {"name": integration}} if integration else {}
    if email:
        context["traits"] = {"email": email}
    context |= more.pop("context", {})
    return call(minutes, type="track", event=event, anonymousId=anonymous, userId=user, context=context, **more)


def klaviyo(
    minutes: float, email: str | None = None, profile: str | None = None, event: str = "opened_email", **more: Any
) -> Received:
    """An element of Klaviyo's system webhook: disguise (a)."""
    number = more.pop("message_id", None) or f"k{next(_numbers)}"
    properties: dict[str, Any] = {"Subject": "Hello", "$message": "M1", **more.pop("properties", {})}
    if email:
        properties["Recipient Email Address"] = email
    data: dict[str, Any] = {"attributes": {"datetime": iso(at(minutes)), "event_properties": properties}}
    if profile:
        data["relationships"] = {"profile": {"data": {"type": "profile", "id": profile}}}
    body = {"topic": f"event:klaviyo.{event}", "external_id": number, "payload": {"data": data}}
    return Received("klaviyo", number, json.dumps(body), more.pop("received_at", NOW))


def record(
    minutes: float,
    profile: str,
    email: str | None = None,
    external_id: str | None = None,
    token: str | None = None,
    **more: Any,
) -> Received:
    """What Klaviyo's API says of a profile; it is from when it was asked. Args: token is one that is the profile's."""
    keys = Keys(SECRET)
    attributes = {"email": email, "external_id": external_id, "phone_number": more.pop("phone", None)}
    hashed = keys.token(token) if token else None
    found = records.of_profile(profile, attributes, keys, at(minutes), exchange_id=hashed)
    if found is None:  # it says nothing
        return Received("klaviyo", f"empty{next(_numbers)}", '{"topic": "profile", "payload": {}}', at(minutes))
    return found


def customerio(
    minutes: float,
    recipient: str | None = None,
    email: str | None = None,
    profile: str | None = None,
    user: str | None = None,
    metric: str = "opened",
    **more: Any,
) -> Received:
    """A reporting webhook of Customer.io. Its clock ticks in seconds."""
    number = more.pop("message_id", None) or f"c{next(_numbers)}"
    ids = {"email": email, "cio_id": profile, "id": user}
    told = {"identifiers": {name: value for name, value in ids.items() if value}, "delivery_id": "D1"}
    data = {**told, **more.pop("data", {})}
    if recipient:
        data["recipient"] = recipient
    body = {
        "event_id": number,
        "object_type": "email",
        "metric": metric,
        "timestamp": at(minutes) // 1000,
        "data": data,
    }
    return Received("customerio", number, json.dumps(body), more.pop("received_at", NOW))


def clicked(
    seconds: float, link: str, email: str | None = None, profile: str | None = None, mail: str = "M1", **more: Any
) -> Received:
    """A click in a mail that Klaviyo sent. Args: seconds after the tests' beginning."""
    told = {"URL": link, "$message": mail, **more.pop("properties", {})}
    return klaviyo(seconds / 60, email, profile, "clicked_email", properties=told, **more)


# -- a run -----------------------------------------------------------------------------------------------------------


def take_in(tx: sa.Connection, batch: Sequence[Received], house: House, now: int = NOW) -> None:
    """A request and its stitching, in a transaction of the caller."""
    inbox.store(tx, batch)
    pipeline.process(tx, inbox.take(tx, 10_000), house, now)


def feed(store: Store, *batch: Received, house: House | None = None, now: int = NOW) -> None:
    """A request, then its stitching, each in a transaction of its own."""
    with store.writing() as tx:
        inbox.store(tx, batch)
    with store.writing() as tx:
        pipeline.process(tx, inbox.take(tx, 10_000), house or default(), now)


def default() -> House:
    return house()


def understood(received: Iterable[Received], house: House) -> list[Message]:
    """The valid messages among these, each once, without our own coming back: the evidence."""
    first: dict[tuple[str, str], Received] = {}
    for one in received:
        first.setdefault((one.source, one.message_id), one)
    found = []
    for one in first.values():
        if one.source == "operator":
            continue
        stored = Stored(
            0, one.source, one.message_id, one.body, one.received_at, one.authenticated, one.envelope, one.rotten
        )
        try:
            message = validate.read(stored, house.reader)
        except InvalidMessage:
            continue
        if not validate.is_echo(message, house.reader):
            found.append(message)
    return found


def oracle(received: Iterable[Received], house: House | None = None) -> Oracle:
    received, house = list(received), house or default()
    acts = {one.message_id: read_act(one) for one in reversed(received) if one.source == "operator"}
    return Oracle(tuple(understood(received, house)), tuple(acts.values()), identity_of(house))


# -- what the store knows ---------------------------------------------------------------------------------------------


Person = frozenset[Identifier]
Visitor = tuple[str | None, str | None, str | None, bool]  # user_id, anonymous_id, email, ambiguous


@dataclass(frozen=True)
class Known:
    """What a store says about everything, in words that do not depend on row numbers. swept: a scanner's clicks."""

    people: frozenset[Person]
    refused: frozenset[tuple[Identifier, Identifier, str, str]]
    profile_ids: dict[Person, str]
    visitors: dict[str, Visitor]
    owners: dict[tuple[Identifier, int], Person | None]
    swept: frozenset[str]


def known(tx: sa.Connection, house: House, times: Iterable[int] = ()) -> Known:
    """Everything the store knows; owners of every identifier and browser at these times."""
    graph = Graph(tx, house.rules)
    everybody = [row[0] for row in tx.execute(sa.select(identifiers.c.id))]
    graph.load(everybody)
    named = {number: graph.nodes[number].identifier for number in everybody}
    people: dict[int, Person] = {}
    refused = set()
    profile_ids: dict[Person, str] = {}
    for component in graph.links:
        found = graph.people(component)
        for cluster, members in found.members.items():
            person = people[cluster] = frozenset(named[one] for one in members)
            profile_ids[person] = house.keys.profile_id(earliest_identifier(members, graph.nodes, house.rules))
        refused |= {(named[one.link.a], named[one.link.b], one.link.kind, one.type) for one in found.refused}
    owners = {}
    for number, identifier in named.items():
        for time in times:
            is_browser = graph.nodes[number].component is None
            owner = graph.browser_owner(number, time) if is_browser else graph.owner(number, time)
            owners[identifier, time] = None if owner is None else people[owner]
    return Known(frozenset(people.values()), frozenset(refused), profile_ids, visitors(tx, house), owners, swept(tx))


def swept(tx: sa.Connection) -> frozenset[str]:
    """The clicks that are one of a scanner's sweep, by their messages' keys."""
    rows = tx.execute(
        sa.select(messages.c.source, messages.c.message_id)
        .join(clicks, clicks.c.inbox_id == messages.c.id)
        .where(clicks.c.swept)
    )
    return frozenset(f"{source}/{message_id}" for source, message_id in rows)


def visitors(tx: sa.Connection, house: House) -> dict[str, Visitor]:
    """Whose every email event is, by everything that is known now, under the message's key."""
    rows = tx.execute(
        sa.select(messages.c.id, messages.c.source, messages.c.message_id).where(messages.c.arrived_usable.is_not(None))
    ).all()
    graph = Graph(tx, house.rules)
    found = log.cases(tx, [row.id for row in rows])
    placements = stitch.place([found[row.id] for row in rows], graph)

    def value(one: int | None) -> str | None:
        return None if one is None else graph.nodes[one].identifier.value

    return {
        f"{row.source}/{row.message_id}": (
            value(one.user),
            value(one.browser),
            value(one.email) if one.usable else None,
            one.ambiguous,
        )
        for row, one in zip(rows, placements, strict=True)
    }


def expected(oracle: Oracle, house: House, times: Iterable[int] = ()) -> Known:
    """The same, as the oracle says it should be."""
    times = list(times)
    return Known(
        people=oracle.people,
        refused=frozenset((*one.link[:2], one.link.kind, one.limit) for one in oracle.refused),
        profile_ids={person: house.keys.profile_id(oracle.earliest(person)) for person in oracle.people},
        visitors={one.key: oracle.visitor(one) for one in oracle.messages if one.email},
        owners={(one, time): oracle.owner(one, time) for one in oracle.seen for time in times},
        swept=oracle.swept,
    )


def counted(tx: sa.Connection) -> dict[str, int]:
    """The counters that are not nought."""
    return {name: value for name, value in counters.read(tx).items() if value}


def outcomes(store: Store) -> dict[str, str]:
    """The outcome of every message, by its messageId."""
    with store.reading() as tx:
        return {row.message_id: row.outcome for row in tx.execute(sa.select(messages))}


def left(store: Store) -> dict[str, dict[str, Any]]:
    """The bodies of the outbox that may leave, by the messageId they answer, in the order of their making."""
    query = sa.select(outbox.c.body).where(outbox.c.status == "pending").order_by(outbox.c.id)
    with store.reading() as tx:
        bodies = [orjson.loads(row.body) for row in tx.execute(query)]
    return {body["context"].get("connector", {}).get("messageId", body["messageId"]): body for body in bodies}


def said(body: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    """userId, anonymousId and context.traits.email of an outgoing call."""
    return body.get("userId"), body.get("anonymousId"), body["context"].get("traits", {}).get("email")
