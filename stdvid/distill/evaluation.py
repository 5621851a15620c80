"""Students against their teacher on fixed held-out pairs: trajectory error, style, content, calls.

The reference is the teacher's own guided trajectory on the solver grid from the x_eta that the students start from. A
student's states are compared with it at the very times that its sampler visits: between grid times the teacher's state
is its own solver step, made shorter.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student_t
from torch import Tensor

from stdvid.diffusion.sampler import SampleStep, sample
from stdvid.diffusion.schedule import grid_time, sampling_times, start_index
from stdvid.diffusion.solver import jump
from stdvid.distill.data import Pool, step_rng
from stdvid.distill.sheets import fit
from stdvid.metrics.content import edge_correlation, sharpness_ratio, structure_similarity
from stdvid.metrics.external import Judge
from stdvid.metrics.features import FeatureName, LiteFeatures
from stdvid.metrics.style import gram_distance, sliced_wasserstein
from stdvid.models.stylizer import Condition, Stylizer, to_frames, to_tensor
from stdvid.models.texture import texture_statistics

Image = NDArray[np.uint8]

JUDGES: tuple[FeatureName, ...] = ("lite0", "lite1")
"""Feature networks of the style distances; nothing is trained on lite0."""


@dataclass(frozen=True)
class Pair:
    """A held-out photograph, uint8 [S, S, 3], and a held-out reference."""

    content: Image
    reference: Image


@dataclass(frozen=True)
class Entrant:
    """A network to be judged. `gamma` is that of the sampler its method is made for."""

    name: str
    stylizer: Stylizer
    gamma: float = 0.0


@dataclass(frozen=True)
class Row:
    """One line of the table. `values`: each figure on each pair, in the order of the pairs.

    `end_error`: relative L2 of the final latents to the teacher's; `path_error`: mean of it over the states visited.
    `gram_*`, `swd_*`, `texture`: style moved, 1 - d(output, reference) / d(content, reference), for each distance.
    `structure`, `ssim`: correlation of edges and similarity of edge maps with the content; `sharpness`: Laplacian
    variance over the content's. Then those of external judges, under their names.
    """

    name: str
    steps: int
    guidance: float
    calls: int
    values: dict[str, list[float]]

    @property
    def mean(self) -> dict[str, float]:
        """Each figure's mean over the pairs."""
        return {key: float(np.mean(v)) for key, v in self.values.items()}

    @property
    def interval(self) -> dict[str, float]:
        """Half-width of the 95 % confidence interval of each mean; NaN for a single pair."""
        return {key: half_width(v) for key, v in self.values.items()}


def half_width(values: Sequence[float]) -> float:
    """Half-width of the 95 % confidence interval of a mean, by Student's t; NaN for a single value."""
    if len(values) < 2:
        return math.nan
    quantile = float(student_t.ppf(0.975, len(values) - 1))
    return quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def draw_pairs(photos: Pool, styles: Pool, count: int, size_px: int) -> list[Pair]:
    """The same pairs each time."""
    rng = step_rng(412, 18945)
    return [Pair(fit(photos.draw(rng), size_px, size_px), styles.draw(rng)) for _ in range(count)]


class Trajectory:
    """The guided teacher's way from x_eta to the clean image on the solver grid."""

    @torch.no_grad()
    def __init__(self, teacher: Stylizer, condition: Condition, x_eta: Tensor, start: int, guidance: float) -> None:
        self.schedule = teacher.schedule
        times = [int(grid_time(i)) for i in range(start, -1, -1)]
        steps = list(sample(teacher.denoiser(condition, guidance), x_eta, times, self.schedule))
        self.times = times
        self.states = [x_eta, *(step.x for step in steps)]
        self.clean = [step.x_0 for step in steps]

    def at(self, t: int) -> Tensor:
        """The state at any time from the start down to CLEAN."""
        above = max(k for k, grid in enumerate(self.times) if grid >= t)
        if self.times[above] == t:
            return self.states[above]
        t_above, t_wanted = (torch.tensor([v]) for v in (self.times[above], t))
        return jump(self.schedule, self.states[above], self.clean[above], t_above, t_wanted)


