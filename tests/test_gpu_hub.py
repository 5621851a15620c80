"""Models of the hub on a card, tiny ones of the real classes: each precision, each way to fit them in, and the plan."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from cards import CARD, CPU, ON_A_CARD, assert_near, exact, pan, reference

from stdvid.config import ControlNetConfig, IPAdapterConfig, LoraConfig, ModelConfig, StylizeConfig
from stdvid.models.diffusers_adapter import HubModel
from stdvid.models.latent_stylizer import LatentStylizer
from stdvid.models.memory import GIB, Layout, Work
from stdvid.models.stylizer import to_tensor
from stdvid.painter import Painter
from stdvid.schema import merge
from stdvid.temporal.ways import Ways

pytestmark = ON_A_CARD

TIMES = (599, 299, -1)
SIZE = (96, 64)
HALF = {"fp16": (1.0, 4.0), "bf16": (4.0, 16.0)}
"""How far frames may be from those of float32, in the mean and in 99 of 100 values, of 255."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_models.build_all(tmp_path_factory.mktemp("tiny"))
    shutil.copytree(folder / "sdxl" / "vae", folder / "wide-vae")  # one that says it overflows in half precision
    told = folder / "wide-vae" / "config.json"
    told.write_text(json.dumps(json.loads(told.read_text()) | {"force_upcast": True}))
    return folder


def config_of(tiny: Path, kind: str, motion: bool = False, **more: Any) -> ModelConfig:
    return ModelConfig(
        base=str(tiny / kind),
        lora=(LoraConfig(str(tiny / f"{kind}-lora.safetensors"), weight=0.8),),
        ip_adapter=IPAdapterConfig(str(tiny / f"{kind}-ip"), "ip.safetensors"),
        motion_adapter=str(tiny / f"{kind}-motion") if motion else None,
        **more,
    )


def load(config: ModelConfig, device: torch.device) -> LatentStylizer:
    model = HubModel.find(config, "the painting in ink", "a bad thing")
    return model.load(model.networks[0], device, Work(*SIZE, window=4))


def painter_of(stylizer: LatentStylizer, guidance: float = 3.0) -> Painter:
    sampling = {"guidance": guidance, "color": 0.0, "style_guidance": 0, "style_scale": 1.0}
    config = merge(StylizeConfig(), {"sampling": sampling, "video": {"consistency": "none"}})
    return Painter(stylizer, stylizer.read_style([reference()]), TIMES, config, SIZE, threading.Event())


def painted(stylizer: LatentStylizer) -> np.ndarray:
    """Four frames that know nothing of one another."""
    hands, frames = painter_of(stylizer), pan(4)
    return hands.apart(frames, 0, hands.look(frames))


@cache
def on_the_cpu(config: ModelConfig) -> np.ndarray:
    return painted(load(config, CPU))


@pytest.mark.parametrize("motion", [False, True], ids=["still", "moving"])
@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_frames_are_those_of_the_cpu_in_each_precision(tiny: Path, kind: str, motion: bool) -> None:
    expected = on_the_cpu(config_of(tiny, kind, motion))
    assert expected.reshape(len(expected), -1).std(1).min() > 5
    with exact():
        same = painted(load(config_of(tiny, kind, motion, precision="fp32"), CARD))
    np.testing.assert_allclose(same / 255, expected / 255, atol=1e-3)
    for precision, (mean, most) in HALF.items():
        stylizer = load(config_of(tiny, kind, motion, precision=precision), CARD)
        assert_near(painted(stylizer), expected, mean, most, f"{kind} in {precision}")


def test_it_is_half_precision_unless_a_vae_overflows_in_it(tiny: Path) -> None:
    expected = on_the_cpu(config_of(tiny, "sdxl"))
    for vae, dtype in ((None, torch.float16), (str(tiny / "wide-vae"), torch.float32)):
        stylizer = load(config_of(tiny, "sdxl", vae=vae), CARD)
        assert (stylizer.unet.dtype, stylizer.vae.dtype) == (torch.float16, dtype)
        latents = stylizer.encode(to_tensor(pan(2)).to(CARD))
        decoded = stylizer.decode(latents)
        assert latents.dtype == decoded.dtype == torch.float32
        assert decoded.isfinite().all()
        assert_near(painted(stylizer), expected, *HALF["fp16"], f"VAE in {dtype}")


# --- how it fits ----------------------------------------------------------------------------------------------------


@cache
def in_place(tiny: Path, kind: str) -> np.ndarray:
    """In half precision, with all weights on the card; that is where they are."""
    stylizer = load(config_of(tiny, kind, offload="none"), CARD)
    frames = painted(stylizer)
    assert set(places(stylizer).values()) == {CARD.type}
    return frames


