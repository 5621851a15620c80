"""The same model in all the forms in which models are handed around gives the same frames."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel

from stdvid.config import IPAdapterConfig, LoraConfig, ModelConfig
from stdvid.diffusion.sampler import sample, sample_last
from stdvid.models.diffusers_adapter import HubModel
from stdvid.models.latent_stylizer import LatentStylizer, Shown
from stdvid.models.stylizer import Condition, to_frames, to_tensor

RANK = 3
Change = dict[tuple[str, str], tuple[Tensor, Tensor]]
"""Part and layer of a model: what is added to its weight, up @ down."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build_all(tmp_path_factory.mktemp("tiny"))


def load(tiny: Path, kind: str = "sd15", **keys: Any) -> LatentStylizer:
    model = HubModel.find(ModelConfig(**{"base": str(tiny / kind)} | keys), "the ink")
    return model.load(model.networks[0], torch.device("cpu"))


def painted(stylizer: LatentStylizer, *references: np.ndarray) -> np.ndarray:
    """One frame, painted in two steps, in the colours that it has."""
    frame, reference = (np.random.default_rng(n).integers(0, 256, (64, 64, 3), np.uint8) for n in range(2))
    seen = stylizer.encode_style([to_tensor(image[None]) for image in references or (reference,)], 1.0)
    with torch.no_grad():
        condition = Condition(stylizer.encode(to_tensor(frame[None])), to_tensor(frame[None]), Shown(seen, None))
        noise = torch.from_numpy(np.random.default_rng(2).standard_normal((1, 4, 8, 8), np.float32))
        x = stylizer.schedule.add_noise(condition.x_0, noise, torch.tensor([599]))
    x_0 = sample_last(sample(stylizer.denoiser(condition), x, (599, 299, -1), stylizer.schedule))
    return to_frames(stylizer.decode(x_0))


# --- LoRA -----------------------------------------------------------------------------------------------------------


