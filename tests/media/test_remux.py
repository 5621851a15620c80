"""Copying of the other streams: what is carried over, what is dropped and said, and how a trim cuts it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import pytest
from av.stream import Disposition
from clips import Clip, picture

from stdvid.media.probe import VideoInfo, probe
from stdvid.media.reader import PyAVReader
from stdvid.media.remux import copied_metadata
from stdvid.media.timebase import TimePoint
from stdvid.media.writer import VideoWriter

Packets = Callable[..., list[list[tuple[bytes, Fraction]]]]
PNG = cv2.imencode(".png", picture(32, 24)[..., ::-1])[1].tobytes()
JPG = cv2.imencode(".jpg", picture(32, 24)[..., ::-1])[1].tobytes()
QUICK = {
    ".mp4": {"preset": "ultrafast"},
    ".mov": {"preset": "ultrafast"},
    ".mkv": {"preset": "ultrafast"},
    ".webm": {"cpu-used": "8", "deadline": "realtime"},
}


def restyle(source: Path, out: Path, *, trim: dict[str, TimePoint] | None = None, **options: Any) -> list[str]:
    """The clip through reader and writer, unchanged; returns the writer's notes."""
    info = probe(source)
    reader = PyAVReader(source, info=info, **(trim or {}))
    enc = QUICK[out.suffix]
    with VideoWriter(out, size=reader.size, info=info, enc=enc, **(trim or {}), **options) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts, frame.duration)
    return writer.notes


def two_videos(path: Path, default: int | None = None, attachment: tuple[str, str, bytes] | None = None) -> Path:
    """Streams of 64x48 and, unless there is an attachment, of 32x24."""
    with av.open(str(path), "w") as container:
        streams = []
        for number, size in enumerate([(64, 48)] if attachment else [(64, 48), (32, 24)]):
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.disposition = Disposition.default if number == default else Disposition(0)
            streams.append(stream)
        if attachment:
            container.add_attachment(*attachment)
        container.start_encoding()
        for number in range(3):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(picture(stream.width, stream.height, number), "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("key", "of_stream", "of_container"),
    [
        ("title", True, True),
        ("language", True, True),
        ("handler_name", True, True),
        ("major_brand", True, False),
        ("COMPATIBLE_BRANDS", True, False),
        ("Encoder", False, False),
        ("DURATION", False, False),
        ("rotate", False, True),
        ("vendor_id", False, True),
        ("BPS", False, True),
        ("NUMBER_OF_FRAMES", False, True),
        ("_STATISTICS_TAGS", False, False),
        ("_statistics_writing_app", False, False),
    ],
)
def test_metadata_that_describes_the_old_file_is_left_out(key: str, of_stream: bool, of_container: bool) -> None:
    metadata = {"artist": "someone", key: "value"}
    assert (key in copied_metadata(metadata, stream=True)) == of_stream
    assert (key in copied_metadata(metadata, stream=False)) == of_container
    assert copied_metadata(metadata, stream=True)["artist"] == "someone"
    assert metadata == {"artist": "someone", key: "value"}


@pytest.mark.parametrize(
    ("name", "kinds", "lost"),
    [
        ("o.mp4", ["audio"], ["subtitle stream #2 (srt)", "attachment stream #3 (font.ttf)"]),
        ("o.mov", ["audio"], ["subtitle stream #2 (srt)", "attachment stream #3 (font.ttf)"]),
        ("o.webm", [], ["audio stream #1 (aac, eng)", "subtitle stream #2 (srt)", "attachment stream #3 (font.ttf)"]),
        ("o.mkv", ["audio", "subtitle", "attachment"], []),
    ],
)
def test_each_container_keeps_what_it_can_and_the_rest_is_named(
    clip: Clip, tmp_path: Path, name: str, kinds: list[str], lost: list[str]
) -> None:
    source = clip("rich.mkv", n=6, audio=1, subtitles=True, chapters=True, attachment=True)
    notes = restyle(source, tmp_path / name)
    assert [note.split(" is not copied: ")[0] for note in notes] == lost
    assert all(note.endswith("use .mkv to keep it") for note in notes)
    info = probe(tmp_path / name)
    assert [s.kind for s in info.others if s.kind != "data"] == kinds  # mov and mp4 hold chapters as a text track
    assert [(c.title, c.start_s, c.end_s) for c in info.chapters] == [
        ("one", 0, Fraction(1, 5)),
        ("two", Fraction(1, 5), Fraction(12, 25)),
    ]
    assert {k.lower(): v for k, v in info.metadata.items()}["title"] == "a test"


@pytest.mark.parametrize("default", [0, 1, None])
def test_the_default_video_is_restyled_and_the_other_is_named(tmp_path: Path, default: int | None) -> None:
    source = two_videos(tmp_path / "two.mkv", default)
    notes = restyle(source, tmp_path / "o.mkv")
    info = probe(tmp_path / "o.mkv")
    assert (info.video.frame_size, info.others) == ((32, 24) if default == 1 else (64, 48), ())
    other = 0 if default == 1 else 1
    assert notes == [
        f"video stream #{other} (ffv1) is not copied: one video stream is restyled, others are left out",
    ]


