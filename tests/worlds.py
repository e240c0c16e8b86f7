"""Random small worlds: who and what appears in them, what is received, what operators do, and in which order."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from connector import held
from connector.house import House
from connector.messages import DAY, HOUR, MINUTE, Identifier, Received
from connector.store import Store
from tests import streams
from tests.oracle import Oracle
from tests.streams import call, clicked, customerio, house, identify, klaviyo, md5, page, sha256, sourced


def identity(
    hub_limit: int = 20, emails: int = 5, vendor: int | None = None, consent: bool = False, sweep: int = 3
) -> str:
    """An ``identity.toml`` whose limits a world of twenty messages can reach. vendor: the hub_limit of vendors' ids."""
    return f"""
hub_limit = {hub_limit}
blocked = ["[0-]*", "(?i)null|undefined", "(?i)guest"]
role_addresses = ["info"]
[consent]
required = {["analytics"] if consent else []}
opt_out = {["properties.__kla_off", "context.traits.opted_out"] if consent else []}
[[landings]]
parameter = "kl_pid"
type = "klaviyo_profile_id"
kind = "clicked"
[[landings]]
parameter = "utm_email"
type = "email"
kind = "hinted"
[[landings]]
parameter = "_kx"
type = "klaviyo_exchange_id"
kind = "clicked"
[[landings]]
parameter = "kl_xid"
type = "klaviyo_user_id"
kind = "clicked"
[[cookies]]
type = "klaviyo_exchange_id"
paths = ["properties.__kla_id"]
[clicked]
sweep_links = {sweep}
[types.user_id]
limit = 1
paths = ["userId"]
[types.email]
limit = {emails}
paths = ["traits.email", "context.traits.email"]
normalise = "email"
[types.phone]
limit = 2
paths = ["traits.phone", "context.traits.phone"]
normalise = "phone"
[types.vendor]
{f"hub_limit = {vendor}" if vendor else ""}
[types.klaviyo_exchange_id]
token = true
external_ids = ["_kx"]
[types.anonymous_id]
paths = ["anonymousId"]
normalise = "none"
"""


def strict(own_channels: tuple[str, ...] = ("klaviyo",), **settings: Any) -> House:
    return house(own_channels, files=(("identity.toml", identity(**settings)),))


PLAIN = (
    house(),
    house(("klaviyo", "customerio")),
    house(("customerio",), tuple((f"sources/{one}.toml", 'user_id = "segment"') for one in ("klaviyo", "customerio"))),
)
BREAKERS = (strict(hub_limit=2), strict(hub_limit=1, emails=2, sweep=2), strict(hub_limit=3, emails=2, vendor=2))
CONSENTING = (strict(consent=True), strict((), hub_limit=2, emails=2, consent=True, sweep=0))
HOUSES = (*PLAIN, *BREAKERS, *CONSENTING)
"""Which one a world happens in is a number in here, so that an example can be printed."""

ANY = tuple(range(len(HOUSES)))
BREAKING = ANY[len(PLAIN) :]
ASKING = ANY[-len(CONSENTING) :]

ROLE = "info@x.test"
JUNK = ["null", '"undefined"', "00000000-0000-0000-0000-000000000000", "guest"]
SITE = ["segment", "tracking_api"]
NAMES = ["Email Opened", "Email Opened", "Email Unsubscribed", "Email Machine Opened"]
INTEGRATIONS = ["Klaviyo", "Klaviyo", "Customer.io (Actions)", "Iterable", None]

Elements = st.SearchStrategy[Received]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Maybe = st.SearchStrategy[str | None]

MINUTES = st.one_of(
    st.integers(0, 6).map(float),
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.2, 0.5, 0.999])).map(sum),
    st.just(1e6),  # the future: the receipt counts
)
RECEIVED = st.sampled_from([streams.at(5), streams.NOW])


@dataclass(frozen=True)
class Cast:
    """Who and what appears in a world. The smaller it is, the more of it collides."""

    emails: list[str]
    users: list[str]
    browsers: list[str]
    hashes: list[str]
    profiles: list[str]
    noise: list[str]

    def some(self, *pools: list[str]) -> Maybe:
        everything = [one for pool in pools for one in pool]
        return st.one_of(st.sampled_from(everything), st.none(), *([st.sampled_from(self.noise)] if self.noise else []))


