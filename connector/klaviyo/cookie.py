"""What Klaviyo's cookie ``__kla_id`` says of a browser: a token of its visitor, sometimes an address. Pure.

Base64 of JSON. Of a visitor whom nobody knows it has ``cid`` only, which names the browser to Klaviyo alone; of one who
came from a mail, left an address in a form or was identified, ``$exchange_id``, sometimes ``$email``.
Source: https://github.com/klaviyo/magento2-klaviyo (reads ``$exchange_id`` first, then ``$email``)
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, NamedTuple
from urllib.parse import unquote

import orjson

from connector.messages import Json

LONGEST: Final = 16_384
"""Characters; a browser allows 4,096."""

SPACE: Final = re.compile(r"\s+")
ALPHABET: Final = re.compile(r"[A-Za-z0-9+/]*")


class Visitor(NamedTuple):
    """exchange_id: the token that ``_kx`` carries in a link too. email: as somebody typed it, in a form or a URL."""

    exchange_id: str | None = None
    email: str | None = None


def read(raw: Json) -> Visitor | None:
    """What a cookie's value says, None if it is none of Klaviyo's. It may be escaped as in a header, or decoded."""
    told = raw if isinstance(raw, dict) else _json(raw)
    if not isinstance(told, dict):
        return None
    return Visitor(_text(told.get("$exchange_id")), _text(told.get("$email")))


def from_base64(text: str) -> str | None:
    """The text in base64, in either alphabet, with padding or without, escaped or not; None if it is none."""
    bare = SPACE.sub("", unquote(text).strip().replace(" ", "+"))  # a plus that was read as a space
    bare = bare.strip("\"'").rstrip("=").translate(str.maketrans("-_", "+/"))
    if not bare or len(bare) > LONGEST or not ALPHABET.fullmatch(bare):
        return None
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _json(raw: Json) -> Json:
    if not isinstance(raw, str) or len(raw) > LONGEST:
        return None
    text = raw if raw.lstrip().startswith("{") else from_base64(raw)
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
