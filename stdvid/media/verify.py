"""Checking a finished video by decoding all of it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from stdvid.errors import OutputError
from stdvid.media.opening import main_video_stream, open_input, packets_of, reason


def check_video(path: Path, times: Sequence[Fraction]) -> None:
    """Decode every video frame and all sound of a file.

    Args:
        path: the file.
        times: when its frames have to be shown, in seconds; each may be off by a tick of the container.

    Raises:
        OutputError: something cannot be decoded, a frame is missing or too many, or at another time.
    """
    found: list[Fraction] = []
    try:
        with open_input(path) as container:
            video = main_video_stream(container, path)
            tick = video.time_base or Fraction(0)
            streams = (video, *container.streams.audio)
            for frame in (frame for packet in packets_of(container, *streams) for frame in packet.decode()):
                if isinstance(frame, av.VideoFrame):
                    found.append((frame.pts or 0) * tick)
    except (av.FFmpegError, ValueError) as exc:
        raise OutputError(f"{path}: does not decode to its end ({reason(exc)}); check the disk and run again") from exc
    wrong = sum(abs(a - b) > tick for a, b in zip(found, times, strict=False)) + abs(len(found) - len(times))
    if wrong:
        raise OutputError(
            f"{path}: {wrong} frames are missing, too many or not at their time ({len(found)} found, {len(times)} "
            "written); this is a defect: please report it"
        )