WIDE = Cast(
    emails=[f"{name}@x.test" for name in "abcdefg"],
    users=["u1", "u2", "u3", "a@x.test"],
    browsers=["B1", "B2", "B3", uuid.UUID(int=0xC0FFEE).hex, uuid.UUID(int=1 << 120).hex],
    hashes=[md5("a@x.test"), sha256("b@x.test"), sha256("a@x.test").upper(), md5("c@x.test")],
    profiles=["P1", "P2"],
    noise=[*JUNK, ROLE],
)
NARROW = Cast(["a@x.test", "b@x.test"], ["u1", "u2"], ["B1", "B2"], [md5("a@x.test")], ["P1"], [])
PHONES = [None, "+1 555 123 0001", "+15551230001", "+15551230002"]


def site_calls(cast: Cast) -> Elements:
    names, emails = cast.some(cast.browsers, cast.hashes, cast.emails), cast.some(cast.emails)
    browsers, users = cast.some(cast.browsers), cast.some(cast.users)
    return st.one_of(
        st.builds(identify, MINUTES, browsers, users, emails, source=st.sampled_from(SITE)),
        st.builds(identify, MINUTES, browsers, users, emails, received_at=RECEIVED),
        st.builds(identify, MINUTES, names, users, emails),
        st.builds(page, MINUTES, cast.some(cast.browsers, cast.hashes), users),
        st.builds(_group, MINUTES, browsers, users, emails),
        st.builds(_alias, MINUTES, names, users),
        st.builds(_with_phone, MINUTES, browsers, users, emails, st.sampled_from(PHONES)),
    )


def email_events(cast: Cast) -> Elements:
    emails, users = cast.some(cast.emails), cast.some(cast.users, cast.emails)
    names, profiles = cast.some(cast.emails, cast.hashes, cast.browsers), cast.some(cast.profiles)
    words = st.sampled_from(NAMES), st.sampled_from(INTEGRATIONS)
    return st.one_of(
        st.builds(sourced, MINUTES, names, users, emails, *words, received_at=RECEIVED),
        st.builds(klaviyo, MINUTES, emails, profiles, st.sampled_from(["opened_email", "bounced_email", "sms"])),
        st.builds(klaviyo, MINUTES, emails, profiles),
        st.builds(customerio, MINUTES, st.none(), emails, profiles, users),
        st.builds(customerio, MINUTES, emails, emails, profiles, users),
    )


def _group(minutes: float, anonymous: str | None, user: str | None, email: str | None) -> Received:
    return call(minutes, type="group", groupId="G", anonymousId=anonymous, userId=user, traits={"email": email})


def _with_phone(
    minutes: float, anonymous: str | None, user: str | None, email: str | None, phone: str | None
) -> Received:
    return call(minutes, type="identify", anonymousId=anonymous, userId=user, traits={"email": email, "phone": phone})


def _alias(minutes: float, previous: str | None, user: str | None) -> Received:
    return call(minutes, type="alias", previousId=previous, userId=user)


A, B = "a@x.test", "b@x.test"
US: Maybe = st.sampled_from(["u1", "u2", None])
NEAR = st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0, 1.5, 2.0, 3.0])


def crowds() -> Elements:
    """More addresses and phones than a person may have."""
    emails: Maybe = st.sampled_from(WIDE.emails)
    return st.one_of(
        st.builds(identify, MINUTES, st.none(), st.just("u1"), emails),
        st.builds(identify, MINUTES, st.just("B1"), st.just("u1"), emails),
        st.builds(klaviyo, MINUTES, emails, st.just("P1")),
        st.builds(sourced, MINUTES, emails),
    )


def turns() -> Elements:
    """Two people who share their browsers within a few minutes."""
    browsers, emails = st.sampled_from(["B1", "B1", "B2"]), st.sampled_from([A, B, None])
    return st.one_of(
        st.builds(identify, NEAR, browsers, US, emails),
        st.builds(page, NEAR, browsers, US),
        st.builds(identify, NEAR, st.none(), US, emails),
        st.builds(sourced, NEAR, st.sampled_from([A, B, "B1", None]), US, emails),
    )


