"""Settings of a run: frozen dataclasses, filled from defaults < preset TOML < overrides; see `schema` for how.

load_preset("nano", {"video": {"size": 192}})      a bundled name or a file -> StylizeConfig
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from stdvid.errors import UsageError
from stdvid.schema import Names, Range, from_toml, merge, unknown_name, validate


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


ControlKind = Literal["tile", "canny", "lineart"]


@dataclass(frozen=True)
class ControlNetConfig:
    """A network that holds an image model to what is in a frame: a folder or hub id, what it is shown (`kind`), and how
    much its word counts."""

    path: str
    kind: ControlKind = "tile"
    scale: Annotated[float, Range(start=0, to=2)] = 0.5

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class ModelConfig:
    """Which model denoises. `base`: the name of an embedded bundle, a bundle folder, a folder of diffusers, a
    .safetensors file, or a hub id; the rest, but for the precision, is for models of the hub.

    `config`: the folder that describes a .safetensors file; `vae`: another autoencoder, also a tiny one (TAESD);
    `motion_adapter`: AnimateDiff's. Each is a folder or a hub id. `schedule`: of the noise, by diffusers' name of its
    betas, where an adapter was trained on another one than its base; auto is the base's own.
    """

    base: str = "nano"
    config: str | None = None
    vae: str | None = None
    lora: tuple[LoraConfig, ...] = ()
    ip_adapter: IPAdapterConfig | None = None
    motion_adapter: str | None = None
    controlnet: ControlNetConfig | None = None
    schedule: Literal["auto", "linear", "scaled_linear"] = "auto"
    precision: Literal["auto", "fp32", "fp16", "bf16", "int8"] = "auto"
    offload: Literal["auto", "none", "model", "sequential"] = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class SamplingConfig:
    """How a frame is repainted. `strength` is eta; `steps` counts network steps, exactly.

    `steps_between`: the least of them where most of a frame is taken over from others, and between anchors the network
    sees the rest alone; None, or as many as `steps` and more than 1: always all, of whole frames.
    """

    sampler: Literal["std", "published"] = "std"
    strength: Annotated[float, Range(above=0, to=1)] = 0.6
    steps: Annotated[int, Range(start=1, to=1000)] = 4
    steps_between: Annotated[int, Range(start=1, to=1000)] | None = None
    guidance: Annotated[float, Range(start=0, to=50)] = 1.0
    style_scale: Annotated[float, Range(start=0, to=4)] = 1.0
    style_guidance: Annotated[int, Range(start=0, to=1000)] = 0
    gamma: Annotated[float, Range(start=0, to=1)] = 0.0
    color: Annotated[float, Range(start=0, to=1)] = 1.0
    prompt: str = ""
    negative_prompt: str = ""
    seed: Annotated[int, Range(start=0, to=2**63 - 1)] = 0

    def __post_init__(self) -> None:
        validate(self)

    def always_whole(self, steps: int) -> bool:
        """Whether all frames take all of so many `steps`, and the network sees all of each."""
        return self.steps_between is None or self.steps_between >= max(2, steps)


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
        return (max(2, self.window), 1) if self.anchored else (self.window, self.overlap)

    @property
    def anchored(self) -> bool:
        """Whether windows end in anchors: they agree on these, and the first one of a shot is painted before others."""
        return self.consistency == "full"


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
    path = find_preset(name)
    config = from_toml(StylizeConfig, path)
    config = replace(config, model=_beside(path.parent, config.model))
    return merge(config, overrides or {}, names)


_WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
"""How weight files end; those that are refused too."""


def _beside(folder: Path, value: Any) -> Any:
    """Settings in which a path that leads from a preset's folder to something that is there is whole; a name without a
    slash is no path unless it ends like a weight file."""
    if is_dataclass(value) and not isinstance(value, type):
        parts = {spec.name: _beside(folder, getattr(value, spec.name)) for spec in fields(value)}
        return replace(value, **parts)
    if isinstance(value, tuple):
        return tuple(_beside(folder, item) for item in value)
    if isinstance(value, str) and ("/" in value or value.endswith(_WEIGHTS)) and (folder / value).exists():
        return str(folder / value)
    return value
