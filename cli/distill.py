"""`stdvid distill`: train teachers and students."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from stdvid.distill.evaluation import Row
    from stdvid.distill.trainer import Run
    from stdvid.metrics.external import Judge

T = TypeVar("T")

app = typer.Typer(
    help="Train teachers and distil students of your own.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="TOML file, or the name of a bundled one.")]
OutOption = Annotated[Path, typer.Option("--out", help="Run directory; a run in it is resumed.")]
StylesOption = Annotated[list[Path] | None, typer.Option("--styles", help="Folder of style images; repeatable.")]
PhotosOption = Annotated[list[Path] | None, typer.Option("--photos", help="Folder of content images; repeatable.")]
MinutesOption = Annotated[float | None, typer.Option("--minutes", min=0, help="Stop after this many minutes.")]
StepsOption = Annotated[int | None, typer.Option("--max-steps", min=0, help="Stop at this step.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, for example loss.strength=0.75.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of weights and data.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]


@app.command()
def teacher(
    out: OutOption,
    start: Annotated[str | None, typer.Option("--start", help="Run or bundle that is trained on.")] = None,
    config: ConfigOption = None,
    styles: StylesOption = None,
    photos: PhotosOption = None,
    minutes: MinutesOption = None,
    max_steps: StepsOption = None,
    seed: SeedOption = None,
    settings: SetOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Train a teacher: style-conditioned denoising on two folders of images."""
    from stdvid.distill.build import build_teacher
    from stdvid.distill.settings import TeacherSettings

    overrides = _overrides(styles, photos, seed) | ({"start": start} if start else {})
    resolved = _settings(TeacherSettings, config, "nano-teacher", overrides, settings)
    _train(build_teacher(resolved, out, device), max_steps, minutes)


@app.command()
def student(
    out: OutOption,
    teacher: Annotated[
        str | None, typer.Option("--teacher", help="Run directory or bundle of the teacher; or a preset.")
    ] = None,
    start: Annotated[str | None, typer.Option("--start", help="Run or bundle whose student is trained on.")] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="std (default), or a rival: lcm, tcd, pcm, tdd.")
    ] = None,
    config: ConfigOption = None,
    styles: StylesOption = None,
    photos: PhotosOption = None,
    clips: Annotated[
        list[Path] | None, typer.Option("--clips", help="Folder of clips, for hub models that move; repeatable.")
    ] = None,
    minutes: MinutesOption = None,
    max_steps: StepsOption = None,
    seed: SeedOption = None,
    settings: SetOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Distil a student from a teacher: on its single trajectory, or by a rival method.

    A teacher that is a run or a bundle is nano's; a preset of a hub model gives a student that is a LoRA. Under
    `accelerate launch` processes share the work.
    """
    from stdvid.distill.build import build_student
    from stdvid.distill.hub_build import hub_teacher
    from stdvid.distill.settings import StudentSettings

    from .asked import check_pulled

    overrides = _overrides(styles, photos, seed, clips)
    if method is not None:
        overrides["loss"] = {"method": method}
    overrides |= {k: v for k, v in (("teacher", teacher), ("start", start)) if v is not None}
    resolved = _settings(StudentSettings, config, "nano-student", overrides, settings)
    if preset := hub_teacher(resolved.teacher):
        check_pulled(resolved.teacher, preset.model)
    _train(build_student(resolved, out, device), max_steps, minutes)


@app.command("eval")
def evaluate(
    teacher: Annotated[str, typer.Option("--teacher", help="Run directory or bundle of the teacher.")],
    students: Annotated[list[str], typer.Argument(metavar="STUDENT...", help="Run directories or bundles.")],
    styles: Annotated[list[Path], typer.Option("--styles", help="Folder of style images; repeatable.")],
    photos: Annotated[list[Path], typer.Option("--photos", help="Folder of content images; repeatable.")],
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="Held-out pairs.")] = 8,
    size: Annotated[int, typer.Option("--size", min=32, help="Side of the pictures, px.")] = 256,
    strength: Annotated[float, typer.Option("--strength", help="Where trajectories start.")] = 0.6,
    steps: Annotated[list[int] | None, typer.Option("--steps", min=1, help="Repeatable; 1, 2, 4, 6, 8.")] = None,
    guidance: Annotated[float, typer.Option("--guidance", help="Guidance of the teacher's trajectory.")] = 2.0,
    student_guidance: Annotated[
        list[float] | None, typer.Option("--student-guidance", help="Repeatable; 1 is none.")
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Also judge methods whose sampler adds noise without it.")
    ] = False,
    csd: Annotated[
        Path | None, typer.Option("--csd", help="CSD weights (safetensors): adds its style similarity.")
    ] = None,
    lpips: Annotated[
        Path | None,
        typer.Option("--lpips", help="LPIPS weights with AlexNet (safetensors): adds the distance to the content."),
    ] = None,
    aesthetic: Annotated[
        Path | None, typer.Option("--aesthetic", help="LAION aesthetic predictor (safetensors); needs --clip.")
    ] = None,
    clip: Annotated[
        Path | None, typer.Option("--clip", help="CLIP ViT-L/14 image tower (safetensors), for --aesthetic.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write a page with plots, pictures and all figures here.")
    ] = None,
) -> None:
    """Judge students by their teacher's trajectory: error, style, content and calls on held-out pairs."""
    from rich.console import Console

    from stdvid.distill.build import held_out, load_entrant, load_entrants
    from stdvid.distill.evaluation import Evaluation, draw_pairs, evaluate

    for path in (json_file, html):
        _check_writable(path)
    external = _external_judges(csd, lpips, aesthetic, clip)
    contents = held_out(photos, short_side_px=size)
    cases = draw_pairs(contents, held_out(styles, skip_pages=True), pairs, size)
    judged = Evaluation(load_entrant(teacher, strength).stylizer, cases, strength, guidance, external)
    entrants = load_entrants(students, strength)
    if deterministic:
        plain = [dataclasses.replace(e, name=f"{e.name}, no noise", gamma=0.0) for e in entrants if e.gamma > 0]
        entrants += plain
    console, rows = Console(stderr=True), []
    for row in evaluate(judged, entrants, steps or [1, 2, 4, 6, 8], student_guidance or [1.0]):
        console.print(f"{row.name}  {row.steps} steps  end error {row.mean['end_error']:.4f}", highlight=False)
        rows.append(row)
    _print_table(rows)
    if json_file is not None:
        import json

        json_file.write_text(json.dumps([dataclasses.asdict(row) for row in rows]) + "\n", encoding="utf-8")
    if html is not None:
        from stdvid.distill.report import page

        html.write_text(page(judged, rows, entrants), encoding="utf-8")


