"""How well a model stylizes, on held-out pairs: style moved, structure kept, sharpness, seconds a frame.

    python benchmarks/quality.py --photos DIR --styles DIR [--pairs 20] [--model nano:4:1:1.5:24]

A model is BUNDLE:STEPS:GUIDANCE:STYLE_SCALE:STYLE_GUIDANCE, and @PRECISION if it is not to be what a run takes here.
"Style moved" is 1 - d(output, reference) / d(input, reference), d the Gram distance of EfficientNet-lite0 features
(stem and ends of four stages), a network by which nothing here is trained or guided.
"Strokes" is how many of the other pairs' references are nearer than the own one by the same distance on luminance of
equal contrast: 0 is a brush that follows the reference, (pairs - 1) / 2 is chance. Palette transfer alone and
cv2.stylization stand beside it. Pairs come from the 5 % of files that training never sees; references are drawn by the
worth that training gives them (paintings often, clip-art hardly).
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from stdvid.config import ModelConfig, SamplingConfig, StylizeConfig, find_preset
from stdvid.diffusion.schedule import sampling_times
from stdvid.distill.data import Pool, load_pool, step_rng
from stdvid.distill.settings import TeacherSettings
from stdvid.media.frames import Frame
from stdvid.metrics.content import edge_correlation, sharpness_ratio
from stdvid.metrics.features import LiteFeatures
from stdvid.metrics.style import gram_distance
from stdvid.models.bundle import read_bundle
from stdvid.models.catalogue import decide_precision, load_model
from stdvid.models.palette import ColourMap, Palette
from stdvid.models.stylizer import to_frames, to_tensor
from stdvid.painter import REFERENCE_SHORT_SIDE_PX, Painter
from stdvid.picture_losses import stroke_picture
from stdvid.schema import build, from_toml
from stdvid.temporal.windows import Window
from stdvid.window_painter import WindowPainter

SHOWN_STYLES = "pg_11027_09c,pg_43936_2cd,tarot_586,aic_f87,aic_613,masters_179,pg_14872_15c,wallart_026"
"""Ink, a print in colours, a card, oil in dabs, a sketch in oil, a panel, a watercolour, flat areas; all held out."""

SHOWN_PHOTOS = "gcph_b2e,gcph_b79,gcph_f1c,gcph_ffe,esky_656,gcph_3d6"

Image = NDArray[np.uint8]
Method = Callable[[Image, Image], Image]


def rounded(image: NDArray[np.float32]) -> Image:
    """Float 0..255 to uint8."""
    return np.rint(image).astype(np.uint8)


def short_side(image: Image, size_px: int) -> Image:
    """Scale to a short side, down to even sides."""
    scale = size_px / min(image.shape[:2])
    width, height = (2 * round(s * scale / 2) for s in image.shape[1::-1])
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return resized.astype(np.uint8, copy=False)


def bundle_method(text: str, strength: float) -> Method:
    """A bundle as `stdvid stylize` runs it on one frame; `text` says which and how, as for --model."""
    numbers, _, precision = text.partition("@")
    name, steps, guidance, scale, iterations = numbers.rsplit(":", 4)
    bundle = read_bundle(name)
    entry, start, _ = bundle.network_for(strength)
    asked = build(ModelConfig, {"base": name, "precision": precision or "auto"})
    model, _ = decide_precision(asked, bundle, entry, torch.device("cpu"))
    stylizer = load_model(model, SamplingConfig(), entry, torch.device("cpu"))
    sampling = SamplingConfig(
        steps=int(steps), guidance=float(guidance), style_scale=float(scale), style_guidance=int(iterations)
    )
    config = StylizeConfig(sampling=sampling)
    times = tuple(sampling_times(start, sampling.steps))

    def stylize(content: Image, reference: Image) -> Image:
        style = stylizer.read_style([short_side(reference, REFERENCE_SHORT_SIDE_PX)], sampling.style_scale)
        size = (content.shape[1], content.shape[0])
        painter = WindowPainter(Painter(stylizer, style, times, config, size, threading.Event()), config.video)
        painted = painter.paint(Window(0, 0, 1), [Frame(content, 0, Fraction(1), 0)])
        return rounded(painted[0])

    return stylize


def palette_only(content: Image, reference: Image) -> Image:
    """Palette transfer and nothing else."""
    images = to_tensor(content[None])
    moved = ColourMap.between(Palette.of(images), Palette.of(to_tensor(reference[None]))).apply(images)
    return rounded(to_frames(moved)[0])


def opencv(content: Image, reference: Image) -> Image:
    """cv2.stylization, which knows no reference."""
    return np.asarray(cv2.stylization(content), np.uint8)


def measure(
    method: Method, pairs: list[tuple[Image, Image]], judge: LiteFeatures
) -> tuple[dict[str, float], list[Image]]:
    """Means over the pairs, and the outputs."""
    rows, outputs = [], []
    for content, reference in pairs:
        started = time.perf_counter()
        output = method(content, reference)
        seconds = time.perf_counter() - started
        with torch.no_grad():
            features = [judge(to_tensor(image[None])) for image in (output, content, reference)]
            after, before = (float(gram_distance(f, features[2])) for f in features[:2])
        rows.append(
            {
                "before": before,
                "after": after,
                "structure": edge_correlation(output, content),
                "sharpness": sharpness_ratio(output, content),
                "seconds": seconds,
            }
        )
        outputs.append(output)
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    # means of distances first, then their ratio: one pair that was close already does not decide
    mean["style_moved"] = 1 - mean["after"] / mean["before"]
    mean["sharpness"] = float(np.median([row["sharpness"] for row in rows]))
    return mean, outputs


@torch.no_grad()
def nearer_references(outputs: list[Image], pairs: list[tuple[Image, Image]], judge: LiteFeatures) -> float:
    """Mean number of other pairs' references whose strokes are nearer to an output than those of its own."""
    references = [judge(stroke_picture(to_tensor(reference[None]))) for _, reference in pairs]
    counts = []
    for own, output in enumerate(outputs):
        maps = judge(stroke_picture(to_tensor(output[None])))
        distances = [float(gram_distance(maps, reference)) for reference in references]
        counts.append(sum(distance < distances[own] for distance in distances))
    return float(np.mean(counts))


