"""TOML files as nested tables, and one file that extends another."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from stdvid.errors import UsageError


def read_table(source: Path | str, extended: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A TOML file (`Path`) or TOML text (`str`) as a table.

    A file may begin with `extends = "other.toml"`, a file beside it that gives the values it leaves out; `extended` are
    the files that led here. Raises UsageError: no such file, not TOML, a circle.
    """
    origin = f" (in {source})" if isinstance(source, Path) else ""
    try:
        table = tomllib.loads(source.read_text(encoding="utf-8") if isinstance(source, Path) else source)
    except OSError as exc:
        raise UsageError(f"cannot read {source}: {exc.strerror}; give a readable TOML file") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{source} is not text; a preset is a TOML file in UTF-8") from exc
    except tomllib.TOMLDecodeError as exc:
        raise UsageError(f"not valid TOML: {exc}{origin}; see `stdvid presets show nano`") from exc
    base = table.pop("extends", None)
    if base is None:
        return table
    if not isinstance(base, str) or not isinstance(source, Path):
        raise UsageError(f"extends is {base!r}; allowed: in a file, the name of a TOML file beside it{origin}")
    chain = (*extended, source.resolve())
    below = source.resolve().parent / base
    if below in chain:
        raise UsageError(f"extends goes in a circle: {' -> '.join(f.name for f in (*chain, below))}; break it")
    return _overlaid(read_table(below, chain), table)


def _overlaid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two tables as one; where both hold a table these are merged, else the one above wins."""
    both = {k for k in below.keys() & above.keys() if isinstance(below[k], dict) and isinstance(above[k], dict)}
    return below | above | {k: _overlaid(below[k], above[k]) for k in both}
