"""Draw frames of a source above the same moments of one or more outputs: a PNG to look at.

    python docs/contact_sheet.py SOURCE OUTPUT... SHEET.png [--frames 6] [--width 320]

The moments are spread evenly over what all clips have in common; each column is one moment.
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

GAP_PX = 4


def duration_s(path: Path) -> Fraction:
    """Presentation time of the last frame, counted from the first."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if stream.time_base is None:
            return Fraction(0)
        times = [packet.pts * stream.time_base for packet in container.demux(stream) if packet.pts is not None]
    return max(times) - min(times)


def frames_at(path: Path, moments: list[Fraction], width_px: int) -> list[Image.Image]:
    """The first frame at or after each moment (ascending, counted from the first frame), scaled to one width."""
    pictures: list[Image.Image] = []
    start: Fraction | None = None
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.pts is None or frame.time_base is None:
                continue
            time = frame.pts * frame.time_base
            start = time if start is None else start
            while len(pictures) < len(moments) and time - start >= moments[len(pictures)]:
                picture = Image.fromarray(np.asarray(frame.to_ndarray(format="rgb24")))
                aspect = Fraction(frame.height, frame.width) / (container.streams.video[0].sample_aspect_ratio or 1)
                pictures.append(picture.resize((width_px, round(width_px * aspect)), Image.Resampling.LANCZOS))
            if len(pictures) == len(moments):
                break
    return pictures


def contact_sheet(clips: list[Path], frames: int, width_px: int) -> Image.Image:
    """One row a clip, one column a moment."""
    end = min(duration_s(clip) for clip in clips)
    moments = [end * index / max(frames - 1, 1) for index in range(frames)]
    rows = [frames_at(clip, moments, width_px) for clip in clips]
    heights = [row[0].height for row in rows]
    columns = max(len(row) for row in rows)
    size = (columns * (width_px + GAP_PX) - GAP_PX, sum(heights) + GAP_PX * (len(rows) - 1))
    sheet = Image.new("RGB", size, "white")
    top_px = 0
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            sheet.paste(picture, (column * (width_px + GAP_PX), top_px))
        top_px += height + GAP_PX
    return sheet


def main() -> int:
    """Parse the command line, write the sheet, return the exit code."""
    parser = argparse.ArgumentParser(description="Frames of clips side by side, as a PNG.")
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="the source, then its outputs")
    parser.add_argument("sheet", type=Path, help="PNG to write")
    parser.add_argument("--frames", type=int, default=6, help="columns (default 6)")
    parser.add_argument("--width", type=int, default=320, help="width of a column in pixels (default 320)")
    args = parser.parse_args()
    if args.frames < 1 or args.width < 16:
        parser.error(f"got --frames {args.frames} --width {args.width}; at least 1 and 16")
    contact_sheet(args.clips, args.frames, args.width).save(args.sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
