"""Damaged and lying files through the whole program: done or refused, in bounded time and memory, nothing left over."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from clips import picture

Clip = Callable[..., Path]

WORKER = """
import json, resource, signal, sys, time
from pathlib import Path
from stdvid_cli.app import main
def late(*_):
    raise SystemExit("hangs")
signal.signal(signal.SIGALRM, late)
style, out, words = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
for source in sys.stdin.read().split():
    target = out / (Path(source).stem + (".png" if source.endswith((".png", ".webp")) else ".mkv"))
    signal.alarm(60)
    began = time.monotonic()
    code = main(["stylize", source, "--style", style, "-o", str(target), *words])
    signal.alarm(0)
    left = sorted(path.name for path in out.iterdir())
    target.unlink(missing_ok=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    said = {"file": source, "code": code, "left": left, "wanted": target.name}
    print(json.dumps({**said, "s": time.monotonic() - began, "mib": peak}), flush=True)
"""
FAST = ["--size", "32", "--steps", "1", "--style-guidance", "0", "--consistency", "noise", "--threads", "1", "-q"]


def mutated(data: bytes, draw: random.Random) -> bytes:
    """A file with bits flipped, cut short, with numbers that lie, or with parts missing, twice or out of place."""
    kind, raw = draw.randrange(5), bytearray(data)
    if kind == 0:
        for _ in range(draw.choice([1, 4, 32, 256])):
            raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    elif kind == 1:
        del raw[draw.randrange(1, len(raw)) :]
    elif kind == 2:
        for _ in range(draw.choice([1, 3, 10])):
            at = draw.randrange(min(len(raw), draw.choice([64, 512, 4096])))
            raw[at : at + 4] = draw.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"])
    elif kind == 3:
        at, length = draw.randrange(len(raw)), draw.randrange(1, max(2, len(raw) // 4))
        del raw[at : at + length]
    else:
        at, to, length = draw.randrange(len(raw)), draw.randrange(len(raw)), draw.randrange(1, max(2, len(raw) // 4))
        raw[to:to] = raw[at : at + length]
    return bytes(raw) or b"\0"


def through(files: list[Path], style: Path, out: Path) -> list[dict[str, object]]:
    """What the program says of each file, all in one process: a crash would end it."""
    out.mkdir()
    command = [sys.executable, "-c", WORKER, str(style), str(out), *FAST]
    words = "\n".join(map(str, files))
    done = subprocess.run(command, input=words, capture_output=True, text=True, timeout=1500, check=False)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"after {said[-1:]}: exit {done.returncode}\n{done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr
    assert "internal:" not in done.stderr
    return said


@pytest.mark.parametrize("count", [40, pytest.param(300, marks=pytest.mark.slow)])
def test_mutated_files(clip: Clip, tmp_path: Path, count: int) -> None:
    images = [picture(64, 48, 1)] * 6
    sources = [
        clip("h.mp4", n=6, images=images, audio=1),
        clip("h.mkv", n=6, images=images, audio=1),
        clip("h.avi", n=6, images=images, codec="mpeg4", options={}),
        clip("h.ts", n=6, images=images, audio=1),
        clip("h.webm", n=6, images=images, codec="libvpx-vp9", options={"cpu-used": "8", "deadline": "realtime"}),
    ]
    style = tmp_path / "style.png"
    cv2.imwrite(str(style), cv2.resize(picture(16, 12, 3), (160, 120)))
    sources.append(style)
    draw = random.Random(5)
    files = []
    for number in range(count):
        source = sources[number % len(sources)]
        files.append(tmp_path / f"{number}{source.suffix}")
        files[-1].write_bytes(mutated(source.read_bytes(), draw))
    said = through(files, style, tmp_path / "out")
    assert len(said) == count
    for one in said:
        assert one["code"] in (0, 3), one
        assert one["left"] == ([one["wanted"]] if one["code"] == 0 else []), one
        assert one["s"] < 30, one  # type: ignore[operator]
    codes = Counter(one["code"] for one in said)
    assert min(codes[0], codes[3]) > count // 10  # both kinds of files were among them
    assert max(one["mib"] for one in said) < said[0]["mib"] + 400  # type: ignore[operator,type-var]