@app.command()
def export(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="Run directories of one architecture.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the bundle, or of the LoRA files.")],
    name: Annotated[str, typer.Option("--name", help="What the bundle, or the LoRA, is called.")],
    card: Annotated[Path, typer.Option("--card", help="Model card (Markdown) to put in it.")],
    push: Annotated[
        str | None, typer.Option("--push", metavar="OWNER/NAME", help="Write a LoRA to the hub too.")
    ] = None,
) -> None:
    """Write trained networks for `stdvid stylize`.

    Of nano: a bundle, fp16 safetensors with a manifest and hashes. Of a hub model: its LoRA as diffusers and as kohya's
    scripts write it.
    """
    from stdvid.distill.build import export_bundle
    from stdvid.distill.hub_export import export_student, is_hub_run
    from stdvid.errors import InputError, UsageError

    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"model card '{card}' cannot be read; a Markdown text file is needed; check --card") from exc
    if is_hub_run(runs[0]):
        if len(runs) > 1:
            raise UsageError(f"{len(runs)} runs of hub models; a LoRA is one; export each by itself")
        for file in export_student(runs[0], out, name, text, push):
            print(file)
        return
    if push is not None:
        raise UsageError("--push is for students of hub models; a bundle is a folder to be copied; leave it out")
    bundle = export_bundle(runs, out, name, text)
    for entry in bundle.networks:
        print(f"{bundle.folder / entry.file}  sha256 {entry.sha256}")


@app.command()
def quantize(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name of an embedded bundle, or a bundle folder.")],
    styles: Annotated[list[Path], typer.Option("--styles", help="Folder of style images; repeatable.")],
    photos: Annotated[list[Path], typer.Option("--photos", help="Folder of content images; repeatable.")],
) -> None:
    """Add int8 networks to a bundle, for CPUs: about twice as fast, a hair less exact.

    Of each student one is written beside its weights and entered in the manifest. Takes a minute or two.
    """
    from stdvid.config import find_preset
    from stdvid.distill.data import load_pool
    from stdvid.distill.quantize import quantize as quantized
    from stdvid.distill.settings import TeacherSettings
    from stdvid.schema import from_toml

    worth = from_toml(TeacherSettings, find_preset("nano-teacher", "distill")).data.weights
    pools = load_pool(photos), load_pool(styles, skip_pages=True, weights=worth)
    for entry, error in quantized(bundle, *pools):
        assert entry.int8 is not None
        print(f"{entry.int8.file}  sha256 {entry.int8.sha256}  x_0 differs by {error:.2%}")


