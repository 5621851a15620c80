"""The bundles inside the package, by name: known without torch."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

MANIFEST = "manifest.json"

_FOLDER = Path(str(files("stdvid.models") / "weights"))


def bundle_names() -> list[str]:
    """Names of the embedded bundles."""
    return sorted(p.name for p in _FOLDER.iterdir() if (p / MANIFEST).is_file()) if _FOLDER.is_dir() else []


def bundle_folder(name: str) -> Path:
    """Where the embedded bundle of that name is."""
    return _FOLDER / name
