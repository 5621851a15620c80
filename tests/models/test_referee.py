"""Models of the hub against diffusers' own pipelines: the same weights, noise and recipe give the same frames."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from diffusers import (
    AnimateDiffSDXLPipeline,
    AnimateDiffVideoToVideoPipeline,
    ControlNetModel,
    DDIMScheduler,
    MotionAdapter,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
    TCDScheduler,
    UNet2DConditionModel,
)
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from stdvid.config import ControlNetConfig, IPAdapterConfig, LoraConfig, ModelConfig, StylizeConfig
from stdvid.diffusion.schedule import published_times
from stdvid.models.diffusers_adapter import HubModel
from stdvid.models.latent_stylizer import LatentStylizer
from stdvid.models.prompts import embed
from stdvid.models.stylizer import to_tensor
from stdvid.painter import Painter
from stdvid.schema import merge

STYLE_BLOCK = {"up": {"block_0": [0.0, 1.0, 0.0]}}
PROMPT, NEGATIVE = "the painting in ink", "a bad thing"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build_all(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def ours(tiny: Path, kind: str) -> LatentStylizer:
    return load(tiny, kind)


@pytest.fixture(scope="module")
def theirs(tiny: Path, kind: str) -> Any:
    return pipeline_of(tiny, kind)


def load(tiny: Path, kind: str, motion: bool = False) -> LatentStylizer:
    lora = LoraConfig(str(tiny / f"{kind}-lora.safetensors"), weight=0.8)
    config = ModelConfig(
        base=str(tiny / kind),
        lora=(lora,),
        ip_adapter=IPAdapterConfig(str(tiny / f"{kind}-ip"), "ip.safetensors", scale=STYLE_BLOCK),
        motion_adapter=str(tiny / f"{kind}-motion") if motion else None,
    )
    model = HubModel.find(config, PROMPT, NEGATIVE)
    return model.load(model.networks[0], torch.device("cpu"))


def pipeline_of(tiny: Path, kind: str, motion: bool = False) -> Any:
    base = tiny / kind
    classes: Any = StableDiffusionXLImg2ImgPipeline if kind == "sdxl" else StableDiffusionImg2ImgPipeline
    more: dict[str, Any] = {}
    if motion:
        classes = AnimateDiffSDXLPipeline if kind == "sdxl" else AnimateDiffVideoToVideoPipeline
        more["motion_adapter"] = MotionAdapter.from_pretrained(tiny / f"{kind}-motion")
    elif kind == "sd15":
        more = {"safety_checker": None, "feature_extractor": None}
    image_encoder = CLIPVisionModelWithProjection.from_pretrained(tiny / f"{kind}-ip" / "image_encoder")
    pipeline = classes.from_pretrained(base, image_encoder=image_encoder, **more)
    if motion and kind == "sdxl":  # diffusers leaves it at random
        still = UNet2DConditionModel.from_pretrained(base / "unet")
        pipeline.unet.add_embedding.load_state_dict(still.add_embedding.state_dict())
    pipeline.scheduler = TCDScheduler.from_config(pipeline.scheduler.config, timestep_spacing="leading")
    pipeline.load_lora_weights(tiny, weight_name=f"{kind}-lora.safetensors", adapter_name="student")
    pipeline.set_adapters(["student"], [0.8])
    pipeline.load_ip_adapter(str(tiny / f"{kind}-ip"), subfolder="", weight_name="ip.safetensors")
    pipeline.set_ip_adapter_scale(STYLE_BLOCK)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Tensor]]:
    """What the referee draws: first of the VAE's posterior, whose mean we take, then noise that we draw too."""
    waiting: list[Tensor] = []

    def draw(shape: Any, *_: Any, **__: Any) -> Tensor:
        out = waiting.pop(0)
        assert out.shape == tuple(shape)
        return out

    for name in (
        "diffusers.models.autoencoders.vae",
        "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img",
        "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img",
        "diffusers.pipelines.animatediff.pipeline_animatediff_video2video",
        "diffusers.pipelines.controlnet.pipeline_controlnet_img2img",
        "diffusers.pipelines.controlnet.pipeline_controlnet_sd_xl_img2img",
        "diffusers.schedulers.scheduling_tcd",
    ):
        monkeypatch.setattr(f"{name}.randn_tensor", draw)
    yield waiting
    assert not waiting


