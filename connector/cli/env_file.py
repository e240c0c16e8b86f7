"""The ``.env`` of the working folder: what a first start adds to it, and names in it that seem to be misspelt."""

from __future__ import annotations

import difflib
import fcntl
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from connector import bootstrap, mapping, resources
from connector import config as configuration
from connector.errors import ConfigError

ENV: Final = Path(".env")
SECRET: Final = "CONNECTOR_SECRET"  # noqa: S105 - its name
STAND_IN: Final = "-" * 32
"""Reads all other settings while there is no secret yet; nothing is ever keyed with it."""

CLOSE: Final = 0.8
"""How alike two names must be (1 is the same) before one is taken for the other misspelt."""


def values() -> Mapping[str, str | None]:
    """What the file says; nothing if it cannot be read, which ``config.read`` tells."""
    try:
        return dotenv_values(ENV) if ENV.is_file() else {}
    except (OSError, UnicodeDecodeError):
        return {}


def has_secret() -> bool:
    """Is there a CONNECTOR_SECRET, in the environment or in the file?"""
    return any((where.get(SECRET) or "").strip() for where in (os.environ, values()))


def without_secret() -> configuration.Config:
    """All settings but the secret.

    Raises: ConfigError naming every other variable that is wrong.
    """
    return configuration.read({**os.environ, SECRET: STAND_IN})


def database_file() -> Path | None:
    """The SQLite file that the settings name, whatever else is wrong with them; None for PostgreSQL."""
    url = os.environ.get("DATABASE_URL", "").strip() or (values().get("DATABASE_URL") or "").strip()
    url = url or configuration.DEFAULTS["DATABASE_URL"]
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def make() -> str:
    """Make the file, and say so. If another process was first, its secrets are as good.

    Raises: ConfigError if the folder cannot be written.
    """
    try:
        configuration.write_first_env(ENV)
    except FileExistsError:
        return f"{ENV.resolve()} was made by another process just now."
    except OSError as error:
        raise ConfigError(f"{ENV.resolve()} cannot be made: {error.strerror}") from error
    return f"Made {ENV.resolve()} with fresh secrets, for your eyes only."


def complete() -> str | None:
    """Add to the file the secrets of a first start that it does not name, and say so; what is there stays.

    Raises: ConfigError if the file cannot be written.
    """
    wanted = (SECRET, "SEGMENT_SHARED_SECRETS", "SOURCE_WRITE_KEYS", "INSPECTOR_TOKENS")
    try:
        with ENV.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # two first starts at once must agree on one secret
            if has_secret():
                return None
            missing = [name for name in wanted if name == SECRET or (name not in values() and name not in os.environ)]
            text = file.read()
            lines = [f"{name}={secrets.token_hex(32 if name == SECRET else 20)}\n" for name in missing]
            file.write("".join(["\n" if text and not text.endswith("\n") else "", *lines]))
    except OSError as error:
        raise ConfigError(f"{ENV.resolve()} cannot be written: {error.strerror}; it needs a {SECRET}") from error
    exposed = " Others may read it: chmod 600 .env." if ENV.stat().st_mode & 0o077 else ""
    return f"Added {', '.join(missing)} to {ENV.resolve()}; what was in it is as it was.{exposed}"


def misspelt(also: Iterable[str] = ()) -> list[str]:
    """A sentence for each name in the file that nobody reads and that looks like one of ours.

    Args: also are variables that mappings name.
    """
    known = [*configuration.DEFAULTS, *also]
    strange = [(name, _meant(name, known)) for name in values() if name not in known]
    return [f"{name} in .env is not a setting; did you mean {meant}?" for name, meant in strange if meant]


def named_by_mappings(config: configuration.Config) -> list[str]:
    """The variables that mappings name; none if they cannot be read, which is told elsewhere."""
    try:
        sources = bootstrap.open_mappings(config).sources
    except ConfigError:
        return []
    return [name for one in sources.values() for name in one.variables]


def shipped_variables() -> list[str]:
    """The variables that the shipped mappings name."""
    shipped = mapping.load(resources.shipped_mappings())
    return [name for one in shipped.sources.values() for name in one.variables]


def _meant(name: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(name.upper(), known, 1, CLOSE)
    begun = [one for one in known if one.startswith(f"{name.upper()}_")]
    return next(iter([*close, *begun]), None)