def handovers() -> Elements:
    """Two users, their addresses and one vendor profile, each told to belong to the other at times."""
    emails, profiles = st.sampled_from([A, B, "c@x.test"]), st.sampled_from(["P1", "P1", "P2", None])
    return st.one_of(
        st.builds(identify, NEAR, st.sampled_from(["B1", "B2", None]), US, emails),
        st.builds(klaviyo, NEAR, st.one_of(emails, emails, st.none()), profiles),
        st.builds(customerio, NEAR, st.none(), st.one_of(emails, st.none()), profiles, US),
        st.builds(sourced, NEAR, emails, US, emails),
    )


def digested() -> Elements:
    """Hashes of two addresses where browsers should be, told by the site and by vendors."""
    names: Maybe = st.sampled_from([md5(A), md5(A), sha256(B), "B1", A])
    emails: Maybe = st.sampled_from([A, B, None])
    return st.one_of(
        st.builds(identify, NEAR, names, US, emails),
        st.builds(identify, NEAR, st.none(), US, emails),
        st.builds(page, NEAR, names),
        st.builds(sourced, NEAR, names, US, emails),
    )


def kiosks() -> Elements:
    """A browser, a profile and addresses that too many others were seen with."""
    emails: Maybe = st.sampled_from([*WIDE.emails[:4], None])
    users: Maybe = st.sampled_from(["u1", "u2", "u3", None, None])
    browsers = st.sampled_from(["B1", "B1", "B2", md5(A), None])
    profiles = st.sampled_from(["P1", "P1", "P2", None])
    return st.one_of(
        st.builds(identify, NEAR, browsers, users, emails),
        st.builds(klaviyo, NEAR, emails, profiles),
        st.builds(customerio, NEAR, st.none(), emails, profiles, users),
        st.builds(sourced, NEAR, st.one_of(emails, browsers), users, emails),
    )


WEEK = 7 * DAY / MINUTE
DAYS = st.sampled_from([0.0, 0.5, 0.999, 1.0, 1.5, 2.0, 2.01, 3.0, WEEK - 1, WEEK, WEEK + 0.5, WEEK + 1, WEEK + 2])


def arrivals() -> Elements:
    """Browsers that land from mails, machines that click, and calls that say whose the browsers are."""
    emails: Maybe = st.sampled_from([A, A, B, None])
    profiles = st.sampled_from(["P1", "P1", "P2"])
    browsers = st.sampled_from(["B1", "B1", "B2", "B3"])
    landing = st.builds(_landing, DAYS, browsers, st.sampled_from(["kl_pid", "kl_pid", "utm_email"]), profiles, emails)
    return st.one_of(
        landing,
        landing,
        st.builds(klaviyo, DAYS, emails, profiles, st.sampled_from(["clicked_email", "opened_email"])),
        st.builds(_machine_click, DAYS, emails, profiles),
        st.builds(identify, DAYS, st.one_of(browsers, st.none()), US, emails),
    )


def forwards() -> Elements:
    """One mail that several browsers land from, again and again."""
    landing = st.builds(_landing, DAYS, st.sampled_from(["B1", "B2"]), st.just("kl_pid"), st.just("P1"), st.none())
    return st.one_of(landing, landing, landing, st.builds(klaviyo, DAYS, st.sampled_from([A, None]), st.just("P1")))


def _landing(minutes: float, browser: str, parameter: str, profile: str, email: str | None) -> Received:
    query = f"?utm_source=x&{parameter}={profile if parameter == 'kl_pid' else (email or A).replace('@', '%40')}"
    where = {"url": f"https://shop.test/{query}"} if minutes < 1 else {"search": query, "url": "https://shop.test/"}
    return page(minutes, browser, context={"page": where})


TOKENS = st.sampled_from(["dG9rZW4x.AbC123", "dG9rZW4x.AbC123", "dG9rZW4y.AbC123"])
PEOPLE = [("P1", A), ("P1", A), ("P2", B), ("P2", A), ("P1", None), ("P1", B)]