@pytest.mark.parametrize(("kind", "data"), [("png", PNG), ("jpeg", JPG)])
def test_cover_art_travels_from_mkv_to_mp4_and_back(tmp_path: Path, kind: str, data: bytes) -> None:
    suffix = "jpg" if kind == "jpeg" else kind
    first = two_videos(tmp_path / "in.mkv", attachment=(f"cover.{suffix}", f"image/{kind}", data))
    (cover,) = probe(first).others
    assert (cover.kind, cover.cover_art, cover.title) == ("video", True, f"cover.{suffix}")
    for source, name in ((first, "o.mp4"), (tmp_path / "o.mp4", "back.mkv"), (tmp_path / "o.mp4", "again.mp4")):
        assert restyle(source, tmp_path / name) == []
        info = probe(tmp_path / name)
        assert ([s.cover_art for s in info.others], info.video.frame_size) == ([True], (64, 48))
        with av.open(str(tmp_path / name)) as container:
            packet = next(p for p in container.demux(container.streams[info.others[0].index]) if p.size)
            assert bytes(packet) == data
    assert probe(tmp_path / "back.mkv").others[0].title == f"cover.{suffix}"


def test_cover_art_that_mov_would_lose_is_said(tmp_path: Path) -> None:
    source = two_videos(tmp_path / "in.mkv", attachment=("cover.png", "image/png", PNG))
    (note,) = restyle(source, tmp_path / "o.mov")
    assert note.startswith("cover art stream #1 (png) is not copied: mov")


def test_cover_art_that_webm_cannot_hold_is_said(tmp_path: Path) -> None:
    source = two_videos(tmp_path / "in.mkv", attachment=("cover.png", "image/png", PNG))
    (note,) = restyle(source, tmp_path / "o.webm")
    assert note.startswith("cover art stream #1 (png) is not copied: webm")


def chapters_of(info: VideoInfo) -> list[tuple[str, Fraction, Fraction]]:
    return [(c.title, c.start_s * 100, c.end_s * 100) for c in info.chapters]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, None, [("one", 0, 20), ("two", 20, 48)]),
        (2, None, [("one", 0, 12), ("two", 12, 40)]),
        (5, None, [("two", 0, 28)]),  # chapter one ends where the clip begins
        (0, 3, [("one", 0, 12)]),
        (0, 5, [("one", 0, 20)]),
        (3, 8, [("one", 0, 8), ("two", 8, 20)]),
    ],
)
def test_chapters_move_and_shrink_with_the_trim(
    clip: Clip, tmp_path: Path, start: int, end: int | None, expected: list[tuple[str, int, int]]
) -> None:
    """In hundredths of a second; the source's chapters are 0..20 and 20..48, a frame lasts 4."""
    trim = {"start": TimePoint(frame=start)} | ({} if end is None else {"end": TimePoint(frame=end)})
    restyle(clip("chapters.mkv", n=12, chapters=True), tmp_path / "o.mkv", trim=trim)
    assert chapters_of(probe(tmp_path / "o.mkv")) == expected


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize(("start", "end"), [(0, 4), (3, None), (7, 9), (11, None)])
def test_trimmed_sound_is_a_run_of_the_source_within_the_picture(
    clip: Clip, packets: Packets, tmp_path: Path, suffix: str, start: int, end: int | None
) -> None:
    source = clip("sound.mkv", n=12, audio=1)
    out = tmp_path / f"o{suffix}"
    trim = {"start": TimePoint(frame=start)} | ({} if end is None else {"end": TimePoint(frame=end)})
    assert restyle(source, out, trim=trim) == []
    (whole,), (part,) = packets(source), packets(out)
    first = [data for data, _ in whole].index(part[0][0])
    assert [data for data, _ in part] == [data for data, _ in whole[first : first + len(part)]]
    origin = Fraction(start, 25)
    assert all(
        abs(new - (old - origin)) <= Fraction(1, 1000) for (_, new), (_, old) in zip(part, whole[first:], strict=False)
    )
    assert part[0][1] >= 0
    assert first == 0 or whole[first - 1][1] < origin
    if end is not None:
        assert part[-1][1] < Fraction(end - start, 25) + Fraction(1, 1000)
    else:
        assert first + len(part) == len(whole)


def test_picture_and_sound_of_a_late_clip_stay_together(clip: Clip, packets: Packets, tmp_path: Path) -> None:
    """The picture begins 0.4 s after the sound, in the source and in the output."""
    source, out = clip("late.mkv", n=6, first=5120, audio=1), tmp_path / "o.mkv"
    assert restyle(source, out) == []
    assert [f.time for f in PyAVReader(out)] == [f.time for f in PyAVReader(source)]
    assert packets(out) == packets(source)


def test_sound_that_is_not_what_its_codec_says_is_left_out_and_said(clip, tmp_path, packets):
    source = clip("adts.ts", n=6, audio=1)
    data = bytearray(source.read_bytes())
    header = data.rindex(b"\xff\xf1")  # of a packet of AAC, which Matroska wants without it
    data[header + 1] = 0
    broken = tmp_path / "broken.ts"
    broken.write_bytes(data)
    out = tmp_path / "out.mkv"
    reader = PyAVReader(broken)
    with VideoWriter(out, size=reader.size, info=reader.info, enc=QUICK[".mkv"]) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts, frame.duration)
    assert writer.frames_written == 6
    assert [note for note in writer.notes if "damaged and are left out" in note]
    assert 0 < len(packets(out)[0]) < len(packets(source)[0])
