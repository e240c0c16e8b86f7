"""What `connector serve` says at its very first start: what to paste where, and what happens without it."""

from __future__ import annotations

from typing import Final

import click

from connector.config import Config

SNIPPET: Final = """\
addEventListener('klaviyoForms', e => {
  const m = e.detail.metaData || {};
  if (['submit', 'stepSubmit'].includes(e.detail.type) && m.$email) analytics.identify({email: m.$email});
});"""
"""Tells Segment what a Klaviyo pop-up would keep from it.

Source: https://developers.klaviyo.com/en/docs/signup_forms_api_reference (event and field names)
"""


def text(fresh: dict[str, str], config: Config) -> str:
    """The first steps, with the fresh secrets in them."""
    here = f"http://{'127.0.0.1' if config.host == '0.0.0.0' else config.host}:{config.port}"  # noqa: S104 - compared only
    steps = (_site(fresh, here), _back(), _popups(), _look(fresh, here))
    head = (
        "Made .env with fresh secrets, for your eyes only. Keep it with connector.db: neither works without the other."
    )
    return "\n\n".join((click.style(head, bold=True), *steps)) + "\n"


def _site(fresh: dict[str, str], here: str) -> str:
    return f"""\
{_title("1. Let Segment send to the connector")}
   In Segment add the destination "Webhooks (Actions)" to your website's source, and connect your email platform's
   own source (Klaviyo, Customer.io, …) to it too, and to nothing else.
     URL            https://YOUR-HOST/webhooks/segment
     Shared secret  {_value(fresh["SEGMENT_SHARED_SECRETS"])}
     Mapping        send all of Track, Identify, Page, Screen, Group and Alias by POST
   Segment needs https: put your proxy or tunnel in front of {here}"""


def _back() -> str:
    return f"""\
{_title("2. Let the connector send to Segment")}
   In Segment add a source "HTTP API" and put its write key into .env as SEGMENT_WRITE_KEY=…, then start again.
   Until then everything is received and decided, and deliveries wait."""


def _popups() -> str:
    code = "\n".join(f"     {line}" for line in SNIPPET.splitlines())
    return f"""\
{_title("3. If you use Klaviyo's pop-up forms")}
   Put this on your pages, after Segment's own snippet:
{code}
   Without it an address left in a pop-up reaches Klaviyo but not Segment: nobody can tell which browser it came from.
   Email events to it stay held until the visitor identifies in another way, and leave after 72 hours as orphans,
   under an opaque id that is joined to the visitor if they identify later."""


def _look(fresh: dict[str, str], here: str) -> str:
    return f"""\
{_title("4. Look at what it decides")}
   {here}/   token {_value(fresh["INSPECTOR_TOKENS"])}
   connector check   says what is still missing; connector log --follow shows every decision.
   Libraries of Segment's may send email events to {here}/v1 with the write key {_value(fresh["SOURCE_WRITE_KEYS"])}"""


def _title(text: str) -> str:
    return click.style(text, fg="cyan", bold=True)


def _value(text: str) -> str:
    return click.style(text, fg="green")
