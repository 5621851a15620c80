"""Still images, with Pillow as the referee."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from clips import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image as Pillow

from stdvid.errors import OutputError
from stdvid.media.reader import PyAVReader
from stdvid.media.still import encode_still
from stdvid.media.writer import VideoWriter

sides = st.integers(1, 20)
images = st.tuples(sides, sides).flatmap(lambda size: arrays.arrays(np.uint8, (*size, 3)))


def decoded(data: bytes) -> np.ndarray:
    with Pillow.open(io.BytesIO(data)) as file:
        return np.asarray(file.convert("RGB"))


@given(images)
@settings(max_examples=40)
def test_png_keeps_every_pixel(image: np.ndarray) -> None:
    np.testing.assert_array_equal(decoded(encode_still(image, "png")), image)


@pytest.mark.parametrize("kind", ["jpg", "webp"])
@given(st.tuples(*[st.integers(0, 255)] * 3), sides, sides)
@settings(max_examples=30)
def test_flat_colours_survive_the_lossy_kinds(kind: str, colour: tuple[int, int, int], width: int, height: int) -> None:
    image = np.full((height, width, 3), colour, np.uint8)
    result = decoded(encode_still(image, kind)).astype(int)
    assert result.shape == image.shape
    assert abs(result - colour).max() <= 8


def test_jpeg_is_quantised_with_the_tables_of_quality_95() -> None:
    reference = io.BytesIO()
    Pillow.fromarray(picture(32, 32)).save(reference, "JPEG", quality=95)
    with Pillow.open(io.BytesIO(encode_still(picture(32, 32), "jpg"))) as ours, Pillow.open(reference) as theirs:
        assert ours.quantization == theirs.quantization  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kind", "limit"), [("webp", 16383), ("jpg", 65500)])
def test_pictures_beyond_the_limits_of_a_format_are_output_errors(kind: str, limit: int) -> None:
    assert decoded(encode_still(np.zeros((1, limit, 3), np.uint8), kind)).shape == (1, limit, 3)
    with pytest.raises(OutputError, match=rf"{kind} cannot hold {limit + 1}x1 pixels") as caught:
        encode_still(np.zeros((1, limit + 1, 3), np.uint8), kind)
    assert "\n" not in str(caught.value)


def test_a_picture_that_does_not_fit_leaves_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="webp cannot hold"),
        VideoWriter(tmp_path / "o.webp", size=(16384, 1)) as writer,
    ):
        writer.write(np.zeros((1, 16384, 3), np.uint8), 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "container", "kind"),
    [("a.jpeg", None, "JPEG"), ("a.PNG", None, "PNG"), ("a.dat", "webp", "WEBP"), ("a.png", "jpg", "JPEG")],
)
def test_the_writer_goes_by_container_then_extension(
    tmp_path: Path, name: str, container: str | None, kind: str
) -> None:
    with VideoWriter(tmp_path / name, size=(31, 23), container=container) as writer:
        writer.write(picture(31, 23), 7)
    with Pillow.open(tmp_path / name) as file:
        assert (file.format, file.size) == (kind, (31, 23))
    assert (writer.frames_written, writer.notes) == (1, [])


def test_a_transparent_still_is_put_on_black(tmp_path: Path) -> None:
    image = np.full((16, 24, 4), (200, 100, 50, 255), np.uint8)
    image[:, :12, 3] = 0
    Pillow.fromarray(image).save(tmp_path / "half.webp", quality=95)
    reader = PyAVReader(tmp_path / "half.webp")
    (frame,) = reader
    assert frame.image[8, 4].max() <= 2
    assert abs(frame.image[8, 20].astype(int) - (200, 100, 50)).max() <= 6
    assert reader.notes() == ["transparent source: composited on black"]
