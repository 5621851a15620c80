"""Segments encoded apart and put together are the clip, whatever the encoder and wherever it is parted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from clips import frames_of, picture
from hypothesis import given
from hypothesis import strategies as st

from stdvid.media.encoding import StreamPlan
from stdvid.media.frames import Image
from stdvid.media.output import OutputFormat, output_format
from stdvid.media.probe import probe
from stdvid.media.reader import PyAVReader
from stdvid.media.segments import Segment, SegmentEncoder, decoding_times, pts_of
from stdvid.media.timing import Slot
from stdvid.media.writer import VideoWriter


def encoded(plan: StreamPlan, target: OutputFormat, frames: Iterable[tuple[Image, Slot]]) -> Segment:
    encoder = SegmentEncoder(plan, target)
    for image, slot in frames:
        encoder.add(image, slot)
    return encoder.finish()


VARIABLE = [6400, 6912, 9000, 9001, 20000, 20512, 21024, 30000, 30512, 31024, 31536, 50000]


@pytest.mark.parametrize(
    ("name", "codec", "enc"),
    [
        ("o.mp4", "libx264", {"preset": "medium", "bf": "3"}),
        ("o.mkv", "libx264", {"preset": "ultrafast"}),
        ("o.mp4", "libx265", {"preset": "ultrafast"}),
        ("o.webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}),
        ("o.mkv", "libsvtav1", {"preset": "12"}),
        ("o.mov", "prores_ks", {}),
        ("o.mkv", "ffv1", {}),
        ("o.mp4", "mpeg4", {"bf": "2"}),
    ],
)
@pytest.mark.parametrize("mode", ["vfr", "cfr"])
def test_parts_make_the_whole(
    clip: Callable[..., Path],
    tmp_path: Path,
    packets: Callable[..., object],
    name: str,
    codec: str,
    enc: dict[str, str],
    mode: str,
) -> None:
    source = clip("in.mp4", pts=VARIABLE, audio=1)
    info = probe(source)
    frames = list(PyAVReader(source, info=info))
    options = {"size": (64, 48), "info": info, "codec": codec, "enc": enc, "fps_mode": mode}
    with VideoWriter(tmp_path / f"whole{name}", **options) as whole:  # type: ignore[arg-type]
        for frame in frames:
            whole.write(frame.image, frame.pts, frame.duration)
    with VideoWriter(tmp_path / f"parts{name}", **options) as parts:  # type: ignore[arg-type]
        timing, slots, paths = parts.new_timing(), [], []
        shown = frames[0].image
        for frame in frames:
            for slot in timing.place(frame.pts, frame.duration):
                slots.append((shown if slot.repeat else frame.image, slot))
            shown = frame.image
        for first in range(0, len(slots), 5):
            paths.append(tmp_path / f"{first}.npz")
            encoded(parts.stream_plan, output_format(name), slots[first : first + 5]).save(paths[-1])
        parts.write_segments(paths, timing, frames[0].pts)
    assert parts.notes == whole.notes
    assert parts.frames_written == whole.frames_written == len(slots)
    before, after = frames_of(tmp_path / f"whole{name}"), frames_of(tmp_path / f"parts{name}")
    assert after[1] == before[1]
    assert np.abs(after[0].astype(int) - before[0]).mean() < 6  # they are compressed in other groups
    assert packets(tmp_path / f"parts{name}") == packets(tmp_path / f"whole{name}")


def test_every_segment_begins_with_a_keyframe_and_comes_back_from_its_file(tmp_path: Path) -> None:
    writer = VideoWriter(
        tmp_path / "o.mp4", size=(64, 48), time_base=Fraction(1, 25), enc={"bf": "2", "b_strategy": "0"}
    )
    timing = writer.new_timing()
    frames = [(np.roll(picture(64, 48, 1), n, 1), slot) for n in range(9) for slot in timing.place(n, 1)]
    segment = encoded(writer.stream_plan, output_format("o.mp4"), frames)
    pts = segment.rows[:, 1].tolist()
    writer.abort()
    assert segment.rows[0, 3] == 1
    assert sorted(pts) == list(range(9))
    assert pts != sorted(pts)  # or nothing here has been put in order
    segment.save(tmp_path / "s.npz")
    again = Segment.load(tmp_path / "s.npz")
    assert pts_of(tmp_path / "s.npz") == pts
    assert [bytes(p) for p in again.packets()] == [bytes(p) for p in segment.packets()]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(0, 4), st.randoms())
def test_decoding_times_increase_and_come_before_showing(steps: list[int], early: int, random: object) -> None:
    shown = [sum(steps[: n + 1]) for n in range(len(steps))]
    order = sorted(range(len(shown)), key=lambda n: n + random.uniform(0, early))  # type: ignore[attr-defined]
    pts = [shown[n] for n in order]
    times = decoding_times(pts)
    assert all(b > a for a, b in pairwise(times))
    assert all(dts <= value for dts, value in zip(times, pts, strict=True))
    if pts == shown:
        assert times == shown


@pytest.mark.parametrize("width", [96, 172, 288])
def test_the_same_frames_make_the_same_bytes_whatever_was_in_memory_before(tmp_path: Path, width: int) -> None:
    images = [np.roll(picture(width, 96, 1), n, 1) for n in range(50)]
    writer = VideoWriter(tmp_path / "o.mp4", size=(width, 96), time_base=Fraction(1, 25))
    found = set()
    for fill in (0, 85, 255):
        junk = [np.full(size, fill, np.uint8) for size in (100, 1000, 10_000, 100_000) for _ in range(200)]
        del junk
        timing = writer.new_timing()
        frames = ((image, slot) for n, image in enumerate(images) for slot in timing.place(n, 1))
        found.add(encoded(writer.stream_plan, output_format("o.mp4"), frames).data.tobytes())
    writer.abort()
    assert len(found) == 1
