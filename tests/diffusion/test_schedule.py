"""Schedules and time grids."""

from __future__ import annotations

import itertools

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given
from hypothesis import strategies as st

from stdvid.diffusion.schedule import (
    CLEAN,
    SCHEDULES,
    Schedule,
    cosine,
    grid_time,
    sampling_times,
    scaled_linear,
    start_index,
)
from stdvid.errors import UsageError


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_preserves_variance_and_ends_clean(name: str) -> None:
    schedule = SCHEDULES[name]()
    times = torch.arange(-1, schedule.train_steps)
    alpha, sigma = schedule.alpha_sigma(times)
    assert alpha.shape == sigma.shape == (schedule.train_steps + 1, 1, 1, 1)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha))
    assert (alpha[0], sigma[0]) == (1, 0)
    assert bool((sigma.flatten().diff() > 0).all())


@pytest.mark.parametrize(
    ("ours", "beta_schedule", "options"),
    [
        (cosine, "squaredcos_cap_v2", {}),
        (scaled_linear, "scaled_linear", {"beta_start": 0.00085, "beta_end": 0.012}),
    ],
)
def test_schedules_agree_with_diffusers(ours: object, beta_schedule: str, options: dict[str, float]) -> None:
    referee = DDIMScheduler(num_train_timesteps=1000, beta_schedule=beta_schedule, **options)
    found = ours().alphas_cumprod.float()  # type: ignore[operator]
    torch.testing.assert_close(found, referee.alphas_cumprod, atol=2e-6, rtol=1e-4)


def test_add_noise_mixes_by_alpha_and_sigma() -> None:
    schedule = cosine()
    x_0, noise = torch.full((2, 3, 4, 4), 2.0), torch.full((2, 3, 4, 4), -1.0)
    x_t = schedule.add_noise(x_0, noise, torch.tensor([CLEAN, 599]))
    torch.testing.assert_close(x_t[0], x_0[0])
    alpha, sigma = schedule.alpha_sigma(torch.tensor([599]))
    torch.testing.assert_close(x_t[1], (2 * alpha - sigma)[0].expand(3, 4, 4))


@pytest.mark.parametrize("bad", [torch.ones(3, 3), torch.tensor([0.5, 0.9]), torch.tensor([0.9, 0.0])])
def test_what_is_no_schedule_is_refused(bad: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="is not a schedule"):
        Schedule(bad)


@pytest.mark.parametrize(("strength", "index"), [(0.6, 30), (0.45, 23), (0.75, 38), (1.0, 50), (0.01, 1)])
def test_start_index_is_the_ceiling(strength: float, index: int) -> None:
    assert start_index(strength) == index


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.01])
def test_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(UsageError, match="out of range"):
        start_index(strength)


def test_grid_runs_from_clean_to_the_last_time() -> None:
    assert [grid_time(i) for i in (0, 1, 30, 50)] == [CLEAN, 19, 599, 999]


@given(start=st.integers(0, 999), steps=st.integers(1, 60))
def test_sampling_times_are_exact(start: int, steps: int) -> None:
    if steps > start + 1:
        with pytest.raises(UsageError):
            sampling_times(start, steps)
        return
    times = sampling_times(start, steps)
    assert len(times) == steps + 1
    assert (times[0], times[-1]) == (start, CLEAN)
    assert all(a > b for a, b in itertools.pairwise(times))
    gaps = [a - b for a, b in itertools.pairwise(times)]
    assert max(gaps) - min(gaps) <= 2
