"""What identifies: types with their ranks and limits, normal forms, and values that identify nobody.

Everything comes from ``mappings/identity.toml``. Pure: the same text always gives the same identifier.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import idna

from connector.errors import MappingError
from connector.messages import Identifier

MAX_VALUE: Final = 512
"""Characters of an identifier; a longer one is somebody's payload, not a name."""

EMAIL: Final = re.compile(r"[^\s@,;<>()\"\\\x00-\x1f]{1,64}@[^\s@,;<>()\"\\/:\x00-\x1f]{1,253}")
HASH: Final = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}|[0-9A-F]{64}|[0-9A-F]{32}")
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Type:
    """One type of identifier. rank: 1 is the strongest. limit: how many of it one person may have, None for any."""

    name: str
    rank: int
    limit: int | None = None
    paths: tuple[str, ...] = ()
    normalise: str = "trim"


@dataclass(frozen=True, slots=True)
class Rules:
    """``identity.toml``, compiled. vendor_rank serves ``<vendor>_profile_id`` and ``<vendor>_user_id``."""

    types: Mapping[str, Type]
    vendor_rank: int
    blocked: tuple[re.Pattern[str], ...]
    role_addresses: frozenset[str]
    own_prefix: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)

    def rank(self, type_name: str) -> int:
        known = self.types.get(type_name)
        return known.rank if known else self.vendor_rank

    def strength(self, identifier: Identifier) -> tuple[int, str, str]:
        """Sorts the strongest first: rank, then type, then value."""
        return (self.rank(identifier.type), identifier.type, identifier.value)

    def is_blocked(self, value: str) -> bool:
        """Junk that many people share: ``null``, ``undefined``, ``guest``, zeros …, also in quotes."""
        bare = value.strip().strip("\"'`").strip()
        return any(pattern.fullmatch(bare) for pattern in self.blocked)

    def identify(self, type_name: str, raw: object) -> Identifier | None:
        """The identifier a raw value stands for, None if it identifies nobody."""
        if not isinstance(raw, str) or len(raw) > MAX_VALUE:
            return None
        known = self.types.get(type_name)
        value = NORMALISERS[known.normalise if known else "trim"](raw)
        if not value or CONTROL.search(value) or self.is_blocked(value):
            return None
        if type_name == "anonymous_id" and self.own_prefix and value.startswith(self.own_prefix):
            return None  # our own opaque ids coming back name no browser
        return Identifier(type_name, value)

    def is_role(self, identifier: Identifier) -> bool:
        """``info@``, ``support@`` …: an address that several people read never names a browser."""
        return identifier.type == "email" and identifier.value.partition("@")[0] in self.role_addresses


def load(table: Mapping[str, Any], own_prefix: str = "") -> Rules:
    """The rules in a parsed ``identity.toml``.

    Raises: MappingError naming the key, what was expected and what was found.
    """
    where = "identity.toml"
    types: dict[str, Type] = {}
    for rank, (name, entry) in enumerate(table.get("types", {}).items(), start=1):
        types[name] = _type(where, name, rank, entry)
    for needed in ("user_id", "email", "anonymous_id", "vendor"):
        if needed not in types:
            raise MappingError(f"{where}: [types.{needed}] is missing; every Segment message needs it")
    if max(types.values(), key=lambda one: one.rank).name != "anonymous_id":
        raise MappingError(f"{where}: [types.anonymous_id] must come last: a browser names a person least of all")
    vendor_rank = types.pop("vendor").rank
    return Rules(
        types=types,
        vendor_rank=vendor_rank,
        blocked=tuple(_pattern(where, text) for text in table.get("blocked", [])),
        role_addresses=frozenset(table.get("role_addresses", [])),
        own_prefix=own_prefix,
        limits={name: one.limit for name, one in types.items() if one.limit is not None},
    )


def _type(where: str, name: str, rank: int, entry: Mapping[str, Any]) -> Type:
    unknown = set(entry) - {"limit", "paths", "normalise"}
    if unknown:
        raise MappingError(f"{where}: [types.{name}] has the unknown key '{min(unknown)}'")
    limit = entry.get("limit")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise MappingError(f"{where}: [types.{name}] limit: expected a whole number from 1, found {limit!r}")
    if name == "user_id" and limit != 1:
        raise MappingError(f"{where}: [types.user_id] limit: it must be 1, or two known people could be one profile")
    normalise = entry.get("normalise", "trim")
    if normalise not in NORMALISERS:
        raise MappingError(
            f"{where}: [types.{name}] normalise: expected one of {', '.join(NORMALISERS)}, found {normalise!r}"
        )
    return Type(name, rank, limit, tuple(entry.get("paths", ())), normalise)


def _pattern(where: str, text: object) -> re.Pattern[str]:
    try:
        return re.compile(str(text))
    except re.error as error:
        raise MappingError(f"{where}: blocked: {text!r} is not a regular expression: {error}") from error


def is_email(value: object) -> bool:
    """Does this look like an email address? The question asked of an anonymousId or userId."""
    return isinstance(value, str) and EMAIL.fullmatch(value.strip()) is not None


def is_hash_shaped(value: object) -> bool:
    """Could this be the SHA-256 or MD5 of an email? Some Segment sources send that as anonymousId."""
    return isinstance(value, str) and HASH.fullmatch(value) is not None


def digests(email: str) -> tuple[str, ...]:
    """The SHA-256 and MD5 of a normalised email in both cases of hexadecimal, as other systems may have sent it.

    Each once: one address in some millions has a digest of decimal digits only, the same in both cases.
    """
    sha256 = hashlib.sha256(email.encode()).hexdigest()
    md5 = hashlib.md5(email.encode(), usedforsecurity=False).hexdigest()
    return tuple(dict.fromkeys((sha256, md5, sha256.upper(), md5.upper())))


def _normal_email(raw: str) -> str:
    """Trimmed, lower-case, the domain in its ASCII form; dots and plus signs stay (folding them guesses)."""
    text = raw.strip()
    if not EMAIL.fullmatch(text):
        return ""
    local, _, domain = text.lower().rpartition("@")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except idna.IDNAError:
            return ""
    return f"{local}@{domain.rstrip('.')}"


def _normal_phone(raw: str) -> str:
    text = re.sub(r"[\s().\-/]", "", raw)
    text = "+" + text[2:] if text.startswith("00") else text
    return text if re.fullmatch(r"\+?[0-9]{6,15}", text) else ""


NORMALISERS: Final[Mapping[str, Callable[[str], str]]] = {
    "trim": str.strip,
    "email": _normal_email,
    "phone": _normal_phone,
    "lower": lambda raw: raw.strip().lower(),
    "none": lambda raw: raw,
}
