"""Denoiser, solver and sampler: against diffusers' schedulers and against a closed form."""

from __future__ import annotations

import itertools

import pytest
import torch
from diffusers import DDIMScheduler, TCDScheduler
from torch import Tensor

from stdvid.diffusion.denoiser import Guided, Prediction, eps_from_x0, to_x0
from stdvid.diffusion.sampler import sample, sample_last
from stdvid.diffusion.schedule import CLEAN, Schedule, cosine, sampling_times, scaled_linear
from stdvid.diffusion.solver import jump, step


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class GaussianDenoiser:
    """E[x_0 | x_t] for data ~ N(mean, std^2), and the exact end of its probability-flow ODE."""

    def __init__(self, schedule: Schedule, mean: float = 0.3, std: float = 0.5) -> None:
        self.schedule, self.mean, self.std = schedule, mean, std

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.schedule.alpha_sigma(t)
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        return self.mean + gain * (x_t - alpha * self.mean)

    def exact(self, x_t: Tensor, t: int) -> Tensor:
        """The flow keeps a point at the same number of standard deviations from the mean."""
        alpha, sigma = self.schedule.alpha_sigma(torch.tensor([t]))
        return self.mean + self.std * (x_t - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2).sqrt()


@pytest.mark.parametrize("prediction", ["x0", "eps", "v"])
def test_every_prediction_gives_the_same_x0(prediction: Prediction) -> None:
    schedule = cosine()
    x_0, noise, t = randn(2, 3, 4, 4), randn(2, 3, 4, 4, seed=1), torch.tensor([10, 700])
    alpha, sigma = schedule.alpha_sigma(t)
    x_t = schedule.add_noise(x_0, noise, t)
    output = {"x0": x_0, "eps": noise, "v": alpha * noise - sigma * x_0}[prediction]
    found = to_x0(output, x_t, alpha, sigma, prediction)
    torch.testing.assert_close(found, x_0, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(eps_from_x0(found, x_t, alpha, sigma), noise, atol=1e-4, rtol=1e-3)


def test_guidance_extrapolates_and_one_costs_one_call() -> None:
    calls: list[str] = []

    def constant(name: str, value: float):  # type: ignore[no-untyped-def]
        def call(x: Tensor, t: Tensor) -> Tensor:
            calls.append(name)
            return torch.full_like(x, value)

        return call

    x, t = torch.zeros(2, 1, 2, 2), torch.tensor([5, 5])
    cond, uncond = constant("cond", 2.0), constant("uncond", 1.0)
    assert bool((Guided(cond, uncond, 3.0)(x, t) == 4).all())
    assert calls == ["cond", "uncond"]
    assert bool((Guided(cond, uncond, 1.0)(x, t) == 2).all())
    assert calls == ["cond", "uncond", "cond"]
    each = Guided(cond, uncond, torch.tensor([1.0, 2.0]).view(-1, 1, 1, 1))(x, t)
    assert each[:, 0, 0, 0].tolist() == [2, 3]


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_ddim_agrees_with_diffusers(prediction: Prediction) -> None:
    schedule = scaled_linear()
    referee = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type={"eps": "epsilon", "v": "v_prediction"}[prediction],
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    referee.set_timesteps(10)
    times = [*referee.timesteps.tolist(), CLEAN]
    theirs = ours = randn(2, 4, 8, 8)
    for index, (t, s) in enumerate(itertools.pairwise(times)):
        output = randn(2, 4, 8, 8, seed=index + 1)
        theirs = referee.step(output, t, theirs).prev_sample
        alpha, sigma = schedule.alpha_sigma(torch.tensor([t]))
        ours = step(schedule, ours, to_x0(output, ours, alpha, sigma, prediction), t, s)
        torch.testing.assert_close(ours / theirs.abs().max(), theirs / theirs.abs().max(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_tcd_agrees_with_diffusers(gamma: float) -> None:
    schedule = scaled_linear()
    referee = TCDScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False)
    referee.set_timesteps(timesteps=[899, 639, 379, 119])
    times = referee.timesteps.tolist()
    theirs = ours = randn(2, 4, 8, 8)
    for index, (t, s) in enumerate(itertools.pairwise(times)):
        output = randn(2, 4, 8, 8, seed=index + 1)
        noise = randn(2, 4, 8, 8, seed=100 + index)
        generator = torch.Generator().manual_seed(100 + index)
        theirs = referee.step(output, t, theirs, eta=gamma, generator=generator).prev_sample
        alpha, sigma = schedule.alpha_sigma(torch.tensor([t]))
        ours = step(schedule, ours, to_x0(output, ours, alpha, sigma, "eps"), t, s, gamma, noise)
        torch.testing.assert_close(ours / theirs.abs().max(), theirs / theirs.abs().max(), atol=1e-6, rtol=0)


def test_last_step_adds_no_noise_and_gamma_needs_some() -> None:
    schedule, x, x_0 = cosine(), randn(1, 3, 4, 4), randn(1, 3, 4, 4, seed=1)
    torch.testing.assert_close(step(schedule, x, x_0, 599, CLEAN, gamma=1.0, noise=randn(1, 3, 4, 4)), x_0)
    with pytest.raises(ValueError, match="needs noise"):
        step(schedule, x, x_0, 599, 299, gamma=0.5)


def test_jump_takes_a_time_for_each_sample() -> None:
    schedule, x, x_0 = cosine(), randn(2, 3, 4, 4), randn(2, 3, 4, 4, seed=1)
    both = jump(schedule, x, x_0, torch.tensor([599, 299]), torch.tensor([299, CLEAN]))
    torch.testing.assert_close(both[:1], step(schedule, x[:1], x_0[:1], 599, 299))
    torch.testing.assert_close(both[1:], x_0[1:])


def test_ddim_is_of_first_order_on_a_gaussian() -> None:
    schedule = cosine()
    denoiser = GaussianDenoiser(schedule)
    x = randn(1, 1, 16, 16)
    exact = denoiser.exact(x, 599)
    errors = [
        float((sample_last(sample(denoiser, x, sampling_times(599, n), schedule)) - exact).abs().mean())
        for n in (10, 20, 40)
    ]
    assert errors[-1] < 0.01
    for coarse, fine in itertools.pairwise(errors):
        assert 1.7 < coarse / fine < 2.6


@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_sampler_takes_exactly_n_steps_from_exactly_the_start(steps: int) -> None:
    schedule, seen = cosine(), []

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        seen.append(t.tolist())
        return torch.zeros_like(x_t)

    states = list(sample(denoiser, randn(3, 2, 4, 4), sampling_times(599, steps), schedule))
    assert len(seen) == len(states) == steps
    assert seen[0] == [599] * 3
    assert [s.index for s in states] == list(range(steps))
    assert states[-1].s == CLEAN
    assert bool((states[-1].x == 0).all())


def test_refined_x0_is_what_the_solver_sees() -> None:
    schedule = cosine()
    seen: list[int] = []

    def refine(x_0: Tensor, t: int) -> Tensor:
        seen.append(t)
        return torch.ones_like(x_0)

    times = sampling_times(599, 3)
    end = sample_last(sample(lambda x, t: x * 0, randn(1, 1, 4, 4), times, schedule, refine_x0=refine))
    assert bool((end == 1).all())
    assert seen == times[:-1]


def test_gamma_draws_noise_for_each_step_by_its_index() -> None:
    schedule, drawn = cosine(), []

    def noise(index: int) -> Tensor:
        drawn.append(index)
        return randn(1, 1, 4, 4, seed=index)

    x, times, denoiser = randn(1, 1, 4, 4), sampling_times(599, 3), GaussianDenoiser(schedule)
    stochastic = sample_last(sample(denoiser, x, times, schedule, gamma=0.3, noise=noise))
    again = sample_last(sample(denoiser, x, times, schedule, gamma=0.3, noise=noise))
    plain = sample_last(sample(denoiser, x, times, schedule))
    assert drawn == [0, 1, 2] * 2
    assert torch.equal(stochastic, again)
    assert not torch.allclose(stochastic, plain)


def test_a_sampler_without_steps_is_an_error() -> None:
    with pytest.raises(ValueError, match="no step"):
        sample_last(sample(lambda x, t: x, randn(1, 1, 2, 2), [599], cosine()))
