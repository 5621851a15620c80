"""The command that benchmarks of whole runs start."""

from __future__ import annotations

import sys
from pathlib import Path


def stylize(source: Path | str, style: Path, output: Path | str, *options: object) -> list[str]:
    """`stdvid stylize` of this environment, saying nothing but errors."""
    words = [Path(sys.executable).with_name("stdvid"), "stylize", source, "--style", style, "-o", output, "-q"]
    return [str(word) for word in (*words, *options)]