def exchanges() -> Elements:
    """Links whose tokens only the platform can resolve, landings before and after its answers, forwarded mails, several
    browsers and machines; and people of whom a platform's records say different things.
    """
    browsers, emails = st.sampled_from(["B1", "B1", "B2", md5(A)]), st.sampled_from([A, B, None])
    whose = st.sampled_from(PEOPLE)
    landing = st.builds(_exchanged, DAYS, browsers, st.sampled_from(["url", "url", "cookie", "external"]), TOKENS)
    return st.one_of(
        landing,
        landing,
        landing,
        st.builds(_by_external_id, DAYS, browsers, st.sampled_from(["x1", "u1"])),
        *[st.builds(_record, DAYS, whose, st.one_of(TOKENS, st.none()), st.sampled_from(["x1", "u1", None]))] * 2,
        st.builds(_of_person, DAYS, whose, st.sampled_from(["clicked_email", "opened_email"])),
        st.builds(_machine_click, DAYS, emails, st.sampled_from(["P1", "P2"])),
        st.builds(identify, DAYS, st.one_of(browsers, st.none()), st.sampled_from([None, None, "u1", "u2"]), emails),
    )


def _exchanged(minutes: float, browser: str, how: str, token: str) -> Received:
    if how == "cookie":
        cookie = base64.b64encode(json.dumps({"cid": "x", "$exchange_id": token}).encode()).decode()
        return page(minutes, browser, properties={"__kla_id": cookie})
    if how == "external":
        one = {"id": token, "type": "_kx", "collection": "users", "encoding": "none"}
        return page(minutes, browser, context={"externalIds": [one]})
    return page(minutes, browser, context={"page": {"search": f"?utm_source=k&_kx={token}"}})


def _by_external_id(minutes: float, browser: str, external_id: str) -> Received:
    return page(minutes, browser, context={"page": {"url": f"https://shop.test/?kl_xid={external_id}"}})


def _record(minutes: float, whose: tuple[str, str | None], token: str | None, external_id: str | None) -> Received:
    return streams.record(minutes, whose[0], whose[1], external_id, token)


def _of_person(minutes: float, whose: tuple[str, str | None], event: str) -> Received:
    return klaviyo(minutes, whose[1], whose[0], event)


def _machine_click(minutes: float, email: str | None, profile: str) -> Received:
    return klaviyo(minutes, email, profile, "clicked_email", properties={"Bot Click": True})


MOMENTS = st.sampled_from([0.0, 0.0, 0.4, 0.4, 0.9, 1.0, 1.001, 1.4, 2.0, 59.5, 60.0, 60.4])
"""Seconds."""


def scanners() -> Elements:
    """A mail with a few links that a scanner follows at once, told by several platforms, and who lands from it."""
    emails: Maybe = st.sampled_from([*[A] * 8, B, None])
    profiles: Maybe = st.sampled_from(["P1", "P1", "P1", None])
    links = st.sampled_from(["https://shop.test/a", "https://shop.test/b", "https://shop.test/c#top", "https://x.test"])
    click = st.builds(clicked, MOMENTS, links, emails, profiles, st.sampled_from([*["M1"] * 7, "M2"]))
    landing = st.builds(_landing, NEAR, st.sampled_from(["B1", "B2"]), st.just("kl_pid"), st.just("P1"), st.none())
    return st.one_of(
        *[click] * 6,
        st.builds(_customerio_click, MOMENTS, emails, profiles, links),
        st.builds(_sourced_click, MOMENTS, emails, links),
        landing,
        landing,
        st.builds(klaviyo, NEAR, emails, profiles),
    )


def _customerio_click(seconds: float, email: str | None, profile: str | None, link: str) -> Received:
    return customerio(seconds / 60, email, email, profile, metric="clicked", data={"href": link})


def _sourced_click(seconds: float, email: str | None, link: str) -> Received:
    told = {"email_id": "M1", "link_url": link}
    return sourced(seconds / 60, email, event="Email Link Clicked", properties=told)


def portraits() -> Elements:
    """What is said of people who share addresses and browsers."""
    traits = st.dictionaries(st.sampled_from(["plan", "city", "email"]), st.sampled_from([A, B, "x", 1, None]))
    return st.one_of(
        st.builds(_portrait, NEAR, st.sampled_from(["B1", "B2", None]), US, st.sampled_from([A, None]), traits),
        st.builds(_portrait, NEAR, st.sampled_from(["B1", "B2", None]), US, st.sampled_from([A, B, None]), traits),
        turns(),
        handovers(),
    )


