"""What a ControlNet is shown of a frame, beside the noise: what is to stay where it is.

tile       the frame itself
canny      edges, thin and white on black
lineart    lines, soft and white on black: how much darker a place is than what is around it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stdvid.config import ControlKind

CANNY = (100, 200)
"""Thresholds of edges, of 255, that these networks are mostly trained with."""

LINE_PX, LINE_FLOOR = 6.0, 16.0
"""Standard deviation of what is around a place, and the least difference, of 255, that counts as a line's middle."""


def control_images(frames: Tensor, kind: ControlKind) -> Tensor:
    """Frames, float [T, 3, H, W] in [-1, 1], as a ControlNet is shown them: the same shape, in [0, 1]."""
    if kind == "tile":
        return (frames + 1) / 2
    pictures = ((frames + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
    drawn = [_DRAWN[kind](np.ascontiguousarray(picture)) for picture in pictures]
    images = torch.from_numpy(np.stack(drawn)).to(frames)[:, None]
    return images.expand(-1, 3, -1, -1)


def _canny(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return cast(
        NDArray[np.float32], cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), *CANNY).astype(np.float32) / 255
    )


def _lineart(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = picture.astype(np.float32)
    darker = (cv2.GaussianBlur(values, (0, 0), LINE_PX) - values).min(-1).clip(0, 255)
    middle = max(
        LINE_FLOOR, float(np.median(darker[darker > LINE_FLOOR / 2])) if (darker > LINE_FLOOR / 2).any() else 0.0
    )
    return cast(NDArray[np.float32], (darker / middle / 2).clip(0, 1).astype(np.float32))


_DRAWN: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.float32]]] = {"canny": _canny, "lineart": _lineart}
