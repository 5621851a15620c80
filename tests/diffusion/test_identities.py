"""Closed forms of schedule, solver and guidance, for any times."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stdvid.diffusion.denoiser import Guided, eps_from_x0, to_x0
from stdvid.diffusion.sampler import sample, sample_last
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
from stdvid.diffusion.solver import jump, step

COSINE = cosine()
SCHEDULE = st.sampled_from([make() for make in SCHEDULES.values()])
TIMES = st.integers(10, 980)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def at(t: int) -> Tensor:
    return torch.tensor([t])


def test_cosine_is_the_formula_of_its_paper() -> None:
    def f(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in (0, 99, 499, 899):
        assert float(COSINE.alphas_cumprod[t]) == pytest.approx(f((t + 1) / 1000) / f(0), rel=1e-9)
    assert float(COSINE.alphas_cumprod[999] / COSINE.alphas_cumprod[998]) == pytest.approx(1e-3)  # the capped beta


def test_scaled_linear_by_hand() -> None:
    betas = scaled_linear(3, 0.04, 0.36)  # roots .2, .4, .6
    assert betas.alphas_cumprod.tolist() == pytest.approx([0.96, 0.96 * 0.84, 0.96 * 0.84 * 0.64])


@pytest.mark.parametrize("steps", [2, 10, 250])
def test_a_schedule_has_as_many_times_as_asked(steps: int) -> None:
    for make in SCHEDULES.values():
        assert make(steps).train_steps == steps


@pytest.mark.parametrize("ndim", [1, 2, 4, 5])
def test_coefficients_broadcast_over_any_number_of_axes(ndim: int) -> None:
    alpha, sigma = COSINE.alpha_sigma(torch.tensor([5, 500, CLEAN]), ndim)
    assert alpha.shape == sigma.shape == (3, *[1] * (ndim - 1))
    assert float(alpha.flatten()[2]) == 1


@given(schedule=SCHEDULE, t=TIMES, s=st.integers(CLEAN, 900))
@settings(max_examples=30, deadline=None)
def test_a_jump_from_the_truth_lands_on_the_truth(schedule: Schedule, t: int, s: int) -> None:
    s = min(s, t - 1)
    x_0, eps = randn(1, 2, 4, 4, seed=t), randn(1, 2, 4, 4, seed=s + 2000)
    found = jump(schedule, schedule.add_noise(x_0, eps, at(t)), x_0, at(t), at(s))
    torch.testing.assert_close(found, schedule.add_noise(x_0, eps, at(s)), atol=1e-4, rtol=1e-4)


@given(schedule=SCHEDULE, times=st.lists(TIMES, min_size=3, max_size=3, unique=True))
@settings(max_examples=30, deadline=None)
def test_two_jumps_with_one_estimate_are_one(schedule: Schedule, times: list[int]) -> None:
    t, s, r = sorted(times, reverse=True)
    x, x_0 = randn(1, 2, 4, 4), randn(1, 2, 4, 4, seed=1)
    via = jump(schedule, jump(schedule, x, x_0, at(t), at(s)), x_0, at(s), at(r))
    torch.testing.assert_close(via, jump(schedule, x, x_0, at(t), at(r)), atol=2e-4, rtol=1e-3)


@given(schedule=SCHEDULE, t=TIMES, share=st.floats(0.05, 0.95), gamma=st.floats(0.01, 1))
@settings(max_examples=40, deadline=None)
def test_fresh_noise_keeps_signal_and_variance_of_the_target_time(
    schedule: Schedule, t: int, share: float, gamma: float
) -> None:
    s = int(share * t)
    one, zero = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    alpha_t, sigma_t = schedule.alpha_sigma(at(t))
    alpha_s, sigma_s = schedule.alpha_sigma(at(s))
    signal = float(step(schedule, alpha_t, one, t, s, gamma, zero))  # x_0 = 1, eps = 0
    old = float(step(schedule, sigma_t, zero, t, s, gamma, zero))  # x_0 = 0, eps = 1
    fresh = float(step(schedule, zero, zero, t, s, gamma, one))
    assert signal == pytest.approx(float(alpha_s), abs=1e-4)
    assert old**2 + fresh**2 == pytest.approx(float(sigma_s**2), abs=1e-4)
    assert fresh >= 0


@given(t=TIMES)
@settings(max_examples=20, deadline=None)
def test_predictions_are_a_rotation_of_each_other(t: int) -> None:
    alpha, sigma = COSINE.alpha_sigma(at(t))
    x_t, v = randn(1, 2, 3, 3, seed=t), randn(1, 2, 3, 3, seed=t + 1)
    x_0 = to_x0(v, x_t, alpha, sigma, "v")
    eps = eps_from_x0(x_0, x_t, alpha, sigma)
    torch.testing.assert_close(eps, sigma * x_t + alpha * v, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(to_x0(eps, x_t, alpha, sigma, "eps"), x_0, atol=2e-3, rtol=1e-3)


@given(t=TIMES, scale=st.floats(-2, 8))
@settings(max_examples=20, deadline=None)
def test_guiding_the_picture_guides_the_noise(t: int, scale: float) -> None:
    x, cond, uncond = (randn(1, 2, 3, 3, seed=k) for k in range(3))
    guided = Guided(lambda x, t: cond, lambda x, t: uncond, scale)(x, at(t))
    alpha, sigma = COSINE.alpha_sigma(at(t))
    ours, with_style, without = (eps_from_x0(v, x, alpha, sigma) for v in (guided, cond, uncond))
    bound = 1e-4 * float(ours.abs().max() + 1) * (1 + abs(scale)) / float(sigma)
    torch.testing.assert_close(ours, without + scale * (with_style - without), atol=bound, rtol=0)


def test_no_guidance_at_all_is_the_unconditional_network() -> None:
    x, uncond = randn(1, 1, 2, 2), randn(1, 1, 2, 2, seed=1)
    assert torch.equal(Guided(lambda x, t: x, lambda x, t: uncond, 0.0)(x, at(5)), uncond)


@pytest.mark.parametrize("index", range(1, 51))
def test_strengths_of_the_grid_start_at_their_own_index(index: int) -> None:
    assert start_index(index / 50) == index
    assert int(grid_time(index)) == 20 * index - 1
    assert int(grid_time(torch.tensor(index))) == 20 * index - 1


@given(strength=st.floats(0.001, 1), steps=st.integers(1, 200))
def test_a_start_is_the_first_grid_point_that_is_noisy_enough(strength: float, steps: int) -> None:
    index = start_index(strength, steps)
    assert 1 <= index <= steps
    assert index / steps >= strength - 1e-8
    assert (index - 1) / steps < strength + 1e-8


@pytest.mark.parametrize(
    ("start", "steps", "times"),
    [
        (599, 1, [599, -1]),
        (599, 2, [599, 299, -1]),
        (599, 4, [599, 449, 299, 149, -1]),
        (999, 4, [999, 749, 499, 249, -1]),
        (2, 3, [2, 1, 0, -1]),
        (0, 1, [0, -1]),
    ],
)
def test_sampling_times_by_hand(start: int, steps: int, times: list[int]) -> None:
    assert sampling_times(start, steps) == times


def test_sampling_is_lazy_and_keeps_no_gradient() -> None:
    weight, calls = torch.ones(1, requires_grad=True), []

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        calls.append(int(t[0]))
        return weight * x * 0.5

    steps = sample(denoiser, randn(1, 1, 4, 4), sampling_times(599, 3), COSINE)
    assert calls == []
    first = next(steps)
    assert (calls, first.t, first.s) == ([599], 599, 399)
    assert not sample_last(steps).requires_grad
    assert calls == [599, 399, 199]
