"""The links of devices, as they lie in the store: what was seen with what, never more than is looked at.

A device is a first-party id that names a browser (``devices`` says what follows from it). Its links are of the kind
``extended``: a person's identifier with the device, the device with an anonymousId.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from connector import bulk
from connector.messages import Kind, Milliseconds
from connector.rules import Rules
from connector.tables import COUNTS, OWNED, PEOPLE, identifiers

DEVICES: Final = 64
"""Devices of one identifier or browser that are looked at; what was seen with more of them is no person's."""

NAMES: Final = 64
"""Identifiers of people seen with one device, or on one browser, that are looked at; more are several people's."""

BROWSERS: Final = 1_000
"""The most that ``hub_limit`` of a device may be."""

LAST: Final = 1 << 62

EXTENDED: Final = f"{{row}}.kind = '{Kind.EXTENDED}'"
OWNING: Final = "{row}.kind in ('manual', 'declared')"

FEW: Final = """
    select q.id, l.{other} from {{asked}} q join links l on l.{mine} = q.id and {counts}
    where l.{other} <= coalesce(
        (select x.{other} from links x where x.{mine} = q.id and {counts_too}
         order by x.{other} limit 1 offset {most:d}), {last:d})"""


def around(tx: sa.Connection, rules: Rules, ids: Iterable[int]) -> set[int]:
    """Those to whom devices make it matter when something is known of these: of a device, and of the devices of a
    browser, who was seen with it and on which browsers; of one on too many browsers nobody. None where the rules know
    no devices.
    """
    ids = set(ids)
    if not rules.devices or not ids:
        return set()
    types = ", ".join(f"'{name}'" for name in rules.devices)
    found = {one for (one,) in bulk.select_by(tx, identifiers, ("id",), "id", ids, f"type in ({types})")}
    browsers = {one for (one,) in bulk.select_by(tx, identifiers, ("id",), "id", ids, "type = 'anonymous_id'")}
    found |= _all(few(tx, browsers, "b_id", "a_id", OWNED, EXTENDED, DEVICES))
    most = max(rules.type_of(name).hub_limit for name in rules.devices)
    seen_on = few(tx, found, "a_id", "b_id", COUNTS, EXTENDED, most)
    naming = {one for one in found if len(seen_on.get(one, ())) <= most}
    seen_with = few(tx, naming, "b_id", "a_id", PEOPLE, EXTENDED, NAMES)
    return _all(seen_with) | {end for one in naming for end in seen_on.get(one, ())}


def browsers_of(tx: sa.Connection, rules: Rules, ids: Iterable[int]) -> set[int]:
    """The browsers that have a device in common with one of these identifiers of people: whose they are may change
    with what is known of these. None where the rules know no devices.
    """
    if not rules.devices:
        return set()
    devices = _all(few(tx, ids, "a_id", "b_id", PEOPLE, EXTENDED, DEVICES))
    return _all(few(tx, devices, "a_id", "b_id", OWNED, EXTENDED, BROWSERS))


def reach(tx: sa.Connection, rules: Rules, ids: Iterable[int], until: Milliseconds) -> set[int]:
    """The devices and browsers on which it may depend, up to a time, what devices say of these: taken back or not."""
    if not rules.devices:
        return set()
    had = f"{EXTENDED} and {{row}}.first_at <= {until:d}"
    found: set[int] = set()
    frontier = set(ids)
    for _ in range(2):  # their devices' browsers, and who else's devices were seen on these
        seen = _all(few(tx, frontier, "a_id", "b_id", "not browser", had, DEVICES))
        seen |= _all(few(tx, frontier, "b_id", "a_id", "browser", had, DEVICES))
        browsers = _all(few(tx, seen | frontier, "a_id", "b_id", "browser", had, BROWSERS))
        found |= seen | browsers
        frontier = browsers
    return found


def _all(found: dict[int, list[int]]) -> set[int]:
    return {one for some in found.values() for one in some}


def few(
    tx: sa.Connection, ids: Iterable[int], mine: str, other: str, condition: str, kind: str, most: int
) -> dict[int, list[int]]:
    """The other ends of these identifiers' links of a kind; of very many a few more than most, so that it shows.

    Args: mine and other name the columns of both ends. condition is SQL on a link that counts, kind on ``{row}``.
    """
    query = FEW.format(
        mine=mine,
        other=other,
        counts=f"{_qualified(condition, 'l')} and {kind.format(row='l')}",
        counts_too=f"{_qualified(condition, 'x')} and {kind.format(row='x')}",
        most=most,
        last=LAST,
    )
    found: dict[int, list[int]] = {}
    for one, end in bulk.select_joined(tx, query, (("id", "bigint"),), [(one,) for one in sorted(ids)]):
        found.setdefault(one, []).append(end)
    return found


def _qualified(condition: str, row: str) -> str:
    """The words of a partial index, of the rows of one alias."""
    for name in ("browser", "stands", "apart"):
        condition = condition.replace(name, f"{row}.{name}")
    return condition
