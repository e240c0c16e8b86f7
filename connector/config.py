"""The environment, read once: every setting, its default, and all mistakes at the same time.

Real variables win over a ``.env`` file in the working directory. Plural names hold comma-separated lists whose
members are all valid at once, so that secrets rotate without downtime.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from dotenv import dotenv_values

from connector.errors import ConfigError
from connector.messages import HOUR, Milliseconds, duration_ms

DEFAULTS: Final[Mapping[str, str]] = {
    "DATABASE_URL": "sqlite:///connector.db",
    "HOST": "",
    "PORT": "",
    "MAPPINGS": "",
    "CONNECTOR_SECRET": "",
    "SEGMENT_SHARED_SECRETS": "",
    "SEGMENT_WEBHOOK_TOKENS": "",
    "SOURCE_WRITE_KEYS": "",
    "SEGMENT_WRITE_KEY": "",
    "SEGMENT_API_URL": "https://api.segment.io/v1",
    "DESTINATIONS": "segment",
    "KLAVIYO_API_KEY": "",
    "KLAVIYO_API_URL": "https://a.klaviyo.com",
    "KLAVIYO_DELETE": "0",
    "INSPECTOR_TOKENS": "",
    "HOLD_EMAIL": "72h",
}
"""Every variable the connector reads, with what it means when absent, but for those that mappings name: the secrets of
email platforms. README documents each."""

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
KNOWN_DESTINATIONS: Final = ("segment", "klaviyo")


@dataclass(frozen=True, slots=True)
class Config:
    """What the environment says. ``secrets_of`` answers for a plural variable by its name."""

    database_url: str
    host: str
    port: int
    mappings: Path | None
    secret: str = field(repr=False)
    segment_write_key: str = field(repr=False)
    segment_api_url: str
    destinations: tuple[str, ...]
    klaviyo_api_key: str = field(repr=False)
    klaviyo_api_url: str
    klaviyo_delete: bool
    hold_email_ms: Milliseconds
    ephemeral_disk: bool
    variables: Mapping[str, str] = field(repr=False)

    @property
    def public_host(self) -> str:
        """Where ``connector web`` listens: HOST, else everywhere if a platform set PORT and routes to it."""
        if self.variables.get("HOST") or not self.variables.get("PORT"):
            return self.host
        return "0.0.0.0"  # noqa: S104 - what a platform expects of its web process

    @property
    def sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")

    def secrets_of(self, variable: str) -> tuple[str, ...]:
        """The members of a plural variable (``SEGMENT_SHARED_SECRETS`` …), empty if it is not set."""
        return tuple(part.strip() for part in self.variables.get(variable, "").split(",") if part.strip())


def read(environ: Mapping[str, str] | None = None, env_file: Path = Path(".env")) -> Config:
    """The configuration of this process.

    Raises: ConfigError naming every variable that is wrong.
    """
    variables = _variables(os.environ if environ is None else environ, env_file)
    mistakes: list[str] = []
    config = Config(
        database_url=_database_url(variables["DATABASE_URL"], mistakes),
        host=variables["HOST"] or "127.0.0.1",
        port=_port(variables["PORT"], mistakes),
        mappings=_folder(variables["MAPPINGS"], mistakes),
        secret=_secret(variables["CONNECTOR_SECRET"], mistakes),
        segment_write_key=variables["SEGMENT_WRITE_KEY"],
        segment_api_url=_url("SEGMENT_API_URL", variables, mistakes),
        destinations=_destinations(variables["DESTINATIONS"], mistakes),
        klaviyo_api_key=_key("KLAVIYO_API_KEY", variables, mistakes),
        klaviyo_api_url=_url("KLAVIYO_API_URL", variables, mistakes),
        klaviyo_delete=_flag("KLAVIYO_DELETE", variables, mistakes),
        hold_email_ms=_duration("HOLD_EMAIL", variables, mistakes),
        ephemeral_disk=bool(variables.get("DYNO")),
        variables=variables,
    )
    if mistakes:
        raise ConfigError(*mistakes)
    return config


def configured(
    environ: Mapping[str, str] | None = None, env_file: Path = Path(".env"), also: Iterable[str] = ()
) -> bool:
    """Is there any configuration at all, a ``.env`` or a variable other than HOST and PORT?

    Args: also are variables that mappings name.
    """
    environ = os.environ if environ is None else environ
    names = {*DEFAULTS, *also} - {"HOST", "PORT"}
    return env_file.exists() or any(environ.get(name) for name in names)


def write_first_env(env_file: Path = Path(".env")) -> dict[str, str]:
    """Make a ``.env`` with fresh secrets, readable by its owner only, and return what it says.

    Raises: FileExistsError if somebody else was first; nothing is ever overwritten.
    """
    fresh = {
        "CONNECTOR_SECRET": secrets.token_hex(32),
        "SEGMENT_SHARED_SECRETS": secrets.token_hex(20),
        "SOURCE_WRITE_KEYS": secrets.token_urlsafe(24),
        "INSPECTOR_TOKENS": secrets.token_urlsafe(24),
        "SEGMENT_WRITE_KEY": "",
        "DATABASE_URL": DEFAULTS["DATABASE_URL"],
    }
    lines = [
        "# Made by `connector serve` on its first start. Keep it with the database: neither works without the other."
    ]
    lines += [f"{name}={value}" for name, value in fresh.items()]
    descriptor = os.open(env_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return fresh


def _variables(environ: Mapping[str, str], env_file: Path) -> dict[str, str]:
    return {**DEFAULTS, **_set(_filed(env_file)), **_set(environ)}


def _filed(env_file: Path) -> dict[str, str]:
    if not env_file.is_file():
        return {}
    try:
        return {name: value or "" for name, value in dotenv_values(env_file).items()}
    except UnicodeDecodeError as error:
        raise ConfigError(f"{env_file}: it is not a text in UTF-8; save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{env_file}: it cannot be read: {error.strerror}; let this user read it") from error


def _set(values: Mapping[str, str]) -> dict[str, str]:
    """An empty variable counts as absent, so that a line left blank in ``.env`` keeps its default."""
    return {name: value.strip() for name, value in values.items() if value.strip()}


def _database_url(text: str, mistakes: list[str]) -> str:
    scheme, colon, rest = text.partition("://")
    if scheme in ("postgres", "postgresql", "postgresql+psycopg") and colon:
        if not _is_url(f"postgresql://{rest}"):
            mistakes.append(
                "DATABASE_URL: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and PORT is no number or a part"
                " is missing; special characters of the password are written as %-escapes"
            )
        return f"postgresql+psycopg://{rest}"
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1 and ":memory:" not in rest:
        return text
    mistakes.append(
        "DATABASE_URL: expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
        " (an in-memory database cannot keep what it acknowledged), found "
        + (f"a URL that starts with '{scheme}'" if colon else "something else")  # which may be a secret
    )
    return text


def _is_url(text: str) -> bool:
    from sqlalchemy import make_url  # slow to import, and only those commands read a configuration that use it
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(text)
    except (ArgumentError, ValueError):
        return False
    return True


def _port(text: str, mistakes: list[str]) -> int:
    if not text:
        return 8080
    if text.isdecimal() and 0 < int(text) < 65536:
        return int(text)
    mistakes.append(f"PORT: expected a number from 1 to 65535, found '{text}'")
    return 8080


def _folder(text: str, mistakes: list[str]) -> Path | None:
    if not text:
        return None
    if not Path(text).is_dir():
        mistakes.append(f"MAPPINGS: there is no folder '{text}'; make it or remove the variable")
    return Path(text)


def _secret(text: str, mistakes: list[str]) -> str:
    if not text:
        mistakes.append(
            "CONNECTOR_SECRET: it is not set. It keys the ids of profiles and outgoing events; set it to 32 random"
            " bytes (openssl rand -hex 32) and keep it with the database. (`connector serve` makes one by itself only"
            " where no setting but HOST and PORT is in the environment: start it once so, then add the others to .env)"
        )
    elif len(text) < 16:
        mistakes.append(f"CONNECTOR_SECRET: expected at least 16 characters, found {len(text)}")
    return text


def _url(name: str, variables: Mapping[str, str], mistakes: list[str]) -> str:
    text = variables[name].rstrip("/")
    parts = urlsplit(text)
    if not parts.hostname or parts.username or parts.query:
        mistakes.append(f"{name}: expected a URL such as {DEFAULTS[name]}, without user name or query")
    elif parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        mistakes.append(f"{name}: it must be https (http is for {', '.join(LOOPBACK)} only)")
    return text


def _destinations(text: str, mistakes: list[str]) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    known = ", ".join(KNOWN_DESTINATIONS)
    mistakes += [
        f"DESTINATIONS: '{name}' is unknown; this version knows {known}"
        for name in names
        if name not in KNOWN_DESTINATIONS
    ]
    if "segment" not in names:
        mistakes.append("DESTINATIONS: 'segment' must be one of them; for Klaviyo as well write segment,klaviyo")
    return names


def _key(name: str, variables: Mapping[str, str], mistakes: list[str]) -> str:
    """A key travels in a header, which holds visible ASCII only."""
    text = variables[name]
    if not text.isascii() or not text.isprintable() or " " in text:
        mistakes.append(f"{name}: this cannot be a key: it has spaces or typographic characters. Copy it once more")
    return text


def _flag(name: str, variables: Mapping[str, str], mistakes: list[str]) -> bool:
    if variables[name] not in ("0", "1"):
        mistakes.append(f"{name}: expected 0 or 1, found '{variables[name]}'")
    return variables[name] == "1"


def _duration(name: str, variables: Mapping[str, str], mistakes: list[str]) -> Milliseconds:
    duration = duration_ms(variables[name])
    if duration is None:
        mistakes.append(f"{name}: expected a duration such as 72h, 90m or 14d, found '{variables[name]}'")
        return 72 * HOUR
    return duration
