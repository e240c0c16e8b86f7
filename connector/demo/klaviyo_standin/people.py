"""Klaviyo's profiles and who is the same person to it: the identity rank, merging, and what does not merge.

Written from Klaviyo's help centre. A request's identifiers are looked up from the strongest to the weakest; the first
profile found is meant, and a profile that is known by nothing stronger than a weaker one of them becomes part of it.

Source: https://help.klaviyo.com/hc/en-us/articles/12902308138011 (rank),
https://help.klaviyo.com/hc/en-us/articles/48274807144475 (several addresses)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from connector.messages import Milliseconds

if TYPE_CHECKING:
    from connector.demo.klaviyo_standin.history import Event

RANK: Final = ("id", "external_id", "email", "phone_number", "_kx", "anonymous_id")
HELD: Final = ("external_id", "email", "phone_number")
"""What a profile has one of, strongest first."""

EMAILS: Final = 5

Identifiers = Mapping[str, str | None]


@dataclass(eq=False, slots=True)
class Profile:
    """A profile. given holds every identifier that a request ever named it by, also those it did not get."""

    id: str
    created: Milliseconds
    updated: Milliseconds
    visible_at: Milliseconds
    external_id: str | None = None
    email: str | None = None
    phone_number: str | None = None
    other_emails: list[str] = field(default_factory=list)
    traits: dict[str, Any] = field(default_factory=dict)
    location: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    unique: set[tuple[str, str]] = field(default_factory=set)
    marks: set[tuple[str, str]] = field(default_factory=set)
    given: set[tuple[str, str]] = field(default_factory=set)

    @property
    def identifiers(self) -> dict[str, str]:
        """The identifiers it has, by their names."""
        return {kind: value for kind in HELD if (value := getattr(self, kind)) is not None}


@dataclass(slots=True)
class Plan:
    """What a request's identifiers come to: whose they are, who becomes part of him, and what stays elsewhere."""

    target: Profile | None = None
    absorbed: list[Profile] = field(default_factory=list)
    conflicts: dict[str, Profile] = field(default_factory=dict)