def changes(kind: str, seed: int = 5) -> Change:
    """Changes to all attention of the UNet and of the text encoder."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        parts = {"unet": tiny_models.unet(kind), "text_encoder": CLIPTextModel(tiny_models.text_config("quick_gelu"))}
    found: Change = {}
    for part, network in parts.items():
        for name, layer in network.named_modules():
            if isinstance(layer, torch.nn.Linear) and ("attn" in name):
                down = torch.randn(RANK, layer.in_features, generator=generator) / 8
                found[part, name] = down, torch.randn(layer.out_features, RANK, generator=generator) / 8
    assert {part for part, _ in found} == {"unet", "text_encoder"}
    return found


def in_words(part: str, name: str) -> str:
    """A layer as files of every age call it: text encoders once had a module `text_model`, and files still do."""
    return name if part == "unet" or name.startswith("text_model.") else f"text_model.{name}"


def of_diffusers(change: Change) -> Iterator[tuple[str, Tensor]]:
    for (part, name), (down, up) in change.items():
        key = f"{part}.{in_words(part, name)}.{'lora' if part == 'unet' else 'lora_linear_layer'}"
        yield from ((f"{key}.down.weight", down), (f"{key}.up.weight", up))


def of_diffusers_processors(change: Change) -> Iterator[tuple[str, Tensor]]:
    """The first form: LoRA as attention processors; of the UNet alone here."""
    for (part, name), (down, up) in change.items():
        if part == "unet":
            block, _, layer = name.replace(".to_out.0", ".to_out").rpartition(".")
            key = f"unet.{block}.processor.{layer}_lora"
            yield from ((f"{key}.down.weight", down), (f"{key}.up.weight", up))


def of_peft(change: Change) -> Iterator[tuple[str, Tensor]]:
    for (part, name), (down, up) in change.items():
        key = f"{part}.{in_words(part, name)}"
        yield from ((f"{key}.lora_A.weight", down), (f"{key}.lora_B.weight", up))


def of_kohya(change: Change) -> Iterator[tuple[str, Tensor]]:
    """With an alpha that halves what is learned."""
    for (part, name), (down, up) in change.items():
        words = in_words(part, name).replace(".", "_")
        key = f"lora_unet_{words}" if part == "unet" else f"lora_te_{words}"
        yield from ((f"{key}.lora_down.weight", down), (f"{key}.lora_up.weight", 2 * up))
        yield f"{key}.alpha", torch.tensor(RANK / 2)


def of_kohya_xl(change: Change) -> Iterator[tuple[str, Tensor]]:
    for key, tensor in of_kohya(change):
        yield key.replace("lora_te_", "lora_te1_"), tensor


def written(path: Path, form: Callable[[Change], Iterator[tuple[str, Tensor]]], change: Change) -> str:
    save_file({key: tensor.contiguous() for key, tensor in form(change)}, path)
    return str(path)


def changed_by_hand(tiny: Path, kind: str, change: Change, weight: float) -> LatentStylizer:
    stylizer = load(tiny, kind)
    with torch.no_grad():
        for (part, name), (down, up) in change.items():
            getattr(stylizer.pipeline, part).get_submodule(name).weight += weight * up @ down
    return stylizer


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        pytest.param("sd15", of_diffusers, marks=pytest.mark.slow),
        pytest.param("sd15", of_diffusers_processors, marks=pytest.mark.slow),
        pytest.param("sd15", of_peft, marks=pytest.mark.slow),
        ("sd15", of_kohya),
        pytest.param("sdxl", of_diffusers, marks=pytest.mark.slow),
        pytest.param("sdxl", of_peft, marks=pytest.mark.slow),
        pytest.param("sdxl", of_kohya_xl, marks=pytest.mark.slow),
    ],
)
def test_a_lora_is_the_same_in_every_form(tiny: Path, tmp_path: Path, kind: str, form: Any) -> None:
    """Against weights changed by hand, layer by layer."""
    change = changes(kind)
    lora = LoraConfig(written(tmp_path / "lora.safetensors", form, change), weight=0.7)
    stylizer = load(tiny, kind, lora=(lora,))
    told = {key: pair for key, pair in change.items() if form is not of_diffusers_processors or key[0] == "unet"}
    for (part, name), (down, up) in told.items():
        weight = getattr(stylizer.pipeline, part).get_submodule(name).weight
        plain = load_file(next((tiny / kind / part).glob("*.safetensors")))
        before = plain.get(f"{name}.weight", plain.get(f"text_model.{name}.weight"))
        torch.testing.assert_close(weight, before + 0.7 * up @ down, atol=1e-5, rtol=1e-4)


def test_a_lora_changes_the_frames_as_its_weights_do(tiny: Path, tmp_path: Path) -> None:
    """UNet alone: prompts are embedded when a model is loaded."""
    change = {key: pair for key, pair in changes("sd15").items() if key[0] == "unet"}
    expected = painted(changed_by_hand(tiny, "sd15", change, 0.7))
    assert np.abs(expected - painted(load(tiny))).mean() > 0.3
    for number, form in enumerate((of_diffusers, of_peft, of_kohya)):
        lora = LoraConfig(written(tmp_path / f"{number}.safetensors", form, change), weight=0.7)
        np.testing.assert_allclose(painted(load(tiny, lora=(lora,))), expected, atol=0.02)


def test_several_loras_add_up(tiny: Path, tmp_path: Path) -> None:
    first, second = changes("sd15", 5), changes("sd15", 6)
    loras = (
        LoraConfig(written(tmp_path / "a.safetensors", of_kohya, first), weight=0.5),
        LoraConfig(written(tmp_path / "b.safetensors", of_peft, second), weight=-0.25),
    )
    pipeline, plain = load(tiny, lora=loras).pipeline, load(tiny).pipeline
    for (part, name), (down, up) in first.items():
        other_down, other_up = second[part, name]
        weight, before = (getattr(p, part).get_submodule(name).weight for p in (pipeline, plain))
        expected = before + 0.5 * up @ down - 0.25 * other_up @ other_down
        torch.testing.assert_close(weight, expected, atol=1e-5, rtol=1e-4)


# --- references -----------------------------------------------------------------------------------------------------


def test_several_references_make_one_style(tiny: Path) -> None:
    stylizer = load(tiny, ip_adapter=IPAdapterConfig(str(tiny / "sd15-ip"), "ip.safetensors"))
    first, second = (np.random.default_rng(n).integers(0, 256, (48, 48, 3), np.uint8) for n in (3, 4))
    alone, other, both = (painted(stylizer, *shown) for shown in ([first], [second], [first, second]))
    assert np.abs(alone - other).max() > 0.5
    assert np.abs(both - alone).max() > 0.1
    assert np.abs(both - other).max() > 0.1
    np.testing.assert_allclose(painted(stylizer, second, first), both, atol=0.05)  # in any order
    seen = stylizer.encode_style([torch.zeros(1, 3, 48, 48)] * 3, 1.0)
    assert [embeds.shape[:2] for embeds in seen.references] == [(1, 3)]


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_tiny_autoencoder(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "taesd"
    with torch.random.fork_rng():
        tiny_models.tiny_vae(folder)
    stylizer = load(tiny, vae=str(folder))
    assert type(stylizer.vae).__name__ == "AutoencoderTiny"
    frames = painted(stylizer)
    assert frames.shape == (1, 64, 64, 3)
    assert frames.std() > 1
    grey = torch.zeros(1, 3, 64, 64)
    assert stylizer.encode(grey).shape == (1, 4, 8, 8)
    assert stylizer.decode(torch.zeros(1, 4, 8, 8)).shape == (1, 3, 64, 64)


def test_only_half_precision_is_there(tiny: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny / "sd15", tmp_path / "half"))
    for path in base.rglob("*.safetensors"):
        halved = {name: tensor.half() for name, tensor in load_file(path).items()}
        save_file(halved, path.with_name(f"{path.stem}.fp16.safetensors"), {"format": "pt"})
        path.unlink()
    stylizer = load(tmp_path, "half")
    assert stylizer.unet.dtype == torch.float32  # what it is computed in
    np.testing.assert_allclose(painted(stylizer), painted(load(tiny)), atol=1.0)


@pytest.mark.slow
def test_weights_in_shards(tiny: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny / "sd15", tmp_path / "sharded"))
    whole = base / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names: dict[str, str] = {}
    for number in (0, 1):
        file = f"diffusion_pytorch_model-0000{number + 1}-of-00002.safetensors"
        part = dict(sorted(tensors.items())[number::2])
        save_file(part, base / "unet" / file, {"format": "pt"})
        names |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    (base / "unet" / f"{whole.name}.index.json").write_text(json.dumps(index))
    np.testing.assert_allclose(painted(load(tmp_path, "sharded")), painted(load(tiny)), atol=0.01)


@pytest.mark.slow
def test_an_autoencoder_in_the_names_of_its_youth(tiny: Path, tmp_path: Path) -> None:
    """That of Stable Diffusion 1.5 calls its attention query, key, value, proj_attn: nothing is missing there."""
    base = Path(shutil.copytree(tiny / "sd15", tmp_path / "old"))
    path = base / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(path)
    for name in list(tensors):
        for new, former in old.items():
            if f"attentions.0.{new}." in name:
                tensors[name.replace(new, former)] = tensors.pop(name)
    assert any(".proj_attn." in name for name in tensors)
    save_file(tensors, path, {"format": "pt"})
    np.testing.assert_allclose(painted(load(tmp_path, "old")), painted(load(tiny)), atol=0.01)


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.slow)])
def test_half_precision_on_the_cpu(tiny: Path, precision: str) -> None:
    stylizer = load(tiny, precision=precision)
    assert stylizer.unet.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    found, expected = painted(stylizer), painted(load(tiny))
    assert np.isfinite(found).all()
    assert 0 < np.abs(found - expected).mean() < 4


def test_all_in_a_single_file(tiny: Path, tmp_path: Path) -> None:
    """Stable Diffusion 1.5 as it was first handed around, described by a folder that has no weights."""
    single = tiny_models.single_file(tiny / "sd15", tmp_path / "all.safetensors")
    described = Path(
        shutil.copytree(tiny / "sd15", tmp_path / "config", ignore=shutil.ignore_patterns("*.safetensors"))
    )
    model = ModelConfig(base=str(single), config=str(described))
    stylizer, expected = load(tiny, base=model.base, config=model.config), load(tiny)
    for part in ("unet", "vae", "text_encoder"):
        own, theirs = (getattr(s.pipeline, part).state_dict() for s in (stylizer, expected))
        assert own.keys() == theirs.keys()
        for name, tensor in theirs.items():
            torch.testing.assert_close(own[name], tensor, msg=f"{part} {name}")
    np.testing.assert_allclose(painted(stylizer), painted(expected), atol=0.01)
