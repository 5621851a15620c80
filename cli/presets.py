"""stdvid presets: the bundled presets and styles."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

app = typer.Typer(help="Show the bundled presets and styles.", no_args_is_help=True)

_AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command("list")
def list_(as_json: _AsJson = False) -> None:
    """List what --preset and --style take by name."""
    from stdvid.config import find_preset, preset_names

    from .names import bundled_styles

    about = {name: summary(find_preset(name).read_text(encoding="utf-8")) for name in preset_names()}
    styles = bundled_styles()
    if as_json:
        import json

        print(json.dumps({"presets": about, "styles": {name: str(path) for name, path in styles.items()}}))
        return
    width = max(map(len, [*about, *styles]), default=0)
    print("presets")
    for name, text in about.items():
        print(f"  {name:<{width}}  {text}")
    print("styles")
    for name, path in styles.items():
        print(f"  {name:<{width}}  {path}")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A bundled preset or a TOML file.")],
    as_json: _AsJson = False,
) -> None:
    """Print a preset: its file with comments, or with --json all settings that it leads to."""
    from stdvid.config import find_preset, load_preset

    config = load_preset(name)  # a preset with a mistake is an error here too
    if as_json:
        import json

        print(json.dumps(dataclasses.asdict(config)))
    else:
        print(find_preset(name).read_text(encoding="utf-8"), end="")


def summary(text: str) -> str:
    """The first sentence of the comment that a preset begins with, without its name."""
    comment = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# ").strip())
    return " ".join(comment).partition(": ")[2].partition(". ")[0].rstrip(".")