def painter_of(
    stylizer: LatentStylizer,
    references: list[Any],
    times: tuple[int, ...],
    size: tuple[int, int],
    guidance: float = 1.0,
    gamma: float = 0.0,
) -> Callable[[Any], Any]:
    """Paints frames, each with noise of its own, in the colours that they have."""
    sampling = {"guidance": guidance, "gamma": gamma, "color": 0.0, "style_guidance": 0, "style_scale": 1.0}
    config = merge(StylizeConfig(), {"sampling": sampling, "video": {"consistency": "none"}})
    painter = Painter(stylizer, stylizer.read_style(references), times, config, size, threading.Event())
    return lambda frames: painter.apart(frames, 0, painter.look(frames))


def noise_of(step: int, shape: tuple[int, ...], frame: int = 0) -> Tensor:
    drawn = np.random.default_rng([0, step, frame]).standard_normal(shape, np.float32)
    return torch.from_numpy(drawn)[None]


@pytest.mark.parametrize("name", ["linear", "scaled_linear"])
def test_a_schedule_that_is_named_takes_the_place_of_the_bases(tiny: Path, name: str) -> None:
    base = str(tiny / "sd15")
    own, named = (HubModel.find(ModelConfig(base, schedule=kind)).schedule for kind in ("auto", name))  # type: ignore[arg-type]
    theirs: Any = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule=name)
    torch.testing.assert_close(named.alphas_cumprod, theirs.alphas_cumprod.double())
    assert torch.equal(own.alphas_cumprod, named.alphas_cumprod) == (name == "scaled_linear")


@pytest.mark.parametrize("gamma", [0.0, 0.3])
@pytest.mark.parametrize("guidance", [1.0, 6.0])
@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 48)])
def test_frames_are_those_of_the_published_recipe(
    ours: LatentStylizer, theirs: Any, drawn: list[Tensor], width: int, height: int, guidance: float, gamma: float
) -> None:
    frame, reference = (np.random.default_rng(n).integers(0, 256, (height, width, 3), np.uint8) for n in range(2))
    times = tuple(published_times(0.75, 11))
    assert (len(times), times[0], times[-1]) == (9, 739, 0)
    painted = painter_of(ours, [reference], times, (width, height), guidance, gamma)(frame[None])

    latents = (4, height // 8, width // 8)
    drawn += [torch.zeros(1, *latents), noise_of(0, latents)]
    drawn += [noise_of(step, latents) for step in range(1, 8)] if gamma else []
    expected = theirs(
        PROMPT,
        image=Image.fromarray(frame),
        ip_adapter_image=Image.fromarray(reference),
        negative_prompt=NEGATIVE,
        strength=0.75,
        num_inference_steps=11,
        guidance_scale=guidance,
        eta=gamma,
        output_type="np",
    ).images
    assert expected.std() > 0.02  # a picture, not one colour
    np.testing.assert_allclose(painted / 255, expected, atol=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 6.0])
@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_videos_are_those_of_the_motion_pipelines(tiny: Path, drawn: list[Tensor], kind: str, guidance: float) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), np.uint8)
    reference = np.random.default_rng(9).integers(0, 256, (48, 64, 3), np.uint8)
    stylizer, pipeline = load(tiny, kind, motion=True), pipeline_of(tiny, kind, motion=True)
    times = tuple(published_times(0.75, 11))
    painted = painter_of(stylizer, [reference], times, (64, 48), guidance)(frames)

    shape = (4, 6, 8)
    noise = torch.cat([noise_of(0, shape, frame) for frame in range(6)])
    same = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "ip_adapter_image": Image.fromarray(reference),
        "guidance_scale": guidance,
        "eta": 0.0,
        "height": 48,
        "width": 64,
        "output_type": "np",
    }
    if kind == "sd15":
        drawn += [torch.zeros(6, *shape), noise[None]]
        video = [Image.fromarray(frame) for frame in frames]
        expected = pipeline(video=video, strength=0.75, num_inference_steps=11, **same).frames[0]
    else:  # there is none from video to video; this one is begun on the way
        x_0 = stylizer.encode(to_tensor(frames))
        x_eta = stylizer.schedule.add_noise(x_0, noise, torch.tensor([times[0]]))
        latents = x_eta.transpose(0, 1)[None]
        expected = pipeline(num_frames=6, latents=latents, timesteps=list(times[:-1]), **same).frames[0]
    assert expected.std() > 0.02
    np.testing.assert_allclose(painted / 255, expected, atol=1e-4)


