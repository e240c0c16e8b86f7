"""What `connector serve` says: at its very first start what to paste where, at every other one where it is."""

from __future__ import annotations

import sys
from typing import Final

import click

from connector import bootstrap
from connector.answers.check import entrances
from connector.cli import opening
from connector.cli.frame import called
from connector.config import Config

SNIPPET: Final = """\
addEventListener('klaviyoForms', e => {
  const m = e.detail.metaData || {};
  if (['submit', 'stepSubmit'].includes(e.detail.type) && m.$email) analytics.identify({email: m.$email});
});"""
"""Tells Segment what a Klaviyo pop-up would keep from it.

Source: https://developers.klaviyo.com/en/docs/signup_forms_api_reference (event and field names)
"""


def first(begun: str, config: Config) -> str:
    """The first steps. Fresh secrets are shown on a terminal only: what is written to a file, others read.

    Args: begun says what was done to ``.env``.
    """
    kept = f"Keep it with {opening.shown(config)}: neither works without the other."
    head = click.style(f"{begun} {kept}", bold=True)
    return "\n\n".join((head, _site(config), _back(), _popups(), _look(config))) + "\n"


def again(config: Config) -> str:
    """Where it is, which doors are open, and what to ask: for every start but the first."""
    doors = entrances(bootstrap.open_mappings(config))
    open_ones = [path for path, names in doors.items() if all(config.secrets_of(name) for name in names)]
    page = "the page is closed: set INSPECTOR_TOKENS"
    if config.secrets_of("INSPECTOR_TOKENS"):
        page = f"page {_value(_here(config) + '/')} (token: INSPECTOR_TOKENS)"
    lines = [
        f"{page}; database {opening.shown(config)}",
        f"open: {', '.join(open_ones) or 'nothing'}; {len(doors) - len(open_ones)} more doors are closed",
        f"`{called()} check` says what is missing, and what to set.",
    ]
    return "\n".join(lines)


def _here(config: Config) -> str:
    host = "127.0.0.1" if config.host == "0.0.0.0" else config.host  # noqa: S104 - compared only
    return f"http://{f'[{host}]' if ':' in host else host}:{config.port}"


def _site(config: Config) -> str:
    return f"""\
{_title("1. Let Segment send to the connector")}
   In Segment add the destination "Webhooks (Actions)" to your website's source, and to your email platform's own
   source (Klaviyo, Customer.io, …).
     URL            https://YOUR-HOST/webhooks/segment
     Shared secret  {_secret("SEGMENT_SHARED_SECRETS", config)}
     Mapping        method POST; all of Track, Identify, Page, Screen, Group and Alias
   Segment needs https: put your proxy or tunnel in front of {_here(config)}"""


def _back() -> str:
    return f"""\
{_title("2. Let the connector send to Segment")}
   In Segment add a source "HTTP API" and put its write key into .env as SEGMENT_WRITE_KEY=…, then start again.
   Until then everything is received and decided, and deliveries wait.
   Its email events replace those of the email platform's source: where both would arrive, filter out the latter."""


def _popups() -> str:
    code = "\n".join(f"     {line}" for line in ("<script>", *SNIPPET.splitlines(), "</script>"))
    return f"""\
{_title("3. If you use Klaviyo's pop-up forms")}
   Put this on your pages, after Segment's own snippet:
{code}
   Without it an address left in a pop-up reaches Klaviyo but not Segment: nobody can tell which browser it came from.
   Email events to it stay held until the visitor identifies in another way, and leave after 72 hours as orphans,
   under an opaque id that is joined to the visitor if they identify later."""


def _look(config: Config) -> str:
    return f"""\
{_title("4. Look at what it decides")}
   {_here(config)}/   token {_secret("INSPECTOR_TOKENS", config)}
   {called()} check   says what is still missing; {called()} log --follow shows every decision.
   Libraries of Segment's may send email events to {_here(config)}/v1 with the write key
   {_secret("SOURCE_WRITE_KEYS", config)}"""


def _secret(variable: str, config: Config) -> str:
    shown = ",".join(config.secrets_of(variable)) or f"(none: set {variable})"
    return _value(shown if sys.stdout.isatty() else f"see {variable} in .env")


def _title(text: str) -> str:
    return click.style(text, fg="cyan", bold=True)


def _value(text: str) -> str:
    return click.style(text, fg="green")
