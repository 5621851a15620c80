import os
import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from stdvid.errors import InputError, OutputError, OutputExistsError, UsageError
from stdvid.media.probe import probe
from stdvid.media.reader import PyAVReader
from stdvid.media.timebase import TimePoint
from stdvid.media.writer import VideoWriter

FAST = {"preset": "ultrafast"}


def copy(source, target, *, size=None, reader=(), **options):
    """Source through reader and writer, unchanged; returns the frames' times and the writer."""
    info = probe(source)
    frames = PyAVReader(source, info=info, size=size, **dict(reader))
    if "codec" not in options and target.suffix in (".mp4", ".mkv", ".mov"):
        options.setdefault("enc", FAST | {"bf": "2"})
    times = []
    with VideoWriter(target, size=frames.size, info=info, **options) as writer:
        for frame in frames:
            writer.write(frame.image, frame.pts, frame.duration)
            times.append(frame.time)
    return times, writer


def times_of(path):
    with av.open(str(path)) as container:
        return [f.pts * f.time_base for f in container.decode(video=0)]


def alone(folder, *names):
    return sorted(p.name for p in folder.iterdir()) == sorted(names)


@pytest.mark.parametrize("pts", [range(0, 6656, 512), [6400, 6912, 9000, 9001, 20000]], ids=["constant", "variable"])
@pytest.mark.parametrize(("extension", "tick"), [("mp4", 0), ("mov", 0), ("mkv", Fraction(1, 1000))])
def test_times_are_kept_within_the_ticks_of_the_container(clip, tmp_path, extension, tick, pts):
    out = tmp_path / f"out.{extension}"
    before, _ = copy(clip("in.mp4", pts=list(pts)), out)
    after = times_of(out)
    assert max(abs(a - b) for a, b in zip(after, before, strict=True)) <= tick
    assert all(b > a for a, b in pairwise(after))


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_odd_time_bases(clip, tmp_path, extension):
    source = clip("in.mkv", time_base=Fraction(1001, 30000), pts=range(20), codec="ffv1", options={})
    before, _ = copy(source, tmp_path / f"out.{extension}")
    tick = Fraction(1, 1000) if extension == "mkv" else 0
    assert max(abs(a - b) for a, b in zip(times_of(tmp_path / f"out.{extension}"), before, strict=True)) <= tick


def test_the_last_frame_keeps_its_duration(tmp_path):
    out = tmp_path / "out.mp4"
    with VideoWriter(out, size=(32, 32), time_base=Fraction(1, 100), enc=FAST) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8), 0, 10)
        writer.write(np.zeros((32, 32, 3), np.uint8), 10, 250)
    assert probe(out).video.duration_s == Fraction(260, 100)


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_audio_is_copied_packet_for_packet_and_in_time(clip, packets, tmp_path, extension):
    source, out = clip("rich.mp4", n=20, audio=2), tmp_path / f"out.{extension}"
    copy(source, out)
    before, after = packets(source), packets(out)
    assert len(before) == len(after) == 2
    for old, new in zip(before, after, strict=True):
        assert [data for data, _ in old] == [data for data, _ in new]
        assert max(abs(a - b) for (_, a), (_, b) in zip(old, new, strict=True)) <= Fraction(1, 1000)


def test_everything_else_goes_from_mkv_to_mkv(clip, packets, tmp_path):
    source, out = clip("rich.mkv", n=12, audio=1, subtitles=True, chapters=True, attachment=True), tmp_path / "out.mkv"
    _, writer = copy(source, out)
    assert writer.notes == []
    old, new = probe(source), probe(out)
    assert [s.kind for s in new.others] == [s.kind for s in old.others]
    assert new.chapters == old.chapters
    assert new.metadata["title"] == "a test"
    assert new.of_kind("audio")[0].language == "eng"
    assert packets(source, "subtitle") == packets(out, "subtitle")
    with av.open(str(out)) as container:
        assert container.streams.attachments[0].data == b"not really a font"


def test_what_mp4_cannot_hold_is_said(clip, tmp_path):
    source = clip("rich.mkv", n=12, audio=1, subtitles=True, chapters=True, attachment=True)
    _, writer = copy(source, tmp_path / "out.mp4")
    assert len(writer.notes) == 2
    assert all("not copied" in line and ".mkv" in line for line in writer.notes)
    assert [c.title for c in probe(tmp_path / "out.mp4").chapters] == ["one", "two"]


