"""Orders that change who is who: shown first, confirmed, then stored for whoever serves the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from connector.cli.frame import hinted
from connector.messages import now_ms

if TYPE_CHECKING:
    from connector.cli.opening import Desk
    from connector.cli.show import Words
    from connector.messages import Received

SHOWN: Final = 20
"""Changed events that are listed; the others are counted."""

WHAT: Final = {
    "addressed_anew": "not sent yet: leaves with the new ids",
    "held_again": "not sent yet: waits again",
    "reattributed": "sent already: stays as sent; --correct sends it once more, if its visitor is known",
    "corrected": "sent already: is sent once more with the new ids",
}


@dataclass(frozen=True, slots=True)
class Manner:
    """How an order is given, as the options say."""

    reason: str
    operator: str | None
    dry_run: bool
    yes: bool
    as_json: bool
    words: Words

    def __post_init__(self) -> None:
        if not self.dry_run and not self.reason.strip():
            raise click.UsageError("say why, for the log: --reason")

    def why(self) -> dict[str, str]:
        """Who gives it and why, as an order carries it."""
        from connector import orders

        if self.dry_run and not self.reason.strip():
            return {"reason": "", "operator": ""}
        return orders.why(self.reason, self.operator if self.operator is not None else _user())


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return ""


def give(
    build: Callable[[Desk], Received],
    manner: Manner,
    tell: Callable[[dict[str, Any], Words], None],
    after: Callable[[str], Sequence[str]] = lambda _: (),
) -> None:
    """Show what an order would do, ask, and have it done.

    Args: build makes the order, and says what is wrong with it. tell prints the preview. after says what to know once
    it is done, given the order's id.
    """
    from connector.cli import opening, show
    from connector.preview import preview

    with opening.changing() as desk:
        order = build(desk)
        told = preview(desk.store, order, desk.house, now_ms())
        if not manner.as_json:
            tell(told, manner.words)
        came = None
        doing = not told["refused"] and not manner.dry_run and _agreed(manner)
        if doing:
            came = _do(desk, order, told, manner, after)
        if manner.as_json:
            show.as_json({**told, "act": order.message_id if doing else None, "outcome": came})
    if told["refused"] or not (doing or manner.dry_run):
        raise SystemExit(1)


def _agreed(manner: Manner) -> bool:
    if manner.yes or click.confirm("Do this?", err=True):
        return True
    click.echo("Nothing was changed.", err=True)
    return False


def _do(
    desk: Desk, order: Received, told: dict[str, Any], manner: Manner, after: Callable[[str], Sequence[str]]
) -> str | None:
    from connector.cli.operating import NOBODY_SERVES, ORDERED, carry_out

    came = carry_out(desk, order)
    if not manner.as_json:
        manner.words.say(came or hinted(ORDERED))
        for sentence in after(order.message_id):
            manner.words.say(hinted(sentence), dim=True)
        if desk.alone and (told["events"] or told["released"]):
            manner.words.say(hinted(NOBODY_SERVES), dim=True)
    return came


def tell_repair(told: dict[str, Any], words: Words) -> None:
    """What a link, or taking one back, would do."""
    for one in told["unknown"]:
        words.say(f"{one['type']} {one['value']} was never seen until now.", fg="yellow")
    if told["refused"]:
        words.say("This link would be refused, so it is not made:", bold=True)
        for sentence in told["pair"]["in_words"]:
            words.say(f"  {hinted(sentence)}")
        return
    profiles = told["profiles"]
    same = profiles["before"] == profiles["after"]
    for when, listed in () if same else (("now", profiles["before"]), ("then", profiles["after"])):
        words.title(f"People {when}: {len(listed)}")
        for one in listed[:SHOWN]:
            words.say(f"  {_person(one)}")
        if len(listed) > SHOWN:
            words.say(f"  … and {len(listed) - SHOWN} more (--json lists them)")
    if told["released"]:
        words.say(f"Held events that leave by it: {told['released']}")
    if told["events"]:
        tell_events(told["events"], words)
    elif same and not told["released"]:
        words.say("Nothing that is known changes by it; it counts for what comes.")
    else:
        words.say("No email event that was placed changes its visitor.")


def tell_events(events: Sequence[dict[str, Any]], words: Words) -> None:
    """The events whose visitor changes, and what becomes of them."""
    from connector.cli.show import short_time

    counts = {what: sum(one["what"] == what for one in events) for what in WHAT}
    words.title(f"Email events that change their visitor: {len(events)}")
    for what, n in counts.items():
        if n:
            words.say(f"  {n} {what.replace('_', ' ')}: {WHAT[what]}")
    rows = [
        (short_time(one["at"]), one["event"], _ids(one["before"]), _ids(one["after"]), one["what"], one["message"])
        for one in events[:SHOWN]
    ]
    words.table(("at (utc)", "event", "from", "to", "what", "message"), rows, "  ")
    if len(events) > SHOWN:
        words.say(f"  … and {len(events) - SHOWN} more (--json lists them)")


def _ids(ids: dict[str, Any]) -> str:
    named = (("userId", ids["user_id"]), ("anonymousId", ids["anonymous_id"]))
    return " + ".join(f"{name} {value}" for name, value in named if value) or "nobody"


def _person(one: dict[str, Any]) -> str:
    named = ", ".join(f"{name['type']} {name['value']}" for name in one["identifiers"][:10])
    more = len(one["identifiers"]) - 10
    browsers = f"; browsers {', '.join(one['browsers'][:10])}" if one["browsers"] else ""
    return f"{one['profile_id'][:8]}…  {named}{f' and {more} more' if more > 0 else ''}{browsers}"
