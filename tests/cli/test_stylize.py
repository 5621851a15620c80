"""stdvid stylize: options become a Job, and what the library says reaches the user. The library is a stand-in here."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from stdvid.config import EncodeConfig, StylizeConfig, load_preset
from stdvid.errors import Interrupted, OutputExistsError
from stdvid.planning import Job
from stdvid.schema import merge
from stdvid_cli.app import main


@dataclass(frozen=True)
class Plan:
    output: Path
    notes: tuple[str, ...]
    frames: int | None = 4

    def to_dict(self) -> dict[str, Any]:
        facts = {"network": "student", "device": "cpu", "size": "64x48", "steps": 4, "frames": self.frames}
        return {**facts, "output": str(self.output)}


@dataclass(frozen=True)
class Result:
    output: Path
    frames: int
    resumed: int
    seconds: float
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "output": str(self.output)}


@dataclass
class Progress:
    frames_done: int
    frames_total: int | None
    elapsed_s: float
    fps: float
    eta_s: float | None


@dataclass
class Library:
    """What stands in for stdvid.stylize: remembers its jobs; writes a file as long as the clip; stops when asked."""

    jobs: list[Job] = field(default_factory=list)
    runs: int = 0
    before_frame: Callable[[int], None] = lambda index: None

    def plan(self, job: Job, devices: frozenset[str] | None = None) -> Plan:
        self.jobs.append(job)
        if job.output.exists() and job.overwrite is not True:
            raise OutputExistsError(f"{job.output}: exists already; use -y")
        return Plan(job.output, ("strength rounds to 0.6",))

    def run(
        self, plan: Plan, on_progress: Callable[[Progress], None], stop: threading.Event, cluster: None = None
    ) -> Result:
        self.runs += 1
        for index in range(4):
            self.before_frame(index)
            if stop.is_set():
                raise Interrupted("stopped by the user; nothing was written")
            on_progress(Progress(index + 1, 4, (index + 1) * 0.6, 1.67, 0.0))
        plan.output.write_bytes(b"video")
        return Result(plan.output, 4, 0, 2.4, ["subtitles left out"])


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    stand_in = Library()
    module = types.ModuleType("stdvid.stylize")
    vars(module).update(Job=Job, plan=stand_in.plan, run=stand_in.run)
    monkeypatch.setitem(sys.modules, "stdvid.stylize", module)
    return stand_in


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mkv"
    path.write_bytes(b"clip")
    return path


def test_defaults(library: Library, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stylize", str(clip), "--style", "ink.png"]) == 0
    output = clip.with_name("clip.ink.mp4")
    assert library.jobs == [Job(clip, (Path("ink.png"),), output, load_preset("nano"))]
    assert output.read_bytes() == b"video"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "note: strength rounds to 0.6",
        "frames 4/4 100 %  1.67 fps  0:00 left",
        "note: subtitles left out",
        f"done: {output} (4 frames in 0:02, 1.67 fps)",
    ]


def test_every_option_reaches_the_job(library: Library, clip: Path) -> None:
    options = (
        "--style a.png --style b.png -o {stem}_{style}_{preset}.mkv --preset nano-fast --strength .5 --steps 3 "
        "--steps-between 2 --guidance 1.5 --style-scale 2 --style-guidance 7 --color 0 --seed 9 --size 128x64 "
        "--window 8 --overlap 3 --consistency none --start 12f --end 3.5 "
        "--codec libx265 --crf 30 --enc preset=fast --enc tune=grain --fps-mode cfr --an --sn "
        "--device cpu --threads 1 -y"
    )
    folder = clip.parent
    assert main(["stylize", str(clip), *options.replace("-o {", f"-o {folder}/{{").split()]) == 0
    [job] = library.jobs
    assert job.styles == (Path("a.png"), Path("b.png"))
    assert job.output == folder / "clip_a+b_nano-fast.mkv"
    assert job.config == merge(
        StylizeConfig(),
        {
            "sampling": {
                "strength": 0.5,
                "steps": 3,
                "steps_between": 2,
                "guidance": 1.5,
                "style_scale": 2,
                "style_guidance": 7,
                "color": 0,
                "seed": 9,
            },
            "video": {"size": "128x64", "window": 8, "overlap": 3, "consistency": "none"},
            "encode": {"codec": "libx265", "crf": 30, "enc": {"preset": "fast", "tune": "grain"}},
        },
    )
    assert (job.start.frame, job.end.seconds) == (12, Fraction(7, 2))
    assert (job.audio, job.subtitles, job.fps_mode) == (False, False, "cfr")
    assert (job.device, job.threads, job.overwrite) == ("cpu", 1, True)


def test_json_events(library: Library, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stylize", str(clip), "--style", "ink.png", "--json", "-q"]) == 0
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == ["plan"] + ["progress"] * 4 + ["done"]
    assert events[0]["notes"] == ["strength rounds to 0.6"]
    assert events[-1]["notes"] == ["subtitles left out"]
    assert events[-2]["frames_done"] == 4
    assert err == ""


@pytest.mark.parametrize("as_json", [False, True])
def test_dry_run_prints_the_plan_and_runs_nothing(
    library: Library, clip: Path, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(clip.parent.iterdir())
    assert main(["stylize", str(clip), "--style", "ink.png", "--dry-run", *["--json"] * as_json]) == 0
    out = capsys.readouterr().out
    assert (json.loads(out)["frames"] == 4) if as_json else ("frames   4" in out)
    assert library.runs == 0
    assert sorted(clip.parent.iterdir()) == before


def test_a_dry_run_is_not_stopped_by_an_output_that_exists_but_says_so(
    library: Library, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = clip.with_name("clip.ink.mp4")
    output.write_bytes(b"old")
    assert main(["stylize", str(clip), "--style", "ink.png", "--dry-run"]) == 0
    assert f"note: {output} exists; a run needs -y" in capsys.readouterr().err
    assert output.read_bytes() == b"old"
    assert library.runs == 0


@pytest.mark.error_log
def test_an_output_that_exists(library: Library, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = clip.with_name("out.mp4")
    output.write_bytes(b"old")
    command = ["stylize", str(clip), "--style", "ink.png", "-o", str(output)]
    assert main(command) == 2
    assert main([*command, "-n"]) == 0
    assert output.read_bytes() == b"old"
    assert library.runs == 0
    assert f"skipped: {output} exists" in capsys.readouterr().err
    assert main([*command, "-n", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"event": "done", "output": str(output), "skipped": True}
    assert main([*command, "-y"]) == 0
    assert output.read_bytes() == b"video"


def test_never_overwrite_still_makes_what_is_not_there(library: Library, clip: Path) -> None:
    assert main(["stylize", str(clip), "--style", "ink.png", "-n"]) == 0
    assert library.jobs[0].overwrite is False
    assert clip.with_name("clip.ink.mp4").exists()


@pytest.mark.error_log
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run(
    library: Library, clip: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    library.before_frame = lambda index: os.kill(os.getpid(), number) if index == 2 else None
    assert main(["stylize", str(clip), "--style", "ink.png", "--progress", "none"]) == 130
    assert capfd.readouterr().err.splitlines()[-1] == "error: stopped by the user; nothing was written"
    assert list(clip.parent.iterdir()) == [clip]


@pytest.mark.parametrize(
    ("name", "codec", "crf"),
    [("o.webm", "libvpx-vp9", None), ("o.gif", "gif", None), ("o.mkv", "libx264", 18), ("o.png", "png", None)],
)
def test_an_output_that_cannot_hold_the_default_codec_gets_its_own(
    library: Library, clip: Path, name: str, codec: str, crf: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stylize", str(clip), "--style", "ink.png", "-o", str(clip.with_name(name))]) == 0
    assert library.jobs[0].config.encode == EncodeConfig(codec, crf)
    said = f"note: encoding with {codec}: {Path(name).suffix} cannot hold libx264" in capsys.readouterr().err
    assert said == (name in ("o.webm", "o.gif"))


@pytest.mark.parametrize(
    ("options", "encode"),
    [
        ("--codec libx264", EncodeConfig("libx264", 18)),
        ("--codec libsvtav1", EncodeConfig("libsvtav1", None)),
        ("--codec libsvtav1 --crf 40", EncodeConfig("libsvtav1", 40)),
        ("--crf 40", EncodeConfig("libvpx-vp9", 40)),
    ],
)
def test_a_codec_that_was_asked_for_is_taken_and_the_presets_crf_is_not_forced_on_it(
    library: Library, clip: Path, options: str, encode: EncodeConfig
) -> None:
    output = str(clip.with_name("o.webm"))
    assert main(["stylize", str(clip), "--style", "ink.png", "-o", output, *options.split()]) == 0
    assert library.jobs[0].config.encode == encode


def test_a_codec_of_a_preset_is_kept(library: Library, clip: Path, tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text("[encode]\ncodec = 'libsvtav1'\n")
    output = str(clip.with_name("o.webm"))
    assert main(["stylize", str(clip), "--style", "ink.png", "-o", output, "--preset", str(preset)]) == 0
    assert library.jobs[0].config.encode == EncodeConfig("libsvtav1", 18)


def test_verbose_says_what_runs_and_says_nothing_twice(
    library: Library, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stylize", str(clip), "--style", "ink.png", "-v"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert "stdvid.cli: network student on cpu, 64x48, 4 steps, 4 frames" in lines
    assert len(lines) == len(set(lines)) == 5


@pytest.mark.error_log
def test_the_log_file_tells_settings_progress_and_errors(library: Library, clip: Path, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    command = ["stylize", str(clip), "--style", "ink.png", "--log-file", str(log), "-q"]
    assert main(command) == 0
    assert main(command) == 2
    text = log.read_text()
    assert "'strength': 0.6" in text
    assert "done:" in text
    assert "ERROR stdvid.cli:" in text
    assert "exists already" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("-y -n", "both -y and -n"),
        ("-q -v", "both -q and -v"),
        ("--strength 0", "--strength is 0.0"),
        ("--strength 1.2", "--strength is 1.2"),
        ("--steps 0", "--steps is 0"),
        ("--guidance -1", "--guidance is -1.0"),
        ("--style-scale 5", "--style-scale is 5.0"),
        ("--style-guidance -1", "--style-guidance is -1"),
        ("--color 2", "--color is 2.0"),
        ("--seed -1", "--seed is -1"),
        ("--size tiny", "size is 'tiny'"),
        ("--window 4 --overlap 4", "overlap of 4 frames with a window of 4"),
        ("--window 2", "overlap of 4 frames with a window of 2"),
        ("--crf 99", "--crf is 99"),
        ("--enc slow", "--enc 'slow'"),
        ("--start soon", "--start: time 'soon'"),
        ("--end -1", "--end: time '-1'"),
        ("--preset nan", "did you mean 'nano'?"),
        ("-o {where}.mp4", "{where}"),
        ("-o out.xyz", ".xyz"),
        ("--log-file /nonexistent/x.log", "cannot write the log"),
    ],
)
def test_mistakes_in_options_are_found_before_any_work(
    library: Library, clip: Path, options: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stylize", str(clip), "--style", "ink.png", *options.split()]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert words in err
    assert library.runs == 0