def sheet(pairs: list[tuple[Image, Image]], outputs: list[list[Image]], side_px: int = 256) -> Image:
    """One row a pair: content, reference, and each method's output."""

    rows = [np.hstack([square(c, side_px) for c in (*pair, *(o[i] for o in outputs))]) for i, pair in enumerate(pairs)]
    return np.vstack(rows)


def square(image: Image, side_px: int) -> Image:
    """The middle of a picture."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    cut = cv2.resize(image[top : top + side, left : left + side], (side_px, side_px), interpolation=cv2.INTER_AREA)
    return cut.astype(np.uint8, copy=False)


def named(pool: Pool, names: str) -> list[Image]:
    """The pictures of a pool whose file names begin with one of `names`, comma-separated, in that order."""
    wanted = names.split(",")
    found = {
        want: image
        for want in wanted
        for name, image in zip(pool.names, pool.images, strict=True)
        if name.startswith(want)
    }
    if missing := [want for want in wanted if want not in found]:
        raise SystemExit(f"no held-out picture begins with {', '.join(missing)}")
    return [found[want] for want in wanted]


def matrix(
    methods: dict[str, Method], contents: list[Image], references: list[Image], size_px: int, cell_px: int = 256
) -> Image:
    """For each method a block of styles (rows) by contents (columns); contents above, styles beside it."""
    contents = [short_side(image, size_px) for image in contents]
    blocks = []
    for method in methods.values():
        top = [np.full((cell_px, cell_px, 3), 255, np.uint8), *(square(c, cell_px) for c in contents)]
        rows = [np.hstack(top)]
        for reference in references:
            cells = [reference, *(method(content, reference) for content in contents)]
            rows.append(np.hstack([square(cell, cell_px) for cell in cells]))
        blocks.append(np.vstack(rows))
    return np.vstack(blocks)


def draw_pairs(photos: Pool, styles: Pool, count: int, size_px: int) -> list[tuple[Image, Image]]:
    """The same pairs each time, at the working size."""
    rng = step_rng(412, 18945)
    return [(short_side(photos.draw(rng), size_px), short_side(styles.draw(rng), size_px)) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--styles", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--size", type=int, default=288, help="short side of the working size, px")
    parser.add_argument("--strength", type=float, default=0.6)
    parser.add_argument("--model", action="append", help="BUNDLE:STEPS:GUIDANCE:STYLE_SCALE:STYLE_GUIDANCE")
    parser.add_argument("--baselines", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--sheet", type=Path, help="also write a PNG of all outputs here")
    parser.add_argument("--matrix", type=Path, help="no table, but a PNG: styles by contents")
    parser.add_argument("--rows", default=SHOWN_STYLES, help="styles of the matrix: beginnings of held-out file names")
    parser.add_argument("--columns", default=SHOWN_PHOTOS, help="its contents")
    arguments = parser.parse_args()

    worth = from_toml(TeacherSettings, find_preset("nano-teacher", "distill")).data.weights
    styles = load_pool([arguments.styles], held_out=True, skip_pages=True, weights=worth)
    photos = load_pool([arguments.photos], held_out=True)
    pairs = draw_pairs(photos, styles, arguments.pairs, arguments.size)
    judge = LiteFeatures("lite0")
    methods: dict[str, Method] = (
        {"palette only": palette_only, "cv2.stylization": opencv} if arguments.baselines else {}
    )
    for text in arguments.model or ["nano:4:1:1.5:24"]:
        methods[text] = bundle_method(text, arguments.strength)

    if arguments.matrix:
        contents, references = named(photos, arguments.columns), named(styles, arguments.rows)
        cv2.imwrite(str(arguments.matrix), matrix(methods, contents, references, arguments.size)[:, :, ::-1])
        return

    results: dict[str, Any] = {}
    outputs = []
    table = Table("method", "style moved", "structure", "sharpness", "strokes", "s/frame")
    for name, method in methods.items():
        figures, images = measure(method, pairs, judge)
        figures["strokes"] = nearer_references(images, pairs, judge)
        results[name] = figures
        outputs.append(images)
        table.add_row(
            name,
            f"{figures['style_moved']:.1%}",
            f"{figures['structure']:.2f}",
            f"{figures['sharpness']:.2f}",
            f"{figures['strokes']:.1f}",
            f"{figures['seconds']:.2f}",
        )
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if arguments.sheet:
        cv2.imwrite(str(arguments.sheet), sheet(pairs, outputs)[:, :, ::-1])


if __name__ == "__main__":
    main()
