"""What an operator may order, read from what was typed or posted: the commands and the JSON interface share it.

Whatever is wrong is said in words, and nothing is ordered.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from connector.answers.listing import stored_ids
from connector.errors import ConnectorError
from connector.identifiers import NORMALISERS
from connector.messages import Identifier, Milliseconds, iso, parse_time
from connector.operate import SOURCE
from connector.rules import Rules
from connector.tables import inbox, messages, revocations

LATEST: Final = 253_370_764_800_000
"""The year 9999, after which no time can be written."""


class BadOrder(ConnectorError):
    """What is wrong with an order, in words for who gave it."""


def require_type(rules: Rules, type_name: str) -> None:
    """Raises: BadOrder if there is no such type of identifier."""
    if not rules.is_type(type_name):
        known = ", ".join(rules.types)
        raise BadOrder(f"type: expected one of {known}, <vendor>_profile_id or <vendor>_user_id")


def identifier(rules: Rules, type_name: str, value: str) -> Identifier:
    """The identifier that a type and a value name.

    Raises: BadOrder.
    """
    require_type(rules, type_name)
    found = rules.identify(type_name, value) if is_text(value) else None
    if found is None:
        raise BadOrder(f"this {type_name} names nobody: expected a value that is not empty and not blocked")
    if type_name == "anonymous_id" and NORMALISERS["email"](value):
        raise BadOrder("this anonymous_id is an email address, and is kept as one: give its type as email")
    return found


def is_text(value: str) -> bool:
    """Can every store keep it?"""
    return "\x00" not in value and all(not "\ud800" <= one <= "\udfff" for one in value)


def why(reason: str, operator: str) -> dict[str, str]:
    """Who orders something and why, for the log.

    Raises: BadOrder.
    """
    if not reason.strip():
        raise BadOrder("reason: say why, for the log")
    for name, value in (("reason", reason), ("operator", operator)):
        if not is_text(value):
            raise BadOrder(f"{name}: expected a text without characters that cannot be written")
    return {"reason": reason.strip(), "operator": operator.strip()}


def moment(name: str, text: str) -> Milliseconds:
    """A time that was typed. Args: name is what to call it when it cannot be read.

    Raises: BadOrder.
    """
    at = parse_time(text)
    if at is None or not 0 <= at < LATEST:
        raise BadOrder(f"{name}: expected a time in ISO 8601, such as 2026-09-01T10:00:00Z (without a zone it is UTC)")
    return at


def message_key(tx: sa.Connection, text: str) -> str:
    """``source/messageId`` of the message that somebody means by that, or by its messageId alone.

    Raises: BadOrder if there is none, or several.
    """
    source, _, rest = text.partition("/")
    known, waits = (sa.select(table.c.source, table.c.message_id) for table in (messages, inbox))
    found = {tuple(row) for row in tx.execute(known.where(messages.c.message_id.in_(stored_ids(text))))}
    if rest:
        keyed = (messages.c.source == source, messages.c.message_id.in_(stored_ids(rest)))
        found |= {tuple(row) for row in tx.execute(known.where(*keyed))}
        keyed = (inbox.c.source == source, inbox.c.message_id.in_(stored_ids(rest)))
        found |= {tuple(row) for row in tx.execute(waits.where(*keyed))}
    if not found:
        raise BadOrder(f"no message is known as {text}; `connector explain` looks everywhere")
    if len(found) > 1:
        sources = ", ".join(sorted(f"{source}/…" for source, _ in found))
        raise BadOrder(f"several messages are known as {text}: say whose, one of {sources}")
    return "/".join(found.pop())


def require_undoable(tx: sa.Connection, act: str) -> None:
    """Raises: BadOrder if nothing was taken back by this act, or if that was undone already."""
    row = tx.execute(sa.select(revocations.c.at, revocations.c.undone_at).where(revocations.c.id == act)).first()
    waits = sa.select(inbox.c.id).where(inbox.c.source == SOURCE, inbox.c.message_id == act)
    if row is None and (not act.startswith("unlink-") or tx.execute(waits).first() is None):
        raise BadOrder(f"nothing was taken back by {act}; `connector log --source operator` lists what was")
    if row is not None and row.undone_at is not None:
        raise BadOrder(f"{act} was undone already, at {iso(row.undone_at)}")


def pair(left: Identifier, right: Identifier) -> tuple[Identifier, Identifier]:
    """The two ends of a link.

    Raises: BadOrder if they are one.
    """
    if left == right:
        raise BadOrder("these are one identifier: a link has two ends")
    return left, right


def require_joinable(rules: Rules, left: Identifier, right: Identifier) -> None:
    """Raises: BadOrder if no evidence could ever join these, nor may an operator."""
    browser = "anonymous_id" in (left.type, right.type)
    device = next((one.type for one in (left, right) if rules.is_device(one.type)), None)
    if device is not None:
        raise BadOrder(
            f"a {device} names a browser and never joins anybody (device = true in identity.toml): link the browser's"
            " anonymous_id to the person"
        )
    if left.type == right.type == "anonymous_id":
        raise BadOrder("two browsers are never one: link each of them to the person it belongs to")
    if browser and (rules.is_role(left) or rules.is_role(right)):
        raise BadOrder(
            "this address is one that several people read (role_addresses in identity.toml): it belongs to accounts,"
            " never to browsers"
        )
