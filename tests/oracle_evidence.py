"""The first third of the second opinion: what was said, what was taken back, and which links stand.

Evidence in: valid ``Message``s, each once, and what operators did. Like the rest of the oracle it shares no code with
the stages, keeps nothing between questions, and is to be compared with the text of the design sentence by sentence.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

from connector.messages import Identifier, Message, Received
from connector.resources import shipped_mappings

MINUTE = 60_000
JOINING = ("manual", "declared", "vendor", "implied")  # in the order of trust
OWNING = ("manual", "declared")

When = tuple[int, str]  # event time, message key: no two sightings of one link are equal


class Link(NamedTuple):
    stronger: Identifier
    weaker: Identifier
    kind: str


class Act(NamedTuple):
    """What an operator did, at its own time. covers: the pair or the one identifier that it names."""

    id: str
    type: str
    at: int
    covers: frozenset[Identifier]
    message: str | None
    until: int | None
    revocation: str | None


def read_act(one: Received) -> Act:
    body = json.loads(one.body)
    named = [body.get(name) for name in ("left", "right", "identifier")]
    return Act(
        id=one.message_id,
        type=body["type"],
        at=body["at"],
        covers=frozenset(Identifier(*pair) for pair in named if pair),
        message=body.get("message"),
        until=body.get("until"),
        revocation=body.get("revocation"),
    )


def shipped() -> Mapping[str, Any]:
    return tomllib.loads((shipped_mappings() / "identity.toml").read_text())


@dataclass(frozen=True)
class Evidence:
    """What one set of messages and acts says, under one ``identity.toml``."""

    messages: tuple[Message, ...]
    acts: tuple[Act, ...] = ()
    table: Mapping[str, Any] = field(default_factory=shipped)

    def as_of(self, t: int) -> Self:
        """What had happened by the end of that minute."""
        messages = tuple(one for one in self.messages if one.at // MINUTE <= t // MINUTE)
        acts = tuple(one for one in self.acts if one.at // MINUTE <= t // MINUTE)
        return replace(self, messages=messages, acts=acts)

    # -- identifiers ----------------------------------------------------------------------------------------------

    def type_of(self, one: Identifier) -> Mapping[str, Any]:
        """The section of an identifier's type; every vendor's ids share one."""
        found: Mapping[str, Any] = self.table["types"].get(one.type, self.table["types"]["vendor"])
        return found

    @cached_property
    def limits(self) -> dict[str, int]:
        return {name: entry["limit"] for name, entry in self.table["types"].items() if "limit" in entry}

    def rank(self, one: Identifier) -> int:
        ranks = list(self.table["types"])
        return ranks.index(one.type if one.type in ranks else "vendor")

    def strength(self, one: Identifier) -> tuple[int, str, str]:
        return (self.rank(one), one.type, one.value)

    def is_blocked(self, one: Identifier) -> bool:
        bare = one.value.strip().strip("\"'`").strip()
        patterns = [*self.table["blocked"], *self.type_of(one).get("blocked", [])]
        return any(re.fullmatch(pattern, bare) for pattern in patterns)

    @cached_property
    def moments(self) -> dict[Identifier, set[When]]:
        """Every identifier, with the times it was seen. Taking a link back teaches nothing, making one does."""
        found: dict[Identifier, set[When]] = {}
        for message in self.messages:
            for one in (*message.identifiers, *message.carried):
                found.setdefault(one, set()).add((message.at, message.key))
        for act in self.acts:
            for one in act.covers if act.type == "link" else ():
                found.setdefault(one, set()).add((act.at, f"operator/{act.id}"))
        return found

    @cached_property
    def seen(self) -> dict[Identifier, When]:
        """Every identifier, with the first time it was seen."""
        return {one: min(moments) for one, moments in self.moments.items()}

    @cached_property
    def carried(self) -> frozenset[Identifier]:
        """What a site or server call, or a mapping, vouches for."""
        return frozenset(one for message in self.messages for one in message.carried)

    @cached_property
    def hashes(self) -> dict[Identifier, Identifier]:
        """The anonymousIds that are the hash of a known email, with that email."""
        pairs = ((one, self._email_of_hash(one)) for one in self.seen)
        return {one: email for one, email in pairs if email is not None}

    def _email_of_hash(self, one: Identifier) -> Identifier | None:
        if one.type != "anonymous_id":
            return None
        for known in self.seen:
            if known.type == "email" and one.value.lower() in (
                hashlib.sha256(known.value.encode()).hexdigest(),
                hashlib.md5(known.value.encode()).hexdigest(),  # noqa: S324 - what some sources send
            ):
                return known
        return None

    def is_browser(self, one: Identifier) -> bool:
        return one.type == "anonymous_id" and one not in self.hashes

    # -- buckets: a link and a minute ---------------------------------------------------------------------------------

    @cached_property
    def buckets(self) -> dict[tuple[Link, int], set[When]]:
        """All that was ever seen together, and when."""
        found: dict[tuple[Link, int], set[When]] = {}
        for message in self.messages:
            for stronger, weaker, kind in message.links:
                bucket = (Link(stronger, weaker, kind), message.at // MINUTE)
                found.setdefault(bucket, set()).add((message.at, message.key))
        for act in self.acts:
            if act.type == "link":
                stronger, weaker = sorted(act.covers, key=self.strength)
                bucket = (Link(stronger, weaker, "manual"), act.at // MINUTE)
                found.setdefault(bucket, set()).add((act.at, f"operator/{act.id}"))
        return found

    @cached_property
    def revocations(self) -> tuple[Act, ...]:
        """Those that nobody undid."""
        undone = {act.revocation for act in self.acts if act.type == "restore"}
        return tuple(act for act in self.acts if act.type == "unlink" and act.id not in undone)

    def is_void(self, link: Link, minute: int) -> bool:
        if any(self._takes_back(act, link, minute) for act in self.revocations):
            return True
        if any(self.opted_out(one, minute) for one in (link.stronger, link.weaker)):
            return True
        return bool(self.withheld & {key for _, key in self.buckets[link, minute]})

    @cached_property
    def withheld(self) -> frozenset[str]:
        """The messages that speak of somebody who had opted out in their minute: nothing of them counts."""
        return frozenset(
            message.key
            for message in self.messages
            if self.any_opted_out(
                message.identifiers if message.email else self._speaking(message), message.at // MINUTE
            )
        )

    def _takes_back(self, act: Act, link: Link, minute: int) -> bool:
        """A message's revocation: the buckets it fell into. A pair's or an identifier's: every kind, up to a minute;
        but a manual link made later stands."""
        whens = self.buckets[link, minute]
        if act.message is not None:
            return act.message in {key for _, key in whens}
        if not act.covers <= {link.stronger, link.weaker}:
            return False
        made_later = link.kind == "manual" and max(whens)[0] > act.at
        return not made_later and (act.until is None or minute <= act.until // MINUTE)

    @cached_property
    def standing(self) -> dict[Link, dict[int, tuple[When, When]]]:
        """The links that stand: their minutes, each with its earliest and latest sighting."""
        found: dict[Link, dict[int, tuple[When, When]]] = {}
        for (link, minute), whens in self.buckets.items():
            if not self.is_void(link, minute):
                found.setdefault(link, {})[minute] = (min(whens), max(whens))
        return found

    @cached_property
    def implied(self) -> set[Link]:
        """An email and its hash; a vendor's user id and the userId of the same value, if that is vouched for."""
        found = {Link(email, digest, "implied") for digest, email in self.hashes.items()}
        for one in self.seen:
            user = Identifier("user_id", one.value)
            if one.type.endswith("_user_id") and user in self.carried:
                found.add(Link(user, one, "implied"))
        return {link for link in found if not any(self._takes_back_implied(act, link) for act in self.revocations)}

    @staticmethod
    def _takes_back_implied(act: Act, link: Link) -> bool:
        return act.message is None and act.until is None and act.covers <= {link.stronger, link.weaker}

    @property
    def links(self) -> set[Link]:
        """All links that stand."""
        return {*self.standing, *self.implied}

    def first_time(self, link: Link) -> When:
        """An implied link has no sightings of its own: its times are those of its weaker end."""
        if link.kind == "implied":
            return min(self.moments[link.weaker])
        return min(first for first, _ in self.standing[link].values())

    def last_time(self, link: Link) -> When:
        if link.kind == "implied":
            return max(self.moments[link.weaker])
        return max(last for _, last in self.standing[link].values())

    # -- consent ------------------------------------------------------------------------------------------------------

    @cached_property
    def _choices(self) -> dict[tuple[Identifier, str], dict[int, set[tuple[int, str, bool]]]]:
        """Per identifier and category, per minute, what was chosen: (when, message, granted)."""
        found: dict[tuple[Identifier, str], dict[int, set[tuple[int, str, bool]]]] = {}
        for message in self.messages:
            for category, granted in message.choices:
                for one in self._speaking(message):
                    minutes = found.setdefault((one, category), {})
                    minutes.setdefault(message.at // MINUTE, set()).add((message.at, message.key, granted))
        return found

    @staticmethod
    def _speaking(message: Message) -> set[Identifier]:
        """Whose choice it is: theirs whom the site vouches for, and not theirs whom only the page's URL names, which
        anybody can write. A platform vouches for nobody, and speaks of all it names.
        """
        return set(message.carried or message.identifiers)

    def opted_out(self, one: Identifier, minute: int) -> bool:
        """Of any category asked for: by any denial of that very minute, else by the last choice before it."""
        consent = self.table.get("consent", {})
        asked = [*consent.get("required", []), *(["opt_out"] if consent.get("opt_out") else [])]
        return any(self._denied(self._choices.get((one, category), {}), minute) for category in asked)

    @staticmethod
    def _denied(minutes: Mapping[int, set[tuple[int, str, bool]]], minute: int) -> bool:
        if minute in minutes:
            return any(not granted for _, _, granted in minutes[minute])
        before = [choice for earlier, choices in minutes.items() if earlier < minute for choice in choices]
        return bool(before) and not max(before)[2]

    def any_opted_out(self, some: Iterable[Identifier], minute: int) -> bool:
        return any(self.opted_out(one, minute) for one in some)
