"""stdvid models: what presets need from the hub of models, what of it is here, getting and checking it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stdvid.errors import ModelError, UsageError

if TYPE_CHECKING:
    from stdvid.config import ModelConfig
    from stdvid.models.hub import OnProgress, Source

app = typer.Typer(help="Get models of the hub, and check those that are here.", no_args_is_help=True)

_METAVAR = "NAME|FILE|ID"
_ABOUT = "A bundled preset, a TOML file, an embedded model, or OWNER/NAME of the hub."
_AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
_Revision = Annotated[
    str | None, typer.Option("--revision", metavar="R", help="Branch, tag or commit of an ID; default: main.")
]
_PLAIN_EVERY_S = 5.0


@dataclass(frozen=True)
class _Wanted:
    """What a name stands for: `local` folders that are no matter of the hub, and sources on it."""

    name: str
    local: tuple[Path, ...]
    sources: tuple[Source, ...]


@app.command("list")
def list_(
    names: Annotated[list[str] | None, typer.Argument(metavar=f"{_METAVAR}...", help="Only these.")] = None,
    as_json: _AsJson = False,
) -> None:
    """List the embedded models, and what presets need from the hub: here, or missing."""
    from stdvid.models.embedded import bundle_names

    wanted = [_wanted(name) for name in names] if names else [w for w in _bundled() if w.sources]
    embedded = {} if names else {name: _embedded(name) for name in bundle_names()}
    states = {w.name: [_state(source) for source in w.sources] for w in wanted}
    if as_json:
        import json

        print(json.dumps({"embedded": embedded, "hub": states}))
        return
    local = [(w.name, path) for w in wanted for path in w.local] if names else []
    rows = [(name, str(path), "here" if path.exists() else "missing", "") for name, path in local]
    rows += [("embedded", name, _mib(about["bytes"]), about["licence"]) for name, about in embedded.items()]
    for name, found in states.items():
        rows += [(name, s["source"], s["state"], _mib(s["bytes"]) if s["bytes"] else "") for s in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(metavar=_METAVAR, help=_ABOUT)],
    revision: _Revision = None,
    variant: Annotated[
        str | None, typer.Option("--variant", metavar="NAME", help="Weights of this variant where there are any: fp16.")
    ] = None,
    as_json: _AsJson = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")] = False,
) -> None:
    """Get what a preset needs from the hub into the cache of huggingface_hub, and check its hashes.

    Files that are here are not fetched again; damaged ones are. Only safetensors, never pickles.
    """
    from stdvid.models.hub import pull as pull_source

    wanted = _wanted(name, revision)
    with _progress(quiet or as_json) as show:
        done = [(source, pull_source(source, show, variant)) for source in wanted.sources]
    files, size = sum(p.files for _, p in done), sum(p.size for _, p in done)
    if as_json:
        import json

        found = [
            {"source": str(s), "folder": str(p.folder), "files": p.files, "bytes": p.size, "fetched_bytes": p.fetched}
            for s, p in done
        ]
        print(json.dumps({"name": wanted.name, "files": files, "bytes": size, "sources": found}))
    elif not quiet:
        needs_none = f"{wanted.name} needs nothing from the hub"
        print(f"pulled {wanted.name}: {files} files, {_mib(size)}, verified" if done else needs_none)


@app.command("verify")
def verify(
    name: Annotated[str | None, typer.Argument(metavar=_METAVAR, help=_ABOUT)] = None,
    revision: _Revision = None,
    as_json: _AsJson = False,
) -> None:
    """Check models against their hashes, without a network; exit 3 if one is damaged.

    Without a name: the embedded ones, and what bundled presets need from the hub and is here.
    """
    from stdvid.models.embedded import bundle_folder, bundle_names

    checks: list[tuple[str, Path | Source]] = []
    if name is not None:
        wanted = _wanted(name, revision)
        checks += [(wanted.name, folder) for folder in wanted.local]
        checks += [(wanted.name, source) for source in wanted.sources]
    else:
        checks += [(each, bundle_folder(each)) for each in bundle_names()]
        checks += [(w.name, s) for w in _bundled() for s in w.sources if _state(s)["state"] == "here"]
    found = {str(item): _fault(item, called) for called, item in checks}
    faults = [fault for fault in found.values() if fault]
    if as_json and not faults:
        import json

        print(json.dumps({"ok": True, "checked": list(found)}))
    elif not as_json:
        for item, fault in found.items():
            print(f"{'bad' if fault else 'ok':<3}  {item}")
    if faults:
        raise ModelError("; and ".join(faults))


@app.command("path")
def path(
    name: Annotated[str, typer.Argument(metavar=_METAVAR, help=_ABOUT)],
    revision: _Revision = None,
) -> None:
    """Print the folders that a model lies in, one a line; exit 3 if something of it is missing."""
    from stdvid.models.hub import locate

    wanted = _wanted(name, revision)
    gone = [folder for folder in wanted.local if not folder.exists()]
    if gone:
        raise ModelError(f"'{gone[0]}', of {wanted.name}, is not there; a file or a folder is needed; correct its path")
    for folder in dict.fromkeys([*wanted.local, *(locate(source, wanted.name) for source in wanted.sources)]):
        print(folder)


def _wanted(name: str, revision: str | None = None) -> _Wanted:
    """Raises UsageError for a name that is none of a preset, a file, an embedded model, the hub's."""
    from stdvid.config import ModelConfig, load_preset, preset_names
    from stdvid.models.embedded import bundle_names
    from stdvid.models.hub import source_of
    from stdvid.schema import unknown_name

    is_preset = name in preset_names() or name.endswith(".toml") or Path(name).is_file()
    if revision is not None and (is_preset or "/" not in name or "@" in name):
        raise UsageError(f"--revision with {name}; allowed: with OWNER/NAME; presets write OWNER/NAME@REVISION")
    if is_preset:
        return _of_model(name, load_preset(name).model)
    if name in bundle_names():
        return _of_model(name, ModelConfig(base=name))
    if "/" in name:
        source = source_of(f"{name}@{revision}" if revision else name)
        return _Wanted(str(source), (), (source,))
    known = {*preset_names(), *bundle_names()}
    raise unknown_name("model", name, known, "give one of these, a TOML file, or OWNER/NAME of the hub")


