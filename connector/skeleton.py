"""The files that a new email platform begins with: a commented mapping and a first sample, which work as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Final

from connector.errors import ConfigError
from connector.mapping import RESERVED
from connector.resources import shipped_mappings

NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,39}\Z")

MAPPING: Final = Template("""\
# $title's webhooks: <the page where $title documents them>
# Set up: in $title, send events to https://<your host>/webhooks/$provider/<a secret>, and put the secret into
# $variable.
name = "$title"
secrets = "$variable"
# Destinations in Segment that must not get these events back.
integrations = ["$title"]
# Which channel counts where one event comes by several: auto = this webhook where its secret is set.
channel = "auto"
# "segment" if the user id that $title knows is always your Segment userId.
user_id = "vendor"
# "repaired" sends on only what arrived without a usable id.
forward = "all"

[door]
# secret: the platform does not sign; the secret is in the path, or the password of Basic, or a bearer token.
# hmac: it signs the body: hmac = { header = "X-Signature", hash = "sha256", encoding = "hex", prefix = "" }
# standard-webhooks: it signs as https://www.standardwebhooks.com says (Svix does).
# own: another way, verified by connector/sources/$provider.py.
signature = "secret"
# If the body is {"events": [...]}: elements = "events"
# What tells an event from its repeats: an id of the event, not of the mail. If there is none, a digest of what makes it
# unique: dedupe = { "@x-digest" = ["event", "message_id", "email", "timestamp", "url"] }
dedupe = ["event_id"]
# Paths that are never stored, such as the mail's own text: strip = ["html"]

[event]
path = ["event"]

# The platform's word = the name in Segment's Email spec. Words that are not listed are kept, and not sent on.
# Where a word means it only sometimes: bounce = { name = "Email Bounced", when = { "bounce.type" = "permanent" } }
[event.names]
delivered = "Email Delivered"
open = "Email Opened"
click = "Email Link Clicked"
bounce = "Email Bounced"
complaint = "Email Marked as Spam"
unsubscribe = "Unsubscribed"

# Which names the platform has no word for, and why:
# [event.absent]
# "Email Delivered" = "$title tells only that a mail was sent"

# Whom the mail was sent to; of each list the first that has a value.
[identifiers]
recipient = ["email"]
profile_id = ["contact_id"] # the platform's own id of that person
user_id = ["user_id"]       # the id that you gave that person there

# What else leaves. Names of Segment's Email spec: email_id email_subject campaign_id campaign_name link_id link_url
[fields]
timestamp = { "@x-time" = { value = ["timestamp"], unit = "seconds" } } # or milliseconds, or text
"properties.email_id" = { "@x-text" = ["message_id"] }
"properties.email_subject" = ["subject"]
"properties.campaign_id" = { "@x-text" = ["campaign_id"] }
"properties.campaign_name" = ["campaign_name"]
"properties.link_url" = ["url"]
"properties.machine_open" = { "@x-flag" = ["machine_open"] }   # if the platform flags what a machine did
"properties.machine_click" = { "@x-flag" = ["machine_click"] }
""")

CASE: Final = Template("""\
# Where this shape is from: the page that documents it, or "recorded" and when. No real addresses.
shape = "recorded by connector mappings new on $today: replace it with what $title really sends, and its documentation"

[headers]
Content-Type = "application/json"
""")

BODY: Final = """\
{"event": "delivered", "event_id": "evt_1", "email": "jane@example.com", "user_id": "user-1", "timestamp": 1700000000}
"""

EXPECTED: Final = """\
[
  {
    "message_id": "evt_1",
    "event": "Email Delivered",
    "at": "2023-11-14T22:13:20.000Z",
    "recipient": "jane@example.com",
    "email": "jane@example.com",
    "profile_id": null,
    "user_id": "user-1",
    "properties": {},
    "ignored": null
  }
]
"""


def write(provider: str, mappings: Path, samples: Path, today: str) -> Iterator[Path]:
    """Make the files, each of them told as it is there. Args: today is the date, 2026-09-01.

    Raises: ConfigError if the name cannot be a provider's, has a shipped mapping, or one of the files is there already.
    """
    if not NAME.match(provider):
        raise ConfigError(f"PROVIDER: expected small letters, digits and _, such as acme, found '{provider}'")
    title = provider.replace("_", " ").title()
    named = {"provider": provider, "title": title, "variable": variable(provider), "today": today}
    sample = samples / provider / "delivered"
    files = {
        mappings / "sources" / f"{provider}.toml": MAPPING.substitute(named),
        sample / "case.toml": CASE.substitute(named),
        sample / "body.json": BODY,
        sample / "expected.json": EXPECTED,
    }
    if provider in RESERVED:
        raise ConfigError(f"PROVIDER: '{provider}' is what the connector itself stores is called; choose another name")
    there = [str(path) for path in files if path.exists()]
    if there:
        raise ConfigError(f"{there[0]} is there already; nothing was changed")
    shipped = shipped_mappings() / "sources" / f"{provider}.toml"
    if shipped.exists():
        made = next(iter(files))
        raise ConfigError(f"PROVIDER: '{provider}' has a shipped mapping; to change it, copy {shipped} to {made}")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        yield path


def variable(provider: str) -> str:
    """The environment variable that opens a new provider's door."""
    return f"{provider.upper()}_WEBHOOK_SECRETS"
