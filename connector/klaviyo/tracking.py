"""Klaviyo's tracking parameters: what it adds to the links of mails, the id of the addressee among it.

A parameter with the dynamic value ``profile_id`` puts the addressee into the URL of the page that a click opens, and
so into the next page call: no look-up, and no address in it. ``identity.toml`` says which parameters are read.

Source: https://developers.klaviyo.com/en/reference/update_tracking_setting (revision 2026-10-15)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from connector.errors import ConnectorError
from connector.klaviyo.api import Client, Tier, Unanswered
from connector.rules import Landing

PATH: Final = "/api/tracking-settings"
PROFILE: Final = "profile_id"
VALUES: Final[Mapping[str, tuple[str, str]]] = {
    PROFILE: ("kl_pid", "klaviyo_profile_id"),
    "profile_external_id": ("kl_xid", "klaviyo_user_id"),
}
"""Dynamic values of a custom parameter that name the addressee: our name of the parameter, the type of identifier."""

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
BOTH: Final = ("flow", "campaign")
OWN: Final = ("utm_source", "utm_medium", "utm_campaign", "utm_id", "utm_term")


class Unfit(ConnectorError):
    """A parameter that cannot be set as it was said."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The account's tracking settings. automatic: Klaviyo adds parameters to links at all.

    own: its utm_… parameters as it tells them. custom: the others, whole, in its order.
    """

    account: str
    automatic: bool
    own: Mapping[str, Mapping[str, Any]]
    custom: tuple[Mapping[str, Any], ...]

    def carries(self, value: str) -> list[str]:
        """The custom parameters that carry this dynamic value in campaigns or in flows."""
        return [str(one["name"]) for one in self.custom if any(_is(one.get(kind), value) for kind in BOTH)]


def read(client: Client) -> Settings:
    """The settings: every account has exactly one document of them. Raises: Refused, Unanswered."""
    documents = client.get(PATH, {}, tier=Tier.TRACKING).get("data")
    return _settings(documents[0] if isinstance(documents, list) and documents else None)


def with_parameter(settings: Settings, name: str, value: str) -> Settings:
    """These settings with one parameter more, the same if it is there. Everything else stays.

    Raises: Unfit if the name cannot be had.
    """
    if not NAME.fullmatch(name) or name.lower().startswith("utm_") or name.startswith("_"):
        raise Unfit(f"--parameter: expected a name such as {VALUES[value][0]}: letters, digits, _ and -; not utm_…")
    entry = {"name": name, **{kind: {"type": "dynamic", "value": value} for kind in BOTH}}
    known = [one for one in settings.custom if one["name"] == name]
    if any(one.get(kind) and not _is(one[kind], value) for one in known for kind in BOTH):
        raise Unfit(
            f"--parameter: Klaviyo has a parameter '{name}' with another value already; choose another name, or change"
            " it in Klaviyo (Settings, UTM tracking)"
        )
    rest = tuple(one for one in settings.custom if one["name"] != name)
    custom = settings.custom if known == [entry] else (*rest, entry)
    return Settings(settings.account, True, settings.own, custom)


def save(client: Client, settings: Settings) -> Settings:
    """Set the custom parameters, all of them, and the switch; the utm_… stay as they are. Raises: Refused, Unanswered.

    Klaviyo replaces the whole list, so the settings must have been read just before.
    """
    custom = [dict(one) for one in settings.custom]
    attributes = {"auto_add_parameters": settings.automatic, "custom_parameters": custom}
    data = {"type": "tracking-setting", "id": settings.account, "attributes": attributes}
    path = f"{PATH}/{quote(settings.account, safe='')}"
    return _settings(client.send("PATCH", path, {"data": data}, tier=Tier.TRACKING).get("data"))


def reading(landings: Iterable[Landing], name: str) -> Landing | None:
    """The entry of identity.toml by which a parameter of this name is read."""
    return next((one for one in landings if one.parameter == name), None)


def mistaken(landing: Landing | None, value: str) -> str | None:
    """Why a parameter must not carry this value: identity.toml would take it for something else. None if it may."""
    if landing is None or landing.type == VALUES[value][1]:
        return None
    return (
        f"identity.toml reads {landing.parameter} as {landing.type}, which {value} is not; use another name, such as"
        f" {VALUES[value][0]}, or change that entry of [[landings]] first"
    )


def entry(name: str, value: str) -> str:
    """What to add to identity.toml so that it is."""
    return f'[[landings]]\nparameter = "{name}"\ntype = "{VALUES[value][1]}"\nkind = "clicked"'


def shown(parameter: Mapping[str, Any] | None) -> str:
    """What a parameter carries, in words: ``profile_id``, or a text in quotes; flows only where they differ."""
    campaign, flow = (_value((parameter or {}).get(kind)) for kind in ("campaign", "flow"))
    return campaign if campaign == flow else f"{campaign} (flows: {flow})"


def _value(told: Mapping[str, Any] | None) -> str:
    if not told:
        return "nothing"
    return str(told.get("value")) if told.get("type") == "dynamic" else f'"{told.get("value")}"'


def _is(told: Mapping[str, Any] | None, value: str) -> bool:
    return bool(told) and told is not None and (told.get("type"), told.get("value")) == ("dynamic", value)


def _settings(document: Mapping[str, Any] | None) -> Settings:
    """Raises: Unanswered if that is none."""
    told = document.get("attributes") if isinstance(document, Mapping) else None
    if document is None or not isinstance(told, Mapping):
        raise Unanswered("Klaviyo's answer holds no tracking settings; is KLAVIYO_API_URL right?")
    return Settings(
        str(document["id"]),
        told.get("auto_add_parameters") is True,
        {name: told[name] for name in OWN if told.get(name)},
        tuple(told.get("custom_parameters") or ()),
    )