def test_streams_can_be_left_out(clip, tmp_path):
    source = clip("rich.mkv", n=12, audio=1, subtitles=True)
    _, writer = copy(source, tmp_path / "out.mkv", audio=False, subtitles=False)
    assert probe(tmp_path / "out.mkv").others == ()
    assert writer.notes == []


def test_trimming_cuts_picture_sound_and_chapters_alike(clip, packets, tmp_path):
    source, out = clip("rich.mkv", n=25, audio=1, chapters=True), tmp_path / "out.mkv"
    trim = {"start": TimePoint(frame=5), "end": TimePoint(frame=15)}
    before, _ = copy(source, out, reader=trim, **trim)
    assert times_of(out) == [t - before[0] for t in before]
    ((*sound,),) = packets(out)
    (all_sound,) = packets(source)
    first = [data for data, _ in all_sound].index(sound[0][0])
    assert all_sound[first][1] - before[0] == sound[0][1]
    assert all_sound[first - 1][1] < before[0]
    assert Fraction(3, 10) < sound[-1][1] < Fraction(4, 10)
    assert [(c.title, c.start_s, c.end_s) for c in probe(out).chapters] == [
        ("one", 0, 0),
        ("two", 0, Fraction(28, 100)),
    ][1:]


def test_packets_are_read_only_as_far_as_the_video_goes(clip, tmp_path):
    """Flat memory by construction: the second demuxer stays within a packet of the frames written."""
    source = clip("long.mkv", n=100, audio=1)
    info = probe(source)
    writer = VideoWriter(tmp_path / "out.mkv", size=(64, 48), info=info, enc=FAST)
    for frame in PyAVReader(source, info=info):
        writer.write(frame.image, frame.pts, frame.duration)
        pending = writer._copier._pending
        if pending is not None and frame.index > 0:
            assert 0 <= pending.pts * pending.time_base - frame.time < Fraction(1, 20)
    writer.close()


def test_the_display_aspect_is_kept(clip, tmp_path):
    for aspect, turn, size in (
        (Fraction(4, 3), (0,), (30, 30)),
        (Fraction(4, 3), (90,), (24, 32)),
        (Fraction(1), (0,), (33, 47)),
    ):
        source, out = clip("wide.mp4", aspect=aspect, turn=turn, n=2), tmp_path / "out.mp4"
        copy(source, out, size=size, overwrite=True)
        assert abs(float(probe(out).video.display_aspect / probe(source).video.display_aspect) - 1) < 0.003


def test_square_pixels_stay_square(clip, tmp_path):
    copy(clip("in.mp4", size=(1280, 720), n=1), tmp_path / "out.mp4", size=(512, 288))
    assert probe(tmp_path / "out.mp4").video.pixel_aspect == 1


def test_odd_sides_grow_by_a_pixel_and_lose_nothing(clip, pictures, tmp_path):
    out = tmp_path / "out.mp4"
    copy(clip("in.mp4", n=1), out, size=(33, 47))
    frame = next(iter(PyAVReader(out)))
    assert frame.image.shape == (48, 34, 3)
    assert abs(pictures.quadrants(frame.image) - pictures.quadrants(pictures.make(64, 48))).max() <= 8
    out = tmp_path / "out.mkv"
    copy(clip("in.mp4", n=1), out, size=(33, 47), enc=FAST | {"pix_fmt": "yuv444p"})
    assert next(iter(PyAVReader(out))).image.shape == (47, 33, 3)


@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
def test_images(tmp_path, pictures, extension):
    source, out = tmp_path / "in.png", tmp_path / f"out.{extension}"
    cv2.imwrite(str(source), pictures.make(65, 49)[..., ::-1])
    copy(source, out)
    image = next(iter(PyAVReader(out))).image
    assert image.shape == (49, 65, 3)
    assert abs(pictures.quadrants(image) - pictures.quadrants(pictures.make(65, 49))).max() <= 6
    assert alone(tmp_path, "in.png", out.name)


def test_an_image_holds_one_frame_only(clip, tmp_path):
    with pytest.raises(UsageError, match="holds one frame"):
        copy(clip("in.mp4"), tmp_path / "out.png")
    assert alone(tmp_path)


def test_gif(clip, pictures, tmp_path):
    out = tmp_path / "out.gif"
    before, writer = copy(clip("in.mp4", pts=[0, 1280, 2560, 6400], audio=1), out)
    frames = list(PyAVReader(out))
    assert [f.time for f in frames] == before
    assert abs(pictures.quadrants(frames[0].image) - pictures.quadrants(pictures.make(64, 48))).max() <= 12
    assert "pictures only" in writer.notes[0]