class People:
    """All profiles of the account, and who has which identifier.

    Args: name makes a new profile's id; merged is told of each profile that became part of another. multi_email: the
    account has profiles with several addresses. merges_phone: a profile that only a phone number is known of becomes
    part of the one with the email; otherwise that is a conflict, as reported.
    """

    def __init__(
        self,
        name: Callable[[], str],
        merged: Callable[[Profile, Profile], None],
        *,
        multi_email: bool = False,
        merges_phone: bool = False,
    ) -> None:
        self.all: dict[str, Profile] = {}
        self.became: dict[str, str] = {}
        self.multi_email = multi_email
        self.merges_phone = merges_phone
        self._name = name
        self._merged = merged
        self._who: dict[tuple[str, str], Profile] = {}

    def find(self, kind: str, value: str) -> Profile | None:
        """Who has this identifier now."""
        return self.all.get(value) if kind == "id" else self._who.get(_key(kind, value))

    def plan(self, identifiers: Identifiers) -> Plan:
        """Whose the identifiers are. Changes nothing."""
        plan = Plan()
        stronger: list[str] = []
        known: list[str] = []
        for kind in RANK:
            value = identifiers.get(kind)
            if not value:
                continue
            other = self.find(kind, value)
            if other is None or other is plan.target or other in plan.absorbed:
                pass
            elif plan.target is None and not any(getattr(other, one) for one in stronger):
                plan.target = other
            elif plan.target is not None and self._weaker(other, kind, stronger, known):
                plan.absorbed.append(other)
            elif kind != "anonymous_id":
                plan.conflicts[kind] = other
            if kind in HELD:
                stronger.append(kind)
            if other is not None:
                known.append(kind)
        return plan

    def _weaker(self, other: Profile, kind: str, stronger: list[str], known: list[str]) -> bool:
        """Is the other one known by nothing stronger, so that it merges upward?

        stronger is what the request has, known what of that somebody has.
        """
        if kind == "external_id":
            return self.multi_email
        if kind == "phone_number" and "email" in known and not self.merges_phone:
            return False
        if kind == "_kx":
            return not any(getattr(other, one) for one in ("external_id", *stronger))
        above = HELD[: HELD.index(kind)] if kind in HELD else HELD
        return not any(getattr(other, one) for one in above)

    def apply(
        self, plan: Plan, identifiers: Identifiers, now: Milliseconds, visible_at: Milliseconds
    ) -> tuple[Profile, bool]:
        """The profile that the request is about, with its identifiers set, and whether it is new.

        What is in conflict stays where it is.
        """
        target, created = plan.target, plan.target is None
        if target is None:
            target = Profile(self._name(), now, now, visible_at)
            self.all[target.id] = target
        for one in plan.absorbed:
            self.merge(target, one)
        for kind, value in identifiers.items():
            if not value or kind not in RANK:
                continue
            target.given.add(_key(kind, value))
            if kind not in plan.conflicts and kind not in ("id", "_kx"):
                self.give(target, kind, value)
        target.updated = now
        target.visible_at = min(target.visible_at, visible_at)
        return target, created

    def give(self, profile: Profile, kind: str, value: str | None) -> None:
        """Set one identifier, or clear it. A former address stays with a profile that may have several."""
        if kind == "anonymous_id":
            self._mark(profile, kind, value or "")
            return
        former: str | None = getattr(profile, kind)
        setattr(profile, kind, value)
        if kind == "email" and value is not None:
            profile.other_emails = [one for one in profile.other_emails if _key(kind, one) != _key(kind, value)]
        if former is not None and (value is None or _key(kind, value) != _key(kind, former)):
            if kind == "email" and self.multi_email and value is not None:
                self._keep(profile, former)
            else:
                del self._who[_key(kind, former)]
        if value is not None:
            self._who[_key(kind, value)] = profile
            profile.given.add(_key(kind, value))

    def append_email(self, profile: Profile, email: str) -> None:
        """Give a second address to a profile, or its first one. Nobody else has it."""
        if profile.email is None:
            self.give(profile, "email", email)
        else:
            self._keep(profile, email)
        profile.given.add(_key("email", email))

    def unappend_email(self, profile: Profile, email: str) -> None:
        """Take a second address away."""
        if email in profile.other_emails:
            profile.other_emails.remove(email)
            del self._who[_key("email", email)]

    def mint(self, token: str, profile: Profile) -> None:
        """From now on, this token of a link means the profile."""
        self._mark(profile, "_kx", token)

    def merge(self, into: Profile, source: Profile) -> None:
        """The source becomes part of the other, whose own words win, and is gone. It cannot be undone."""
        self._forget(source, into)
        for kind, value in source.identifiers.items():
            if getattr(into, kind) is None:
                self.give(into, kind, value)
            elif kind == "email" and self.multi_email:
                self._keep(into, value)
        for email in source.other_emails:
            self._keep(into, email)
        into.traits = {**source.traits, **into.traits}
        into.location = {**source.location, **into.location}
        into.properties = {**source.properties, **into.properties}
        into.given |= source.given
        into.unique |= source.unique
        for event in source.events:
            event.profile = into
        into.events += source.events
        self.became[source.id] = into.id
        self._merged(into, source)

    def remove(self, profile: Profile) -> None:
        """Delete a profile. Its events stay, and are nobody's."""
        self._forget(profile, None)
        for event in profile.events:
            event.profile, event.properties = None, {}

    def current(self, profile_id: str) -> Profile | None:
        """The profile with this id, or what it became."""
        while profile_id in self.became:
            profile_id = self.became[profile_id]
        return self.all.get(profile_id)

    def alike(self) -> list[set[str]]:
        """Groups of profiles that were ever given an identifier in common: duplicates of one person."""
        holders: dict[tuple[str, str], list[str]] = {}
        for profile in self.all.values():
            own = {_key(kind, value) for kind, value in profile.identifiers.items()}
            for key in (profile.given | own) - {_key("id", profile.id)}:
                if key[0] in ("external_id", "email", "phone_number"):
                    holders.setdefault(key, []).append(profile.id)
        groups = {frozenset(ids) for ids in holders.values() if len(ids) > 1}
        return [set(one) for one in sorted(groups, key=sorted)]

    def _mark(self, profile: Profile, kind: str, value: str) -> None:
        """A token or a device, of which a profile may have many. The first one who has it keeps it."""
        if self._who.setdefault((kind, value), profile) is profile:
            profile.marks.add((kind, value))

    def _keep(self, profile: Profile, email: str) -> None:
        """As a second address, if there is room; without room nobody has it."""
        key = _key("email", email)
        if key in (_key("email", one) for one in (profile.email or "", *profile.other_emails)):
            return
        if len(profile.other_emails) < EMAILS - 1:
            profile.other_emails.append(email)
            self._who[key] = profile
        elif self._who.get(key) is profile:
            del self._who[key]

    def _forget(self, profile: Profile, heir: Profile | None) -> None:
        """Take a profile out of the index; its tokens and its devices are the heir's, if there is one."""
        del self.all[profile.id]
        for kind, value in (*profile.identifiers.items(), *(("email", one) for one in profile.other_emails)):
            self._who.pop(_key(kind, value), None)
        for key in profile.marks:
            del self._who[key]
            if heir is not None:
                self._mark(heir, *key)


def _key(kind: str, value: str) -> tuple[str, str]:
    """An email address is the same in capitals."""
    return kind, value.lower() if kind == "email" else value
