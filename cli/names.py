"""From what the user typed to files: styles by name or path, outputs by template, `key=value` options."""

from __future__ import annotations

import os
import string
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from stdvid.errors import UsageError
from stdvid.schema import unknown_name

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
"""Inputs that make one picture, not a clip (GIF and animated formats count as clips)."""

_FIELDS = ("stem", "style", "preset", "ext")


def bundled_styles() -> dict[str, Path]:
    """The style images that come with stdvid, by name."""
    folder = Path(str(files("stdvid_presets") / "styles"))
    found = folder.iterdir() if folder.is_dir() else ()
    return {path.stem: path for path in sorted(found) if path.suffix.lower() in IMAGE_SUFFIXES}


def find_style(name: str) -> Path:
    """The image of a bundled style, or `name` as a path (whose existence is not checked).

    Raises:
        UsageError: neither a bundled name, nor a file, nor anything that looks like a path.
    """
    styles = bundled_styles()
    if name in styles:
        return styles[name]
    path = Path(name)
    if path.suffix or os.sep in name or path.exists():
        return path
    raise unknown_name("style", name, styles, "give one of these or the path of an image")


def style_label(styles: Sequence[Path]) -> str:
    """What `{style}` stands for: the stems of the references, joined; at most three are named."""
    stems = [path.stem for path in styles]
    return "+".join(stems[:3]) + (f"+{len(stems) - 3}" if len(stems) > 3 else "")


def output_path(template: str | None, source: Path, styles: Sequence[Path], preset: str) -> Path:
    """Fill an output template; without one, `{stem}.{style}.mp4` (or .png for an image) beside the input.

    Args:
        template: path with the fields {stem} and {ext} of the input, {style}, {preset}; `{{` is a literal brace.
        source: the input.
        styles: the references.
        preset: name or path of the preset.

    Raises:
        UsageError: an unknown field, or braces that do not match.
    """
    if template == "-":
        return Path("-")
    if template is None and str(source) == "-":
        raise UsageError("input - has no name to make an output of; an output is needed; use -o FILE, or -o -")
    picture = source.suffix.lower() in IMAGE_SUFFIXES
    values = {
        "stem": source.stem,
        "style": style_label(styles),
        "preset": Path(preset).name.removesuffix(".toml"),  # ".75" of a name is no suffix
        "ext": source.suffix.lstrip(".") or ("png" if picture else "mp4"),
    }
    if template is None:
        return source.with_name(f"{values['stem']}.{values['style']}.{'png' if picture else 'mp4'}")
    try:
        fields = [(name, spec or conversion) for _, name, spec, conversion in string.Formatter().parse(template)]
    except ValueError as exc:
        raise UsageError(f"output template {template!r}: {exc}; write {{{{ for a literal brace") from exc
    for name, extra in fields:
        if name is not None and (name not in values or extra):
            known = " ".join(f"{{{field}}}" for field in _FIELDS)
            raise UsageError(
                f"output template {template!r} has the field {{{name}}}; allowed: {known}; "
                "write {{ for a literal brace"
            )
    return Path(template.format_map(values))


def key_values(option: str, pairs: Sequence[str]) -> dict[str, str]:
    """Repeated `key=value` options as a mapping; the last one of a key counts.

    Raises:
        UsageError: an item without `=` or with nothing before it.
    """
    result = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(
                f"{option} {pair!r} has no key and value; allowed: key=value; for example {option} tune=grain"
            )
        result[key.strip()] = value
    return result
