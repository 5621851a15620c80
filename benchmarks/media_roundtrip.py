"""Run every file of some folders through the pipeline and check what comes out.

    python benchmarks/media_roundtrip.py DIR... [--short 96] [--formats mp4,mkv] [--style IMAGE] [--ffprobe] [--json X]

Reader and writer alone, or with ``--style`` all of `stdvid stylize` (one step, for speed).

A line per file and format: frames in and out, largest pts error in ticks of the output container, audio packets
identical or not and their largest time error, notes; or the InputError. ``--ffprobe`` also counts frames with the
ffprobe command, an independent referee (the product itself never calls it). Exits 1 if any check fails.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from stdvid.config import EncodeConfig, SamplingConfig, StylizeConfig, VideoConfig
from stdvid.errors import InputError
from stdvid.media import PyAVReader, VideoWriter, probe
from stdvid.stylize import Job, plan, run

FAST = {"preset": "ultrafast", "bf": "2"}
Packets = dict[int, list[tuple[str, Fraction]]]


def audio_packets(path: Path) -> Packets:
    """For each audio stream, in order: (hash of the bytes, time in seconds) of its packets."""
    found: Packets = defaultdict(list)
    with av.open(str(path)) as container:
        streams = list(container.streams.audio)
        for packet in container.demux(*streams) if streams else ():
            if packet.size:
                position = [s.index for s in streams].index(packet.stream.index)
                stamp = packet.pts if packet.pts is not None else packet.dts or 0
                found[position].append((hashlib.sha1(bytes(packet)).hexdigest(), stamp * packet.time_base))
    return found


def frame_times(path: Path) -> tuple[list[Fraction], Fraction]:
    """Times of all decoded frames in seconds, and the stream's tick."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        if stream is None or stream.time_base is None:
            raise InputError(f"{path}: no video stream to check")
        tick = stream.time_base
        return [Fraction(f.pts or 0) * tick for f in container.decode(stream)], tick


def ffprobe_count(path: Path) -> int | None:
    """Frames that ffprobe decodes, or None where it cannot."""
    command = ["ffprobe", "-v", "quiet", "-select_streams", "v:0", "-count_frames", "-show_entries"]
    result = subprocess.run(
        [*command, "stream=nb_read_frames", "-of", "json", str(path)], capture_output=True, text=True
    )
    streams = json.loads(result.stdout or "{}").get("streams", [])
    count = streams[0].get("nb_read_frames") if streams else None
    return int(count) if count and count.isdigit() else None


def copied(source: Path, target: Path, short: int) -> list[str]:
    """Reader to writer; the notes of both."""
    info = probe(source)
    width, height = info.video.frame_size
    scale = min(1.0, short / min(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    reader = PyAVReader(source, size=size, info=info)
    with VideoWriter(target, size=size, info=info, enc=FAST, overwrite=True) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts, frame.duration)
    return [*reader.notes(), *writer.notes]


def stylized(source: Path, target: Path, short: int, style: Path) -> list[str]:
    """The whole pipeline with the embedded model, one step; its notes."""
    config = StylizeConfig(
        sampling=SamplingConfig(steps=1),
        video=VideoConfig(size=short, window=8, overlap=2),
        encode=EncodeConfig(enc=FAST),
    )
    planned = plan(Job(source, (style,), target, config, overwrite=True))
    return [*planned.notes, *run(planned).notes]


def round_trip(source: Path, target: Path, short: int, style: Path | None, referee: bool) -> dict[str, Any]:
    """One file through the pipeline; the row of the report."""
    info = probe(source)
    began = time.perf_counter()
    notes = copied(source, target, short) if style is None else stylized(source, target, short, style)
    seconds = time.perf_counter() - began
    with PyAVReader(source, size=(2, 2), info=info) as reader:
        times = [frame.time for frame in reader]
    written, tick = frame_times(target)
    row: dict[str, Any] = {
        "frames_in": len(times),
        "frames_out": len(written),
        "pts_error_ticks": float(max((abs(a - b) / tick for a, b in zip(times, written, strict=False)), default=0)),
        "seconds": round(seconds, 2),
        "notes": notes,
    }
    before, after = audio_packets(source), audio_packets(target)
    row["audio_streams"] = len(before)
    row["audio_identical"] = [[h for h, _ in before[k]] == [h for h, _ in after.get(k, [])] for k in sorted(before)]
    row["audio_error_ms"] = float(
        max(
            (abs(a[1] - b[1]) * 1000 for k in before for a, b in zip(before[k], after.get(k, []), strict=False)),
            default=0,
        )
    )
    if referee:
        row["ffprobe_in"], row["ffprobe_out"] = ffprobe_count(source), ffprobe_count(target)
    old, new = info.video.display_aspect, probe(target).video.display_aspect
    row["aspect_error"] = round(abs(float(new / old) - 1), 4)
    row["ok"] = (
        row["frames_in"] == row["frames_out"] > 0
        and row["pts_error_ticks"] <= 1
        and all(row["audio_identical"])
        and row.get("ffprobe_out") in (None, row["frames_out"])
    )
    return row


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--short", type=int, default=96)
    parser.add_argument("--formats", default="mp4,mkv")
    parser.add_argument("--style", type=Path, help="stylize with this reference instead of copying")
    parser.add_argument("--ffprobe", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    files = sorted(f for p in arguments.paths for f in (p.iterdir() if p.is_dir() else [p]) if f.is_file())
    report: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for source in files:
            for extension in arguments.formats.split(","):
                target = Path(folder) / f"out.{extension}"
                row: dict[str, Any] = {"file": source.name, "format": extension}
                try:
                    row |= round_trip(source, target, arguments.short, arguments.style, arguments.ffprobe)
                except InputError as exc:
                    row |= {"input_error": str(exc), "ok": not any(Path(folder).iterdir())}
                except Exception as exc:
                    row |= {"crash": f"{type(exc).__name__}: {exc}", "ok": False}
                report.append(row)
                print(
                    "ok  " if row["ok"] else "FAIL", json.dumps({k: v for k, v in row.items() if k != "ok"}), flush=True
                )
                target.unlink(missing_ok=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))
    failed = sum(not row["ok"] for row in report)
    refused = sum("input_error" in row for row in report)
    print(f"{len(report)} runs, {refused} refused with an InputError, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
