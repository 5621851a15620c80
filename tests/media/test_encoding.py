"""Choosing and opening the encoder: pixel formats, quality, time bases, and every refusal."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stdvid.errors import UsageError
from stdvid.media.encoding import choose_encoder, encoder_time_base
from stdvid.media.timebase import rescale
from stdvid.media.writer import VideoWriter


@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [
        ("libx264", "yuv420p"),
        ("libvpx-vp9", "yuv420p"),
        ("ffv1", "yuv420p"),
        ("huffyuv", "yuv422p"),
        ("prores_ks", "yuv422p10le"),
        ("png", "rgb24"),
        ("qtrle", "rgb24"),
        ("gif", "pal8"),
        ("mjpeg", "yuvj420p"),
    ],
)
def test_the_pixel_format_is_the_most_usual_one_that_the_encoder_has(codec: str, pixel_format: str) -> None:
    assert choose_encoder(codec, None, {}).pixel_format == pixel_format


def test_a_pixel_format_asked_for_is_taken_and_no_option_any_more() -> None:
    choice = choose_encoder("libx264", None, {"pix_fmt": "yuv444p", "preset": "fast"})
    assert choice.pixel_format == "yuv444p"
    assert {k: v for k, v in choice.options.items() if k != "x264-params"} == {"preset": "fast", "crf": "18"}


@pytest.mark.parametrize(
    ("codec", "crf", "options", "expected"),
    [
        ("libx264", None, {}, "18"),
        ("libx264", 0, {}, "0"),
        ("libx264", 20.5, {}, "20.5"),
        ("libx264", 23.0, {}, "23"),
        ("libvpx-vp9", 31, {}, "31"),
        ("libsvtav1", None, {}, "18"),
        ("libx264", None, {"crf": "30"}, "30"),
        ("libx264", None, {"b": "1000000"}, None),  # a bit rate instead of a constant quality
        ("libx264", None, {"qp": "20"}, None),
        ("libx264", None, {"qmax": "30"}, None),
        ("ffv1", None, {}, None),
        ("mpeg4", None, {"global_quality": "354"}, None),
    ],
)
def test_constant_quality_is_said_unless_something_else_rules_the_rate(
    codec: str, crf: float | None, options: dict[str, str], expected: str | None
) -> None:
    before = dict(options)
    assert choose_encoder(codec, crf, options).options.get("crf") == expected
    assert options == before


def test_options_for_x265_are_joined_to_those_that_keep_it_quiet() -> None:
    assert choose_encoder("libx265", None, {}).options["x265-params"] == "log-level=error"
    choice = choose_encoder("libx265", None, {"x265-params": "bframes=0:keyint=5"})
    assert choice.options["x265-params"] == "log-level=error:bframes=0:keyint=5"


@pytest.mark.parametrize(
    ("crf", "options", "expected"),
    [
        (None, {}, {"rc": "vbr", "cq": "18", "b": "0"}),
        (24, {}, {"rc": "vbr", "cq": "24", "b": "0"}),
        (24, {"cq": "30"}, {"cq": "30"}),
        (None, {"b": "8000000"}, {"b": "8000000"}),
        (None, {"rc": "constqp", "qp": "20"}, {"rc": "constqp", "qp": "20"}),
    ],
)
def test_constant_quality_of_a_card_has_another_name(
    crf: float | None, options: dict[str, str], expected: dict[str, str]
) -> None:
    if "h264_nvenc" not in av.codecs_available:
        pytest.skip("this build of FFmpeg has no NVENC")
    assert choose_encoder("h264_nvenc", crf, options).options == expected


@pytest.mark.parametrize(
    ("codec", "crf", "options", "words"),
    [
        ("", None, {}, "is not an encoder"),
        ("pcm_s16le", None, {}, "encodes audio"),
        ("srt", None, {}, "encodes subtitle"),
        ("gif", None, {"pix_fmt": "yuv420p"}, "pix_fmt 'yuv420p' is unknown to gif; allowed are "),
        ("libx264", None, {"Preset": "fast"}, "did you mean 'preset'"),
        ("libx264", None, {"zzzzzz": "1"}, "remove it"),
        ("ffv1", 18, {}, "crf 18: ffv1 has no constant quality factor"),
        ("prores_ks", 0, {}, "crf 0: prores_ks"),
    ],
)
def test_refusals_are_one_line_of_three_parts(
    codec: str, crf: float | None, options: Mapping[str, str], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        choose_encoder(codec, crf, options)
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert message.count(";") >= 2


@pytest.mark.parametrize(
    ("codec", "crf"), [("libx264", -5), ("libvpx-vp9", 64), ("libvpx-vp9", -2), ("libsvtav1", 99), ("libx265", -3)]
)
def test_a_crf_out_of_range_is_refused_before_anything_is_written(tmp_path: Path, codec: str, crf: float) -> None:
    with pytest.raises(UsageError, match=f"encoder {codec} refuses 64x48 yuv420p with .*crf={crf}"):
        VideoWriter(tmp_path / "o.mkv", size=(64, 48), codec=codec, crf=crf)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("codec", "source", "expected"),
    [
        ("libx264", Fraction(1, 25), Fraction(1, 25)),
        ("libx264", Fraction(1001, 30000), Fraction(1, 30000)),
        ("libx264", Fraction(1, 90000), Fraction(1, 90000)),
        ("mpeg4", Fraction(1, 25), Fraction(1, 25)),
        ("mpeg4", Fraction(1001, 30000), Fraction(1, 30000)),
        ("mpeg4", Fraction(1, 65535), Fraction(1, 65535)),
        ("mpeg4", Fraction(1, 90000), Fraction(1, 65000)),
    ],
)
def test_the_time_base_is_as_fine_as_the_encoder_allows(codec: str, source: Fraction, expected: Fraction) -> None:
    assert encoder_time_base(codec, source) == expected


@given(st.integers(1, 2000), st.integers(1, 200_000), st.integers(0, 10**6))
def test_ticks_in_the_encoders_time_base_are_near_the_sources(numerator: int, denominator: int, pts: int) -> None:
    source = Fraction(numerator, denominator)
    exact, limited = encoder_time_base("libx264", source), encoder_time_base("mpeg4", source)
    assert rescale(pts, source, exact) * exact == pts * source
    assert limited.numerator == 1
    assert limited.denominator <= 65535
    assert abs(rescale(pts, source, limited) * limited - pts * source) <= limited / 2
