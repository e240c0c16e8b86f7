"""A second opinion on devices: whose a first-party id is, and which visitor it gives an event, from the raw calls.

The rest of the oracle is asked as if nobody had ever handed a device over, for people, owners and visitors: devices
change nothing of these but the visitor of an event that has none. Everything is looped over again for every question.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from connector.house import House
from connector.messages import Identifier, Message, Received, parse_time
from tests import streams
from tests.oracle import Act, Oracle, Visitor
from tests.oracle_evidence import MINUTE, OWNING, read_act
from tests.oracle_people import Person

DEVICES = ("ga_client_id", "shopify_y")
SITE = ("segment", "tracking_api")


class Shown(NamedTuple):
    """A call showed a device together with something else: with a person's strongest name, or with an anonymousId."""

    at: int
    key: str
    device: Identifier
    other: Identifier


@dataclass(frozen=True)
class Extended:
    """Answers about what was received under a house. most: on how many browsers a device may be, by its type."""

    received: tuple[Received, ...]
    house: House

    @cached_property
    def base(self) -> Oracle:
        return streams.oracle([_without_devices(one) for one in self.received], self.house)

    @cached_property
    def acts(self) -> list[Act]:
        acts = {one.message_id: read_act(one) for one in reversed(self.received) if one.source == "operator"}
        undone = {act.revocation for act in acts.values() if act.type == "restore"}
        return [act for act in acts.values() if act.type == "unlink" and act.id not in undone]

    # -- what was seen ------------------------------------------------------------------------------------------------

    @cached_property
    def said(self) -> set[Shown]:
        """Everything that a call showed, the first of several with one id."""
        found: set[Shown] = set()
        met: set[tuple[str, str]] = set()
        for one in self.received:
            if one.source in SITE and (one.source, one.message_id) not in met:
                met.add((one.source, one.message_id))
                found |= set(self._shown(one))
        return found

    def _shown(self, one: Received) -> Iterator[Shown]:
        body = json.loads(one.body)
        if body["type"] not in ("identify", "page", "track", "group") or "integration" in body.get("context", {}):
            return
        at = min(parse_time(body["timestamp"]) or 0, one.received_at)
        for device in devices_in(body):
            for other in (self._person_in(body), self._anonymous_in(body)):
                if other is not None:
                    yield Shown(at, f"{one.source}/{one.message_id}", device, other)

    @staticmethod
    def _person_in(body: dict[str, Any]) -> Identifier | None:
        if body.get("userId"):
            return Identifier("user_id", body["userId"])
        address = (body.get("traits") or {}).get("email") if body["type"] != "group" else None
        if address is None or address.partition("@")[0] == "info":
            return None
        return Identifier("email", address.strip().lower())

    @staticmethod
    def _anonymous_in(body: dict[str, Any]) -> Identifier | None:
        return (
            None if body.get("anonymousId") in (None, "undefined") else Identifier("anonymous_id", body["anonymousId"])
        )

    @cached_property
    def counts(self) -> set[Shown]:
        """What nobody took back, of every minute the first and the last."""
        minutes: dict[tuple[frozenset[Identifier], int], set[Shown]] = {}
        for one in self.said:
            minutes.setdefault((frozenset(one[2:]), one.at // MINUTE), set()).add(one)
        kept: set[Shown] = set()
        for (pair, minute), some in minutes.items():
            if pair & self.base.hubs or any(self._takes_back(act, pair, minute, some) for act in self.acts):
                continue
            kept |= {min(some, key=lambda one: one[:2]), max(some, key=lambda one: one[:2])}
        return kept

    @staticmethod
    def _takes_back(act: Act, pair: frozenset[Identifier], minute: int, some: Iterable[Shown]) -> bool:
        if act.message is not None:
            return act.message in {one.key for one in some}
        return act.covers <= pair and (act.until is None or minute <= act.until // MINUTE)

    # -- whose is what ------------------------------------------------------------------------------------------------

    def browsers(self, device: Identifier) -> set[Identifier]:
        return {one.other for one in self.counts if one.device == device and self.base.is_browser(one.other)}

    def named(self, device: Identifier) -> list[Shown]:
        return [one for one in self.counts if one.device == device and not self.base.is_browser(one.other)]

    def people(self, device: Identifier) -> set[Person | None]:
        """Everybody who was ever seen with it, or identified on a browser that was."""
        found = {self.base.owner(one.other, one.at) for one in self.named(device)}
        for link, times in self.base.sightings.items():
            if link.kind in OWNING and link.weaker in self.browsers(device):
                found |= {self.base.owner(link.stronger, at) for at, _ in times}
        return found - {None}

    def person(self, device: Identifier) -> Person | None:
        people = self.people(device)
        if self.is_crowded(device) or len(people) != 1 or not self.named(device):
            return None
        return next(iter(people))

    def is_crowded(self, device: Identifier) -> bool:
        most = streams.identity_of(self.house)["types"][device.type].get("hub_limit", 100)
        return bool(len(self.browsers(device)) > most)

    def recognises(self, browser: Identifier, person: Person) -> bool:
        """Is every device that was seen on it this person's, or nobody's who is known?"""
        on = {one.device for one in self.counts if one.other == browser}
        return all(not self.is_crowded(one) and self.people(one) <= {person} for one in on)

    def recognised(self) -> dict[str, Person]:
        """Whose a browser is by the devices seen on it: one person's alone, and one device of theirs at least."""
        found = {}
        for browser in {one.other for one in self.counts if self.base.is_browser(one.other)}:
            on = {one.device for one in self.counts if one.other == browser}
            for person in {self.person(one) for one in on} - {None}:
                assert person is not None
                if self.recognises(browser, person):
                    found[browser.value] = person
        return found

    # -- email events -------------------------------------------------------------------------------------------------

    def visitor(self, message: Message) -> Visitor:
        known = self.base.visitor(message)
        person = self.base.addressee(message)
        if known.known or known.ambiguous or person is None:
            return known
        named = self.base._named(message)
        anchors = {named.address, named.profile}
        devices = {one.device for one in self.counts if one.other in anchors and self.person(one.device) == person}
        seen = [
            one
            for one in self.counts
            if one.device in devices and self.base.is_browser(one.other) and self.recognises(one.other, person)
        ]
        before = [one for one in seen if one.at <= message.at]
        if not seen:
            return known
        chosen = max(before, key=lambda one: one[:2]) if before else min(seen, key=lambda one: one[:2])
        return Visitor(None, chosen.other.value, None, ambiguous=False)

    def visitors(self) -> dict[str, Visitor]:
        return {one.key: self.visitor(one) for one in self.base.messages if one.email}


def devices_in(body: dict[str, Any]) -> list[Identifier]:
    """The devices that a call of these tests hands over, in either way."""
    listed = (body.get("context") or {}).get("externalIds") or []
    found = [Identifier(one["type"], one["id"]) for one in listed if one["type"] in DEVICES]
    return found + [
        Identifier(name, body["properties"][name]) for name in DEVICES if name in (body.get("properties") or {})
    ]


def _without_devices(one: Received) -> Received:
    body = json.loads(one.body)
    if one.source not in SITE:
        return one
    body.get("context", {}).pop("externalIds", None)
    for name in DEVICES:
        body.get("properties", {}).pop(name, None)
    return Received(one.source, one.message_id, json.dumps(body), one.received_at)
