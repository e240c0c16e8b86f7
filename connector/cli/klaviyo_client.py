"""How the commands ask Klaviyo: with the key of the settings, not for long, and refusals said in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from connector.errors import ConfigError, ConnectorError

if TYPE_CHECKING:
    from connector.answers import Finding
    from connector.config import Config
    from connector.klaviyo.api import Client
    from connector.mapping import Mappings
    from connector.store import Store

NO_KEY: Final = (
    "KLAVIYO_API_KEY: it is not set. Make a private key in Klaviyo (Settings, API keys) and put it into .env; README"
    " lists the scopes to tick"
)
TRIES: Final = 2
WAITED_SECONDS: Final = 10.0
"""How long somebody at a keyboard waits for an answer, or because Klaviyo wants us to, before they are told."""
CHECKED_SECONDS: Final = 4.0
"""The same where Klaviyo is one thing among many that are looked at."""


class Unable(ConnectorError):
    """Klaviyo did not do what a command wanted, and why, in words for people."""


def settings() -> Config:
    """The configuration; a CONNECTOR_SECRET is not needed to ask Klaviyo.

    Raises: ConfigError naming every variable that is wrong, or the key that is missing.
    """
    from connector.cli import env_file, opening

    config = opening.settings() if env_file.has_secret() else env_file.without_secret()
    if not config.klaviyo_api_key:
        raise ConfigError(NO_KEY)
    return config


def mappings(config: Config) -> Mappings:
    """The files in mappings/. Raises: MappingError."""
    from connector import bootstrap

    return bootstrap.open_mappings(config)


@contextmanager
def connected(config: Config, *, seconds: float | None = WAITED_SECONDS) -> Iterator[Client]:
    """Somebody who asks Klaviyo.

    Args: seconds is how long they wait for one answer; None for work that takes its time.
    """
    from connector.exchange import Exchange, Timeouts
    from connector.klaviyo.api import Client, Patience

    if seconds is None:
        client = Client(config)
    else:
        patience = Patience(tries=TRIES, longest_wait_seconds=seconds)
        client = Client(config, exchange=Exchange(Timeouts(3.0, seconds, seconds)), patience=patience)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def plainly(scope: str, look: str = "") -> Iterator[None]:
    """What Klaviyo says to a request that needs this scope, in plain words.

    Args: look is the command that shows whether a change was made whose answer never came.
    Raises: Unable.
    """
    from connector.klaviyo.api import Refused, Unanswered
    from connector.klaviyo.rights import explained

    try:
        yield
    except Refused as error:
        raise Unable(explained(error, scope)) from None
    except Unanswered as error:
        wait = error.retry_after_seconds
        unknown = f"; it may have been done: `{look}` shows that" if look and error.status != 429 else ""
        raise Unable(f"{error}{unknown}; try again {f'in {wait} seconds' if wait else 'later'}") from None


def findings(config: Config, store: Store | None, *, offline: bool) -> Iterator[Finding]:
    """What ``connector check`` says of Klaviyo. Args: offline asks nobody."""
    from connector.answers import check_klaviyo
    from connector.messages import now_ms

    try:
        read = mappings(config)
    except ConfigError:
        return  # told already
    yield from check_klaviyo.check(config, read, store, now_ms())
    if offline or not config.klaviyo_api_key:
        return
    with connected(config, seconds=CHECKED_SECONDS) as client:
        yield from check_klaviyo.ask(config, read, client)
