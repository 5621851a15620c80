"""Students against their teacher on fixed held-out pairs: trajectory error, style, content, calls.

The reference is the teacher's own guided trajectory on the solver grid from the x_eta that the students start from. A
student's states are compared with it at the very times that its sampler visits: between grid times the teacher's state
is its own solver step, made shorter.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stdvid.diffusion.sampler import sample
from stdvid.diffusion.schedule import grid_time, sampling_times, start_index
from stdvid.diffusion.solver import jump
from stdvid.distill.data import Pool, step_rng
from stdvid.distill.sheets import fit
from stdvid.metrics.content import edge_correlation, sharpness_ratio
from stdvid.metrics.features import FeatureName, LiteFeatures
from stdvid.metrics.style import gram_distance, sliced_wasserstein
from stdvid.models.nano import decode
from stdvid.models.stylizer import Condition, Stylizer, to_frames, to_tensor, unpad
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
class Figures:
    """Figures of one entrant, number of steps and guidance on one pair.

    `end_error`: relative L2 of the final latents to the teacher's; `path_error`: mean of it over the states visited.
    `gram_*`, `swd_*`, `texture`: style moved, 1 - d(output, reference) / d(content, reference), for each distance.
    `structure`: correlation of edges with the content; `sharpness`: Laplacian variance over the content's.
    """

    end_error: float
    path_error: float
    gram_lite0: float
    gram_lite1: float
    swd_lite0: float
    swd_lite1: float
    texture: float
    structure: float
    sharpness: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """One line of the table: means over the pairs and half-widths of their 95 % confidence intervals."""

    name: str
    steps: int
    guidance: float
    calls: int
    mean: dict[str, float]
    interval: dict[str, float]


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

    def __init__(self, teacher: Stylizer, pairs: Sequence[Pair], strength: float, guidance: float) -> None:
        self.teacher, self.pairs, self.guidance = teacher, pairs, guidance
        self.start = start_index(strength)
        self.judges = {name: LiteFeatures(name) for name in JUDGES}
        self.ways = [self._way(pair, number) for number, pair in enumerate(pairs)]
        self.before = [self._distances(pair.content, pair) for pair in pairs]

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
        rows = [asdict(self._figures(entrant, k, steps, guidance)) for k in range(len(self.pairs))]
        values = {key: np.array([row[key] for row in rows]) for key in rows[0]}
        interval = {
            key: 1.96 * float(v.std(ddof=1)) / math.sqrt(len(v)) if len(v) > 1 else math.nan
            for key, v in values.items()
        }
        mean = {key: float(v.mean()) for key, v in values.items()}
        return Row(entrant.name, steps, guidance, steps * (1 if guidance == 1 else 2), mean, interval)

    def teacher_row(self) -> Row:
        """The teacher on its own grid: no trajectory error by definition."""
        return self.judge(Entrant("teacher", self.teacher), self.start, self.guidance)

    @torch.no_grad()
    def _figures(self, entrant: Entrant, number: int, steps: int, guidance: float) -> Figures:
        pair, way, stylizer = self.pairs[number], self.ways[number], entrant.stylizer
        condition = self._condition(stylizer, pair)
        times = sampling_times(int(grid_time(self.start)), steps)
        generator = torch.Generator().manual_seed(1000 + number)
        began = time.perf_counter()
        states = list(
            sample(
                stylizer.denoiser(condition, guidance),
                way.states[0],
                times,
                stylizer.schedule,
                gamma=entrant.gamma,
                noise=lambda _: torch.randn(way.states[0].shape, generator=generator),
            )
        )
        seconds = time.perf_counter() - began
        errors = [_relative(state.x, way.at(state.s)) for state in states]
        height, width = pair.content.shape[:2]
        output = to_frames(unpad(decode(states[-1].x), height, width))[0].round().astype(np.uint8)
        after = self._distances(output, pair)
        moved = {name: 1 - after[name] / before for name, before in self.before[number].items()}
        return Figures(
            end_error=errors[-1],
            path_error=float(np.mean(errors)),
            **moved,
            structure=edge_correlation(output, pair.content),
            sharpness=sharpness_ratio(output, pair.content),
            seconds=seconds,
        )

    @torch.no_grad()
    def _distances(self, image: Image, pair: Pair) -> dict[str, float]:
        """Every style distance of `image` to the reference of `pair`."""
        ours, theirs = (to_tensor(x[None]) for x in (image, pair.reference))
        found: dict[str, float] = {}
        for name, judge in self.judges.items():
            maps = judge(ours), judge(theirs)
            found |= {f"gram_{name}": float(gram_distance(*maps)), f"swd_{name}": float(sliced_wasserstein(*maps))}
        found["texture"] = float((texture_statistics(ours) - texture_statistics(theirs)).abs().mean())
        return found


def evaluate(
    evaluation: Evaluation, entrants: Sequence[Entrant], steps: Sequence[int], guidances: Sequence[float]
) -> Iterator[Row]:
    """The teacher's row, then one for each entrant, number of steps and guidance."""
    yield evaluation.teacher_row()
    for entrant in entrants:
        for guidance in guidances:
            for count in steps:
                yield evaluation.judge(entrant, count, guidance)


def _relative(x: Tensor, reference: Tensor) -> float:
    return float((x - reference).norm() / reference.norm())
