"""What the stand-in for Klaviyo holds at the end of the story, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import click

from connector.demo.klaviyo_standin import Event, KlaviyoStandIn, Profile
from connector.messages import SECOND, iso

WIDTHS: Final = (20, 13)
"""Of the address, and of the External ID."""


def told(klaviyo: KlaviyoStandIn, outbox: Mapping[str, int]) -> Iterator[str]:
    """A table of the profiles, and what is not among them. Args: outbox is the connector's, as its statistics tell."""
    address, label = WIDTHS
    profiles, events = klaviyo.profiles, [one for one in klaviyo.events if _of_the_site(one)]
    repeated = len(events) - len({(one.metric, one.unique_id) for one in events})
    yield click.style("What Klaviyo holds", bold=True)
    yield click.style(
        f"{'address'.ljust(address)}{'External ID'.ljust(label)}what they did on the site, at its time", dim=True
    )
    for profile in sorted(profiles, key=_first):
        name, known = profile.email or "-", profile.external_id or "-"
        yield f"{name.ljust(address)}{known.ljust(label)}{', '.join(map(visit, _visits(profile))) or '-'}"
    nameless, doubles = len(klaviyo.emailless()), len(klaviyo.duplicates())
    yield (
        f"{len(profiles)} profiles, {nameless} without an address, {doubles} duplicates;"
        f" {len(events)} events of the site, {repeated} duplicates."
    )
    yield f"Lee left no address, and is not among them: {_waiting(outbox['held'])} in the connector."


def visit(event: Event) -> str:
    """An event of the site with its time, such as ``02:00 Viewed Page``."""
    return f"{iso(event.second * SECOND)[11:16]} {event.metric.name if event.metric else '?'}"


def _visits(profile: Profile) -> list[Event]:
    return sorted((one for one in profile.events if _of_the_site(one)), key=lambda one: one.place)


def _first(profile: Profile) -> tuple[bool, int]:
    """Where a profile stands in the table: by its first visit; those without one come last."""
    visits = _visits(profile)
    return not visits, visits[0].second if visits else 0


def _of_the_site(event: Event) -> bool:
    """Is it one that the connector sent, and not of a mail?"""
    return event.metric is not None and event.metric.service == "api"


def _waiting(n: int) -> str:
    return "1 event of theirs waits" if n == 1 else f"{n} events of theirs wait"
