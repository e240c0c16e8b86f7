"""The package as a stranger gets it: a wheel, an empty virtual environment, another folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from connector import migrate
from connector.resources import shipped_mappings

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("alembic", "flask", "granian", "marshmallow", "psycopg", "requests", "sqlalchemy", "tenacity")
SHIPPED = ("connector", "mappings", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md")

LOOK_AROUND = """
import sys, tomllib
import connector
from connector import migrate
from connector.resources import shipped_mappings

files = sorted(shipped_mappings().rglob("*.toml"))
for file in files:
    tomllib.loads(file.read_text(encoding="utf-8"))
print(connector.__file__)
print(migrate.head())
print(*(file.relative_to(shipped_mappings()).as_posix() for file in files))
"""

HELP = """
import sys
from connector.cli import main

try:
    main(["--help"])
finally:
    print("imported:", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by way of the source archive, from a copy that leaves the checkout as it is."""
    folder = tmp_path_factory.mktemp("build")
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", folder, cwd=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a virtual environment that holds the wheel and what it asks for, nothing else."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    run(folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=folder.parent)
    return folder / "bin"


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command} ended with status {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_wheel_carries_code_mappings_and_license_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    mappings = {
        f"connector/mappings/{file.relative_to(ROOT / 'mappings')}" for file in (ROOT / "mappings").rglob("*.toml")
    }
    assert mappings, "there are no mappings to ship"
    assert mappings == {name for name in names if name.endswith(".toml")}
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"connector", "connector_cdp"}
    assert [name for name in names if name.endswith("/LICENSE")]


@pytest.mark.slow
def test_the_installed_command_answers_from_another_folder(installed: Path, tmp_path: Path) -> None:
    assert "Usage: connector" in run(installed / "connector", "--help", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_installed_package_finds_its_mappings_and_revisions(installed: Path, tmp_path: Path) -> None:
    package, head, mappings = run(installed / "python", "-c", LOOK_AROUND, cwd=tmp_path).splitlines()
    assert Path(package).is_relative_to(installed.parent)
    assert head == migrate.head()
    assert mappings.split() == sorted(
        file.relative_to(ROOT / "mappings").as_posix() for file in (ROOT / "mappings").rglob("*.toml")
    )


def test_a_checkout_finds_the_same_mappings_beside_the_package() -> None:
    assert shipped_mappings() == ROOT / "mappings"
    assert (shipped_mappings() / "identity.toml").is_file()


def test_help_imports_none_of_the_heavy_libraries() -> None:
    imported = run(sys.executable, "-c", HELP, cwd=ROOT).rpartition("imported:")[2].split()
    assert "click" in imported
    assert sorted(set(imported) & set(HEAVY)) == []