def _check_writable(path: Path | None) -> None:
    """Refuse before the work what could not be written after it."""
    import os

    from stdvid.errors import UsageError

    if path is not None and (
        path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK)
    ):
        raise UsageError(f"'{path}' cannot be written; a file in a folder that exists can; give another one")


def _external_judges(csd: Path | None, lpips: Path | None, aesthetic: Path | None, clip: Path | None) -> list[Judge]:
    from stdvid.errors import UsageError
    from stdvid.metrics.external import Aesthetic, Csd, Lpips

    if (aesthetic is None) != (clip is None):
        raise UsageError("--aesthetic and --clip belong together; the predictor reads CLIP's features; give both")
    judges: list[Judge] = []
    if csd is not None:
        judges.append(Csd(csd))
    if lpips is not None:
        judges.append(Lpips(lpips))
    if aesthetic is not None and clip is not None:
        judges.append(Aesthetic(aesthetic, clip))
    return judges


def _print_table(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("network", "steps", "calls", "guidance")
    for name in rows[0].mean:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        cells = (
            f"{row.mean[k]:.3f} ±{row.interval[k]:.3f}" if k == "end_error" else f"{row.mean[k]:.3f}" for k in row.mean
        )
        table.add_row(row.name, str(row.steps), str(row.calls), f"{row.guidance:g}", *cells)
    Console(width=220).print(table)


def _overrides(
    styles: list[Path] | None, photos: list[Path] | None, seed: int | None, clips: list[Path] | None = None
) -> dict[str, Any]:
    given = (("styles", styles), ("photos", photos), ("clips", clips))
    data = {k: [str(p) for p in v] for k, v in given if v}
    overrides: dict[str, Any] = {"data": data} if data else {}
    if seed is not None:
        overrides["optim"] = {"seed": seed}
    return overrides


def _settings(cls: type[T], config: Path | None, default: str, overrides: dict[str, Any], pairs: list[str] | None) -> T:
    """Defaults < preset < KEY=VALUE < options of their own."""
    from stdvid.config import find_preset
    from stdvid.schema import from_toml, merge

    resolved = from_toml(cls, find_preset(str(config or default), "distill"))
    for pair in pairs or []:
        resolved = merge(resolved, _setting(pair))
    return merge(resolved, overrides)


def _setting(pair: str) -> dict[str, Any]:
    """ "loss.strength=0.75" as a nested table; a value that is no TOML is text."""
    import tomllib

    from stdvid.errors import UsageError

    key, equals, value = pair.partition("=")
    if not equals or not all(part.isidentifier() for part in key.split(".")):
        raise UsageError(f"--set {pair}: no setting; KEY=VALUE is one, for example loss.strength=0.75")
    if value.startswith("."):  # .65, as people write it
        value = f"0{value}"
    try:
        table: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        table = value
    for part in reversed(key.split(".")):
        table = {part: table}
    return dict(table)


def _train(run: Run, max_steps: int | None, minutes: float | None) -> None:
    import math
    import signal

    from rich.console import Console

    from stdvid.distill.trainer import train

    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _: stopped.append(caught))
    console = Console(stderr=True, quiet=not run.accelerator.is_main_process)
    if run.step:
        console.print(f"resumed at step {run.step}", highlight=False)
    limit = math.inf if minutes is None else minutes * 60
    steps = run.optim.steps if max_steps is None else max_steps
    for event in train(run, max_steps=steps, max_seconds=limit, stop=lambda: bool(stopped)):
        parts = "  ".join(f"{k} {v:.4f}" for k, v in event.parts.items())
        console.print(f"step {event.step}  {event.seconds:.0f} s  {parts}", highlight=False)
    run.write_sheet()
    run.close()
    console.print(f"saved at step {run.step} in {run.folder}", highlight=False)
    if stopped:
        from stdvid.errors import Interrupted

        raise Interrupted(f"stopped at step {run.step}; the checkpoint is saved; the same command resumes")
