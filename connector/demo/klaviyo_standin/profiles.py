"""The profile endpoints: import, create, change, merge, read one, delete.

Source: https://developers.klaviyo.com/en/reference/create_or_update_profile and its neighbours
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from connector.demo.klaviyo_standin.account import Account, Call, Dropped, Reply
from connector.demo.klaviyo_standin.people import HELD, Profile
from connector.demo.klaviyo_standin.problems import Mistake, Problem, duplicate, invalid, missing
from connector.demo.klaviyo_standin.schemas import (
    DELETION,
    PROFILE_CREATE,
    PROFILE_IMPORT,
    PROFILE_MERGE,
    PROFILE_PATCH,
)
from connector.messages import SECOND, iso

PROFILE_BYTES: Final = 100 * 1024
IDENTIFIERS: Final = (*HELD, "_kx", "anonymous_id")
TRAITS: Final = ("first_name", "last_name", "organization", "locale", "title", "image")
PLACES: Final = ("address1", "address2", "city", "country", "latitude", "longitude", "region", "zip", "timezone", "ip")
NO_IDENTIFIER: Final = (
    "At least one of these identifiers is required to create a profile: email, phone_number, external_id, _kx, id."
)


def import_one(account: Account, call: Call) -> Reply:
    """POST /api/profile-import: 201 for a new profile, 200 for one that was there."""
    _small(call)
    data = PROFILE_IMPORT.read(call.document)
    identifiers = identifiers_of(data)
    if identifiers["id"] is not None and account.people.find("id", identifiers["id"]) is None:
        raise missing("profile", identifiers["id"])
    if not any(identifiers.values()):
        raise invalid(NO_IDENTIFIER, "/data/attributes")
    token = identifiers["_kx"]
    if not any(value for kind, value in identifiers.items() if kind != "_kx"):
        assert token is not None  # noqa: S101 - some identifier is there, and no other is
        if account.people.find("_kx", token) is None:
            raise invalid("Invalid exchange id.", "/data/attributes/_kx")
    plan = account.people.plan(identifiers)
    if plan.conflicts:
        raise duplicate(next(iter(plan.conflicts.values())).id)
    _check_patch(account, data, [one for one in (plan.target, *plan.absorbed) if one is not None])
    now = account.clock()
    profile, created = account.people.apply(plan, identifiers, now, now)
    write(account, profile, data)
    return Reply(201 if created else 200, one(account, call, profile))


def create(account: Account, call: Call) -> Reply:
    """POST /api/profiles: 201, or 409 if anybody has one of the identifiers."""
    _small(call)
    data = PROFILE_CREATE.read(call.document)
    identifiers = identifiers_of(data)
    if not any(identifiers.values()):
        raise invalid(NO_IDENTIFIER, "/data/attributes")
    _refuse_known(account, identifiers, None)
    now = account.clock()
    profile, _ = account.people.apply(account.people.plan(identifiers), identifiers, now, now)
    write(account, profile, data)
    return Reply(201, one(account, call, profile))


def change(account: Account, call: Call) -> Reply:
    """PATCH /api/profiles/{id}: 200; merges nobody, an identifier that somebody else has is a 409."""
    _small(call)
    data = PROFILE_PATCH.read(call.document)
    profile = _known(account, call.names[0])
    if data["id"] != profile.id:
        raise invalid("The id of the body is not the one of the path.", "/data/id")
    identifiers = identifiers_of(data)
    _refuse_known(account, identifiers, profile)
    _check_patch(account, data, [profile])
    for kind in HELD:
        if identifiers[kind]:
            account.people.give(profile, kind, identifiers[kind])
    profile.updated = account.clock()
    write(account, profile, data)
    return Reply(200, one(account, call, profile))


def merge(account: Account, call: Call) -> Reply:
    """POST /api/profile-merge: 201, and later the one source is part of the destination and gone."""
    data = PROFILE_MERGE.read(call.document)
    into = _known(account, data["id"])
    source = _known(account, data["relationships"]["profiles"]["data"][0]["id"])
    if into is source:
        raise invalid("A profile cannot be merged into itself.", "/data/relationships/profiles/data/0/id")

    def work() -> None:
        survivor, gone = account.people.current(into.id), account.people.current(source.id)
        if survivor is not None and gone is not None and survivor is not gone:
            account.people.merge(survivor, gone)

    account.later(work)
    return Reply(201, {"data": {"type": "profile", "id": into.id, "links": _links(call, into)}})


def read_one(account: Account, call: Call) -> Reply:
    """GET /api/profiles/{id}."""
    profile = _known(account, call.names[0])
    if not account.visible(profile):
        raise missing("profile", profile.id)
    return Reply(200, one(account, call, profile))


def delete(account: Account, call: Call) -> Reply:
    """POST /api/data-privacy-deletion-jobs: 202, and later everybody with the one identifier is gone."""
    data = DELETION.read(call.document)
    named = data["attributes"]["profile"]["data"]
    given = {"id": named.get("id"), **named["attributes"]}
    given = {kind: value for kind, value in given.items() if value is not None}
    if len(given) != 1:
        detail = "Exactly one of these identifiers is required: id, email, phone_number."
        raise invalid(detail, "/data/attributes/profile/data")
    ((kind, value),) = given.items()

    def work() -> None:
        profile = account.people.find(kind, value)
        if profile is None:
            account.dropped.append(Dropped("a deletion of nobody", kind))
        else:
            account.people.remove(profile)

    account.later(work)
    return Reply(202)


def identifiers_of(data: Mapping[str, Any]) -> dict[str, str | None]:
    """The identifiers that a profile resource names; None for what it does not name or clears."""
    attributes = data["attributes"]
    return {"id": data.get("id"), **{kind: attributes.get(kind) for kind in IDENTIFIERS}}


def write(account: Account, profile: Profile, data: Mapping[str, Any]) -> None:
    """Everything that a profile resource says of a profile, but its identifiers: null clears, absence leaves."""
    attributes = data["attributes"]
    for kind in HELD:
        if kind in attributes and not attributes[kind]:
            account.people.give(profile, kind, None)
    for name in TRAITS:
        if name in attributes:
            profile.traits[name] = attributes[name]
    if "location" in attributes:
        profile.location = {**profile.location, **attributes["location"]} if attributes["location"] else {}
    profile.properties |= attributes.get("properties") or {}
    meta = data.get("meta") or {}
    _patch_properties(profile.properties, meta.get("patch_properties") or {})
    _patch_identifiers(account, profile, meta.get("patch_identifiers") or {})


def document(account: Account, profile: Profile, base: str) -> dict[str, Any]:
    """A profile as the API shows it, with what it should not show any more but does."""
    events = [event.second for event in profile.events if event.id in account.history.readable]
    return {
        "type": "profile",
        "id": profile.id,
        "attributes": {
            "email": profile.email,
            "phone_number": profile.phone_number,
            "external_id": profile.external_id,
            "anonymous_id": None,
            "whatsapp_bsuid": None,
            **{name: profile.traits.get(name) for name in TRAITS},
            "created": _time(profile.created),
            "updated": _time(profile.updated),
            "last_event_date": _time(max(events) * SECOND) if events else None,
            "location": {name: profile.location.get(name) for name in PLACES},
            "properties": dict(profile.properties),
        },
        "links": {"self": f"{base}/api/profiles/{profile.id}/"},
    }


def one(account: Account, call: Call, profile: Profile) -> dict[str, Any]:
    """The document of one profile."""
    return {"data": document(account, profile, call.base), "links": {"self": f"{call.base}{call.path}"}}


def subscriptions(profile: Profile) -> dict[str, Any]:
    """What ``additional-fields[profile]=subscriptions`` adds; nobody has subscribed here."""
    consent = {"can_receive_email_marketing": False, "consent": "NEVER_SUBSCRIBED", "suppression": []}
    return {"email": {"marketing": consent} if profile.email else None}


def _patch_properties(properties: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for name, value in (patch.get("append") or {}).items():
        had = properties.get(name, [])
        properties[name] = [*(had if isinstance(had, list) else [had]), value]
    for name, value in (patch.get("unappend") or {}).items():
        if isinstance(properties.get(name), list):
            properties[name] = [one for one in properties[name] if one != value]
    unset = patch.get("unset") or []
    for name in [unset] if isinstance(unset, str) else unset:
        properties.pop(name, None)


def _check_patch(account: Account, data: Mapping[str, Any], meant: Sequence[Profile]) -> None:
    """Refuse ``patch_identifiers`` before anything is written."""
    patch = (data.get("meta") or {}).get("patch_identifiers")
    if not patch:
        return
    if not account.people.multi_email:
        raise invalid("This account has no profiles with several identifiers.", "/data/meta/patch_identifiers")
    email = (patch.get("append") or {}).get("email")
    owner = account.people.find("email", email) if email else None
    if owner is not None and owner not in meant:
        raise duplicate(owner.id)


def _patch_identifiers(account: Account, profile: Profile, patch: Mapping[str, Any]) -> None:
    for email in filter(None, [(patch.get("append") or {}).get("email")]):
        account.people.append_email(profile, email)
    for email in filter(None, [(patch.get("unappend") or {}).get("email")]):
        account.people.unappend_email(profile, email)


def _refuse_known(account: Account, identifiers: Mapping[str, str | None], owner: Profile | None) -> None:
    for kind, value in identifiers.items():
        other = account.people.find(kind, value) if value else None
        if other is not None and other is not owner:
            raise duplicate(other.id)


def _known(account: Account, profile_id: str) -> Profile:
    profile = account.people.find("id", profile_id)
    if profile is None:
        raise missing("profile", profile_id)
    return profile


def _small(call: Call) -> None:
    if call.size > PROFILE_BYTES:
        detail = f"A profile is at most {PROFILE_BYTES} bytes long."
        raise Problem(413, [Mistake(detail, "/data", code="payload_too_large")])


def _links(call: Call, profile: Profile) -> dict[str, str]:
    return {"self": f"{call.base}/api/profiles/{profile.id}/"}


def _time(at: int) -> str:
    return f"{iso(at)[:19]}+00:00"
