"""Matrices, ranges and tags, and both conversions."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdvid.media.colour import (
    BT709_TAGS,
    ColourTags,
    EncoderConverter,
    RgbConverter,
    output_tags,
    resolve_matrix,
    resolve_range,
)
from stdvid.media.probe import probe
from stdvid.media.reader import PyAVReader
from stdvid.media.tonemap import to_sdr
from stdvid.media.writer import VideoWriter

MATRICES = {"601": 6, "709": 1}


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_colours_survive_reading_and_the_whole_chain(clip, pictures, tmp_path, matrix, full):
    path = clip("c.mp4", n=2, matrix=matrix, full=full, pix_fmt="yuvj420p" if full else "yuv420p")
    wanted = pictures.quadrants(pictures.make(64, 48))
    info = probe(path)
    first = next(iter(PyAVReader(path, info=info)))
    assert abs(pictures.quadrants(first.image) - wanted).max() <= 4
    out = tmp_path / "out.mp4"
    with VideoWriter(out, size=(64, 48), info=info, crf=4, enc={"preset": "ultrafast"}) as writer:
        writer.write(first.image, 0)
    again = next(iter(PyAVReader(out)))
    assert abs(pictures.quadrants(again.image) - wanted).max() <= 6
    names = probe(out).video.colour.names()
    assert names["range"] == "tv"
    assert names["matrix"] == ("bt709" if matrix == 1 else "smpte170m")


def test_what_is_written_agrees_with_the_formula_of_bt709(tmp_path):
    """An independent referee: the planes of the file against Y = .2126 R + .7152 G + .0722 B, limited range."""
    red, green, blue = 200, 30, 60
    out = tmp_path / "out.mkv"
    with VideoWriter(out, size=(32, 32), codec="ffv1", time_base=Fraction(1, 25)) as writer:
        writer.write(np.full((32, 32, 3), (red, green, blue), np.uint8), 0)
    with av.open(str(out)) as container:
        planes = next(container.decode(video=0)).to_ndarray()
    luma = (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255
    expected = 16 + 219 * luma, 128 + 224 * (blue / 255 - luma) / 1.8556, 128 + 224 * (red / 255 - luma) / 1.5748
    assert abs(np.array([planes[0, 0], planes[32, 0], planes[-1, 0]]) - expected).max() <= 1


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        ("libx264", "yuv422p"),
        ("libx264", "yuv444p"),
        ("libx265", "yuv420p10le"),
        ("ffv1", "yuv420p10le"),
        ("ffv1", "yuv444p12le"),
        ("ffv1", "bgr0"),
        ("png", "rgb24"),
        ("prores_ks", "yuv422p10le"),
        ("mjpeg", "yuvj444p"),
    ],
)
def test_pixel_formats(clip, pictures, codec, pix_fmt):
    # without B-frames: on a clip of two frames x265 now and then hands out a dts past the pts
    options = {"preset": "ultrafast", "x265-params": "log-level=none:bframes=0"} if codec == "libx265" else {}
    name = "f.mov" if codec == "png" else "f.mkv"
    path = clip(name, n=2, codec=codec, pix_fmt=pix_fmt, options=options, tagged=pix_fmt.startswith("yuv"))
    image = next(iter(PyAVReader(path))).image
    assert abs(pictures.quadrants(image) - pictures.quadrants(pictures.make(64, 48))).max() <= 8


def test_grey_video(clip):
    path = clip(
        "g.mkv", n=1, codec="ffv1", pix_fmt="gray", options={}, tagged=False, image=np.full((48, 64, 3), 90, np.uint8)
    )
    assert abs(next(iter(PyAVReader(path))).image.astype(int) - 90).max() <= 1


def test_alpha_is_composited_on_black(clip):
    image = np.zeros((48, 64, 4), np.uint8)
    image[:, :32] = (200, 100, 50, 128)
    image[:, 32:] = (255, 255, 255, 0)
    path = clip("a.mov", n=1, codec="png", pix_fmt="rgba", options={}, tagged=False, image=image)
    reader = PyAVReader(path)
    frame = next(iter(reader))
    assert abs(frame.image[24, 8].astype(int) - (100, 50, 25)).max() <= 1
    assert frame.image[24, 48].max() == 0
    assert any("black" in line for line in reader.notes())


def test_untagged_matrix_goes_by_size_and_range_by_format():
    assert resolve_matrix(2, 720, 576) == 6
    assert resolve_matrix(2, 1280, 720) == 1
    assert resolve_matrix(5, 1920, 1080) == 5
    assert resolve_range(0, av.VideoFormat("yuv420p")) == 1
    assert resolve_range(0, av.VideoFormat("yuvj420p")) == 2
    assert resolve_range(0, av.VideoFormat("rgb24")) == 2
    assert resolve_range(2, av.VideoFormat("yuv420p")) == 2


@pytest.mark.parametrize(
    "tags", [ColourTags(9, 16, 9, 1), ColourTags(9, 18, 9, 1), ColourTags(9, 14, 9, 1), ColourTags(1, 1, 7, 1)]
)
def test_hdr_wide_gamut_and_rare_matrices_become_bt709(tags):
    assert output_tags(tags, True, 1920, 1080) == BT709_TAGS
    assert output_tags(tags, False, 64, 64) == BT709_TAGS


def test_sdr_tags_are_kept_and_a_guessed_matrix_is_said():
    assert output_tags(ColourTags(5, 6, 5, 2), True, 640, 480) == ColourTags(5, 6, 5, 1)
    assert output_tags(ColourTags(), True, 640, 480) == ColourTags(2, 2, 6, 1)


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67", "bt2020-10"])
def test_tone_mapping_is_monotone_neutral_and_fills_the_range(transfer):
    ramp = np.repeat(np.linspace(0, 65535, 256).astype(np.uint16)[None, :, None], 3, axis=2)
    result = to_sdr(ramp, transfer)[0].astype(int)
    assert (np.diff(result[:, 0]) >= 0).all()
    assert (result.max(axis=1) - result.min(axis=1)).max() <= 1
    assert result[0].max() == 0
    assert result[-1].min() >= 254


def test_reference_white_of_pq_is_bright_but_not_clipped():
    white = int(0.58069 * 65535)  # 203 cd/m2
    value = to_sdr(np.full((1, 1, 3), white, np.uint16), "smpte2084")[0, 0, 0]
    assert 180 <= value <= 240


def test_hdr_clips_are_read_and_said(clip, pictures):
    path = clip("hdr.mkv", codec="ffv1", pix_fmt="yuv420p10le", options={}, n=2, matrix=9, primaries=9, transfer=16)
    reader = PyAVReader(path)
    frames = list(reader)
    assert len(frames) == 2
    assert any("tone-mapped" in line for line in reader.notes())
    red, green, *_ = pictures.quadrants(frames[0].image)
    assert red.argmax() == 0
    assert green.argmax() == 1


@pytest.mark.parametrize(
    ("tags", "hdr", "wide"),
    [
        (ColourTags(), False, False),
        (ColourTags(1, 1, 1, 1), False, False),
        (ColourTags(9, 14, 9, 1), False, True),
        (ColourTags(2, 2, 9, 1), False, True),  # implied by the matrix
        (ColourTags(99, 2, 10, 1), False, True),
        (ColourTags(2, 18, 2, 1), True, True),  # implied by the curve
        (ColourTags(1, 16, 1, 1), True, False),  # PQ in BT.709 primaries, said so
    ],
)
def test_hdr_and_wide_gamut_are_told_apart(tags: ColourTags, hdr: bool, wide: bool) -> None:
    assert (tags.hdr, tags.wide_gamut) == (hdr, wide)


@pytest.mark.parametrize(
    ("matrix", "width", "height", "expected"),
    [(2, 1279, 576, 6), (2, 1280, 576, 1), (2, 64, 577, 1), (8, 64, 48, 6), (0, 1920, 1080, 1), (7, 64, 48, 7)],
)
def test_the_matrix_to_decode_with(matrix: int, width: int, height: int, expected: int) -> None:
    assert resolve_matrix(matrix, width, height) == expected


@pytest.mark.parametrize("tags", [BT709_TAGS, ColourTags(6, 6, 6, 1), ColourTags(1, 1, 1, 2)], ids=str)
@given(st.tuples(*[st.integers(0, 255)] * 3))
@settings(max_examples=25)
def test_any_colour_survives_the_encoders_conversion_and_back(tags: ColourTags, colour: tuple[int, int, int]) -> None:
    image = np.full((8, 8, 3), colour, np.uint8)
    frame = EncoderConverter(8, 8, "yuv444p", tags).convert(image)
    frame.colorspace, frame.color_range = tags.matrix, tags.range
    frame.color_primaries, frame.color_trc = tags.primaries, tags.transfer
    assert ColourTags.of_frame(frame) == tags
    assert abs(RgbConverter().convert(frame).astype(int) - colour).max() <= 3


@pytest.mark.parametrize(("colour_range", "black", "white"), [(1, 16, 235), (2, 0, 255)])
def test_black_and_white_are_where_the_range_has_them(colour_range: int, black: int, white: int) -> None:
    image = np.zeros((2, 8, 3), np.uint8)
    image[:, 4:] = 255
    planes = EncoderConverter(8, 2, "yuv444p", ColourTags(1, 1, 1, colour_range)).convert(image).to_ndarray()
    assert (planes[0, 0, 0], planes[0, 0, 7]) == (black, white)
    assert abs(planes[1:].astype(int) - 128).max() <= 1
