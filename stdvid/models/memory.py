"""How a model of the hub is to fit on a card: how many frames at a time, the VAE whole, frame by frame or in tiles, and
which weights are there when.

    bytes of weights by part, what is to be painted, free bytes of the card  ->  Layout

Weights are counted; what computing takes is estimated from the numbers of pixels and channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open

Offload = Literal["none", "model", "sequential"]

# Assumptions, from what is known of these architectures; not measured on a GPU here.

UNET_VALUES = 1.6
"""Values that a UNet holds at once for a frame, by pixel of it and channel of the UNet's first block."""

VAE_VALUES = 9.4
"""The same of a VAE, by channel of its first block."""

ANCHOR_VALUES = 0.35
"""Values that an anchor keeps of what it has attended to, by pixel, channel and call of the network."""

TILE_PX = 512
"""Side of the tiles of a VAE."""

SEQUENTIAL_SHARE = 0.1
"""Share of the largest part's weights that is on the card at a time where they are brought one after another."""

USABLE = 0.9
"""Share of what is free that may be used: blocks are of fixed sizes, and others want something too."""

MOST_FRAMES, USUAL_FRAMES = 8, 4
"""Frames in a call at most: on a card whose memory is known, and elsewhere."""

UNKNOWN_ROOM = 4 * 2**30
"""Bytes that computing may take where nobody says what is free."""

GIB = 2**30

OFFLOADS: tuple[Offload, ...] = ("none", "model", "sequential")
"""From the fastest to the smallest."""

_OFFLOAD_WORDS = {
    "none": "",
    "model": ", weights moved off the card between parts",
    "sequential": ", weights brought to the card layer by layer",
}


@dataclass(frozen=True)
class Work:
    """What is to be painted: frames of this size, so many in a `window`; `kept` calls of which anchors keep what they
    attended to; the bytes that `drawing` upon a frame takes; with guidance a call has two `halves`."""

    width: int = 1024
    height: int = 1024
    window: int = 16
    kept: int = 0
    drawing: int = 0
    halves: int = 1

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.window, self.halves) < 1 or min(self.kept, self.drawing) < 0:
            raise ValueError(f"no work: {self}")


@dataclass(frozen=True)
class Network:
    """What a model takes: bytes of its `weights` by part ("unet", "vae", ...), channels of the first blocks, bytes of a
    value, and how many frames motion modules `see` at a time, 0 without any."""

    weights: Mapping[str, int]
    unet_channels: int
    vae_channels: int
    itemsize: int
    vae_itemsize: int
    see: int = 0


@dataclass(frozen=True)
class Layout:
    """What was decided: `frames` in a call of the UNet, `vae_frames` in one of the VAE, which works in tiles if it is
    `tiled`; how weights are moved; the bytes that all this takes at its `peak`, and those that are `free`."""

    frames: int
    vae_frames: int
    tiled: bool
    offload: Offload
    peak: int
    free: int | None

    @property
    def note(self) -> str:
        """What a plan says."""
        several = f"{self.frames} frames" if self.frames > 1 else "1 frame"
        tiles = ", VAE in tiles" if self.tiled else ""
        room = "" if self.free is None else f" of {self.free / GIB:.1f} GiB free"
        short = "" if self.free is None or self.peak <= self.free * USABLE else ", which may be too little"
        moved = _OFFLOAD_WORDS[self.offload]
        return f"painting {several} at a time{tiles}{moved}: {self.peak / GIB:.1f} GiB{room}{short}"


def decide(network: Network, work: Work, free: int | None, offload: Offload | Literal["auto"] = "auto") -> Layout:
    """The fastest layout that fits into `free` bytes; the smallest one if none does.

    Where nobody knows what is free, weights stay in place, and frames in a call are few.
    """
    if offload != "auto":
        candidates: tuple[Offload, ...] = (offload,)
    else:
        candidates = ("none",) if free is None else OFFLOADS
    room = free * USABLE if free is not None else sum(network.weights.values()) + UNKNOWN_ROOM
    most = USUAL_FRAMES if free is None else MOST_FRAMES
    counts = [min(network.see, work.window)] if network.see else range(min(most, work.window), 0, -1)
    for moved in candidates:
        # a frame at a time through the VAE costs little, fewer frames in a call more; tiles may be seen: they come last
        for tiled in (False, True):
            for frames, vae_frames in ((n, m) for n in counts for m in ((1,) if tiled or network.see else (n, 1))):
                layout = _layout(network, work, free, moved, frames, vae_frames, tiled)
                if layout.peak <= room:
                    return layout
    return _layout(network, work, free, candidates[-1], counts[-1], 1, True)


def _layout(
    network: Network, work: Work, free: int | None, offload: Offload, frames: int, vae_frames: int, tiled: bool
) -> Layout:
    pixels = work.width * work.height
    seen = min(pixels, TILE_PX**2) if tiled else pixels
    anchors = 2 * ANCHOR_VALUES * pixels * network.unet_channels * network.itemsize * work.kept
    phases = {
        "unet": work.halves * frames * UNET_VALUES * pixels * network.unet_channels * network.itemsize,
        "vae": vae_frames * VAE_VALUES * seen * network.vae_channels * network.vae_itemsize,
        "drawing": float(work.drawing),
    }
    everything, largest = sum(network.weights.values()), max(network.weights.values(), default=0)

    def resident(part: str) -> float:
        if offload == "none":
            return everything
        if offload == "model":  # the last one to work stays until another one has to, the VAE beside the UNet
            beside = sum(network.weights.get(other, 0) for other in ("vae", "controlnet") if other != part)
            return network.weights.get(part, largest) + beside
        return SEQUENTIAL_SHARE * largest + network.weights.get("controlnet", 0)  # which is never moved

    others = [resident(part) for part in network.weights]
    peak = max([resident(part) + taken for part, taken in phases.items()] + others) + anchors
    return Layout(frames, vae_frames, tiled, offload, math.ceil(peak), free)


def weight_bytes(paths: Iterable[Path], itemsize: int, prefixes: tuple[str, ...] = ("",)) -> int:
    """Bytes of the weights in .safetensors files whose names begin so, in the precision that they are loaded in."""
    total = 0
    for path in paths:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                if name.startswith(prefixes):
                    total += math.prod(file.get_slice(name).get_shape())
    return total * itemsize


def free_bytes(device: torch.device) -> int | None:
    """What is free on a card; None where there is none."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" and torch.cuda.is_available() else None
