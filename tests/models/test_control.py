"""What a ControlNet is shown of frames."""

from __future__ import annotations

import pytest
import torch

from stdvid.models.control import control_images


def test_a_tile_is_the_frame_itself() -> None:
    frames = torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
    torch.testing.assert_close(control_images(frames, "tile"), (frames + 1) / 2)


@pytest.mark.parametrize("kind", ["canny", "lineart"])
def test_lines_are_white_where_they_are_and_nowhere_else(kind: str) -> None:
    frames = torch.ones(2, 3, 64, 64)
    frames[1, :, :, 30:33] = -1  # a black line on white; the first frame is blank
    images = control_images(frames, kind)  # type: ignore[arg-type]
    assert images.shape == frames.shape
    assert images.min() >= 0
    assert images.max() <= 1
    assert images[0].max() < 1e-4
    assert images[1, :, :, 28:35].amax(-1).min() > 0.4
    assert images[1, :, :, :8].max() < 0.05
    assert images[1, :, :, 56:].max() < 0.05
