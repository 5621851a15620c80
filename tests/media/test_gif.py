"""Gif: colours chosen for each frame, and times in hundredths of a second."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import picture
from PIL import Image as Pillow

from stdvid.media.gif import GifPalette
from stdvid.media.reader import PyAVReader
from stdvid.media.writer import VideoWriter


def painted(palette: GifPalette, image: np.ndarray) -> np.ndarray:
    frame = palette.apply(image)
    assert frame.format.name == "pal8"
    return frame.reformat(format="rgb24").to_ndarray()


def write(path: Path, images: list[np.ndarray], times: list[int], **options: object) -> VideoWriter:
    size = images[0].shape[1::-1]
    with VideoWriter(path, size=size, time_base=Fraction(1, 1000), **options) as writer:  # type: ignore[arg-type]
        for image, time in zip(images, times, strict=True):
            writer.write(image, time, 40)
    return writer


@pytest.mark.parametrize("size", [(64, 48), (33, 17), (2, 2)])
def test_few_flat_colours_are_kept_exactly(size: tuple[int, int]) -> None:
    image = picture(*size)
    np.testing.assert_array_equal(painted(GifPalette(*size), image), image)


def test_a_grey_ramp_fits_into_256_colours() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(16, 0).repeat(3, 2)
    result = painted(GifPalette(256, 16), ramp)
    assert abs(result.astype(int) - ramp).max() <= 2
    assert len(np.unique(result[..., 0])) >= 250


def test_many_colours_are_dithered_to_the_right_mean() -> None:
    noise = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    result = painted(GifPalette(64, 64), noise)
    assert len(np.unique(result.reshape(-1, 3), axis=0)) <= 256
    assert abs(result.mean(axis=(0, 1)) - noise.mean(axis=(0, 1))).max() <= 6


def test_every_frame_has_a_palette_of_its_own() -> None:
    """A palette of the first frame alone would have no blue for the second."""
    palette = GifPalette(32, 32)
    ramp = np.arange(32, dtype=np.uint8)[None, :] * 7 + np.arange(32, dtype=np.uint8)[:, None]
    for channel in (0, 2, 1):
        image = np.zeros((32, 32, 3), np.uint8)
        image[..., channel] = ramp
        assert abs(painted(palette, image).astype(int) - image).max() <= 4


def test_frames_nearer_than_a_hundredth_move_apart(tmp_path: Path) -> None:
    images = [picture(32, 32, n) for n in range(4)]
    write(tmp_path / "o.gif", images, [0, 3, 6, 100])
    assert [f.time for f in PyAVReader(tmp_path / "o.gif")] == [Fraction(n, 100) for n in (0, 1, 2, 10)]


def test_pillow_sees_the_same_frames_and_durations(tmp_path: Path) -> None:
    images = [picture(33, 21, n) for n in range(3)]
    writer = write(tmp_path / "o.gif", images, [0, 120, 200])
    assert writer.frames_written == 3
    with Pillow.open(tmp_path / "o.gif") as file:
        assert (file.size, file.n_frames) == ((33, 21), 3)
        for number, (image, duration) in enumerate(zip(images, [120, 80], strict=False)):
            file.seek(number)
            assert file.info["duration"] == duration
            np.testing.assert_array_equal(np.asarray(file.convert("RGB")), image)


def test_constant_rate_fills_the_slots(tmp_path: Path) -> None:
    images = [picture(16, 16, n) for n in range(3)]
    writer = write(tmp_path / "o.gif", images, [0, 100, 400], fps_mode="cfr", rate=Fraction(10))
    frames = list(PyAVReader(tmp_path / "o.gif"))
    assert [f.time for f in frames] == [Fraction(n, 10) for n in range(5)]
    assert [(f.image == images[k]).all() for f, k in zip(frames, (0, 1, 1, 1, 2), strict=True)] == [True] * 5
    assert writer.notes == ["constant rate: 2 frames repeated, 0 left out"]
