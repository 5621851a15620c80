import json
from fractions import Fraction

import pytest

from stdvid.errors import InputError
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
