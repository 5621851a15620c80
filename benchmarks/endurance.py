"""Ten minutes of a clip against ten seconds of it: times of all frames, sound, and memory.

    python benchmarks/endurance.py clip.mp4 --style starry.png --minutes 10

The clip, which needs sound, is looped without encoding it anew. Peak memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import av
from commands import stylize


def looped(clip: Path, seconds: float, target: Path) -> Path:
    """The clip again and again, by packets, until it is so long."""
    with av.open(str(target), "w", format="matroska") as output:
        begin, ends = 0.0, [0.0]
        streams: dict[int, Any] = {}
        while begin < seconds:
            with av.open(str(clip)) as source:
                chosen = [source.streams.video[0], source.streams.audio[0]]
                if not streams:
                    streams = {s.index: output.add_stream_from_template(s) for s in chosen}
                for packet in source.demux(*chosen):
                    if packet.dts is None or packet.pts is None or packet.time_base is None:
                        continue
                    shift = round(begin / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    ends.append(float((packet.pts + (packet.duration or 0)) * packet.time_base))
                    packet.stream = streams[packet.stream_index]
                    output.mux(packet)
            begin = max(ends)
    return target


def content(path: Path) -> tuple[list[float], list[int]]:
    """When the pictures are shown, in order, and the sizes of the packets of sound."""
    with av.open(str(path)) as container:
        shown, sound = [], []
        for packet in container.demux(container.streams.video[0], container.streams.audio[0]):
            if packet.pts is not None and packet.time_base is not None:
                if packet.stream_index == container.streams.video[0].index:
                    shown.append(float(packet.pts * packet.time_base))
                else:
                    sound.append(packet.size)
    return sorted(shown), sound


def stylized(source: Path, arguments: argparse.Namespace) -> tuple[Path, float]:
    """The output, and the peak of the memory in MiB."""
    output = source.with_suffix(".out.mkv")
    options = ["--size", arguments.size, "--steps", 1, "--style-guidance", 0, "--json"]
    process = subprocess.Popen(stylize(source, arguments.style, output, *options), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{source.name}: exit {os.waitstatus_to_exitcode(status)}")
    return output, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--style", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, seconds in (("ten seconds", 10.0), ("all", 60 * arguments.minutes)):
            source = looped(arguments.clip, seconds, Path(folder, f"{round(seconds)}.mkv"))
            output, peak = stylized(source, arguments)
            (before, sound), (after, copied) = content(source), content(output)
            off = max(abs(a - b) for a, b in zip(before, after, strict=True))
            found[name] = {
                "frames": len(after),
                "off_s": round(off, 6),
                "sound_kept": sound == copied,
                "peak_mib": peak,
            }
            print(name, json.dumps(found[name]), flush=True)
    print(f"peak memory: {found['all']['peak_mib'] / found['ten seconds']['peak_mib']:.3f} times that of ten seconds")


if __name__ == "__main__":
    main()
