"""Reading between pixels, against the exact values of a picture whose frequencies are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stdvid.temporal.flow import places_of, sample_at
from stdvid.temporal.sharp import Sharp

HEIGHT, WIDTH = 48, 64
INSIDE = (slice(8, -8), slice(8, -8))


def periodic() -> NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(0, 1, (HEIGHT, WIDTH, 2)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 0.8, borderType=cv2.BORDER_REFLECT)


def shifted(picture: NDArray[np.float32], x: float, y: float) -> NDArray[np.float64]:
    """Exactly, as if it went on around its borders."""
    phase = np.fft.fftfreq(WIDTH)[None] * x + np.fft.fftfreq(HEIGHT)[:, None] * y
    spectrum = np.fft.fft2(picture, axes=(0, 1)) * np.exp(2j * np.pi * phase)[..., None]
    return np.fft.ifft2(spectrum, axes=(0, 1)).real


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.25, 0.0), (0.3, 0.7), (0.1, 0.2)])
def test_it_is_as_near_to_the_truth_as_lanczos_and_nearer_than_cubic(x: float, y: float) -> None:
    picture = periodic()
    places, exact = places_of(HEIGHT, WIDTH) + np.float32([x, y]), shifted(picture, x, y)
    found = {
        "doubled": Sharp(picture).at(places, many=True),
        "lanczos": sample_at(picture, places, cv2.INTER_LANCZOS4),
        "cubic": sample_at(picture, places, cv2.INTER_CUBIC),
    }
    error = {name: float((read - exact)[INSIDE].std()) for name, read in found.items()}
    assert error["doubled"] < 1.2 * error["lanczos"]
    assert error["doubled"] < 0.7 * error["cubic"]
    np.testing.assert_array_equal(Sharp(picture).at(places, many=False), found["lanczos"])


@pytest.mark.parametrize("many", [True, False])
def test_pixels_are_what_they_are_and_beyond_the_border_is_the_border(many: bool) -> None:
    picture = periodic()
    places = places_of(HEIGHT, WIDTH)
    np.testing.assert_array_equal(Sharp(picture).at(places, many=many), picture)
    np.testing.assert_allclose(Sharp(picture).at(places - np.float32([WIDTH + 9, 0]), many=many)[:, 0], picture[:, 0])


@pytest.mark.parametrize("wavelength", [2.5, 3.2, 4.0, 5.0, 8.0, 20.0])
def test_nothing_is_raised_that_would_grow_from_move_to_move(wavelength: float) -> None:
    turn = np.float32(2 * np.pi / wavelength)
    wave = np.broadcast_to(np.cos(turn * np.arange(400, dtype=np.float32))[None, :, None], (8, 400, 1)).copy()
    for part in np.linspace(0, 1, 9):
        read = Sharp(wave).at(places_of(8, 400) + np.float32([part, 0]), many=True)[4, 20:-20]
        assert float(read.std()) < 1.021 * float(wave[4, 20:-20].std())


def test_one_channel_and_one_pixel() -> None:
    one = np.full((1, 1, 1), 3.0, np.float32)
    assert float(Sharp(one).at(np.zeros((1, 1, 2), np.float32), many=True).item()) == 3.0
