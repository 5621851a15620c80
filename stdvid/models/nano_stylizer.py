"""Everything around a nano network at inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stdvid.diffusion.denoiser import Guided
from stdvid.diffusion.schedule import Schedule
from stdvid.models.anchor_attention import Memory
from stdvid.models.canvas import Canvas, Region
from stdvid.models.openvino_backend import Int8Nano, call_of
from stdvid.models.openvino_trial import Examples
from stdvid.models.patches import PATCH_PX, SIZE_MULTIPLE_PX, decode, encode
from stdvid.models.precision import fast_dtype
from stdvid.models.structure import structure_map
from stdvid.models.style_encoder import StyleCode, read_style
from stdvid.models.stylizer import Condition, PartStylizer, Style, to_tensor

if TYPE_CHECKING:
    from stdvid.models.nano import Nano

CROPS_PER_SIDE = 2
"""A reference is read in so many squares a side."""

BORDER_PX = 16
"""Mirrored picture around each frame, cut off in the end: networks see zeros beyond a border and paint lines there."""

PIXELS_PER_CALL = 600_000
"""Frames go through the network in groups of about this many pixels, which bounds memory."""

CANVAS = Canvas(PATCH_PX, cell_px=1, border_px=BORDER_PX, multiple_px=SIZE_MULTIPLE_PX, limit=1.1)


STRUCTURE_REACH_PX = 32
"""Edges further away do not change a pixel of the structure map; a multiple of PATCH_PX."""


@dataclass(frozen=True)
class Told:
    """What the network knows: the structure of `frames` [T, 3, H, W], or of what is `inside` of them, and the style."""

    frames: Tensor
    code: StyleCode
    inside: Region = (slice(None), slice(None))

    @cached_property
    def structure(self) -> Tensor:
        """Encoded; drawn when it is first asked for, as most frames that follow others need none."""
        return encode(structure_map(self.frames)[..., *self.inside])


class NanoStylizer(PartStylizer):
    """A nano network ready for inference.

    Its weights and all states are float32; what the network computes in is said on the way in.
    """

    canvas = CANVAS

    def __init__(self, model: Nano | Int8Nano, schedule: Schedule, dtype: torch.dtype | None = None) -> None:
        """`dtype`: that the network computes in, by default what its device is fast in."""
        self.model, self.schedule = model, schedule
        self.dtype = dtype or fast_dtype(self.device)

    @property
    def device(self) -> torch.device:
        """See `Stylizer`."""
        return next(self.model.parameters()).device

    def frames_together(self, width: int, height: int) -> int:
        """See `Stylizer`."""
        return max(1, PIXELS_PER_CALL // (width * height))

    def encode_style(self, references: Sequence[Tensor], scale: float) -> StyleCode:
        """Several references make one style: tokens together, vectors averaged."""
        codes = [read_style(self.model.style, picture, CROPS_PER_SIDE) for picture in references]
        tokens = torch.cat([code.tokens for code in codes], 1)
        code = StyleCode(tokens, torch.stack([code.vector for code in codes]).mean(0))
        return code.scaled(scale, self.model.style.null(code))

    def bind(self, frames: Tensor, content: Tensor, style: Style) -> Condition:
        """See `Stylizer`."""
        return Condition(encode(content), content, Told(frames, style.code))

    def part(self, condition: Condition, frame: int, region: Region) -> Condition:
        """See `PartStylizer`."""
        rows, columns = self.canvas.latents_in(region)
        latents = (slice(frame, frame + 1), slice(None), rows, columns)
        told: Told = condition.told
        pixels = (slice(frame, frame + 1), slice(None))
        around, inside = _grown(region)
        return Condition(
            condition.x_0[latents],
            condition.content[*pixels, *region],
            Told(told.frames[*pixels, *around], told.code, inside),
        )

    def denoiser(
        self, condition: Condition, guidance: float = 1.0, anchors: Sequence[Memory] = (), keep: Memory | None = None
    ) -> Guided:
        """See `Stylizer`. Anchors are not looked at: their paint follows into frames, and to see them as well took
        a quarter of each call and moved x_0 by less than int8 does (docs/video.md)."""
        told: Told = condition.told
        null, dtype = self.model.style.null(told.code), self.dtype

        def call(code: StyleCode, x_t: Tensor, t: Tensor) -> Tensor:
            with torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32):
                out: Tensor = self.model(x_t, t, told.structure, code.expand(len(x_t)))
            return self.canvas.bounded(out)  # a copy

        return Guided(partial(call, told.code), partial(call, null), guidance)

    def decode(self, latents: Tensor) -> Tensor:
        """See `Stylizer`."""
        return decode(latents)


def _grown(region: Region) -> tuple[Region, Region]:
    """All that the structure of a region depends on, and where the region lies in it."""
    starts = [max(0, side.start - STRUCTURE_REACH_PX) for side in region]
    rows, columns = (slice(start, side.stop + STRUCTURE_REACH_PX) for start, side in zip(starts, region, strict=True))
    down, across = (slice(side.start - start, side.stop - start) for start, side in zip(starts, region, strict=True))
    return (rows, columns), (down, across)


@torch.no_grad()
def trial_calls(stylizer: NanoStylizer, t: int) -> Examples:
    """Two small calls of a network at time `t`, of one frame and of two, and its x_0 of both."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 220, 96)[None, :, None] + np.linspace(-30, 30, 64)[:, None, None]
    picture = (ramp + rng.normal(0, 20, (64, 96, 3))).clip(0, 255).astype(np.uint8)
    style = stylizer.read_style([np.ascontiguousarray(picture[::-1])])
    calls, expected = [], []
    for count in (1, 2):
        condition = stylizer.condition(to_tensor(np.stack([picture] * count)), style, 1.0)
        noise = torch.from_numpy(rng.standard_normal(condition.x_0.shape, np.float32))
        x, times = stylizer.schedule.add_noise(condition.x_0, noise, torch.tensor([t])), torch.full((count,), t)
        calls.append(call_of(x, times, condition.told.structure, condition.told.code.expand(count)))
        expected.append(stylizer.denoiser(condition)(x, times).numpy())
    return calls, expected