def moods() -> Elements:
    """One person who says another thing several times a minute."""
    plans = st.dictionaries(st.sampled_from(["plan", "city"]), st.integers(0, 9), min_size=1)
    times = st.sampled_from([0.0, 0.2, 0.5, 0.9, 0.9, 1.0])
    return st.builds(_portrait, times, st.sampled_from(["B1", None]), st.just("u1"), st.none(), plans)


def _portrait(
    minutes: float, anonymous: str | None, user: str | None, email: str | None, traits: dict[str, Any]
) -> Received:
    told = {**traits, **({"email": email} if email else {})}
    return call(minutes, type="identify", anonymousId=anonymous, userId=user, traits=told)


ELEMENTS = [st.one_of(site_calls(cast), email_events(cast)) for cast in (WIDE, NARROW)]
ELEMENTS += [crowds(), turns(), turns(), handovers(), handovers(), digested(), digested()]
THEMES = {
    "breakers": [kiosks(), handovers(), turns(), digested()],
    "clicks": [arrivals(), st.one_of(arrivals(), turns()), forwards(), scanners(), st.one_of(scanners(), turns())],
    "exchanges": [exchanges(), st.one_of(exchanges(), arrivals())],
    "traits": [portraits(), moods()],
}
EVERYTHING = [*ELEMENTS, *(one for theme in THEMES.values() for one in theme)]


@dataclass(frozen=True)
class World:
    """What is received, in the order and the batches of its arrival; after some of them, held events expire."""

    number: int
    batches: tuple[tuple[Received, ...], ...]
    expiries: tuple[bool, ...]

    def __repr__(self) -> str:
        lines = [f"\nworld in house {self.number}"]
        for batch, expires in zip(self.batches, self.expiries, strict=True):
            lines += [f"  {one.source} {one.received_at - streams.NOW} {one.body}" for one in batch]
            lines.append("  - held events expire -" if expires else "  -")
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(repr(self))  # what hypothesis asks before it spells a dataclass out

    @property
    def house(self) -> House:
        return HOUSES[self.number]

    @property
    def everything(self) -> list[Received]:
        return [one for batch in self.batches for one in batch]


# -- what is withheld and what operators do ---------------------------------------------------------------------------

CHOICES: st.SearchStrategy[dict[str, Any] | None] = st.sampled_from(
    [
        None,
        None,
        None,
        None,
        {"consent": {"categoryPreferences": {"analytics": False}}},
        {"consent": {"categoryPreferences": {"analytics": True, "advertising": False}}},
        {"traits": {"opted_out": True}},
        {"traits": {"opted_out": False}},
        {"__kla_off": True},
        {"__kla_off": False},
    ]
)


def _choosing(one: Received, choice: dict[str, Any] | None) -> Received:
    """The same call with a word about consent in its context or its properties."""
    if choice is None or one.source not in SITE:
        return one
    body = orjson.loads(one.body)
    for name, value in choice.items():
        if name == "__kla_off":
            body.setdefault("properties", {})[name] = value
        else:
            context = body.setdefault("context", {})
            context[name] = {**context.get(name, {}), **value}
    return Received(one.source, one.message_id, orjson.dumps(body).decode(), one.received_at)


def act(number: int, kind: str, minutes: float, **said: Any) -> Received:
    """What an operator does, as ``operate`` writes it."""
    names = ("left", "right", "message", "identifier", "until", "revocation")
    body = {"type": kind, "at": streams.at(minutes), **dict.fromkeys(names), "reason": "", **said}
    return Received("operator", f"act{number}", json.dumps(body), streams.NOW)


def _acts(draw: Draw, received: Sequence[Received], house: House, most: int) -> list[Received]:
    """Links taken back, made by hand and restored, mostly such as there are."""
    messages = streams.understood(received, house)
    pairs = sorted({(a, b) for one in messages for a, b, _ in one.links})
    known = sorted({one for message in messages for one in message.identifiers})
    keys = sorted(one.key for one in messages if one.links)
    if not pairs:
        return []
    made: list[Received] = []
    until = st.one_of(st.none(), st.none(), NEAR.map(streams.at))
    for number in range(draw(st.integers(0, most))):
        kind = draw(st.sampled_from(["pair", "pair", "identifier", "message", "link", "link", "restore"]))
        minutes = draw(NEAR)
        if kind == "pair":
            left, right = draw(st.permutations(draw(st.sampled_from(pairs))))
            made.append(act(number, "unlink", minutes, left=left, right=right, until=draw(until)))
        elif kind == "identifier":
            one = draw(st.sampled_from(known))
            made.append(act(number, "unlink", minutes, identifier=one, until=draw(until)))
        elif kind == "message":
            made.append(act(number, "unlink", minutes, message=draw(st.sampled_from(keys))))
        elif kind == "link":
            left, right = draw(st.sampled_from([*pairs, *_other_pairs(known)]))
            made.append(act(number, "link", minutes, left=left, right=right))
        else:
            made.append(act(number, "restore", minutes, revocation=f"act{draw(st.integers(0, most))}"))
    return made


