"""What a user can get wrong: the documented exit code, one line that says it, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from stdvid_cli.app import main

pytestmark = pytest.mark.error_log  # the log has the error too


def write_clip(path: Path, frames: int = 6, video: bool = True, audio: bool = False) -> Path:
    """A tiny clip: `frames` of 64x48 at 25 a second, and a tenth of a second of sound if asked for."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=25) if video else None
        sound = container.add_stream("aac", rate=48000) if audio else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
        if picture is not None:
            for i in range(frames):
                image = np.random.default_rng(i).integers(0, 255, (48, 64, 3), dtype=np.uint8)
                container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(picture.encode())
        if sound is not None:
            block = av.AudioFrame.from_ndarray(np.zeros((2, 4800), np.float32), format="fltp", layout="stereo")
            block.sample_rate = 48000
            container.mux(sound.encode(block))
            container.mux(sound.encode())
    return path


@dataclass(frozen=True)
class Desk:
    """The folders and good files of one test: what is bad is put beside them or in their place."""

    root: Path

    @property
    def clip(self) -> Path:
        return self.root / "clip.mp4"

    @property
    def style(self) -> Path:
        return self.root / "style.png"

    @property
    def out(self) -> Path:
        return self.root / "out"

    def file(self, name: str, content: bytes) -> Path:
        path = self.root / name
        path.write_bytes(content)
        return path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.out.mkdir()
    write_clip(desk.clip)
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(desk.style)
    return desk


Arguments = list[str | Path]


@dataclass(frozen=True)
class Case:
    """One mistake: its name, the exit code, words that the line must have, and the arguments that make it."""

    name: str
    exit_code: int
    words: str
    arguments: Callable[[Desk], Arguments]


def bad_source(name: str, words: str, make: Callable[[Desk], Path]) -> Case:
    return Case(name, 3, words, lambda d: [make(d), "--style", d.style, "-o", d.out / "o.mp4"])


def bad_style(name: str, words: str, make: Callable[[Desk], Path]) -> Case:
    return Case(name, 3, words, lambda d: [d.clip, "--style", make(d), "-o", d.out / "o.mp4"])


def bad_output(name: str, exit_code: int, words: str, make: Callable[[Desk], Arguments]) -> Case:
    return Case(name, exit_code, words, lambda d: [d.clip, "--style", d.style, "-o", *make(d)])


def bad_options(name: str, words: str, options: str) -> Case:
    return Case(name, 2, words, lambda d: [d.clip, "--style", d.style, "-o", d.out / "o.mp4", *options.split()])


def bad_preset(name: str, exit_code: int, words: str, text: str) -> Case:
    def arguments(d: Desk) -> Arguments:
        empty, damaged = d.root / "bundle", d.root / "damaged"
        empty.mkdir()
        if "DAMAGED" in text:
            shutil.copytree(str(files("stdvid") / "models" / "weights" / "nano"), damaged)
        for weights in damaged.glob("*.safetensors"):
            weights.write_bytes(weights.read_bytes()[:-1] + b"?")
        preset = d.file("mine.toml", text.replace("EMPTY", str(empty)).replace("DAMAGED", str(damaged)).encode())
        return [d.clip, "--style", d.style, "-o", d.out / "o.mp4", "--preset", preset]

    return Case(name, exit_code, words, arguments)


