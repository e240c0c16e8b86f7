"""The files that ship with the code."""

from __future__ import annotations

from pathlib import Path


def shipped_mappings() -> Path:
    """The folder of mapping files this version came with: ``identity.toml``, ``sources/``, ``destinations/``.

    An installed wheel carries it inside the package; a checkout (an editable install too) has it beside the package.
    Whoever wants to override it sets ``MAPPINGS``; this is what is overridden, file by file.
    """
    package = Path(__file__).resolve().parent
    inside = package / "mappings"
    return inside if inside.is_dir() else package.parent / "mappings"
