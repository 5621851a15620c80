"""stdvid preview: one frame of a clip, or a few, under one setting or many, as a labelled sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stdvid.errors import OutputError, UsageError


def preview(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A video file or an image.", show_default=False)],
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=V,V...]", help="More settings of --sheet.", show_default=False),
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option("--style", metavar="PATH|NAME", help="Reference image or bundled style; repeat it for more rows."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="TIME", help="Which frame: 120f, seconds or timecode; repeatable. Default: the middle."),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--sheet",
            metavar="KEY=V,V...",
            help="Settings to lay side by side: --sheet steps=2,4,8 style-scale=1,2. Others may follow it.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="PATH", help="A PNG. Default: {stem}.{style}.preview.png."),
    ] = None,
    yes: Annotated[bool, typer.Option("-y", help="Overwrite an existing output.")] = False,
    preset: Annotated[str, typer.Option(metavar="NAME|FILE", help="Bundled preset, or a TOML file.")] = "nano",
    size: Annotated[str | None, typer.Option(metavar="N|WxH", help="Working size, as of `stylize`.")] = None,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="As of `stylize`, for models that read.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="As of `stylize`.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where the network runs.")] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "fp16", "bf16", "int8"] | None, typer.Option(help="As of `stylize`.")
    ] = None,
) -> None:
    """Paint one frame before paying for the clip: with the colours and the brush that `stylize` gives it.

    Strokes that a run carries along begin where this frame's window begins (consistency full: near the start of a
    shot these are the strokes of the run) or in this frame (flow); with noise and none the pixels are those of the run.

    The sheet shows the source, then every value of the last setting; each cell says its settings and seconds a frame.
    """
    import cv2

    from stdvid.config import load_preset
    from stdvid.media.output import PartFile, check_output
    from stdvid.media.timebase import TimePoint, parse_time_point
    from stdvid.painter import read_reference
    from stdvid.planning import resolve_device
    from stdvid.preview import sheet

    from .asked import check_pulled
    from .names import find_style, output_path, style_label

    if not style:
        raise UsageError("no style; a reference image or the name of a bundled style is needed; --style PATH|NAME")
    styles = {path.stem: path for path in map(find_style, style)}
    config = load_preset(
        preset,
        {
            "model": {"precision": precision},
            "video": {"size": size},
            "sampling": {"prompt": prompt, "negative_prompt": negative_prompt},
        },
        {"video.size": "--size"},
    )
    check_pulled(preset, config.model)
    paths = list(styles.values())
    usual = source.with_name(f"{source.stem}.{style_label(paths)}.preview.png")
    target = output_path(output, source, paths, preset) if output else usual
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: a sheet is a PNG; allowed is .png; give the output this extension")
    for used in (source, *styles.values()):
        check_output(target, used, yes or None)
    moments: list[TimePoint | None] = [parse_time_point(text) for text in at or []]
    references = {name: [read_reference(path)] for name, path in styles.items()}
    grid = _grid([*(vary or []), *(more or [])])
    picture = sheet(source, moments or [None], references, config, grid, resolve_device(device))
    part = PartFile(target)
    encoded, data = cv2.imencode(".png", picture[:, :, ::-1])
    if not encoded:
        raise OutputError(f"{target}: a sheet of {picture.shape[1]}x{picture.shape[0]} is too large; vary less at once")
    part.part.write_bytes(data.tobytes())
    part.commit()
    print(target)


def _grid(settings: list[str]) -> dict[str, list[Any]]:
    """`key=v,v` as {key: [v, v]}; numbers only, for all that a sheet varies is one."""
    grid: dict[str, list[Any]] = {}
    for text in settings:
        key, equals, values = text.partition("=")
        try:
            numbers = [float(value) for value in values.split(",")]
        except ValueError:
            numbers = []
        if not equals or not numbers:
            raise UsageError(f"--sheet {text!r}: not KEY=NUMBER,NUMBER...; for example --sheet steps=2,4,8")
        grid[key.strip().replace("-", "_")] = [int(n) if n.is_integer() else n for n in numbers]
    return grid
