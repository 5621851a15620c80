"""Judges with the user's weights: tiny random ones here, in the published names, with transformers as a referee."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stdvid.errors import ModelError
from stdvid.metrics.external import Aesthetic, ClipVision, Csd, Lpips

WIDTH, DIM, SIDE, PATCH = 128, 24, 32, 8


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def tower(generator: torch.Generator) -> dict[str, Tensor]:
    """An image tower of two blocks under OpenAI's names."""

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) / 8

    state = {
        "conv1.weight": random(WIDTH, 3, PATCH, PATCH),
        "class_embedding": random(WIDTH),
        "positional_embedding": random((SIDE // PATCH) ** 2 + 1, WIDTH),
    }
    for norm in ("ln_pre", "ln_post"):
        state |= {f"{norm}.weight": 1 + random(WIDTH), f"{norm}.bias": random(WIDTH)}
    for n in range(2):
        block = f"transformer.resblocks.{n}"
        for norm in ("ln_1", "ln_2"):
            state |= {f"{block}.{norm}.weight": 1 + random(WIDTH), f"{block}.{norm}.bias": random(WIDTH)}
        sizes = {"attn.in_proj_": (3 * WIDTH, WIDTH), "attn.out_proj.": (WIDTH, WIDTH)}
        sizes |= {"mlp.c_fc.": (4 * WIDTH, WIDTH), "mlp.c_proj.": (WIDTH, 4 * WIDTH)}
        for name, (rows, columns) in sizes.items():
            state |= {f"{block}.{name}weight": random(rows, columns), f"{block}.{name}bias": random(rows)}
    return state


def pictures(generator: torch.Generator) -> list[Tensor]:
    return [torch.rand(1, 3, 40, 56, generator=generator) * 2 - 1 for _ in range(3)]


def test_the_tower_is_that_of_transformers(generator: torch.Generator) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    state = tower(generator)
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=WIDTH // 64,
        image_size=SIDE,
        patch_size=PATCH,
        hidden_act="quick_gelu",
    )
    with torch.random.fork_rng():
        referee = CLIPVisionModel(config).eval()
    names = {
        "class_embedding": "embeddings.class_embedding",
        "conv1.weight": "embeddings.patch_embedding.weight",
        "positional_embedding": "embeddings.position_embedding.weight",
        "ln_pre": "pre_layrnorm",
        "ln_post": "post_layernorm",
        "transformer.resblocks": "encoder.layers",
        "attn.out_proj": "self_attn.out_proj",
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    theirs: dict[str, Tensor] = {}
    for key, value in state.items():
        parts = {key: value}
        if "in_proj_" in key:
            stem, kind = key.split("attn.in_proj_")
            parts = {f"{stem}self_attn.{n}_proj.{kind}": part for n, part in zip("qkv", value.chunk(3), strict=True)}
        for name, part in parts.items():
            for ours, other in names.items():
                name = name.replace(ours, other)
            theirs[name] = part
    own = referee.state_dict()
    prefix = "vision_model." if next(iter(own)).startswith("vision_model.") else ""
    referee.load_state_dict({prefix + k: v for k, v in theirs.items()}, strict=False)
    assert {prefix + k for k in theirs} == {k for k in own if not k.endswith("position_ids")}
    image = torch.rand(2, 3, SIDE, SIDE, generator=generator) * 2 - 1
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    with torch.no_grad():
        wanted = referee((image / 2 + 0.5 - mean) / std).pooler_output
    torch.testing.assert_close(ClipVision(state)(image), wanted, atol=1e-4, rtol=1e-4)


def test_csd_is_a_similarity_of_styles(generator: torch.Generator, tmp_path: Path) -> None:
    state = {f"backbone.{k}": v for k, v in tower(generator).items()}
    save_file(state | {"last_layer_style": torch.randn(WIDTH, DIM, generator=generator)}, tmp_path / "csd.safetensors")
    csd = Csd(tmp_path / "csd.safetensors")
    image, content, reference = pictures(generator)
    assert csd(image, content, image) == pytest.approx(1, abs=1e-5)
    assert -1 <= csd(image, content, reference) < 0.9999
    assert csd(image, content, reference) == csd(image, reference, reference)  # the content is not asked


def test_aesthetics_are_of_the_picture_alone(generator: torch.Generator, tmp_path: Path) -> None:
    clip = tower(generator) | {"proj": torch.randn(WIDTH, DIM, generator=generator)}
    save_file({f"visual.{k}": v for k, v in clip.items()}, tmp_path / "clip.safetensors")
    sizes = ((16, DIM), (1, 16))
    layers = {
        f"layers.{n}.{kind}": torch.randn(size if kind == "weight" else size[0], generator=generator)
        for n, size in zip((0, 2), sizes, strict=True)
        for kind in ("weight", "bias")
    }
    save_file(layers, tmp_path / "mlp.safetensors")
    judge = Aesthetic(tmp_path / "mlp.safetensors", tmp_path / "clip.safetensors")
    image, content, reference = pictures(generator)
    assert judge(image, content, reference) == judge(image, reference, content)
    assert judge(image, content, reference) != judge(content, content, reference)
    save_file({"layers.0.weight": torch.zeros(1, 3), "layers.0.bias": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(ModelError, match="LAION predictor"):
        Aesthetic(tmp_path / "b.safetensors", tmp_path / "clip.safetensors")


def test_lpips_is_a_distance_to_the_content(generator: torch.Generator, tmp_path: Path) -> None:
    shapes = ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3))
    state: dict[str, Tensor] = {}
    for k, (n, out, into, side) in enumerate(shapes):
        state[f"features.{n}.weight"] = torch.randn(out, into, side, side, generator=generator) / (into * side)
        state[f"features.{n}.bias"] = torch.zeros(out)
        state[f"lin{k}.model.1.weight"] = torch.rand(1, out, 1, 1, generator=generator)
    save_file(state, tmp_path / "lpips.safetensors")
    lpips = Lpips(tmp_path / "lpips.safetensors")
    image = torch.rand(1, 3, 80, 96, generator=generator) * 2 - 1
    near, far = image + 0.02 * torch.randn(image.shape, generator=generator), image.flip(3)
    assert lpips(image, image, image) == 0
    assert 0 < lpips(near, image, image) < lpips(far, image, image)


def test_files_that_are_something_else_are_refused(generator: torch.Generator, tmp_path: Path) -> None:
    pickle = tmp_path / "csd.pth"
    torch.save({"last_layer_style": torch.zeros(2, 2)}, pickle)
    with pytest.raises(ModelError, match="pickles are not opened"):
        Csd(pickle)
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, other)
    for judge, wanted in ((Csd, "CSD"), (Lpips, "LPIPS")):
        with pytest.raises(ModelError, match=f"needed is {wanted}"):
            judge(other)
    with pytest.raises(ModelError, match="CLIP image tower"):
        Aesthetic(other, other)
