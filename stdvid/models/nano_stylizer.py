"""Everything around a nano network at inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stdvid.diffusion.denoiser import Guided
from stdvid.diffusion.schedule import Schedule
from stdvid.models.anchor_attention import AnchorAttention, Memory
from stdvid.models.canvas import Canvas
from stdvid.models.nano import PATCH_PX, SIZE_MULTIPLE_PX, Nano, decode, encode
from stdvid.models.precision import fast_dtype
from stdvid.models.structure import structure_map
from stdvid.models.style_encoder import StyleCode, read_style
from stdvid.models.stylizer import Condition, Style, Stylizer

CROPS_PER_SIDE = 3
"""A reference is read in so many squares a side."""

BORDER_PX = 16
"""Mirrored picture around each frame, cut off in the end: networks see zeros beyond a border and paint lines there."""

PIXELS_PER_CALL = 600_000
"""Frames go through the network in groups of about this many pixels, which bounds memory."""

CANVAS = Canvas(PATCH_PX, cell_px=1, border_px=BORDER_PX, multiple_px=SIZE_MULTIPLE_PX, limit=1.1)


@dataclass(frozen=True)
class Told:
    """What the network knows of frames: their structure, encoded, and the style."""

    structure: Tensor
    code: StyleCode


class NanoStylizer(Stylizer):
    """A nano network ready for inference.

    Its weights and all states are float32; the network computes in the precision that its device is fast in.
    """

    canvas = CANVAS

    def __init__(self, model: Nano, schedule: Schedule) -> None:
        self.model, self.schedule = model, schedule
        self._attention = AnchorAttention(model.unet)

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
        return Condition(encode(content), content, Told(encode(structure_map(frames)), style.code))

    def denoiser(
        self, condition: Condition, guidance: float = 1.0, anchors: Sequence[Memory] = (), keep: Memory | None = None
    ) -> Guided:
        """See `Stylizer`."""
        told: Told = condition.told
        null, dtype = self.model.style.null(told.code), fast_dtype(self.device)

        def call(code: StyleCode, x_t: Tensor, t: Tensor) -> Tensor:
            with torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32):
                out: Tensor = self.model(x_t, t, told.structure, code.expand(x_t.shape[0]))
            return self.canvas.bounded(out)

        def styled(x_t: Tensor, t: Tensor) -> Tensor:
            with self._attention.looking(int(t[0]), anchors, keep):
                return call(told.code, x_t, t)

        return Guided(styled, lambda x, t: call(null, x, t), guidance)

    def decode(self, latents: Tensor) -> Tensor:
        """See `Stylizer`."""
        return decode(latents)
