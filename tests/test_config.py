"""The environment: defaults, all mistakes at once, secrets that rotate, and a first .env that is nobody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from connector import config
from connector.errors import ConfigError
from connector.messages import HOUR, MINUTE

SECRET = {"CONNECTOR_SECRET": "0123456789abcdef"}


def read(tmp_path: Path, **variables: str) -> config.Config:
    return config.read({**SECRET, **variables}, tmp_path / ".env")


def test_the_defaults_are_the_embedded_ones(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert (settings.database_url, settings.host, settings.port) == ("sqlite:///connector.db", "127.0.0.1", 8080)
    assert (settings.segment_api_url, settings.destinations) == ("https://api.segment.io/v1", ("segment",))
    assert (settings.hold_email_ms, settings.klaviyo_delete, settings.sqlite) == (72 * HOUR, False, True)


def test_all_mistakes_are_reported_together_and_each_names_its_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config.read(
            {
                "DATABASE_URL": "mysql://x",
                "PORT": "eighty",
                "MAPPINGS": str(tmp_path / "nowhere"),
                "SEGMENT_API_URL": "http://api.segment.io/v1",
                "DESTINATIONS": "segment,pigeon",
                "KLAVIYO_DELETE": "yes",
                "HOLD_EMAIL": "three days",
            },
            tmp_path / ".env",
        )
    named = [mistake.partition(":")[0] for mistake in caught.value.mistakes]
    assert named == [
        "DATABASE_URL",
        "PORT",
        "MAPPINGS",
        "CONNECTOR_SECRET",
        "SEGMENT_API_URL",
        "DESTINATIONS",
        "KLAVIYO_DELETE",
        "HOLD_EMAIL",
    ]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h:5433/d", "postgresql+psycopg://u:p@h:5433/d"),
        ("sqlite:///other.db", "sqlite:///other.db"),
    ],
)
def test_the_database_urls_of_platforms_are_understood(tmp_path: Path, text: str, url: str) -> None:
    assert read(tmp_path, DATABASE_URL=text).database_url == url


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///:memory:", "postgres:", "x"])
def test_a_store_that_cannot_keep_anything_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL"):
        read(tmp_path, DATABASE_URL=text)


@pytest.mark.parametrize("url", ["postgres://u:p@h:54x/d", "postgresql://u:p@h:/d:", "postgresql://u:p@[::1:5432/d"])
def test_a_database_url_that_cannot_be_read_is_a_mistake_in_words(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL: expected postgresql://USER"):
        read(tmp_path, DATABASE_URL=url)


def test_what_is_no_database_url_is_never_printed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, DATABASE_URL="a-secret-in-the-wrong-line")
    assert "a-secret" not in str(caught.value)
    assert str(caught.value).endswith("found something else")


@pytest.mark.parametrize("content", [b"CONNECTOR_SECRET=caf\xe9", "CONNECTOR_SECRET=0123456789abcdef".encode("utf-16")])
def test_an_env_file_that_is_not_utf8_is_a_mistake_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(ConfigError, match="it is not a text in UTF-8"):
        read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_env_file_that_may_not_be_read_is_a_mistake_in_words(tmp_path: Path) -> None:
    (tmp_path / ".env").touch(mode=0)
    with pytest.raises(ConfigError, match="it cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize("key", ["pk_ä", "pk_1 2", "pk_1\t2"])
def test_a_key_for_klaviyo_that_no_header_can_hold_is_a_mistake(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(tmp_path, KLAVIYO_API_KEY=key)
    told = "KLAVIYO_API_KEY: this cannot be a key: it has spaces or typographic characters. Copy it once more"
    assert refusal.value.mistakes == (told,)


def test_segment_is_always_one_of_the_destinations(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(tmp_path, DESTINATIONS="klaviyo")
    assert refusal.value.mistakes == (
        "DESTINATIONS: 'segment' must be one of them; for Klaviyo as well write segment,klaviyo",
    )


def test_a_url_may_be_http_on_loopback_only(tmp_path: Path) -> None:
    assert read(tmp_path, SEGMENT_API_URL="http://127.0.0.1:99/v1/").segment_api_url == "http://127.0.0.1:99/v1"
    with pytest.raises(ConfigError, match="https"):
        read(tmp_path, SEGMENT_API_URL="http://127.0.0.1.evil.test/v1")
    with pytest.raises(ConfigError, match="user name"):
        read(tmp_path, SEGMENT_API_URL="https://127.0.0.1@evil.test/v1")


def test_plural_variables_hold_several_members(tmp_path: Path) -> None:
    settings = read(tmp_path, SEGMENT_SHARED_SECRETS=" old , new,, ")
    assert settings.secrets_of("SEGMENT_SHARED_SECRETS") == ("old", "new")
    assert settings.secrets_of("KLAVIYO_WEBHOOK_SECRETS") == ()


def test_real_variables_win_over_the_file_and_blank_ones_do_not_count(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CONNECTOR_SECRET=from-the-file-1234\nHOLD_EMAIL=1h\nSEGMENT_WRITE_KEY=\n")
    settings = config.read({"HOLD_EMAIL": "30m", "CONNECTOR_SECRET": ""}, tmp_path / ".env")
    assert (settings.secret, settings.hold_email_ms) == ("from-the-file-1234", 30 * MINUTE)
    assert settings.segment_write_key == ""


def test_no_secret_is_in_the_words_of_the_configuration(tmp_path: Path) -> None:
    settings = read(
        tmp_path, SEGMENT_WRITE_KEY="wk-secret", KLAVIYO_API_KEY="pk-secret", INSPECTOR_TOKENS="token-secret"
    )
    assert "secret" not in repr(settings).replace("secret=", "") and SECRET["CONNECTOR_SECRET"] not in repr(settings)


def test_only_the_web_process_of_a_platform_that_sets_port_is_listened_to_from_outside(tmp_path: Path) -> None:
    hosts = {
        (host, port): (settings.host, settings.public_host)
        for host in ("", "127.0.0.2")
        for port in ("", "5000")
        for settings in [read(tmp_path, HOST=host, PORT=port)]
    }
    assert hosts == {
        ("", ""): ("127.0.0.1", "127.0.0.1"),
        ("", "5000"): ("127.0.0.1", "0.0.0.0"),  # noqa: S104 - what is asserted
        ("127.0.0.2", ""): ("127.0.0.2", "127.0.0.2"),
        ("127.0.0.2", "5000"): ("127.0.0.2", "127.0.0.2"),
    }


def test_the_first_env_is_the_owners_alone_and_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    fresh = config.write_first_env(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert config.read({}, file).secret == fresh["CONNECTOR_SECRET"]
    with pytest.raises(FileExistsError):
        config.write_first_env(file)
    assert config.read({}, file).secret == fresh["CONNECTOR_SECRET"]


def test_host_and_port_alone_are_no_configuration(tmp_path: Path) -> None:
    assert not config.configured({"HOST": "127.0.0.1", "PORT": "80", "HOME": "/"}, tmp_path / ".env")
    assert config.configured({"SEGMENT_WRITE_KEY": "x"}, tmp_path / ".env")
    (tmp_path / ".env").touch()
    assert config.configured({}, tmp_path / ".env")


def test_a_variable_that_a_mapping_names_is_configuration(tmp_path: Path) -> None:
    environ = {"ACME_WEBHOOK_SECRETS": "x"}
    assert not config.configured(environ, tmp_path / ".env")
    assert config.configured(environ, tmp_path / ".env", also=["ACME_WEBHOOK_SECRETS"])
