"""An evaluation as one self-contained HTML page: plots, pictures and every figure."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from stdvid.distill.evaluation import Entrant, Evaluation, Row
from stdvid.distill.sheets import fit

Image = NDArray[np.uint8]

PLOTTED = (
    ("end_error", "distance to the teacher's end", False),
    ("gram_lite0", "style moved (Gram, lite0)", True),
    ("texture", "style moved (texture statistics, no network)", True),
    ("structure", "structure kept", True),
)
"""Figure, its title, and whether more is better."""

PICTURE_PX, PICTURE_STEPS, PICTURE_PAIRS = 192, 4, 6

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1400px; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left } th { position: sticky; top: 0; background: #fff }
.plots { display: flex; flex-wrap: wrap } .plots svg { width: 640px; height: auto } small { color: #777 }
img { max-width: 100% } .wide { overflow-x: auto }
</style></head><body><h1>{{ title }}</h1><p>{{ about }}</p>
{% for heading, plots in sections %}<h2>{{ heading }}</h2>
<div class="plots">{% for plot in plots %}{{ plot|safe }}{% endfor %}</div>
{% endfor %}<h2>Pictures</h2><p>{{ columns|join(" | ") }}</p>
<img alt="pictures" src="data:image/jpeg;base64,{{ sheet }}">
<h2>Figures</h2><div class="wide"><table><tr><th>network</th><th>steps</th><th>calls</th><th>guidance</th>
{% for name in names %}<th>{{ name }}</th>{% endfor %}</tr>{% for row in rows %}
<tr><td>{{ row.name }}</td><td>{{ row.steps }}</td><td>{{ row.calls }}</td><td>{{ row.guidance }}</td>
{% for name in names %}<td>{{ "%.3f"|format(row.mean[name]) }}
<small>&plusmn;{{ "%.3f"|format(row.interval[name]) }}</small></td>
{% endfor %}</tr>{% endfor %}</table></div></body></html>
"""


def page(evaluation: Evaluation, rows: Sequence[Row], entrants: Sequence[Entrant]) -> str:
    """The page of `rows`; the pictures are made anew, PICTURE_STEPS steps of every entrant on the first pairs."""
    from jinja2 import Environment

    columns = ["content", "reference", f"teacher, {evaluation.start} steps", *(entrant.name for entrant in entrants)]
    sections = [
        ("Equal guidance: every network as it is, without guidance", plots(unguided(rows))),
        ("Best against best: for each network and number of steps the guidance that serves it most", plots(rows)),
    ]
    about = (
        f"{len(evaluation.pairs)} held-out pairs, teacher guided by {evaluation.guidance:g}. "
        f"Figures are means with 95 % confidence intervals; pictures in {PICTURE_STEPS} steps."
    )
    template = Environment(autoescape=True).from_string(PAGE)
    names = list(rows[0].values)
    return template.render(
        title="Students against their teacher",
        about=about,
        sections=sections,
        columns=columns,
        sheet=base64.b64encode(_jpeg(pictures(evaluation, entrants))).decode(),
        names=names,
        rows=rows,
    )


def unguided(rows: Iterable[Row]) -> list[Row]:
    """Students without guidance of their own; the teacher with that of its trajectory and without."""
    return [row for row in rows if row.guidance == 1 or row.name.startswith("teacher")]


def best(rows: Iterable[Row], figure: str, more: bool) -> dict[str, list[Row]]:
    """For each network its best guidance at every number of steps, by rising calls."""
    found: dict[tuple[str, int], Row] = {}
    for row in rows:
        other = found.get((row.name, row.steps))
        if other is None or (row.mean[figure] > other.mean[figure]) == more:
            found[row.name, row.steps] = row
    lines: dict[str, list[Row]] = {}
    for (name, _), row in sorted(found.items(), key=lambda item: item[1].calls):
        lines.setdefault(name, []).append(row)
    return lines


def plots(rows: Sequence[Row]) -> list[str]:
    """One SVG for each of PLOTTED, against network calls."""
    from matplotlib.figure import Figure

    drawn = []
    for figure, title, more in PLOTTED:
        canvas = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = canvas.add_subplot()
        for name, line in best([row for row in rows if row.name != "teacher, whole"], figure, more).items():
            calls, means = [row.calls for row in line], [row.mean[figure] for row in line]
            axes.errorbar(calls, means, [row.interval[figure] for row in line], label=name, marker="o", capsize=2, lw=1)
        for row in rows:
            if row.name == "teacher, whole":
                axes.axhline(row.mean[figure], color="0.5", ls="--", lw=1, label=f"{row.name} ({row.calls} calls)")
        axes.set(title=title, xlabel="network calls a frame", xscale="log")
        axes.legend(fontsize=7)
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg")
        drawn.append(buffer.getvalue()[buffer.getvalue().index("<svg") :])
    return drawn


def pictures(evaluation: Evaluation, entrants: Sequence[Entrant]) -> Image:
    """A row a pair: content, reference, the teacher's end, every entrant in PICTURE_STEPS steps."""
    lines = []
    teacher = Entrant("teacher", evaluation.teacher)
    runs = [(teacher, evaluation.start, evaluation.guidance), *((e, PICTURE_STEPS, 1.0) for e in entrants)]
    for number, pair in enumerate(evaluation.pairs[:PICTURE_PAIRS]):
        cells = [pair.content, pair.reference]
        for entrant, steps, guidance in runs:
            cells.append(evaluation.picture(evaluation.states(entrant, number, steps, guidance), number))
        lines.append(np.hstack([fit(cell, PICTURE_PX, PICTURE_PX) for cell in cells]))
    return np.vstack(lines)


def _jpeg(image: Image) -> bytes:
    return bytes(cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1])
