"""stdvid stylize: options to a Job, its plan and its run; what they say to the user."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stdvid.errors import StdvidError

from .asked import Asked
from .report import ProgressMode

if TYPE_CHECKING:
    from stdvid.stylize import Job

    from .report import Reporter

_IO = "Input and output"
_LOOK = "Look"
_VIDEO = "Video"
_ENCODE = "Encoding"
_RUN = "Running"
_SAY = "Reporting"


def stylize(
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="A video or an image; - for standard input.", show_default=False),
    ],
    style: Annotated[
        list[str],
        typer.Option(
            "--style",
            metavar="PATH|NAME",
            help="Reference image, or the name of a bundled style (see `stdvid presets list`). Repeat it to describe "
            "one style by several images.",
            rich_help_panel=_IO,
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Output file; {stem} {style} {preset} {ext} are filled in. "
            "Default: {stem}.{style}.mp4 beside the input (.png for an image). - writes to standard output.",
            rich_help_panel=_IO,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("-y", help="Overwrite an existing output.", rich_help_panel=_IO)] = False,
    no: Annotated[
        bool,
        typer.Option(
            "-n",
            help="Never overwrite: an output that exists is left as it is, and that counts as done. "
            "With neither -y nor -n it is an error (exit 2).",
            rich_help_panel=_IO,
        ),
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="First frame: 120f, seconds (3.5) or timecode (00:01:02.500).", rich_help_panel=_IO
        ),
    ] = None,
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="Frame to stop before, written the same.", rich_help_panel=_IO)
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE", help="Bundled preset, or a TOML file; the options below win.", rich_help_panel=_LOOK
        ),
    ] = "nano",
    strength: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="How much is repainted, above 0 to 1; rounds to what the model was distilled for, and says so.",
            rich_help_panel=_LOOK,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Network steps of a frame of which all is new; fewer where most is taken over: see --steps-between.",
            rich_help_panel=_LOOK,
        ),
    ] = None,
    steps_between: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="The least steps of a frame of which most is taken over from frames painted before (consistency "
            "full), of its new part alone; 1 in nano's presets. As many as --steps (2 or more) makes all frames take "
            "all, whole, at a third of the speed.",
            rich_help_panel=_LOOK,
        ),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(metavar="F", help="Push the style beyond what the model gives by itself.", rich_help_panel=_LOOK),
    ] = None,
    style_scale: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="0 to 4: above 1 exaggerates the style, below 1 tones it down; 1 in the preset nano.",
            rich_help_panel=_LOOK,
        ),
    ] = None,
    style_guidance: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Iterations that draw the reference's strokes into what is new in a frame; 0: none, faster.",
            rich_help_panel=_LOOK,
        ),
    ] = None,
    color: Annotated[
        float | None,
        typer.Option(metavar="F", help="0 to 1: how far the palette moves to the reference's.", rich_help_panel=_LOOK),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="What is to be seen, for models that read; any length.", rich_help_panel=_LOOK
        ),
    ] = None,
    negative_prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What is not to be seen; needs a --guidance above 1.", rich_help_panel=_LOOK),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of the noise.", rich_help_panel=_LOOK)] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="N|WxH",
            help="Working size in pixels: the short side, or exact. The display aspect stays the source's.",
            rich_help_panel=_VIDEO,
        ),
    ] = None,
    window: Annotated[
        int | None, typer.Option(metavar="N", help="Frames repainted together.", rich_help_panel=_VIDEO)
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Frames that windows share and blend over; 1 with consistency full.",
            rich_help_panel=_VIDEO,
        ),
    ] = None,
    consistency: Annotated[
        Literal["none", "noise", "flow", "full"] | None,
        typer.Option(
            help="none: new noise for every frame; noise: the same for all, strokes stay on the screen; "
            "flow: strokes move with what they are on, from frame to frame; full: and from both ends of each window.",
            rich_help_panel=_VIDEO,
        ),
    ] = None,
    format: Annotated[
        Literal["nut", "matroska", "y4m", "mp4frag"] | None,
        typer.Option(help="What -o - writes to standard output; nut by default.", rich_help_panel=_IO),
    ] = None,
    fps_mode: Annotated[
        Literal["vfr", "cfr"],
        typer.Option(help="vfr keeps the source's timestamps; cfr makes them even.", rich_help_panel=_VIDEO),
    ] = "vfr",
    codec: Annotated[
        str | None, typer.Option(metavar="NAME", help="Video encoder, by its FFmpeg name.", rich_help_panel=_ENCODE)
    ] = None,
    crf: Annotated[
        int | None, typer.Option(metavar="N", help="Quality; lower is better and larger.", rich_help_panel=_ENCODE)
    ] = None,
    enc: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V", help="Option for the encoder, repeatable.", rich_help_panel=_ENCODE),
    ] = None,
    no_audio: Annotated[bool, typer.Option("--an", help="Drop audio (else copied).", rich_help_panel=_ENCODE)] = False,
    no_subtitles: Annotated[
        bool, typer.Option("--sn", help="Drop subtitles (else copied).", rich_help_panel=_ENCODE)
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume",
            help="Go on where an earlier run of the same command ended early; or begin anew and keep nothing.",
            rich_help_panel=_RUN,
        ),
    ] = True,
    verify: Annotated[
        bool, typer.Option("--verify", help="Decode the output at the end and check it.", rich_help_panel=_RUN)
    ] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N",
            help="What the input may not exceed, repeatable: pixels of a frame (1e8), streams (64), seconds (86400), "
            "stall (120 s without a frame).",
            rich_help_panel=_RUN,
        ),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where the network runs.", rich_help_panel=_RUN)
    ] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "fp16", "bf16", "int8"] | None,
        typer.Option(
            help="What the network computes in; auto, the usual one: int8 for nano on a CPU where that works, about "
            "twice as fast; fp32 is exact; fp16 is for models of the hub.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="CPU threads of the network; default: all.", rich_help_panel=_RUN),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Paint on a Ray cluster (HOST:PORT, ray://HOST:PORT, auto), or on workers of this machine (local); "
            "--threads are then those of a worker's task, 1 by default.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and write nothing.", rich_help_panel=_RUN)
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Events on stdout, one JSON object a line: plan, progress, done, error.",
            rich_help_panel=_SAY,
        ),
    ] = False,
    progress: Annotated[
        ProgressMode, typer.Option(help="On stderr; auto: a bar on a terminal, else lines.", rich_help_panel=_SAY)
    ] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=_SAY)] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.", rich_help_panel=_SAY)] = False,
    log_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append everything to a log.", rich_help_panel=_SAY)
    ] = None,
) -> None:
    """Repaint a video or image in the style of a reference image.

    Every frame, its time, the sound, subtitles and chapters are kept. Options that are not given come from the preset.
    """
    asked = Asked(locals())

    from .names import find_style, output_path
    from .report import Reporter, log, logging_to

    styles = tuple(find_style(name) for name in style)
    target = output_path(output, source, styles, preset)
    job, notes = asked.job(source, styles, target)
    if dry_run and target.exists() and not (yes or no):
        notes.append(f"{target} exists; a run needs -y, or another output")
    reporter = Reporter(as_json=as_json, progress=progress, quiet=quiet, media_on_stdout=str(target) == "-")
    with logging_to(log_file, verbose):
        if no and target.exists() and not dry_run:
            reporter.event("done", {"output": str(target), "skipped": True})
            reporter.closing(f"skipped: {target} exists")
            return
        log.debug("settings %s", dataclasses.asdict(job.config))
        try:
            _carry_out(job, reporter, notes, ray, dry_run=dry_run, as_json=as_json)
        except StdvidError as exc:
            log.error("%s", exc)
            raise


def _carry_out(
    job: Job, reporter: Reporter, notes: list[str], ray: str | None, *, dry_run: bool, as_json: bool
) -> None:
    from stdvid.cluster import connected
    from stdvid.media.output import PartFile
    from stdvid.media.pipes import is_pipe, standard_input
    from stdvid.stylize import plan, run

    from .report import describe, duration, log
    from .signals import stop_on_signals

    stop = threading.Event()
    if is_pipe(job.source):
        standard_input(stop)
    with connected(ray) as cluster, stop_on_signals(stop, PartFile(job.output).discard):
        planned = plan(job, cluster.devices() if cluster else None)
        facts = planned.to_dict()
        notes = [*notes, *planned.notes]
        reporter.event("plan", {**facts, "notes": notes})
        for note in notes:
            reporter.note(note)
        if dry_run:
            if not as_json:
                print(describe(facts))
            return
        log.info("network %(network)s on %(device)s, %(size)s, %(steps)s steps, %(frames)s frames", facts)
        with reporter.running(planned.frames):
            result = run(planned, reporter.progress, stop=stop, cluster=cluster)
    for note in result.notes:
        reporter.note(note)
    reporter.event("done", result.to_dict())
    new = result.frames - result.resumed
    rate = f", {new / result.seconds:.2f} fps" if new and result.seconds else ""
    reporter.closing(
        f"done: {result.output} ({result.frames} frame{'s' * (result.frames != 1)} in {duration(result.seconds)}{rate})"
    )