def _of_model(name: str, model: ModelConfig) -> _Wanted:
    from stdvid.models.embedded import bundle_folder, bundle_names
    from stdvid.models.hub import sources
    from stdvid.models.sources import is_local

    if model.base in bundle_names():
        return _Wanted(name, (bundle_folder(model.base),), ())
    parts = [model.base, model.config, model.vae, model.motion_adapter, *(lora.path for lora in model.lora)]
    parts += [part.path for part in (model.ip_adapter, model.controlnet) if part is not None]
    local = tuple(Path(part) for part in parts if part is not None and is_local(part))
    return _Wanted(name, local, tuple(sources(model)))


def _bundled() -> list[_Wanted]:
    from stdvid.config import load_preset, preset_names

    return [_of_model(name, load_preset(name).model) for name in preset_names()]


def _embedded(name: str) -> dict[str, Any]:
    """Bytes, licence and folder of an embedded bundle."""
    import json

    from stdvid.models.embedded import MANIFEST, bundle_folder

    folder = bundle_folder(name)
    try:
        licence = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["licence"]
    except (OSError, ValueError, KeyError) as exc:
        raise ModelError(f"'{folder / MANIFEST}' cannot be read; reinstall stdvid") from exc
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return {"bytes": size, "licence": str(licence), "folder": str(folder)}


def _state(source: Source) -> dict[str, Any]:
    """Whether a source is here, in which folder, and how large."""
    from stdvid.models.hub import here

    try:
        found = here(source)
    except ModelError:
        return {"source": str(source), "state": "missing", "bytes": None, "folder": None}
    return {"source": str(source), "state": "here", "bytes": found.size, "folder": str(found.folder)}


def _fault(item: Path | Source, name: str) -> str | None:
    """What is wrong with a model that is here, as a sentence; a local folder without a manifest has no hashes."""
    from stdvid.models.embedded import MANIFEST

    try:
        if not isinstance(item, Path):
            from stdvid.models.hub import verify as verify_source

            verify_source(item, name)
        elif (item / MANIFEST).exists():
            from stdvid.models.bundle import read_bundle

            read_bundle(str(item)).verify()
        else:
            from stdvid.models.parts import check_weights, located

            found = located(str(item), name)
            for file in [found] if found.is_file() else sorted(found.rglob("*.safetensors")):
                check_weights(file)
    except ModelError as exc:
        return str(exc)
    return None


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


@contextmanager
def _progress(quiet: bool) -> Iterator[OnProgress | None]:
    """Shows what is fetched, on stderr: as a bar on a terminal, else as a line now and then."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda now, total, file: bar.update(task, completed=now, total=total, description=file)
    else:
        last_s = time.monotonic()

        def line(now: int, total: int, file: str) -> None:
            nonlocal last_s
            if now == total or time.monotonic() - last_s >= _PLAIN_EVERY_S:
                last_s = time.monotonic()
                percent = 100 * now // max(1, total)
                print(f"fetched {_mib(now)} of {_mib(total)}  {percent} %  {file}", file=sys.stderr, flush=True)

        yield line
