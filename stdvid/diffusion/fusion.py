"""Long context: a denoiser that sees only so many frames at a time sees more of them in overlapping contexts.

    frames 0 .. n  ->  contexts of `length`, which share `overlap` frames  ->  x_0 of each  ->  their weighted mean

At every step the estimates are blended, so frames of neighbouring contexts agree on the way and not just at the end
(Qiu et al., "FreeNoise", arXiv 2310.15169, section 4.2; Bar-Tal et al., "MultiDiffusion", arXiv 2302.08113, eq. 5).
Where contexts meet moves from step to step, so no seam stays in its place.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stdvid.diffusion.denoiser import Denoiser


def contexts(count: int, length: int, overlap: int, phase: int = 0) -> list[range]:
    """Ranges of `length` frames that cover 0 .. `count`, each sharing `overlap` frames or more with the one before.

    `phase` shifts where they begin, by as many frames, from 0 up to length - overlap. There is one, shorter, range
    where `count` is at most `length`.
    """
    if not 0 <= overlap < length:
        raise ValueError(f"contexts of {length} frames that share {overlap}")
    stride = length - overlap
    starts = range(-(phase % stride), max(1, count - overlap), stride)
    fitting = sorted({max(0, min(start, count - length)) for start in starts})
    return [range(start, min(start + length, count)) for start in fitting]


def weights(length: int) -> list[int]:
    """How much each frame of a context counts: rising from its ends to its middle."""
    return [min(k + 1, length - k) for k in range(length)]


class Fused:
    """A `Denoiser` of any number of frames, made of one that sees `length` of them."""

    def __init__(self, denoiser: Denoiser, length: int, overlap: int) -> None:
        self.denoiser, self.length, self.overlap = denoiser, length, min(overlap, length - 1)
        self.calls = 0

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """See `Denoiser`; `x_t` are frames in their order."""
        stride = self.length - self.overlap
        phase = self.calls * (stride // 2 + 1) % stride
        self.calls += 1
        total, mean = x_t.new_zeros(len(x_t), 1, 1, 1), torch.zeros_like(x_t)
        for context in contexts(len(x_t), self.length, self.overlap, phase):
            part = slice(context.start, context.stop)
            weight = x_t.new_tensor(weights(len(context))).view(-1, 1, 1, 1)
            total[part] += weight
            mean[part] += (self.denoiser(x_t[part], t[part]) - mean[part]) * weight / total[part]
        return mean
