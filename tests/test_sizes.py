"""The size that is worked at, and that of references."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdvid.errors import InputError
from stdvid.media.probe import VideoInfo, probe
from stdvid.painter import check_reference, read_reference, working_size


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    path = tmp_path_factory.mktemp("info") / "a.png"
    cv2.imwrite(str(path), np.zeros((10, 10, 3), np.uint8))
    return probe(path)


@given(width=st.integers(40, 4000), height=st.integers(40, 4000), size=st.integers(32, 1080))
@settings(max_examples=50, deadline=None)
def test_working_sizes_are_even_and_keep_the_aspect(info: VideoInfo, width: int, height: int, size: int) -> None:
    video = dataclasses.replace(info.video, width=width, height=height)
    found = working_size(dataclasses.replace(info, video=video), size)
    scale = min(1.0, size / min(width, height))
    for side, source in zip(found, (width, height), strict=True):
        assert side % 2 == 0
        assert abs(side - source * scale) <= 1
        assert side <= source
    assert working_size(dataclasses.replace(info, video=video), f"{height}x{width}") == (height, width)


@pytest.mark.parametrize(
    ("shape", "expected"), [((400, 800), (320, 640)), ((640, 320), (640, 320)), ((60, 90), (60, 90))]
)
def test_references_are_brought_down_to_the_scale_of_training(
    tmp_path: Path, shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    image[..., 2] = 200  # red, in OpenCV's order
    cv2.imwrite(str(tmp_path / "ref.png"), image)
    read = read_reference(tmp_path / "ref.png")
    assert read.shape == (*expected, 3)
    assert read.reshape(-1, 3).mean(0) == pytest.approx([200, 0, 0], abs=1)


def test_only_an_image_is_a_reference(clip: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a video; an image is needed; extract a frame"):
        check_reference(clip("ref.mp4", n=3))
    with pytest.raises(InputError, match=r"^style reference: .*no such file"):
        check_reference(tmp_path / "none.png")
