"""stdvid doctor: what this installation is made of, and whether it can work."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stdvid.errors import StdvidError

if TYPE_CHECKING:
    from stdvid.models.bundle import Bundle

_ENCODERS = ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1", "gif", "png")
_DECODERS = ("h264", "hevc", "av1", "vp9", "vp8", "mpeg4", "mpeg2video", "prores", "mjpeg", "gif", "png", "webp")
_NEEDED = frozenset({"libx264", "h264", "png"})
_JEMALLOC = "narenas:2,dirty_decay_ms:3000,muzzy_decay_ms:3000,background_thread:true"


@dataclass(frozen=True)
class Finding:
    """One line of the report. `fail` means that stylizing will not work; `hint` says what to do."""

    name: str
    status: Literal["ok", "hint", "fail"]
    found: str
    hint: str = ""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False) -> None:
    """Check the installation: libraries, codecs, devices, bundled models, presets and styles.

    Exits with 1 if something that is needed is missing or damaged.
    """
    findings = list(examine())
    healthy = all(finding.status != "fail" for finding in findings)
    if as_json:
        import json

        print(json.dumps({"ok": healthy, "findings": [asdict(finding) for finding in findings]}))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.status:<4}  {finding.name:<{width}}  {finding.found}")
            if finding.hint:
                print(f"{'':<4}  {'':<{width}}  -> {finding.hint}")
    if not healthy:
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """All findings; what goes wrong inside one check is that check's finding and does not stop the others."""
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "stdvid": _software,
        "torch": _torch,
        "media": _media,
        "presets": _presets,
        "styles": _styles,
        "models": _models,
        "memory": _allocator,
    }
    for name, check in checks.items():
        try:
            yield from check()
        except StdvidError as exc:
            yield Finding(name, "fail", str(exc))
        except Exception as exc:  # a broken library can raise anything; that is what we look for
            yield Finding(name, "fail", f"{type(exc).__name__}: {exc}", f"reinstall what provides {name}")


def _software() -> Iterator[Finding]:
    from stdvid import __version__

    yield Finding("stdvid", "ok", f"{__version__} in {Path(__file__).resolve().parent.parent}")
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _torch() -> Iterator[Finding]:
    import torch

    yield Finding("torch", "ok", torch.__version__)
    devices = ["cpu"]
    devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    yield Finding("devices", "ok", ", ".join(devices))
    yield Finding("threads", "ok", f"{torch.get_num_threads()} used by torch, {_cpus()} processors for this process")


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _media() -> Iterator[Finding]:
    import av

    libraries = ", ".join(f"{name} {'.'.join(map(str, v))}" for name, v in sorted(av.library_versions.items()))
    yield Finding("av", "ok", f"{av.__version__} ({libraries})")
    for kind, names, mode in (("encoders", _ENCODERS, "w"), ("decoders", _DECODERS, "r")):
        present = [name for name in names if _has_codec(name, mode)]
        absent = [name for name in names if name not in present]
        lost = [name for name in absent if name in _NEEDED]
        hint = f"without {', '.join(lost)} nothing can be read or written; install the av wheel of PyPI" if lost else ""
        missing = f" (absent: {', '.join(absent)})" if absent else ""
        yield Finding(kind, "fail" if lost else "ok", ", ".join(present) + missing, hint)


def _has_codec(name: str, mode: str) -> bool:
    import av
    from av.codec.codec import UnknownCodecError

    try:
        av.Codec(name, mode)  # type: ignore[arg-type]
    except UnknownCodecError:
        return False
    return True


def _presets() -> Iterator[Finding]:
    from stdvid.config import load_preset, preset_names

    names = preset_names()
    for name in names:
        load_preset(name)
    yield Finding("presets", "ok" if names else "fail", ", ".join(names) or "none", "" if names else "reinstall stdvid")


def _styles() -> Iterator[Finding]:
    from PIL import Image

    from .names import bundled_styles

    styles = bundled_styles()
    broken = []
    for name, path in styles.items():
        try:
            with Image.open(path) as image:
                image.verify()
        except (OSError, SyntaxError):
            broken.append(name)
    if broken or not styles:
        yield Finding("styles", "fail", f"damaged: {', '.join(broken)}" if broken else "none", "reinstall stdvid")
    else:
        yield Finding("styles", "ok", ", ".join(styles))


def _models() -> Iterator[Finding]:
    from stdvid.config import load_preset, preset_names
    from stdvid.models.bundle import bundle_names, read_bundle
    from stdvid.models.catalogue import is_bundle

    embedded = bundle_names()
    wanted = {base for base in (load_preset(name).model.base for name in preset_names()) if is_bundle(base)}
    for name in sorted(wanted.union(embedded)):
        try:
            bundle = read_bundle(name)
            bundle.verify()
        except StdvidError as exc:
            yield Finding("model", "fail", str(exc))
            continue
        etas = ", ".join("any strength" if n.strength is None else f"strength {n.strength:g}" for n in bundle.networks)
        graphs = [name for n in bundle.networks if n.int8 for name in (n.int8.file, n.int8.weights)]
        files = [*graphs, *(n.file for n in bundle.networks)]
        size_mib = sum((bundle.folder / name).stat().st_size for name in files) / 2**20
        yield Finding("model", "ok", f"{name}: {etas}; {size_mib:.1f} MiB; hashes verified; {bundle.licence}")
        yield from _int8(bundle)


def _int8(bundle: Bundle) -> Iterator[Finding]:
    """Whether its int8 networks run; tries them out the first time."""
    from stdvid.models.openvino_trial import openvino_version

    for entry in bundle.networks:
        if entry.int8:
            verdict = bundle.int8_works(entry)
            found = f"{bundle.name}: {verdict.why}; torch paints, about half as fast"
            if verdict.works:
                found = f"{bundle.name}: works with OpenVINO {openvino_version()}, the rest in {verdict.rest}"
            hint = "pip install openvino" if openvino_version() is None else ""
            yield Finding("int8", "ok" if verdict.works else "hint", found, hint)


def _allocator() -> Iterator[Finding]:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return
    if "jemalloc" in maps.read_text(errors="replace"):
        yield Finding("memory", "ok", "jemalloc is in use")
        return
    if platform.libc_ver()[0] == "glibc":
        yield Finding("memory", "ok", "glibc, told to keep what is freed while frames are painted")
        return
    yield Finding(
        "memory",
        "hint",
        "the allocator of the C library, which may give pages back and fault them in again",
        f"on a CPU jemalloc can make the network several times faster: preload it, with MALLOC_CONF={_JEMALLOC}",
    )
