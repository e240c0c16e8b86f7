"""What is done when Klaviyo says that two profiles know parts of one person: 409, ``duplicate_profile``.

Each step leads forward and none is made twice, so an attempt ends after a handful: without the weaker identifier; else
the profile that has the external id, and what the call says but for address and number. What one person did is never
written to a profile with another's external id, and no profile is made that has neither email nor phone. A merge is
Klaviyo's own, happens later and cannot be undone: only where the mapping says so, and never of two known people.

Source: https://help.klaviyo.com/hc/en-us/articles/12902308138011 and
https://developers.klaviyo.com/en/reference/merge_profiles
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson

from connector.destinations import Reader, Request, Verdict
from connector.klaviyo.answers import said, verdict
from connector.klaviyo.wire import Tier, errors_of, quoted
from connector.messages import Json, Milliseconds

DUPLICATE: Final = "HTTP 409, Klaviyo knows parts of this person on two profiles"
CORRECT: Final = "merge or correct the two profiles in Klaviyo, then retry"
WITHOUT_PHONE: Final = "sent without the phone number"
WITHOUT_ANY: Final = "the profile that has the external id was updated without email and phone number"
IDENTIFIERS: Final = ("email", "phone_number", "external_id", "_kx")

OnDocument = Callable[[Mapping[str, Any]], Verdict]


@dataclass(frozen=True, slots=True)
class Call:
    """One profile call, and the requests that get it through. merge: may two profiles be merged?"""

    url: str
    headers: Mapping[str, str]
    data: Mapping[str, Any]
    merge: bool = False

    def first(self) -> Request:
        """The call as it is."""
        return self._import(self.data["attributes"], self._after_first)

    @property
    def external_id(self) -> str | None:
        found = self.data["attributes"].get("external_id")
        return found if isinstance(found, str) and found else None

    def _after_first(self, status: int, headers: Mapping[str, str], body: bytes, _now: Milliseconds) -> Verdict:
        if status != 409:
            return verdict(status, headers, body, fine=(200, 201))
        other = next((one.meta.get("duplicate_profile_id") for one in errors_of(body)), None)
        if self.merge and self.external_id and isinstance(other, str) and other:
            return _then(DUPLICATE, self._look_up("id", other, lambda document: self._other(other, document)))
        return self._weaker(DUPLICATE)

    # -- without the weaker identifier ----------------------------------------------------------------------------

    def _weaker(self, told: str) -> Verdict:
        attributes = self.data["attributes"]
        if attributes.get("phone_number") and attributes.get("email"):
            rest = {name: value for name, value in attributes.items() if name != "phone_number"}
            return _then(told, self._import(rest, self._after_second))
        return self._by_external_id(told)

    def _after_second(self, status: int, headers: Mapping[str, str], body: bytes, _now: Milliseconds) -> Verdict:
        if status == 409:
            return self._by_external_id("409 without the phone number as well")
        return verdict(status, headers, body, fine=(200, 201), told=WITHOUT_PHONE)

    def _by_external_id(self, told: str) -> Verdict:
        if self.external_id is None:
            return Verdict("split", f"{told}, and no external id tells which is meant: {CORRECT}")
        return _then(told, self._look_up("external_id", self.external_id, self._own))

    def _own(self, document: Mapping[str, Any]) -> Verdict:
        own = _with_external_id(document, self.external_id)
        if own is None:
            told = f"no profile has its external id, and its address is another profile's: {CORRECT}"
            return Verdict("split", told, followers=True)  # an event would make a profile without an address of it
        return self._update("a profile has its external id", own)

    def _update(self, told: str, own: str) -> Verdict:
        """Only what the call says beside who it is: that can collide with nobody."""
        rest = {name: value for name, value in self.data["attributes"].items() if name not in IDENTIFIERS}
        if not rest and "meta" not in self.data:
            return Verdict("delivered", f"{told}, and beside email and phone number there is nothing to write")
        document = {"data": {**self.data, "id": own, "attributes": rest}}
        request = self._request(f"/api/profiles/{quote(own, safe='')}", document, self._after_update, method="PATCH")
        return _then(told, request)

    @staticmethod
    def _after_update(status: int, headers: Mapping[str, str], body: bytes, _now: Milliseconds) -> Verdict:
        if status == 404:  # merged away meanwhile: the whole call may find its way now
            return Verdict("refused", "that profile is gone", retryable=True)
        return verdict(status, headers, body, fine=(200,), told=WITHOUT_ANY)

    # -- merging --------------------------------------------------------------------------------------------------

    def _other(self, other: str, document: Mapping[str, Any]) -> Verdict:
        """Is the profile that has the address, or the number, nobody's yet?"""
        known = _profiles(document)
        if other not in known:
            return self._weaker("the other profile is gone")
        if known[other] not in (None, "", self.external_id):
            return self._weaker("the other has an external id of its own, and two known people are never merged")
        assert self.external_id is not None  # noqa: S101 - the caller looked
        request = self._look_up("external_id", self.external_id, lambda found: self._pair(other, found))
        return _then("the other has no external id of its own", request)

    def _pair(self, other: str, document: Mapping[str, Any]) -> Verdict:
        own = _with_external_id(document, self.external_id)
        if own is None or own == other:
            return self._weaker("no second profile has its external id, so there is nothing to merge")

        def read(status: int, headers: Mapping[str, str], body: bytes, _now: Milliseconds) -> Verdict:
            if 200 <= status < 300:  # it will take a while: what the call says is written to the one that stays
                return self._update("Klaviyo was asked to merge it into the profile that has the external id", own)
            found = verdict(status, headers, body, fine=())
            return self._update(f"{said(status, body)}: not merged", own) if found.status == "split" else found

        sources = {"data": [{"type": "profile", "id": other}]}
        document = {"data": {"type": "profile-merge", "id": own, "relationships": {"profiles": sources}}}
        return _then("a profile has its external id", self._request("/api/profile-merge", document, read, Tier.MERGE))

    # -- requests -------------------------------------------------------------------------------------------------

    def _import(self, attributes: Mapping[str, Json], read: Reader) -> Request:
        return self._request("/api/profile-import", {"data": {**self.data, "attributes": attributes}}, read)

    def _look_up(self, field: str, value: str, on_document: OnDocument) -> Request:
        return look_up(self.url, self.headers, field, value, on_document)

    def _request(
        self, path: str, document: Mapping[str, Any], read: Reader, tier: str = Tier.PROFILES, method: str = "POST"
    ) -> Request:
        return Request(f"{self.url}{path}", self.headers, orjson.dumps(document), method, tier, read)


def look_up(url: str, headers: Mapping[str, str], field: str, value: str, on_document: OnDocument) -> Request:
    """A request for the profiles whose field (id, external_id …) is this."""

    def read(status: int, headers: Mapping[str, str], body: bytes, _now: Milliseconds) -> Verdict:
        return verdict(status, headers, body, fine=(200,), read=on_document)

    filtered = quote(f"equals({field},{quoted(value)})", safe="")
    query = f"filter={filtered}&fields[profile]=external_id"
    return Request(f"{url}/api/profiles?{query}", headers, b"", "GET", Tier.PROFILES, read)


def _then(told: str, request: Request) -> Verdict:
    return Verdict("refused", told, then=request)


def _profiles(document: Mapping[str, Any]) -> dict[str, Json]:
    """The external id of each profile in a document, by the profile's id."""
    found = document.get("data")
    return {
        one["id"]: attributes.get("external_id")
        for one in (found if isinstance(found, list) else [])
        if isinstance(one, dict) and isinstance(one.get("id"), str)
        for attributes in [one.get("attributes")]
        if isinstance(attributes, dict)
    }


def _with_external_id(document: Mapping[str, Any], external_id: str | None) -> str | None:
    return next((number for number, known in _profiles(document).items() if known == external_id), None)
