"""The fields of a Klaviyo profile at our revision, and which values fit them: an unknown field is a hard 400.

A value that does not fit is left out of its call, because Klaviyo would refuse the whole call for it.

Source: https://developers.klaviyo.com/en/reference/create_or_update_profile (revision 2026-10-15)
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final

from connector.identifiers import CONTROL, is_email
from connector.klaviyo.limits import number, text
from connector.language import UNDEFINED
from connector.language.javascript import number_text
from connector.messages import Json

LONGEST_NAME: Final = 1_000
"""Characters of a field; what is longer is no name, no title and no street."""

LONGEST_EXTERNAL_ID: Final = 255
E164: Final = re.compile(r"\+[1-9][0-9]{7,14}")
LOCALE: Final = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}")
TIMEZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
CURRENCY: Final = re.compile(r"[A-Za-z]{3}")
NUMERIC: Final = re.compile(r"\s*[+-]?[0-9]{1,15}(\.[0-9]{1,15})?\s*")

IDENTIFIERS: Final = ("email", "phone_number", "external_id")
"""What a call names its person by: never mapped, but told by evidence."""


def _words(value: Json) -> Json:
    """Text that says something; a number is the text of it (ZIP codes often are)."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        sane = number(value)
        return UNDEFINED if sane is None else number_text(sane)
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_NAME:
        return UNDEFINED
    return text(value.strip())


def _matching(pattern: re.Pattern[str]) -> Callable[[Json], Json]:
    def fit(value: Json) -> Json:
        return value.strip() if isinstance(value, str) and pattern.fullmatch(value.strip()) else UNDEFINED

    return fit


def _locale(value: Json) -> Json:
    """An IETF BCP 47 tag; some systems write it with an underscore."""
    found = _matching(LOCALE)(value)
    return found if found is UNDEFINED else found.replace("_", "-")


def _image(value: Json) -> Json:
    """A URL: pictures themselves (``data:``) are none."""
    words = _words(value)
    return words if isinstance(words, str) and re.match(r"https?://[^\s]+\Z", words) else UNDEFINED


def _ip(value: Json) -> Json:
    try:
        return str(ipaddress.ip_address(value.strip())) if isinstance(value, str) else UNDEFINED
    except ValueError:
        return UNDEFINED


def _degrees(most: int) -> Callable[[Json], Json]:
    def fit(value: Json) -> Json:
        found = amount(value)
        return found if found is not None and abs(found) <= most else UNDEFINED

    return fit


def amount(value: Json) -> float | None:
    """A number, or the number that a text is: not ``$19.99``, whose sign may mean thousands or cents."""
    if isinstance(value, str) and NUMERIC.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return number(value)


def currency(value: Json) -> str | None:
    """An ISO 4217 code in capitals."""
    return value.strip().upper() if isinstance(value, str) and CURRENCY.fullmatch(value.strip()) else None


ATTRIBUTES: Final[Mapping[str, Callable[[Json], Json]]] = {
    "first_name": _words,
    "last_name": _words,
    "organization": _words,
    "title": _words,
    "locale": _locale,
    "image": _image,
    "location.address1": _words,
    "location.address2": _words,
    "location.city": _words,
    "location.region": _words,
    "location.zip": _words,
    "location.country": _words,
    "location.timezone": _matching(TIMEZONE),
    "location.ip": _ip,
    "location.latitude": _degrees(90),
    "location.longitude": _degrees(180),
}
"""The fields of a profile that a mapping may fill: what fits each, UNDEFINED for a value that does not."""


# -- identifiers --------------------------------------------------------------------------------------------------


def email(value: str | None) -> str | None:
    """The address if it is one, None if Klaviyo would refuse it."""
    return value if value is not None and is_email(value) and not CONTROL.search(value) else None


def phone(value: str | None) -> str | None:
    """The number if it is surely E.164, with its country; one without could be anybody's."""
    plain = re.sub(r"[\s().\-/]", "", value or "")
    plain = f"+{plain[2:]}" if plain.startswith("00") else plain
    return plain if E164.fullmatch(plain) else None


def external_id(value: str | None) -> str | None:
    """The id if Klaviyo takes it: a longer one is refused and not cut, because two might begin alike.

    Source: https://github.com/segmentio/action-destinations/blob/main/packages/destination-actions/src/destinations/klaviyo/config.ts
    """
    if value is None or not value.strip() or len(value) > LONGEST_EXTERNAL_ID or CONTROL.search(value):
        return None
    return value