def test_frames_of_a_video_see_one_another(tiny: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), np.uint8)
    other = np.concatenate([frames[:3], 255 - frames[3:]])
    for motion in (False, True):
        paint = painter_of(load(tiny, "sd15", motion), [frames[0]], (779, 389, -1), (64, 48))
        assert (np.abs(paint(frames)[0] - paint(other)[0]).max() > 0.02) == motion


@pytest.mark.parametrize("prompt", ["", "the ink " * 30, "ing " * 75, "ing " * 76, "a " * 200])
def test_prompts_are_embedded_as_by_the_pipeline_and_never_cut(ours: LatentStylizer, theirs: Any, prompt: str) -> None:
    xl = theirs.__class__.__name__.startswith("StableDiffusionXL")
    names = ["", "_2"] if xl else [""]
    tokenizers, encoders = ([getattr(theirs, part + n) for n in names] for part in ("tokenizer", "text_encoder"))
    (embedded,) = embed([prompt], tokenizers, encoders)
    (expected, _, pooled, _) = (
        theirs.encode_prompt(prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
        if xl
        else (*theirs.encode_prompt(prompt, "cpu", 1, False), None, None)
    )
    tokens = len(tokenizers[0](prompt).input_ids) - 2
    assert embedded.tokens.shape[1] == 77 * max(1, -(-tokens // 75))
    if tokens <= 75:
        torch.testing.assert_close(embedded.tokens, expected)
    if pooled is not None and tokens <= 75:
        torch.testing.assert_close(embedded.pooled, pooled)


@pytest.mark.parametrize("guidance", [1.0, 6.0])
@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_a_controlnet_holds_frames_as_in_the_pipeline(
    tiny: Path, drawn: list[Tensor], kind: str, guidance: float
) -> None:
    folder = tiny / f"{kind}-control"
    config = ModelConfig(base=str(tiny / kind), controlnet=ControlNetConfig(str(folder), "tile", 0.7))
    model = HubModel.find(config, PROMPT, NEGATIVE)
    stylizer = model.load(model.networks[0], torch.device("cpu"))
    frame, reference = (np.random.default_rng(n).integers(0, 256, (48, 64, 3), np.uint8) for n in range(2))
    times = tuple(published_times(0.75, 11))
    painted = painter_of(stylizer, [reference], times, (64, 48), guidance)(frame[None])

    control = ControlNetModel.from_pretrained(folder)
    classes: Any = (
        StableDiffusionXLControlNetImg2ImgPipeline if kind == "sdxl" else StableDiffusionControlNetImg2ImgPipeline
    )
    more: Any = {} if kind == "sdxl" else {"safety_checker": None, "feature_extractor": None}
    pipeline = classes.from_pretrained(tiny / kind, controlnet=control, **more)
    pipeline.scheduler = TCDScheduler.from_config(pipeline.scheduler.config, timestep_spacing="leading")
    pipeline.set_progress_bar_config(disable=True)
    drawn += [torch.zeros(1, 4, 6, 8), noise_of(0, (4, 6, 8))]
    expected = pipeline(
        PROMPT,
        image=Image.fromarray(frame),
        control_image=Image.fromarray(frame),
        controlnet_conditioning_scale=0.7,
        negative_prompt=NEGATIVE,
        strength=0.75,
        num_inference_steps=11,
        guidance_scale=guidance,
        eta=0.0,
        output_type="np",
    ).images
    np.testing.assert_allclose(painted / 255, expected, atol=1e-4)
    free = HubModel.find(dataclasses.replace(config, controlnet=None), PROMPT, NEGATIVE)
    alone = painter_of(free.load(free.networks[0], torch.device("cpu")), [reference], times, (64, 48), guidance)
    assert np.abs(painted - alone(frame[None])).max() > 1