def places(stylizer: LatentStylizer) -> dict[str, str]:
    """On which kind of device the weights of each part are; all of a part are on one."""
    found = {}
    for name, part in stylizer.pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            (found[name],) = {parameter.device.type for parameter in part.parameters()}
    return found


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_weights_moved_off_the_card_between_parts(tiny: Path, kind: str) -> None:
    stylizer = load(config_of(tiny, kind, offload="model"), CARD)
    beside: set[str] = set()
    stylizer.unet.conv_in.register_forward_pre_hook(
        lambda *_: beside.update(name for name, place in places(stylizer).items() if place == CARD.type)
    )
    assert_near(painted(stylizer), in_place(tiny, kind), 0.05, 0.5, "moved part by part")
    assert beside == {"unet", "vae"}  # as the estimate has it
    left = places(stylizer)
    assert left.pop("vae") == CARD.type  # the last to work
    assert set(left.values()) == {"cpu"}


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_weights_brought_to_the_card_layer_by_layer(tiny: Path, kind: str) -> None:
    stylizer = load(config_of(tiny, kind, offload="sequential"), CARD)
    assert_near(painted(stylizer), in_place(tiny, kind), 0.05, 0.5, "brought layer by layer")
    assert set(places(stylizer).values()) == {"meta"}  # the weights themselves wait in memory


@pytest.mark.parametrize("offload", ["none", "model", "sequential"])
def test_a_controlnet_stays_where_the_network_works(tiny: Path, offload: Any) -> None:
    control = ControlNetConfig(str(tiny / "sdxl-control"), "canny", 0.7)
    config = config_of(tiny, "sdxl", controlnet=control)
    stylizer = load(dataclasses.replace(config, offload=offload), CARD)
    assert_near(painted(stylizer), on_the_cpu(config), *HALF["fp16"], f"with a ControlNet, offload {offload}")
    assert stylizer.control is not None
    assert next(stylizer.control.network.parameters()).device.type == CARD.type


@pytest.mark.parametrize(("frames", "vae_frames", "tiled"), [(1, 1, False), (3, 2, False), (2, 1, True), (4, 4, True)])
def test_frames_and_tiles_in_fewer_calls_or_more(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, frames: int, vae_frames: int, tiled: bool
) -> None:
    whole = on_the_cpu(config_of(tiny, "sdxl"))
    layout = Layout(frames, vae_frames, tiled, "none", 0, None)
    monkeypatch.setattr("stdvid.models.diffusers_adapter.decide", lambda *_: layout)
    stylizer = load(config_of(tiny, "sdxl", precision="fp32"), CARD)
    assert stylizer.vae.use_tiling == tiled
    with exact():
        found = painted(stylizer)
    expected = painted(load(config_of(tiny, "sdxl"), CPU)) if tiled else whole  # tiles blend into one another
    np.testing.assert_allclose(found / 255, expected / 255, atol=1e-3)


def test_anchors_are_seen_in_half_precision(tiny: Path) -> None:
    shots = []
    for device, precision in ((CPU, "fp32"), (CARD, "fp16")):
        hands, images = painter_of(load(config_of(tiny, "sd15", precision=precision), device), 1.0), pan(4)
        look, ways = hands.look(images), Ways.through(images)
        first = hands.anchor(images[0], look)
        last = hands.anchor(images[-1], look, first, ways)
        shots.append(hands.between(images, look, ways, first, last))
        assert {value.device.type for value in first.trail.memory.values()} == {device.type}
    assert_near(shots[1], shots[0], *HALF["fp16"], "a shot in fp16")


@pytest.mark.slow
def test_a_compiled_network_paints_the_same(tiny: Path) -> None:
    stylizer = load(config_of(tiny, "sd15", compile=True, precision="fp32"), CARD)
    assert_near(painted(stylizer), on_the_cpu(config_of(tiny, "sd15")), 0.5, 2, "compiled")


def test_the_plan_knows_what_is_free(tiny: Path) -> None:
    model = HubModel.find(config_of(tiny, "sdxl"))
    work = Work(*SIZE, window=4)
    layout = model.layout(work, CARD)
    assert layout.free is not None
    assert 0 < layout.free <= torch.cuda.get_device_properties(CARD).total_memory
    assert layout.offload == "none"
    assert layout.note.endswith(f"of {layout.free / GIB:.1f} GiB free")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(CARD)
    before = torch.cuda.memory_allocated(CARD)
    painted(model.load(model.networks[0], CARD, work))
    taken = torch.cuda.max_memory_allocated(CARD) - before
    print(f"estimated {layout.peak / 2**20:.1f} MiB, taken {taken / 2**20:.1f} MiB")
