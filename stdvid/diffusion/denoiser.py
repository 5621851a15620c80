"""What a sampler asks of a network: the clean image, whatever the network itself predicts.

network output (x0 | eps | v)  --to_x0-->  x_0  --eps_from_x0-->  eps
"""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor

Prediction = Literal["x0", "eps", "v"]


class Denoiser(Protocol):
    """Estimates the clean image with its condition already bound."""

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return x_0, float [N, C, H, W], for noisy `x_t` of the same shape at integer times `t` of shape [N]."""
        ...


def to_x0(output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
    """Turn a network's output into x_0; eps: Ho et al. 2006.11239 eq. 15, v: Salimans and Ho 2202.00512 app. D."""
    if prediction == "x0":
        return output
    if prediction == "eps":
        return (x_t - sigma * output) / alpha
    return alpha * x_t - sigma * output


def eps_from_x0(x_0: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The noise that explains `x_t` given `x_0`; sigma must not be 0."""
    return (x_t - alpha * x_0) / sigma


class Guided:
    """Classifier-free guidance (arXiv 2207.12598) over two denoisers.

    ``scale`` follows the convention of diffusers, x_uncond + scale (x_cond - x_uncond), so 1 is no guidance and costs
    one call; the paper's weight is w = scale - 1. Guidance is linear, and x_0, eps and v differ by an affine map,
    so guiding x_0 guides them all.
    """

    def __init__(self, cond: Denoiser, uncond: Denoiser, scale: float | Tensor) -> None:
        self.cond, self.uncond, self.scale = cond, uncond, scale

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """See `Denoiser`."""
        x_cond = self.cond(x_t, t)
        if isinstance(self.scale, float | int) and self.scale == 1:
            return x_cond
        x_uncond = self.uncond(x_t, t)
        return x_uncond + self.scale * (x_cond - x_uncond)
