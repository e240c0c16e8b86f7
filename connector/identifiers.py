"""Normal forms: how a raw value becomes the value of an identifier, and what looks like an email or a hash. Pure.

Which types there are, and how strong each is, ``rules`` says.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Final

import idna

MAX_VALUE: Final = 512
"""Characters of an identifier; a longer one is somebody's payload, not a name."""

EMAIL: Final = re.compile(r"[^\s@,;<>()\"\\\x00-\x1f]{1,64}@[^\s@,;<>()\"\\/:\x00-\x1f]{1,253}")
HASH: Final = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}|[0-9A-F]{64}|[0-9A-F]{32}")
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


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
