"""Another email platform is one mapping, at most one small module, and a folder of samples: nothing else is edited."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from flask.testing import FlaskClient

from connector import bootstrap, config, sources, validate
from connector.app import close, create_app
from connector.cli import main
from connector.errors import MappingError
from connector.messages import Stored
from connector.resources import shipped_mappings
from connector.store import Store
from connector.tables import inbox

MODULE = '''
"""Acme signs the body in hexadecimal: X-Acme-Signature."""

import hashlib
import hmac


def signed(request, secrets):
    given = request.headers.get("x-acme-signature", "").encode()
    made = (hmac.new(one.encode(), request.body, hashlib.sha256).hexdigest().encode() for one in secrets)
    return any([hmac.compare_digest(one, given) for one in made])
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What ``connector mappings new acme`` makes."""
    done = CliRunner().invoke(
        main, ["mappings", "new", "acme", "--mappings", f"{tmp_path}/mine", "--samples", f"{tmp_path}/samples"]
    )
    assert done.exit_code == 0, done.output
    return tmp_path


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules count as those in connector/sources."""
    extra = tmp_path / "modules"
    extra.mkdir()
    (extra / "acme.py").write_text(MODULE)
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(extra)])
    yield extra
    sys.modules.pop("connector.sources.acme", None)


def opened(store: Store, folder: Path) -> FlaskClient:
    settings = {"CONNECTOR_SECRET": "0" * 32, "ACME_WEBHOOK_SECRETS": "old,s3cret", "MAPPINGS": f"{folder}/mine"}
    return create_app(config.read(settings, Path("/nonexistent/.env")), store).test_client()


def messages(store: Store, folder: Path) -> list[tuple[str, str | None, str | None]]:
    settings = {"CONNECTOR_SECRET": "0" * 32, "MAPPINGS": f"{folder}/mine"}
    house = bootstrap.open_house(config.read(settings, Path("/nonexistent/.env")))
    with store.reading() as tx:
        rows = tx.execute(sa.select(inbox).order_by(inbox.c.id)).all()
    read = [validate.read(Stored(**row._mapping), house.reader) for row in rows]
    return [
        (one.message_id, one.event, one.email.recipient.value if one.email and one.email.recipient else None)
        for one in read
    ]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/webhooks/acme/s3cret", {}, 200),
        ("/webhooks/acme", {"Authorization": "Bearer old"}, 200),
        ("/webhooks/acme", {}, 401),
        ("/webhooks/acme/wrong", {}, 401),
        ("/webhooks/acme/s3cret/more", {}, 401),
    ],
)
def test_the_skeleton_is_a_door(
    sqlite_store: Store, folder: Path, path: str, headers: dict[str, str], status: int
) -> None:
    client = opened(sqlite_store, folder)
    body = (folder / "samples/acme/delivered/body.json").read_bytes()
    assert client.post(path, data=body, headers=headers).status_code == status
    close(client.application)
    stored = [("evt_1", "Email Delivered", "jane@example.com")] if status == 200 else []
    assert messages(sqlite_store, folder) == stored


def test_without_its_secret_the_door_is_closed_and_names_the_variable(sqlite_store: Store, folder: Path) -> None:
    settings = config.read({"CONNECTOR_SECRET": "0" * 32, "MAPPINGS": f"{folder}/mine"}, Path("/nonexistent/.env"))
    app = create_app(settings, sqlite_store)
    answer = app.test_client().post("/webhooks/acme/s3cret", data=b"{}")
    close(app)
    assert (answer.status_code, answer.json) == (
        403,
        {"message": "this source is closed: set ACME_WEBHOOK_SECRETS and restart the connector"},
    )


def test_a_signature_of_its_own_is_one_small_module(sqlite_store: Store, folder: Path, module: Path) -> None:
    mapping = folder / "mine/sources/acme.toml"
    mapping.write_text(mapping.read_text().replace('signature = "secret"', 'signature = "own"'))
    client = opened(sqlite_store, folder)
    body = (folder / "samples/acme/delivered/body.json").read_bytes()
    signature = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    answers = [
        client.post("/webhooks/acme", data=body, headers={"X-Acme-Signature": one}).status_code
        for one in (signature, signature[::-1], "")
    ]
    close(client.application)
    assert answers == [200, 401, 401]
    assert messages(sqlite_store, folder) == [("evt_1", "Email Delivered", "jane@example.com")]


def test_a_signature_that_nobody_verifies_is_told_before_anything_starts(sqlite_store: Store, folder: Path) -> None:
    mapping = folder / "mine/sources/acme.toml"
    mapping.write_text(mapping.read_text().replace('signature = "secret"', 'signature = "own"'))
    with pytest.raises(MappingError, match=r"connector/sources/acme.py does not verify it"):
        opened(sqlite_store, folder)


def test_the_sample_of_the_skeleton_is_true(folder: Path) -> None:
    body = folder / "samples/acme/delivered/body.json"
    expected = json.loads((folder / "samples/acme/delivered/expected.json").read_text())
    done = CliRunner().invoke(main, ["mappings", "try", "acme", str(body), "--mappings", f"{folder}/mine", "--json"])
    told = json.loads(done.stdout)
    assert [one["stored"]["message_id"] for one in told] == [expected[0]["message_id"]]
    assert (told[0]["understood"]["event"], told[0]["understood"]["at"]) == (expected[0]["event"], expected[0]["at"])
    assert told[0]["leaves"]["segment"]["properties"] == expected[0]["properties"]


def test_nothing_is_overwritten(folder: Path) -> None:
    done = CliRunner().invoke(
        main, ["mappings", "new", "acme", "--mappings", f"{folder}/mine", "--samples", f"{folder}/samples"]
    )
    assert (done.exit_code, done.stdout) == (1, "")
    assert "acme.toml is there already; nothing was changed" in done.stderr


@pytest.mark.parametrize("file", ["mine/sources/acme.toml", "samples/acme/delivered/case.toml"])
def test_one_file_that_is_there_is_enough_to_make_none(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("mine")
    done = CliRunner().invoke(
        main, ["mappings", "new", "acme", "--mappings", f"{tmp_path}/mine", "--samples", f"{tmp_path}/samples"]
    )
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{tmp_path}/{file} is there already; nothing was changed" in done.stderr
    found = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {file: "mine"}


@pytest.mark.parametrize("name", ["klaviyo", "segment"])
def test_a_platform_with_a_shipped_mapping_is_no_new_one(tmp_path: Path, name: str) -> None:
    """What a skeleton says of signatures would take the place of how the shipped one proves itself."""
    done = CliRunner().invoke(
        main, ["mappings", "new", name, "--mappings", f"{tmp_path}/mine", "--samples", f"{tmp_path}/samples"]
    )
    assert (done.exit_code, done.stdout, list(tmp_path.iterdir())) == (1, "", [])
    copied = f"copy {shipped_mappings()}/sources/{name}.toml to {tmp_path}/mine/sources/{name}.toml"
    assert f"'{name}' has a shipped mapping; to change it, {copied}" in done.stderr


def test_the_sample_says_where_its_shape_is_from_as_every_sample_does(folder: Path) -> None:
    shape = tomllib.loads((folder / "samples/acme/delivered/case.toml").read_text())["shape"]
    assert re.fullmatch(r"recorded by connector mappings new on 20\d\d-\d\d-\d\d: replace it with what Acme .*", shape)


@pytest.mark.parametrize("name", ["Acme", "../acme", "a", "", "acme corp"])
def test_a_name_that_cannot_be_a_door_s_is_refused(tmp_path: Path, name: str) -> None:
    done = CliRunner().invoke(main, ["mappings", "new", name, "--mappings", f"{tmp_path}/mine"])
    assert (done.exit_code, list(tmp_path.iterdir())) == (1, [])


def test_the_next_command_it_names_works_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(main, ["mappings", "new", "acme"]).stdout
    (line,) = [one for one in told.splitlines() if one.startswith("next: ")]
    command = line.removeprefix("next: `").removesuffix("`").split()[1:]
    done = CliRunner().invoke(main, command)
    assert (done.exit_code, "Email Delivered" in done.stdout) == (0, True)
    assert "then put MAPPINGS=mappings into .env" in told


@pytest.mark.parametrize("name", ["operator", "import", "tracking_api"])
def test_what_the_connector_itself_is_called_is_no_name_for_a_platform(tmp_path: Path, name: str) -> None:
    done = CliRunner().invoke(main, ["mappings", "new", name, "--mappings", f"{tmp_path}/mine"])
    assert (done.exit_code, list(tmp_path.iterdir())) == (1, [])