def _other_pairs(known: Sequence[Identifier]) -> list[tuple[Identifier, Identifier]]:
    """Any two of these, but for two names of browsers: an operator cannot join those."""
    return [(a, b) for a in known for b in known if a < b and {a.type, b.type} != {"anonymous_id"}]


# -- worlds -----------------------------------------------------------------------------------------------------------


@st.composite
def worlds(
    draw: st.DrawFn,
    size: int = 20,
    acts: int = 0,
    themes: Sequence[Elements] = ELEMENTS,
    numbers: Sequence[int] = range(len(PLAIN)),
) -> World:
    """Args: acts, how much operators do at most; themes, what is received; numbers, in which houses."""
    elements = themes[draw(st.integers(0, len(themes) - 1))]
    number = draw(st.sampled_from(list(numbers)))
    drawn = draw(st.lists(elements, min_size=draw(st.integers(1, size // 2)), max_size=size))
    if number in ASKING:
        choices = draw(st.lists(CHOICES, min_size=len(drawn), max_size=len(drawn)))
        drawn = [_choosing(one, choice) for one, choice in zip(drawn, choices, strict=True)]
    # named in the order of drawing: the same example is the same world again
    received = [_named(one, f"m{number}") for number, one in enumerate(drawn)]
    received += _acts(draw, received, HOUSES[number], acts) if acts else []
    repeats = draw(st.lists(st.sampled_from(received), max_size=3))
    return World(number, *batched(draw, draw(st.permutations(received + repeats))))


def reordered(draw: Draw, world: World) -> World:
    """The same in another order, in other batches."""
    return World(world.number, *batched(draw, draw(st.permutations(world.everything))))


def batched(draw: Draw, order: list[Received]) -> tuple[tuple[tuple[Received, ...], ...], tuple[bool, ...]]:
    cuts = draw(st.sets(st.integers(1, len(order) - 1), max_size=4)) if len(order) > 1 else set()
    bounds = [0, *sorted(cuts), len(order)]
    batches = tuple(tuple(order[a:b]) for a, b in pairwise(bounds))
    rarely = st.sampled_from([False, False, False, True])
    return batches, tuple(draw(st.lists(rarely, min_size=len(batches), max_size=len(batches))))


def _named(one: Received, name: str) -> Received:
    body = orjson.loads(one.body)
    body["messageId" if one.source in SITE else {"klaviyo": "external_id", "customerio": "event_id"}[one.source]] = name
    return Received(one.source, name, orjson.dumps(body).decode(), one.received_at)


# -- letting them happen ----------------------------------------------------------------------------------------------


WORLDS = settings(suppress_health_check=list(HealthCheck), report_multiple_bugs=False)


class _Undone(Exception):
    pass


@contextmanager
def undone(store: Store) -> Iterator[sa.Connection]:
    """A transaction that never happened, so that thousands of worlds share one store."""
    try:
        with store.writing() as tx:
            yield tx
            raise _Undone
    except _Undone:
        pass


def play(tx: sa.Connection, world: World) -> Oracle:
    """Let a world happen, as the worker would; the oracle's view of it."""
    for batch, expires in zip(world.batches, world.expiries, strict=True):
        streams.take_in(tx, batch, world.house)
        if expires:
            held.expire(tx, world.house, streams.NOW + 80 * HOUR)
    return streams.oracle(world.everything, world.house)


def times_of(oracle: Oracle) -> list[int]:
    happened = [one.at for one in oracle.messages] + [one.at for one in oracle.acts]
    return sorted({at for one in happened for at in (one - 1, one)})