def test_webm_has_its_own_codec(clip, tmp_path):
    copy(clip("in.mp4", n=3), tmp_path / "out.webm", enc={"cpu-used": "8", "deadline": "realtime"})
    assert probe(tmp_path / "out.webm").video.codec == "vp9"


@pytest.mark.parametrize(
    ("codec", "enc", "extension"),
    [
        ("libx264rgb", FAST, "mkv"),
        ("libx264rgb", FAST, "mp4"),
        ("ffv1", {"pix_fmt": "bgr0"}, "mkv"),
        ("png", {}, "mov"),
    ],
)
def test_encoders_of_rgb_keep_every_colour(clip, tmp_path, codec, enc, extension):
    source, out = clip("in.mp4"), tmp_path / f"out.{extension}"
    copy(source, out, codec=codec, crf=0 if codec == "libx264rgb" else None, enc=enc)
    for before, after in zip(PyAVReader(source), PyAVReader(out), strict=True):
        assert np.array_equal(before.image, after.image)


def test_constant_rate_repeats_and_leaves_out(clip, tmp_path):
    source, out = clip("v.mp4", pts=[0, 512, 600, 2048, 2560]), tmp_path / "out.mp4"
    _, writer = copy(source, out, fps_mode="cfr", rate=Fraction(25))
    assert times_of(out) == [Fraction(i, 25) for i in range(6)]
    assert writer.notes == ["constant rate: 2 frames repeated, 1 left out"]


def test_a_far_away_clock_starts_at_zero_and_says_so(clip, tmp_path):
    source, out = clip("far.mkv", n=4, first=12800 * 90000, audio=0), tmp_path / "out.mp4"
    _, writer = copy(source, out)
    assert times_of(out)[0] == 0
    assert "clock starts at 25:00:00" in writer.notes[0]


def test_nothing_is_left_after_an_exception(clip, tmp_path):
    def interrupted():
        with VideoWriter(tmp_path / "out.mp4", size=(64, 48), info=probe(clip("in.mp4", audio=1))) as writer:
            writer.write(np.zeros((48, 64, 3), np.uint8), 0)
            assert alone(tmp_path, "out.mp4.part")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert alone(tmp_path)


def test_trimmed_subtitles_that_began_earlier_are_shortened(clip, packets, tmp_path):
    source, out = clip("rich.mkv", n=25, subtitles=True), tmp_path / "out.mkv"
    start = TimePoint(frame=5)  # 0.2 s; the only subtitle is shown from 0.08 s to 0.28 s
    copy(source, out, reader={"start": start}, start=start)
    ((text, time),) = packets(out, "subtitle")[0]
    assert (text, time) == (b"hello", 0)
    with av.open(str(out)) as container:
        packet = next(p for p in container.demux(container.streams.subtitles[0]))
    assert packet.duration == 80


def test_an_existing_file_survives_a_failure(clip, tmp_path):
    out = tmp_path / "out.mp4"
    out.write_bytes(b"precious")
    info = probe(clip("in.mp4"))
    with (
        pytest.raises(ValueError, match="not later"),
        VideoWriter(out, size=(64, 48), info=info, overwrite=True) as writer,
    ):
        [writer.write(np.zeros((48, 64, 3), np.uint8), pts) for pts in (0, 0)]
    assert out.read_bytes() == b"precious"
    assert alone(tmp_path, "out.mp4")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
def test_a_full_disk_is_an_output_error():
    writer = VideoWriter.__new__(VideoWriter)
    writer.path = "/dev/full"
    with (
        pytest.raises(OutputError, match="No space left"),
        writer._writing(),
        open("/dev/full", "wb", buffering=0) as file,
    ):
        file.write(b"x")


def test_no_frame_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="no frame"), VideoWriter(tmp_path / "out.mp4", size=(64, 48)):
        pass
    assert alone(tmp_path)


