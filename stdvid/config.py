"""Settings of a run: frozen dataclasses, filled from defaults < preset TOML < overrides.

The loader is generic. Any frozen dataclass of scalars, tuples, lists, dicts, Optional, Union, Literal and other
dataclasses is a configuration; its annotations are the schema and `Annotated[float, Range(...)]` its limits:

    from_toml(StylizeConfig, Path("mine.toml"))        TOML file or text -> dataclass
    merge(config, {"sampling": {"steps": 2}})          the same with some values replaced
    to_toml(config)                                    dataclass -> TOML that reads back equal
    load_preset("nano", {"video": {"size": 192}})      a bundled name or a file -> StylizeConfig

TOML has no null: an optional value that is absent is written ``"none"``. Every mistake is a `UsageError` of one line
that names the key, the value found, what is allowed, and the nearest known name.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from stdvid.errors import UsageError
from stdvid.tables import read_table

T = TypeVar("T")
Names = Mapping[str, str]

_TOML_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


@dataclass(frozen=True)
class Range:
    """Limits of a number, for ``Annotated[float, Range(above=0, to=1)]``: above < x, start <= x <= to."""

    start: float | None = None
    to: float | None = None
    above: float | None = None

    def admits(self, value: float) -> bool:
        """True if `value` lies inside."""
        return (
            (self.above is None or value > self.above)
            and (self.start is None or value >= self.start)
            and (self.to is None or value <= self.to)
        )

    def __str__(self) -> str:
        low = f"above {self.above:g}" if self.above is not None else ""
        low = low or (f"{self.start:g} or more" if self.start is not None else "")
        if self.to is None:
            return low
        if self.above is None and self.start is not None:
            return f"{self.start:g} to {self.to:g}"
        return f"{low} and at most {self.to:g}" if low else f"at most {self.to:g}"


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank changes to a model of the hub: a .safetensors file, or the file `weight_name` of a folder or hub id.

    A student of single-trajectory distillation has the eta that it was distilled for in `strength` and its first time
    in `start`, unless its own metadata says so.
    """

    path: str
    weight_name: str | None = None
    weight: float = 1.0
    strength: Annotated[float, Range(above=0, to=1)] | None = None
    start: Annotated[int, Range(start=0, to=999)] | None = None

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class IPAdapterConfig:
    """How a model of the hub sees a reference: the file `weight_name` in a folder or hub id, and an image encoder.

    `image_encoder`: its folder, within `path`, or by itself. `scale`: a number, or a table by block as diffusers takes
    it, { up = { block_0 = [0.0, 1.0, 0.0] } }.
    """

    path: str
    weight_name: str
    subfolder: str | None = None
    image_encoder: str = "image_encoder"
    scale: float | dict[str, Any] = 1.0

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class ModelConfig:
    """Which model denoises. `base`: the name of an embedded bundle, a bundle folder, a folder of diffusers, a
    .safetensors file, or a hub id; the rest is for models of the hub.

    `config`: the folder that describes a .safetensors file; `vae`: another autoencoder, also a tiny one (TAESD);
    `motion_adapter`: AnimateDiff's. Each is a folder or a hub id.
    """

    base: str = "nano"
    config: str | None = None
    vae: str | None = None
    lora: tuple[LoraConfig, ...] = ()
    ip_adapter: IPAdapterConfig | None = None
    motion_adapter: str | None = None
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    offload: Literal["auto", "none", "model", "sequential"] = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class SamplingConfig:
    """How a frame is repainted. `strength` is eta; `steps` counts network steps, exactly."""

    sampler: Literal["std", "published"] = "std"
    strength: Annotated[float, Range(above=0, to=1)] = 0.6
    steps: Annotated[int, Range(start=1, to=1000)] = 4
    guidance: Annotated[float, Range(start=0, to=50)] = 1.0
    style_scale: Annotated[float, Range(start=0, to=4)] = 1.5
    style_guidance: Annotated[int, Range(start=0, to=1000)] = 24
    gamma: Annotated[float, Range(start=0, to=1)] = 0.0
    color: Annotated[float, Range(start=0, to=1)] = 1.0
    prompt: str = ""
    negative_prompt: str = ""
    seed: Annotated[int, Range(start=0, to=2**63 - 1)] = 0

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class VideoConfig:
    """Working size in pixels (short side, or "WxH"), and window and overlap in frames."""

    size: int | str = 288
    window: Annotated[int, Range(start=1, to=1024)] = 16
    overlap: Annotated[int, Range(start=0, to=1023)] = 4
    consistency: Literal["none", "noise", "flow", "full"] = "full"

    def __post_init__(self) -> None:
        validate(self)
        parse_size(self.size)

    @property
    def spans(self) -> tuple[int, int]:
        """Frames in a window, and frames that neighbours share: with consistency "full" just the end, an anchor."""
        return (max(2, self.window), 1) if self.consistency == "full" else (self.window, self.overlap)


