"""How a model fits on a card, by hand: pure numbers, and what a plan says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from stdvid.config import ModelConfig, StylizeConfig
from stdvid.models import memory
from stdvid.models.diffusers_adapter import HubModel
from stdvid.models.memory import GIB, OFFLOADS, USABLE, Layout, Network, Work, decide, weight_bytes
from stdvid.schema import merge
from stdvid.stylize import Job, plan

XL = Network({"unet": 5 * GIB, "vae": GIB // 6, "text_encoder": GIB // 4, "text_encoder_2": GIB}, 320, 128, 2, 4)
"""About SDXL in half precision."""

PLAIN = Work(1024, 1024, 16)
UNET_FRAME = int(1.6 * 1024 * 1024 * 320 * 2)
VAE_FRAME = int(9.4 * 1024 * 1024 * 128 * 4)
WEIGHTS = sum(XL.weights.values())


def test_what_a_frame_takes_is_added_to_the_weights() -> None:
    layout = decide(XL, PLAIN, free=100 * GIB)
    assert layout == Layout(8, 8, False, "none", layout.peak, 100 * GIB)
    assert layout.peak == pytest.approx(WEIGHTS + 8 * VAE_FRAME, abs=8)
    unsliced = decide(dataclasses.replace(XL, vae_channels=1), PLAIN, free=100 * GIB)
    assert unsliced.peak == pytest.approx(WEIGHTS + 8 * UNET_FRAME, abs=8)
    assert layout.note == f"painting 8 frames at a time: {layout.peak / GIB:.1f} GiB of 100.0 GiB free"


@pytest.mark.parametrize(
    ("free_gib", "expected"),
    [
        (80, (8, 8, False, "none")),
        (18, (8, 1, False, "none")),  # first the VAE works frame by frame
        (14, (6, 1, False, "none")),  # then fewer frames go together
        (12, (4, 1, True, "none")),  # then there are tiles
        (8, (2, 1, False, "model")),
        (7, (1, 1, False, "model")),
        (4, (3, 1, True, "sequential")),
        (0.5, (1, 1, True, "sequential")),  # what does not fit at all is tried all the same, and said
    ],
)
def test_cards_from_large_to_small(free_gib: float, expected: tuple[int, int, bool, str]) -> None:
    layout = decide(XL, PLAIN, int(free_gib * GIB))
    assert (layout.frames, layout.vae_frames, layout.tiled, layout.offload) == expected
    assert ("may be too little" in layout.note) == (free_gib == 0.5)


def test_the_note_says_all_of_it() -> None:
    layout = Layout(4, 1, True, "model", int(9.8 * GIB), int(11.9 * GIB))
    assert layout.note == (
        "painting 4 frames at a time, VAE in tiles, weights moved off the card between parts: 9.8 GiB of 11.9 GiB free"
    )
    assert dataclasses.replace(layout, frames=1, tiled=False, offload="none", free=None).note == (
        "painting 1 frame at a time: 9.8 GiB"
    )


@given(
    st.integers(2**28, 2**37),
    st.integers(64, 4096),
    st.integers(1, 64),
    st.integers(0, 50),
    st.sampled_from([0, 16, 32]),
    st.sampled_from(["auto", *OFFLOADS]),
)
def test_what_is_decided_fits_or_is_the_least(
    free: int, side: int, window: int, kept: int, see: int, offload: memory.Offload
) -> None:
    network, work = dataclasses.replace(XL, see=see), Work(side, side, window, kept)
    layout = decide(network, work, free, offload)
    assert layout.vae_frames <= layout.frames
    if see:
        assert layout.frames == min(see, window)  # a video goes through the network as one
    else:
        assert 1 <= layout.frames <= min(8, window)
    if offload != "auto":
        assert layout.offload == offload  # what a preset says wins
    least = decide(network, work, 1, offload)
    assert layout.peak <= max(free * USABLE, least.peak)
    more = decide(network, work, 2 * free, offload)
    assert OFFLOADS.index(more.offload) <= OFFLOADS.index(layout.offload)  # more room is never slower


def test_where_nobody_knows_what_is_free_weights_stay() -> None:
    layout = decide(XL, PLAIN, None)
    assert (layout.offload, layout.free) == ("none", None)
    assert 1 <= layout.frames <= 4
    assert decide(XL, Work(256, 256), None).frames == 4
    assert decide(XL, Work(4096, 4096), None).tiled


def test_drawing_and_anchors_take_room_too() -> None:
    plain = decide(XL, Work(512, 512), None)
    assert decide(XL, Work(512, 512, drawing=50 * GIB), None).peak == WEIGHTS + 50 * GIB
    kept = decide(XL, Work(512, 512, kept=4), None)
    assert kept.peak - plain.peak == pytest.approx(2 * 4 * 0.35 * 512 * 512 * 320 * 2, abs=2)


def test_the_vae_and_a_controlnet_stay_beside_the_unet_where_weights_are_moved() -> None:
    small = Work(16, 16)
    for offload in ("model", "sequential"):
        plain = decide(XL, small, 100 * GIB, offload).peak
        held = decide(dataclasses.replace(XL, weights={**XL.weights, "controlnet": 2 * GIB}), small, 100 * GIB, offload)
        assert held.peak - plain == pytest.approx(2 * GIB, abs=8)
    assert decide(XL, small, 100 * GIB, "model").peak > XL.weights["unet"] + XL.weights["vae"]


@pytest.mark.parametrize("broken", [{"width": 0}, {"window": 0}, {"kept": -1}])
def test_no_work(broken: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="no work"):
        Work(**broken)


def test_weights_are_counted_in_the_precision_they_are_loaded_in(tmp_path: Path) -> None:
    save_file({"a.x": torch.ones(3, 5), "b.y": torch.ones(7).half(), "b.z": torch.ones(())}, tmp_path / "w.safetensors")
    paths = [tmp_path / "w.safetensors"]
    assert weight_bytes(paths, 2) == 2 * (15 + 7 + 1)
    assert weight_bytes(paths * 2, 4) == 2 * 4 * 23
    assert weight_bytes(paths, 4, ("b.",)) == 4 * 8
    assert weight_bytes([], 4) == 0


# --- on a model -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build_all(tmp_path_factory.mktemp("tiny"))


def test_a_model_is_weighed_part_by_part(tiny: Path, tmp_path: Path) -> None:
    cpu, base = torch.device("cpu"), str(tiny / "sd15")
    network = HubModel.find(ModelConfig(base=base))._network(cpu)
    with torch.random.fork_rng():
        numbers = sum(p.numel() for p in tiny_models.unet("sd15").parameters())
    assert network.weights["unet"] == 4 * numbers
    assert (network.unet_channels, network.vae_channels, network.itemsize, network.see) == (32, 16, 4, 0)
    half = HubModel.find(ModelConfig(base=base, precision="bf16"))._network(cpu)
    assert half.weights["unet"] == 2 * numbers
    moving = HubModel.find(ModelConfig(base=base, motion_adapter=str(tiny / "sd15-motion")))._network(cpu)
    assert moving.see == 16
    assert moving.weights["unet"] > network.weights["unet"]
    single = tiny_models.single_file(tiny / "sd15", tmp_path / "all.safetensors")
    assert HubModel.find(ModelConfig(base=str(single), config=base))._network(cpu).weights == network.weights


def test_a_layout_is_decided_once_and_used(tiny: Path) -> None:
    cpu = torch.device("cpu")
    model = HubModel.find(ModelConfig(base=str(tiny / "sd15"), offload="model"))
    small, large = model.layout(Work(64, 64), cpu), model.layout(Work(9000, 9000), cpu)
    assert model.layout(Work(64, 64), cpu) is small
    assert (small.frames, small.offload, small.tiled) == (4, "none", False)  # nowhere to move weights to
    assert large.tiled
    stylizer = model.load(model.networks[0], cpu, Work(9000, 9000))
    assert stylizer.vae.use_tiling
    assert stylizer.frames_together(9000, 9000) == large.frames
    assert stylizer._at_once == 1


def test_a_plan_says_it_of_models_of_the_hub_alone(
    tiny: Path, clip: Callable[..., Path], style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        Job(clip("a.mp4"), (style,), tmp_path / "o.mp4", merge(StylizeConfig(), {"model": {"base": base}}))
        for base in ("nano", str(tiny / "sd15"))
    ]
    nano, hub = map(plan, jobs)
    assert nano.notes == ()
    assert nano.layout is None
    assert hub.layout is not None
    assert hub.notes == ()  # nobody knows what is free
    assert hub.memory_mib() > hub.layout.peak / 2**20
    monkeypatch.setattr("stdvid.models.diffusers_adapter.free_bytes", lambda device: 8 * 2**30)  # a card
    carded = plan(jobs[1])
    assert carded.layout is not None
    assert carded.notes == (carded.layout.note,)
    assert carded.notes[0].endswith("GiB of 8.0 GiB free")
    assert len({nano.key, hub.key}) == 2