class Evaluation:
    """Holds the pairs, the judges and the teacher's trajectories; judges entrants one by one."""

    def __init__(
        self,
        teacher: Stylizer,
        pairs: Sequence[Pair],
        strength: float,
        guidance: float,
        external: Sequence[Judge] = (),
    ) -> None:
        self.teacher, self.pairs, self.guidance, self.external = teacher, pairs, guidance, external
        self.start = start_index(strength)
        self.judges = {name: LiteFeatures(name) for name in JUDGES}
        self.ways = [self._way(pair, number) for number, pair in enumerate(pairs)]
        self.wanted = [self._maps(pair.reference) for pair in pairs]
        self.before = [self._distances(pair.content, wanted) for pair, wanted in zip(pairs, self.wanted, strict=True)]

    def _condition(self, stylizer: Stylizer, pair: Pair) -> Condition:
        style = stylizer.read_style([pair.reference])
        return stylizer.condition(to_tensor(pair.content[None]), style, 1.0)

    def _way(self, pair: Pair, number: int) -> Trajectory:
        condition = self._condition(self.teacher, pair)
        noise = torch.randn(condition.x_0.shape, generator=torch.Generator().manual_seed(number)).to(condition.x_0)
        t_eta = torch.tensor([int(grid_time(self.start))])
        x_eta = self.teacher.schedule.add_noise(condition.x_0, noise, t_eta)
        return Trajectory(self.teacher, condition, x_eta, self.start, self.guidance)

    def judge(self, entrant: Entrant, steps: int, guidance: float = 1.0) -> Row:
        """One row: `entrant` in `steps` steps over all pairs."""
        figures = [self._figures(entrant, k, steps, guidance) for k in range(len(self.pairs))]
        values = {key: [f[key] for f in figures] for key in figures[0]}
        return Row(entrant.name, steps, guidance, steps * (1 if guidance == 1 else 2), values)

    @torch.no_grad()
    def states(self, entrant: Entrant, number: int, steps: int, guidance: float = 1.0) -> list[SampleStep]:
        """The states that `entrant` visits on pair `number`, from the same x_eta as the teacher."""
        way, stylizer = self.ways[number], entrant.stylizer
        condition = self._condition(stylizer, self.pairs[number])
        generator = torch.Generator().manual_seed(1000 + number)
        steps_taken = sample(
            stylizer.denoiser(condition, guidance),
            way.states[0],
            sampling_times(int(grid_time(self.start)), steps),
            stylizer.schedule,
            gamma=entrant.gamma,
            noise=lambda _: torch.randn(way.states[0].shape, generator=generator),
        )
        return list(steps_taken)

    def picture(self, states: Sequence[SampleStep], number: int) -> Image:
        """The last of `states` of pair `number` as a picture."""
        height, width = self.pairs[number].content.shape[:2]
        stylizer = self.teacher
        picture = stylizer.canvas.unpad(stylizer.decode(states[-1].x), height, width)
        pixels: Image = np.rint(to_frames(picture)[0]).astype(np.uint8)
        return pixels

    @torch.no_grad()
    def _figures(self, entrant: Entrant, number: int, steps: int, guidance: float) -> dict[str, float]:
        pair, way = self.pairs[number], self.ways[number]
        began = time.perf_counter()
        states = self.states(entrant, number, steps, guidance)
        seconds = time.perf_counter() - began
        errors = [_relative(state.x, way.at(state.s)) for state in states]
        output = self.picture(states, number)
        after = self._distances(output, self.wanted[number])
        images = [to_tensor(image[None]) for image in (output, pair.content, pair.reference)]
        return {
            "end_error": errors[-1],
            "path_error": float(np.mean(errors)),
            **{name: 1 - after[name] / before for name, before in self.before[number].items()},
            "structure": edge_correlation(output, pair.content),
            "ssim": structure_similarity(output, pair.content),
            "sharpness": sharpness_ratio(output, pair.content),
            **{judge.name: judge(*images) for judge in self.external},
            "seconds": seconds,
        }

    @torch.no_grad()
    def _maps(self, image: Image) -> dict[str, list[Tensor]]:
        """What the style distances compare: feature maps of each judge, and texture statistics."""
        pixels = to_tensor(image[None])
        return {name: judge(pixels) for name, judge in self.judges.items()} | {"texture": [texture_statistics(pixels)]}

    def _distances(self, image: Image, wanted: dict[str, list[Tensor]]) -> dict[str, float]:
        """Every style distance of `image` to the reference with the maps `wanted`."""
        maps = self._maps(image)
        found: dict[str, float] = {}
        for name in self.judges:
            pair = maps[name], wanted[name]
            found |= {f"gram_{name}": float(gram_distance(*pair)), f"swd_{name}": float(sliced_wasserstein(*pair))}
        return found | {"texture": float((maps["texture"][0] - wanted["texture"][0]).abs().mean())}


def evaluate(
    evaluation: Evaluation, entrants: Sequence[Entrant], steps: Sequence[int], guidances: Sequence[float]
) -> Iterator[Row]:
    """Rows of the teacher - on its whole grid, where it has no error by definition, and in few steps, guided as its
    trajectory and not - then one for each entrant, guidance and number of steps."""
    teacher, guidance = evaluation.teacher, evaluation.guidance
    yield evaluation.judge(Entrant("teacher, whole", teacher), evaluation.start, guidance)
    for scale in dict.fromkeys((guidance, 1.0)):
        for count in steps:
            yield evaluation.judge(Entrant("teacher", teacher), count, scale)
    for entrant in entrants:
        for scale in guidances:
            for count in steps:
                yield evaluation.judge(entrant, count, scale)


def _relative(x: Tensor, reference: Tensor) -> float:
    return float((x - reference).norm() / reference.norm())