@dataclass(frozen=True)
class EncodeConfig:
    """Video encoder, its constant rate factor (None: as the encoder likes), and options passed to it as they are."""

    codec: str = "libx264"
    crf: Annotated[int, Range(start=0, to=63)] | None = 18
    enc: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class StylizeConfig:
    """All settings of one stylization."""

    model: ModelConfig = field(default_factory=ModelConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    video: VideoConfig = field(default_factory=VideoConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)

    def __post_init__(self) -> None:
        validate(self)
        if self.video.overlap >= self.video.window:
            raise UsageError(
                f"overlap of {self.video.overlap} frames with a window of {self.video.window}; "
                "the overlap must be smaller than the window; lower the overlap or widen the window"
            )


def parse_size(size: int | str) -> int | tuple[int, int]:
    """Working size in pixels: the short side, or (width, height) when given as "WxH"; each 32 to 4320.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"\s*(\d{1,5})(?:\s*[xX]\s*(\d{1,5}))?\s*", str(size))
    numbers = [int(n) for n in match.groups() if n] if match else []
    if not numbers or isinstance(size, bool) or not all(32 <= n <= 4320 for n in numbers):
        raise UsageError(
            f"size is {size!r}; allowed: the short side in pixels (32 to 4320) or WIDTHxHEIGHT; "
            "for example 288 or 512x288"
        )
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


# --- the generic loader ---------------------------------------------------------------------------------------------


def from_toml(cls: type[T], source: Path | str, overrides: Mapping[str, Any] | None = None) -> T:
    """Read `cls` from a TOML file (`Path`) or TOML text (`str`); `overrides` win over it.

    A file may begin with `extends = "other.toml"`, a file beside it, and then holds only what differs.

    Raises:
        UsageError: no such file, not TOML, unknown key, wrong type, value out of range.
    """
    origin = f" (in {source})" if isinstance(source, Path) else ""
    table = read_table(source)
    try:
        config = build(cls, table)
    except UsageError as exc:
        raise UsageError(f"{exc}{origin}") from exc
    return merge(config, overrides) if overrides else config


def build(cls: type[T], table: Mapping[str, Any], names: Names | None = None, prefix: str = "") -> T:
    """Make a `cls` of a nested mapping, strictly; keys that are missing keep their defaults.

    Args:
        names: what to call a key ("sampling.steps") in messages, for example {"sampling.steps": "--steps"}.
        prefix: where in the whole the mapping stands ("sampling.").

    Raises:
        UsageError: unknown or missing key, wrong type, value out of range.
    """
    hints = _hints(cls)
    for key in table:
        if key not in hints:
            raise _unknown_key(cls, key, prefix)
    values = {key: _convert(value, hints[key], prefix + key, names or {}) for key, value in table.items()}
    for spec in fields(cast(Any, cls)):
        if spec.name not in values and spec.default is MISSING and spec.default_factory is MISSING:
            raise UsageError(f"{prefix}{spec.name} is missing; it has no default; add it")
    return cls(**values)


def merge(config: T, overrides: Mapping[str, Any], names: Names | None = None, prefix: str = "") -> T:
    """`config` with the values of a nested mapping put in; tables (dicts too) are merged, all else is replaced.

    A value of None means "not given" and changes nothing. `names` and errors: as for `build`.
    """
    hints = _hints(type(config))
    changes: dict[str, Any] = {}
    for key, value in overrides.items():
        if key not in hints:
            raise _unknown_key(type(config), key, prefix)
        old = getattr(config, key)
        if value is None:
            continue
        if is_dataclass(old) and isinstance(value, Mapping):
            changes[key] = merge(old, value, names, f"{prefix}{key}.")
        elif isinstance(old, dict) and isinstance(value, Mapping):
            changes[key] = _convert({**old, **value}, hints[key], prefix + key, names or {})
        else:
            changes[key] = _convert(value, hints[key], prefix + key, names or {})
    return cast(T, replace(cast(Any, config), **changes))


def validate(config: object) -> None:
    """Check every field of a dataclass against its annotation; call it in `__post_init__`.

    Raises:
        UsageError: wrong type or value out of range.
    """
    for key, hint in _hints(type(config)).items():
        _convert(getattr(config, key), hint, key, {})


def to_toml(config: object) -> str:
    """`config` as TOML text that `from_toml` reads back equal; plain values first, then one table a section."""
    own: list[str] = []
    tables: list[str] = []
    for spec in fields(cast(Any, config)):
        value = getattr(config, spec.name)
        if is_dataclass(value):
            tables.append(f"[{_toml_key(spec.name)}]\n{to_toml(value)}")
        else:
            own.append(f"{_toml_key(spec.name)} = {_toml_value(value)}\n")
    return "\n".join(["".join(own)] * bool(own) + tables)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` most likely meant, or None."""
    by_lower = {k.lower().replace("_", "-"): k for k in known}
    found = difflib.get_close_matches(name.lower().replace("_", "-"), list(by_lower), n=1, cutoff=0.55)
    return by_lower[found[0]] if found else None


def unknown_name(kind: str, name: str, known: Iterable[str], remedy: str) -> UsageError:
    """The error for a name that is not in a list: what was found, the near match, the list, what to do."""
    names = sorted(known)
    near = nearest(name, names)
    guess = f" (did you mean '{near}'?)" if near else ""
    return UsageError(f"no {kind} named '{name}'{guess}; known: {', '.join(names) or 'none'}; {remedy}")


def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {spec.name: hints[spec.name] for spec in fields(cast(Any, cls))}


def _unknown_key(cls: type, key: str, prefix: str) -> UsageError:
    hints = _hints(cls)
    near = nearest(key, hints)
    nested = {f"{name}.{k}" for name, hint in hints.items() if is_dataclass(hint) for k in _hints(cast(type, hint))}
    at_home = [path for path in sorted(nested) if path.endswith(f".{key}")]
    if at_home:
        guess = f"it belongs to a table: {at_home[0]}"
    else:
        guess = f"did you mean '{prefix}{near}'?" if near else f"known keys: {', '.join(sorted(hints))}"
    return UsageError(f"unknown key '{prefix}{key}'; {guess}")


def _convert(value: Any, hint: Any, path: str, names: Names) -> Any:
    """`value` as the type that `hint` asks for: lists become tuples and integers numbers, nothing else is bent."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        result = _convert(value, args[0], path, names)
        for limit in args[1:]:
            if isinstance(limit, Range) and result is not None and not limit.admits(result):
                raise _bad_value(value, str(limit), path, names)
        return result
    if origin in (Union, types.UnionType):
        if type(None) in args and (value is None or value == "none"):
            return None
        for option in args:
            try:
                return _convert(value, option, path, names)
            except UsageError:
                continue
        raise _bad_value(value, _describe(hint), path, names)
    if is_dataclass(hint):
        if isinstance(value, cast(type, hint)):
            return value
        if isinstance(value, Mapping):
            return build(cast(type, hint), value, names, f"{path}.")
    elif origin is Literal:
        if any(value == a and type(value) is type(a) for a in args):
            return value
    elif origin in (list, tuple):
        if isinstance(value, list | tuple):
            kinds = args if origin is tuple and args[1:] != (Ellipsis,) else (args[0],) * len(value)
            if len(kinds) == len(value):
                pairs = enumerate(zip(value, kinds, strict=True))
                return origin(_convert(v, k, f"{path}[{i}]", names) for i, (v, k) in pairs)
    elif origin is dict:
        if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
            return {k: _convert(v, args[1], f"{path}.{k}", names) for k, v in value.items()}
    elif hint in (Any, object):
        return value
    elif hint is Path:
        if isinstance(value, str | Path):
            return Path(value)
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    raise _bad_value(value, _describe(hint), path, names)


def _bad_value(value: Any, allowed: str, path: str, names: Names) -> UsageError:
    kind = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "a list", dict: "a table"}
    shown = f"{value!r}, {kind[type(value)]}" if type(value) in kind else repr(value)
    return UsageError(f"{names.get(path, path)} is {shown}; allowed: {allowed}")


def _describe(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = [str(a) for a in args[1:] if isinstance(a, Range)]
        return " ".join([_describe(args[0]), *limits])
    if origin is Literal:
        return ", ".join(repr(a) for a in args)
    if origin in (Union, types.UnionType):
        return " or ".join('"none"' if a is type(None) else _describe(a) for a in args)
    if origin in (list, tuple):
        many = origin is list or args[1:] == (Ellipsis,)
        return f"a list of {_describe(args[0])}" if many else f"[{', '.join(_describe(a) for a in args)}]"
    if origin is dict or is_dataclass(hint):
        return "a table" if is_dataclass(hint) else f"a table of {_describe(args[1])}"
    return _TOML_NAMES.get(hint, "a path" if hint is Path else str(getattr(hint, "__name__", hint)))


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)


def _toml_value(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        plain = str(value).replace("\\", "\\\\").replace('"', '\\"')
        return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\u{ord(m[0]):04x}", plain) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(_toml_value(v) for v in value) + "]"


# --- presets --------------------------------------------------------------------------------------------------------


def preset_names(kind: str = "stylize") -> list[str]:
    """Names of the bundled presets of one kind: "stylize" or "distill"."""
    folder = files("stdvid_presets") / kind
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def find_preset(name: str, kind: str = "stylize") -> Path:
    """The TOML file of a bundled preset, or the file that `name` is the path of.

    Raises:
        UsageError: neither a bundled name nor a file.
    """
    if name in preset_names(kind):
        return Path(str(files("stdvid_presets") / kind / f"{name}.toml"))
    path = Path(name)
    if path.suffix == ".toml" or os.sep in name or path.is_file():
        return path
    raise unknown_name("preset", name, preset_names(kind), "give one of these or a TOML file")


def load_preset(name: str, overrides: Mapping[str, Any] | None = None, names: Names | None = None) -> StylizeConfig:
    """Defaults < the preset called (or stored at) `name` < `overrides`; `names` as for `build`.

    Raises:
        UsageError: unknown preset, or a mistake in it or in the overrides.
    """
    config = from_toml(StylizeConfig, find_preset(name))
    return merge(config, overrides or {}, names)