def test_a_damaged_sound_track_is_an_input_error(clip, tmp_path, monkeypatch):
    import stdvid.media.remux as remux

    monkeypatch.setattr(remux.StreamCopier, "advance", lambda *_: (_ for _ in ()).throw(InputError("a; b; c")))
    with pytest.raises(InputError):
        copy(clip("in.mp4", audio=1), tmp_path / "out.mp4")
    assert alone(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"codec": "libx999"}, "not an encoder"),
        ({"codec": "aac"}, "encodes audio"),
        ({"codec": "libvpx"}, "cannot be stored in mp4"),
        ({"enc": {"no_such": "1"}}, "is unknown"),
        ({"enc": {"prset": "fast"}}, "did you mean 'preset'"),
        ({"enc": {"preset": "instant"}}, "refuses"),
        ({"enc": {"pix_fmt": "nope"}}, "pix_fmt 'nope'"),
        ({"codec": "mpeg4", "crf": 20}, "no constant quality"),
        ({"fps_mode": "fast"}, "fps mode"),
        ({"container": "xyz"}, "container 'xyz' is not known"),
    ],
)
def test_bad_requests_are_usage_errors_at_once(tmp_path, options, words):
    with pytest.raises(UsageError, match=words) as caught:
        VideoWriter(tmp_path / "out.mp4", size=(64, 48), **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(";") >= 2
    assert alone(tmp_path)


def test_crf_and_options_reach_the_encoder(clip, tmp_path):
    sizes = []
    for crf in (5, 45):
        copy(clip("in.mp4"), tmp_path / "out.mp4", crf=crf, overwrite=True)
        sizes.append((tmp_path / "out.mp4").stat().st_size)
    assert sizes[0] > sizes[1]


def test_the_input_is_never_the_output(clip, tmp_path):
    source = tmp_path / "in.mp4"
    source.write_bytes(clip("in.mp4").read_bytes())
    (tmp_path / "soft.mp4").symlink_to(source)
    os.link(source, tmp_path / "hard.mp4")
    for name in ("in.mp4", "soft.mp4", "hard.mp4", "../" + tmp_path.name + "/in.mp4"):
        with pytest.raises(UsageError, match="input itself"):
            VideoWriter(tmp_path / name, size=(64, 48), info=probe(source), overwrite=True)
    assert alone(tmp_path, "in.mp4", "soft.mp4", "hard.mp4")


def test_outputs_that_cannot_be_written(tmp_path):
    (tmp_path / "there.mp4").touch()
    with pytest.raises(OutputExistsError, match="-y"):
        VideoWriter(tmp_path / "there.mp4", size=(64, 48))
    with pytest.raises(OutputError, match="no folder"):
        VideoWriter(tmp_path / "no" / "out.mp4", size=(64, 48))
    with pytest.raises(OutputError, match="is a directory"):
        VideoWriter(tmp_path, size=(64, 48), container="mp4")
    with pytest.raises(UsageError, match=r"extension \.xyz"):
        VideoWriter(tmp_path / "out.xyz", size=(64, 48))


def test_wrong_frames_are_refused(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", size=(64, 48), enc=FAST) as writer:
        for wrong in (np.zeros((48, 62, 3), np.uint8), np.zeros((48, 64, 4), np.uint8)):
            with pytest.raises(ValueError, match="got"):
                writer.write(wrong, 0)
        writer.write(np.zeros((48, 64, 3), np.uint8), 0)


def test_decoding_and_encoding_in_two_threads(clip, tmp_path):
    info = probe(clip("in.mp4", n=30))
    frames, done = [], threading.Event()

    def decode():
        frames.extend(PyAVReader(info.path, info=info))
        done.set()

    thread = threading.Thread(target=decode)
    thread.start()
    with VideoWriter(tmp_path / "out.mp4", size=(64, 48), info=info, enc=FAST) as writer:
        for number in range(30):
            while len(frames) <= number and not done.is_set():
                done.wait(0.001)
            writer.write(frames[number].image, frames[number].pts)
    thread.join()
    assert len(times_of(tmp_path / "out.mp4")) == 30


def test_libraries_say_nothing_on_stderr(clip, tmp_path, capfd):
    copy(clip("rich.mkv", n=12, audio=1, subtitles=True, attachment=True), tmp_path / "out.mp4")
    copy(clip("in.mp4"), tmp_path / "x265.mkv", codec="libx265", enc={"preset": "ultrafast"})
    copy(clip("in.mp4"), tmp_path / "av1.mkv", codec="libsvtav1", enc={"preset": "12"})
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_an_encoder_makes_no_thread_a_real_time_one(clip, tmp_path):
    copy(clip("in.mp4"), tmp_path / "av1.mkv", codec="libsvtav1", enc={"preset": "12"})
    tasks = Path("/proc/self/task")
    threads = [int(name) for name in os.listdir(tasks)] if tasks.is_dir() else []
    assert {os.sched_getscheduler(thread) for thread in threads} <= {os.SCHED_OTHER}


def test_media_does_not_load_torch():
    import subprocess
    import sys

    code = "import sys, stdvid.media; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