def truncated(d: Desk) -> Path:
    whole = d.clip.read_bytes()
    return d.file("cut.mp4", whole[: len(whole) * 6 // 10])


def link_to_source(d: Desk) -> Arguments:
    link = d.out / "link.mp4"
    os.link(d.clip, link)
    return [link, "-y"]


def existing(d: Desk) -> Arguments:
    path = d.out / "there.mp4"
    path.write_bytes(b"precious")
    return [path]


def folder(d: Desk) -> Path:
    path = d.root / "folder.mp4"
    path.mkdir()
    return path


NOISE = np.random.default_rng(1).bytes(4096)

CASES = [
    bad_source("empty", "empty", lambda d: d.file("empty.mp4", b"")),
    bad_source("truncated", "cut.mp4", truncated),
    bad_source("text as video", "text.mp4", lambda d: d.file("text.mp4", b"Once upon a time.\n" * 99)),
    bad_source("text by its name", "story.txt", lambda d: d.file("story.txt", b"Once upon a time.\n" * 99)),
    bad_source("noise as video", "noise.mkv", lambda d: d.file("noise.mkv", NOISE)),
    bad_source("missing", "no such file", lambda d: d.root / "nowhere.mp4"),
    bad_source("directory", "directory", folder),
    bad_source("no video stream", "no video stream", lambda d: write_clip(d.root / "a.mp4", video=False, audio=True)),
    bad_source("zero frames", "zero.mkv", lambda d: write_clip(d.root / "zero.mkv", frames=0)),
    bad_source("damaged image", "half.png", lambda d: d.file("half.png", d.style.read_bytes()[:60])),
    bad_style("style missing", "none.png", lambda d: d.root / "none.png"),
    bad_style("style is a video", "clip.mp4", lambda d: d.clip),
    bad_style("style is text", "style.txt", lambda d: d.file("style.txt", b"red and blue")),
    bad_style("style is empty", "empty.png", lambda d: d.file("empty.png", b"")),
    bad_style("style is damaged", "half.png", lambda d: d.file("half.png", d.style.read_bytes()[:200])),
    bad_style("style is a directory", "folder.mp4", folder),
    Case("style unknown", 2, "no style named 'vangohg'", lambda d: [d.clip, "--style", "vangohg"]),
    bad_output("output is the input", 2, "is an input itself", lambda d: [d.clip, "-y"]),
    bad_output("output is linked to the input", 2, "is an input itself", link_to_source),
    bad_output("output exists", 2, "exists already", existing),
    bad_output("output is a directory", 1, "is a directory", lambda d: [d.out]),
    bad_output("no such folder", 1, "no folder", lambda d: [d.out / "deep" / "o.mp4"]),
    bad_output("folder is a file", 1, "no folder", lambda d: [d.clip / "o.mp4"]),
    bad_output("unknown extension", 2, ".xyz", lambda d: [d.out / "o.xyz"]),
    bad_output("no extension", 2, "(none)", lambda d: [d.out / "o"]),
    bad_output("a clip into a still", 2, "o.png", lambda d: [d.out / "o.png"]),
    bad_output("template with an unknown field", 2, "{name}", lambda d: [d.out / "{name}.mp4"]),
    bad_options("unknown preset", "did you mean 'nano-teacher'", "--preset nano-techer"),
    bad_options("strength zero", "--strength is 0.0", "--strength 0"),
    bad_options("strength above one", "--strength is 1.5", "--strength 1.5"),
    bad_options("strength not a number", "--strength is nan", "--strength nan"),
    bad_options("no steps", "--steps is 0", "--steps 0"),
    bad_options("overlap as wide as the window", "overlap of 8", "--window 8 --overlap 8"),
    bad_options("size too small", "size is '5'", "--size 5"),
    bad_options("unknown encoder", "libx999", "--codec libx999"),
    bad_options("audio encoder", "aac", "--codec aac"),
    bad_options("unknown encoder option", "fastness", "--enc fastness=9"),
    bad_options("end before start", "start", "--start 4f --end 2f"),
    bad_options("start after the last frame", "start", "--start 900f"),
    bad_options("time not understood", "--start", "--start noon"),
    bad_preset("preset with an unknown key", 2, "did you mean 'sampling.strength'", "[sampling]\nstrenght = 0.5"),
    bad_preset("preset with a wrong type", 2, "sampling.steps is '4'", "[sampling]\nsteps = '4'"),
    bad_preset("preset that is no TOML", 2, "not valid TOML", "sampling: {steps: 4}"),
    bad_preset("unknown model", 2, "no model named", "[model]\nbase = 'nanno'"),
    bad_preset("model folder without a manifest", 3, "not a model bundle", "[model]\nbase = 'EMPTY'"),
    bad_preset("damaged weights", 3, "SHA-256", "[model]\nbase = 'DAMAGED'"),
]


def tree(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_line_the_right_code_and_nothing_left(
    case: Case, desk: Desk, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STDVID_DEBUG", raising=False)
    arguments = case.arguments(desk)
    before = tree(desk.root)
    code = main(["stylize", "--size", "64", "--steps", "1", "--progress", "none", *map(str, arguments)])
    out, err = capfd.readouterr()
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert code == case.exit_code, err
    assert case.words in err
    assert "internal" not in err
    assert out == ""
    assert tree(desk.root) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc, a folder that nobody can write")
def test_a_folder_that_cannot_be_written(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["stylize", str(desk.clip), "--style", str(desk.style), "-o", "/proc/o.mp4", "--size", "64"]) == 1
    assert capfd.readouterr().err.splitlines()[-1].startswith("error: /proc/o.mp4")


def test_the_desk_itself_is_good(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    """The other half of the proof: with nothing wrong, the same command works."""
    output = desk.out / "o.mp4"
    command = ["stylize", str(desk.clip), "--style", str(desk.style), "-o", str(output), "--size", "64", "--steps", "1"]
    assert main(command) == 0, capfd.readouterr().err
    with av.open(str(output)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
