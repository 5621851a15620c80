"""What probe() finds in a file."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from clips import Clip
from hypothesis import given
from hypothesis import strategies as st

from stdvid.errors import InputError
from stdvid.media.orientation import Orientation
from stdvid.media.probe import probe


def test_a_rich_file(clip):
    info = probe(clip("rich.mkv", audio=2, subtitles=True, chapters=True, attachment=True))
    assert [s.kind for s in info.others] == ["audio", "audio", "subtitle", "attachment"]
    assert info.of_kind("audio")[0].language == "eng"
    assert info.of_kind("audio")[0].sample_rate == 44100
    assert [(c.title, c.start_s, c.end_s) for c in info.chapters] == [
        ("one", 0, Fraction(1, 5)),
        ("two", Fraction(1, 5), Fraction(12, 25)),
    ]
    assert info.metadata["title"] == "a test"
    assert (info.video.codec, info.video.frame_size, info.video.bit_depth) == ("h264", (64, 48), 8)


def test_it_can_be_written_as_json(clip):
    data = json.loads(json.dumps(probe(clip("rich.mkv", audio=2, subtitles=True, chapters=True)).to_dict()))
    assert data["video"]["rate"] == "25"
    assert data["streams"][0]["codec"] == "aac"
    assert data["chapters"][1] == {"start_s": 0.2, "end_s": 0.48, "title": "two"}


def test_anamorphic_video_is_shown_wider(clip):
    video = probe(clip("wide.mp4", aspect=Fraction(4, 3))).video
    assert (video.pixel_aspect, video.display_aspect, video.display_size) == (Fraction(4, 3), Fraction(16, 9), (85, 48))


def test_rotation_turns_the_aspect_too(clip):
    video = probe(clip("wide.mp4", aspect=Fraction(4, 3), turn=(90,))).video
    assert (video.frame_size, video.frame_pixel_aspect) == ((48, 64), Fraction(3, 4))
    assert video.display_aspect == Fraction(9, 16)


def test_ten_bit_hdr_tags(clip):
    path = clip("hdr.mkv", codec="ffv1", pix_fmt="yuv420p10le", options={}, n=2, matrix=9, primaries=9, transfer=16)
    video = probe(path).video
    assert (video.bit_depth, video.hdr) == (10, True)
    assert video.colour.names() == {"primaries": "bt2020", "transfer": "smpte2084", "matrix": "bt2020nc", "range": "tv"}


def test_variable_rate_is_seen(clip):
    assert not probe(clip("constant.mp4", n=12)).video.variable_rate
    assert probe(clip("variable.mp4", pts=[0, 512, 1024, 4096, 4608, 9000])).video.variable_rate


def test_rounding_to_milliseconds_is_no_variable_rate(clip):
    path = clip("thirty.mkv", time_base=Fraction(1, 30), pts=range(30))
    assert not probe(path).video.variable_rate
    assert abs(probe(path).video.rate - 30) < Fraction(1, 10)


def bad_files(folder, clip):
    whole = clip("whole.mp4").read_bytes()
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 40)
    (folder / "text.txt").write_text("this is no video\n" * 40)
    (folder / "zeros.mkv").write_bytes(bytes(5000))
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "remote.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    (folder / "sub.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    return ["empty.mp4", "text.mp4", "text.txt", "zeros.mkv", "cut.mp4", "remote.m3u8", "sub.srt", "missing.mp4", "."]


def test_files_that_are_no_video_are_input_errors_in_one_line(clip, tmp_path):
    for name in bad_files(tmp_path, clip):
        with pytest.raises(InputError) as caught:
            probe(tmp_path / name)
        message = str(caught.value)
        assert message.count(";") >= 2, message
        assert "\n" not in message
        assert caught.value.exit_code == 3


def test_audio_alone_is_an_input_error(tmp_path):
    import av
    import numpy as np

    path = tmp_path / "sound.mka"
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), "s16", "stereo")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(InputError, match=r"no video stream \(found: audio"):
        probe(path)


def test_names_that_look_like_patterns_or_urls(clip, tmp_path, monkeypatch):
    data = clip("whole.mp4").read_bytes()
    monkeypatch.chdir(tmp_path)
    for name in ("100%d.mp4", "http:x.mp4", "-dash.mp4", "sp ace é.mp4", "concat:a.mp4"):
        (tmp_path / name).write_bytes(data)
        assert probe(name).video.frame_size == (64, 48)


RATES = ["24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60", "12"]


@pytest.mark.parametrize("rate", RATES)
def test_the_rate_is_found_behind_the_milliseconds_of_matroska(clip: Clip, rate: str) -> None:
    path = clip("r.mkv", n=40, size=(16, 16), codec="ffv1", options={}, time_base=1 / Fraction(rate), pts=range(40))
    video = probe(path).video
    assert (video.rate, video.variable_rate) == (Fraction(rate), False)


@pytest.mark.parametrize(
    ("steps", "variable"),
    [
        ([512] * 11, False),
        ([512, 513] * 5, False),  # a tick is rounding
        ([512] * 5 + [1024] + [512] * 5, True),  # one frame is missing
        ([512, 768] * 5, True),
        ([512, 537] * 5, False),  # within a twentieth
        ([512, 540] * 5, True),
    ],
)
def test_where_uneven_becomes_variable(clip: Clip, steps: list[int], variable: bool) -> None:
    pts = [sum(steps[:n]) for n in range(len(steps) + 1)]
    assert probe(clip("v.mp4", size=(16, 16), pts=pts)).video.variable_rate == variable


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "depth", "yuv", "alpha"),
    [
        ("a.mkv", "ffv1", "yuv422p12le", 12, True, False),
        ("a.mkv", "ffv1", "yuva420p", 8, True, True),
        ("a.mkv", "ffv1", "bgr0", 8, False, False),
        ("a.mov", "png", "rgba", 8, False, True),
        ("a.mov", "prores_ks", "yuv422p10le", 10, True, False),
    ],
)
def test_pixel_formats(clip: Clip, name: str, codec: str, pix_fmt: str, depth: int, yuv: bool, alpha: bool) -> None:
    video = probe(clip(name, n=2, codec=codec, pix_fmt=pix_fmt, options={}, tagged=False)).video
    assert (video.pixel_format, video.bit_depth, video.is_yuv, video.has_alpha) == (pix_fmt, depth, yuv, alpha)


def test_counts_and_times_of_a_late_clip(clip: Clip) -> None:
    info = probe(clip("late.mp4", n=12, first=5120))
    assert (info.video.frames_claimed, info.video.start_pts, info.start_s) == (12, 5120, Fraction(2, 5))
    assert info.video.duration_s == Fraction(12, 25)


@given(
    width=st.integers(1, 4096),
    height=st.integers(1, 4096),
    aspect=st.builds(Fraction, st.integers(1, 64), st.integers(1, 64)),
    transposed=st.booleans(),
)
def test_square_pixels_are_never_fewer_and_keep_the_shape(
    clip: Clip, width: int, height: int, aspect: Fraction, transposed: bool
) -> None:
    video = replace(
        probe(clip("whole.mp4")).video,
        width=width,
        height=height,
        pixel_aspect=aspect,
        orientation=Orientation(transposed=transposed),
    )
    shown = video.display_size
    assert all(new >= old for new, old in zip(shown, video.frame_size, strict=True))
    assert abs(shown[0] - shown[1] * video.display_aspect) <= max(1, video.display_aspect) / 2


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("whole.mp4", {}),
        ("turned.mov", {"turn": (90,), "aspect": Fraction(4, 3)}),
        ("a.gif", {"codec": "gif", "pix_fmt": "rgb8", "options": {}, "tagged": False, "time_base": Fraction(1, 100)}),
    ],
)
def test_json_loses_nothing_of_the_video(clip: Clip, name: str, options: dict[str, Any]) -> None:
    video = probe(clip(name, n=3, **options)).video
    data = json.loads(json.dumps(probe(clip(name, n=3, **options)).to_dict()))["video"]
    for key in ("rate", "time_base", "pixel_aspect", "display_aspect"):
        assert Fraction(data[key]) == getattr(video, key), key
    assert (data["rotation"], data["mirrored"]) == (video.orientation.rotation, video.orientation.mirrored)
    assert tuple(data["frame_size"]) == video.frame_size
    assert data["colour"] == video.colour.names()
