"""Models of the hub: what a preset names, checked before anything is loaded, and loaded by diffusers.

    base: a folder of diffusers, or a .safetensors file and the folder of its `config`
    + VAE, LoRA, IP-Adapter, motion adapter  ->  HubModel  ->  LatentStylizer

Parts are loaded one by one, by classes that are named here, from safetensors: no file says what code is to run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from stdvid.config import LoraConfig, ModelConfig
from stdvid.diffusion.denoiser import Prediction
from stdvid.diffusion.schedule import Schedule, grid_time, start_index
from stdvid.errors import ModelError, UsageError
from stdvid.models.fitting import (
    check_controlnet,
    check_ip_adapter,
    check_lora,
    check_scale,
    check_vae,
    loading,
    try_out,
)
from stdvid.models.latent_stylizer import Control, LatentStylizer, Texts
from stdvid.models.loaders import base_parts, load_controlnet, load_vae, pretrained, with_motion
from stdvid.models.memory import Layout, Network, Offload, Work, decide, free_bytes, weight_bytes
from stdvid.models.network import NetworkEntry, nearest
from stdvid.models.parts import (
    TRAIN_STEPS,
    at_home,
    check_weights,
    distilled_for,
    image_encoder,
    located,
    read_index,
    read_json,
    weight_file,
    weights_in,
)
from stdvid.models.prompts import embed, text_models

Kind = Literal["sd15", "sdxl"]

PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
"""What networks predict, by diffusers' name and by ours."""


@dataclass(frozen=True)
class Student:
    """A LoRA that was distilled for one strength."""

    lora: LoraConfig
    strength: float
    start: int


@dataclass(frozen=True)
class HubModel:
    """What a preset names, found on disk; the weights stay there until `load`."""

    name: str
    config: ModelConfig
    prompt: str
    negative_prompt: str
    folder: Path
    _layouts: dict[tuple[Work, str], Layout] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def find(cls, config: ModelConfig, prompt: str = "", negative_prompt: str = "") -> HubModel:
        """Check that all parts are there, whole and no pickles.

        Raises ModelError for a part that is missing, damaged or of another kind.
        """
        name, config = config.base, at_home(config)
        base = located(config.base, "base")
        if base.is_file():
            check_weights(base)
            if config.config is None:
                raise UsageError(
                    f"'{config.base}' is a single file; `config` in [model] must be the folder that describes it "
                    "(model_index.json, unet/config.json, ...); name one"
                )
        if config.controlnet is not None and config.motion_adapter is not None:
            raise UsageError("controlnet and motion_adapter are both given; a ControlNet is for image models; drop one")
        model = cls(name, config, prompt, negative_prompt, located(config.config or config.base, "config"))
        for path in model.files():
            check_weights(path)
        read_index(model.folder)
        _ = model.kind, model.schedule, model.prediction, model.students
        return model

    @cached_property
    def kind(self) -> Kind:
        """Stable Diffusion 1.5 or SDXL, by the shape of the UNet."""
        config = read_json(self.folder / "unet" / "config.json")
        if config.get("_class_name") != "UNet2DConditionModel":
            raise ModelError(
                f"'{self.folder}' holds a {config.get('_class_name')}; a UNet2DConditionModel of Stable Diffusion 1.5 "
                "or SDXL is needed; choose such a model"
            )
        return "sdxl" if config.get("addition_embed_type") == "text_time" else "sd15"

    @cached_property
    def schedule(self) -> Schedule:
        """The noise schedule that the model, or an adapter of it, was trained on."""
        from diffusers import DDIMScheduler

        config = read_json(self.folder / "scheduler" / "scheduler_config.json")
        if self.config.schedule != "auto":
            config["beta_schedule"] = self.config.schedule
        with loading(self.folder / "scheduler"):
            scheduler = DDIMScheduler.from_config({k: v for k, v in config.items() if not k.startswith("_")})  # type: ignore[no-untyped-call]
            schedule = Schedule(scheduler.alphas_cumprod.double())
            if schedule.train_steps != TRAIN_STEPS:
                raise ValueError(f"{schedule.train_steps} noisy times, not {TRAIN_STEPS}")
            return schedule

    @cached_property
    def prediction(self) -> Prediction:
        """What the network predicts."""
        config = read_json(self.folder / "scheduler" / "scheduler_config.json")
        kind = config.get("prediction_type", "epsilon")
        if not isinstance(kind, str) or kind not in PREDICTIONS:
            raise ModelError(
                f"'{self.folder}' predicts '{kind}'; known are {', '.join(PREDICTIONS)}; choose another model"
            )
        return PREDICTIONS[kind]

    @cached_property
    def students(self) -> tuple[Student, ...]:
        """The LoRAs that were distilled for a strength, by what they or the preset say."""
        found = []
        for lora in self.config.lora:
            told_strength, told_start = distilled_for(weight_file(lora))
            strength = lora.strength if lora.strength is not None else told_strength
            start = lora.start if lora.start is not None else told_start
            if strength is None and start is None:
                continue
            if strength is None or start is None:
                raise UsageError(
                    f"lora '{lora.path}' has {'a start' if strength is None else 'a strength'} alone; a student needs "
                    "both `strength` and `start`; add the other"
                )
            found.append(Student(lora, strength, start))
        return tuple(found)

    @property
    def networks(self) -> tuple[NetworkEntry, ...]:
        """The students, or the model itself, which takes any strength."""
        if not self.students:
            return (NetworkEntry(self.config.base, self.identity, None, self.schedule.train_steps - 1),)
        return tuple(NetworkEntry(weight_file(s.lora).name, self.identity, s.strength, s.start) for s in self.students)

    def network_for(self, strength: float) -> tuple[NetworkEntry, int, str | None]:
        """See `Bundle.network_for`."""
        entry, note = nearest(self.networks, strength, self.name)
        return entry, int(grid_time(start_index(strength))) if entry.strength is None else entry.start, note

    @cached_property
    def identity(self) -> str:
        """What tells these files from others: their names, sizes and times."""
        facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.files()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def files(self) -> list[Path]:
        """All weight files, in a fixed order."""
        config = self.config
        base = located(config.base, "base")
        found = [base] if base.is_file() else []
        if base.is_dir():
            parts = ["unet", "text_encoder", *(["text_encoder_2"] if self.kind == "sdxl" else [])]
            parts += [] if config.vae else ["vae"]
            found += [path for part in parts for path in weights_in(base / part)]
        control = config.controlnet.path if config.controlnet else None
        for name, value in (("vae", config.vae), ("motion_adapter", config.motion_adapter), ("controlnet", control)):
            found += weights_in(located(value, name)) if value else []
        found += [weight_file(lora) for lora in config.lora]
        if ip := config.ip_adapter:
            found += [weight_file(ip), *weights_in(image_encoder(ip))]
        return found

    def call_flops(self, width: int, height: int) -> float:
        """Floating-point operations of one call of the UNet for one frame of this size; counted without weights."""
        from diffusers import UNet2DConditionModel
        from torch.utils.flop_counter import FlopCounterMode

        config = read_json(self.folder / "unet" / "config.json")
        with loading(self.folder / "unet"), torch.device("meta"), FlopCounterMode(display=False) as counter:
            unet: Any = UNet2DConditionModel.from_config(config)  # type: ignore[no-untyped-call]
            added = {}
            if self.kind == "sdxl":
                text = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
                added = {"text_embeds": torch.empty(1, text), "time_ids": torch.empty(1, 6)}
            latents = torch.empty(1, unet.config.in_channels, -(-height // 16) * 2, -(-width // 16) * 2)
            words = torch.empty(1, 77, unet.config.cross_attention_dim)
            unet(latents, torch.empty(1), encoder_hidden_states=words, added_cond_kwargs=added)
        return float(counter.get_total_flops())

    def layout(self, work: Work, device: torch.device) -> Layout:
        """How it is to fit on a device; decided once for the same work."""
        key = (work, str(device))
        if key not in self._layouts:
            wanted = self.config.offload if device.type != "cpu" else "none"  # there is nowhere else
            with loading(self.folder):
                self._layouts[key] = decide(self._network(device), work, free_bytes(device), wanted)
        return self._layouts[key]

    def _network(self, device: torch.device) -> Network:
        """What it takes, by the headers of its files."""
        config, base = self.config, located(self.config.base, "base")
        size = self.dtype(device).itemsize
        vae_folder = located(config.vae, "vae") if config.vae else self.folder / "vae"
        vae, unet = (read_json(folder / "config.json") for folder in (vae_folder, self.folder / "unet"))
        wide = bool(vae.get("force_upcast", vae.get("_class_name") == "AutoencoderKL"))
        vae_size = 4 if wide and self.dtype(device) is torch.float16 else size
        if base.is_file():
            weights = {part: weight_bytes([base], size, prefixes) for part, prefixes in _IN_ONE_FILE.items()}
        else:
            texts = ["text_encoder", *(["text_encoder_2"] if self.kind == "sdxl" else [])]
            weights = {part: weight_bytes(weights_in(base / part), size) for part in ("unet", *texts)}
        if config.vae or base.is_dir():
            weights["vae"] = weight_bytes(weights_in(vae_folder), vae_size)
        see = 0
        if config.motion_adapter:
            motion = located(config.motion_adapter, "motion_adapter")
            weights["unet"] += weight_bytes(weights_in(motion), size)
            see = int(read_json(motion / "config.json").get("motion_max_seq_length", 32))
        if control := config.controlnet:
            weights["controlnet"] = weight_bytes(weights_in(located(control.path, "controlnet")), size)
        if ip := config.ip_adapter:
            weights["unet"] += weight_bytes([weight_file(ip)], size)
            weights["image_encoder"] = weight_bytes(weights_in(image_encoder(ip)), size)
        widths = (unet.get("block_out_channels"), vae.get("block_out_channels", vae.get("encoder_block_out_channels")))
        first = [int(width[0]) if isinstance(width, list) and width else 320 for width in widths]
        return Network(weights, first[0], first[1], size, vae_size, see)

    def load(self, entry: NetworkEntry, device: torch.device, work: Work | None = None) -> LatentStylizer:
        """Load everything; with the student `entry`, and all LoRAs that are no students; ready for some `work`.

        Raises ModelError if a part does not fit the others.
        """
        dtype = self.dtype(device)
        with loading(self.folder):
            pipeline = self._pipeline(dtype)
        wanted = (entry.strength, entry.start)
        others = {s.lora for s in self.students if (s.strength, s.start) != wanted}
        self._add_loras(pipeline, [lora for lora in self.config.lora if lora not in others])
        scale = self._add_ip_adapter(pipeline)
        pipeline.set_progress_bar_config(disable=True)
        layout = self.layout(work or Work(), device)
        _place(pipeline, device, layout.offload)
        if layout.tiled:
            pipeline.vae.enable_tiling()
        with loading(self.folder):
            texts = self._texts(pipeline)
        frames = pipeline.unet.config.motion_max_seq_length if self.config.motion_adapter else layout.frames
        control = None
        if (asked := self.config.controlnet) is not None:
            with loading(Path(asked.path)):
                network = load_controlnet(located(asked.path, "controlnet"), pipeline.unet.dtype).to(device)
            check_controlnet(network, pipeline.unet, Path(asked.path))
            control = Control(network, asked.kind, asked.scale)
        stylizer = LatentStylizer(
            pipeline,
            self.schedule,
            self.prediction,
            texts,
            scale,
            frames,
            vae_frames=layout.vae_frames,
            control=control,
        )
        try_out(stylizer, self.folder)
        if self.config.compile:
            pipeline.unet.compile()
        return stylizer

    def dtype(self, device: torch.device) -> torch.dtype:
        """What its networks compute in on a device."""
        known = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
        if self.config.precision in known:
            return known[self.config.precision]
        return torch.float32 if device.type == "cpu" else torch.float16

    def _pipeline(self, dtype: torch.dtype) -> Any:
        """A pipeline of the parts."""
        from diffusers import (
            AnimateDiffSDXLPipeline,
            AnimateDiffVideoToVideoPipeline,
            StableDiffusionImg2ImgPipeline,
            StableDiffusionXLImg2ImgPipeline,
        )

        xl, base, own_vae = self.kind == "sdxl", located(self.config.base, "base"), self.config.vae
        parts = base_parts(base, self.folder, xl=xl, vae=own_vae is None, dtype=dtype)
        folder = located(own_vae, "vae") if own_vae else self.folder / "vae"
        if own_vae:
            parts["vae"] = load_vae(folder, dtype)
        check_vae(parts["vae"], parts["unet"], folder)
        if parts["vae"].config.get("force_upcast") and dtype is torch.float16:
            parts["vae"].to(torch.float32)  # overflows in half precision
        if xl:
            index = read_index(self.folder)
            parts["force_zeros_for_empty_prompt"] = bool(index.get("force_zeros_for_empty_prompt", True))
        if self.config.motion_adapter:
            adapter = located(self.config.motion_adapter, "motion_adapter")
            with loading(adapter):
                parts["unet"] = with_motion(parts["unet"], adapter)
            parts["motion_adapter"] = None  # the UNet has its weights: a second copy would take room on the card
            moving: Any = AnimateDiffSDXLPipeline if xl else AnimateDiffVideoToVideoPipeline
            return moving(**parts)
        if not xl:
            parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        still: Any = StableDiffusionXLImg2ImgPipeline if xl else StableDiffusionImg2ImgPipeline
        return still(**parts)

    def _add_loras(self, pipeline: Any, loras: list[LoraConfig]) -> None:
        """Add low-rank changes to the weights for good."""
        for number, lora in enumerate(loras):
            path = weight_file(lora)
            with loading(path):
                pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name=f"lora{number}")
            check_lora(pipeline, f"lora{number}", path)
        if loras:
            names = [f"lora{number}" for number in range(len(loras))]
            with loading(weight_file(loras[0])):
                pipeline.set_adapters(names, [lora.weight for lora in loras])
                pipeline.fuse_lora(adapter_names=names)
                pipeline.unload_lora_weights()

    def _add_ip_adapter(self, pipeline: Any) -> Any:
        """Add an IP-Adapter and its image encoder; returns its scale."""
        if (ip := self.config.ip_adapter) is None:
            return 1.0
        from transformers import CLIPVisionModelWithProjection

        path, folder = weight_file(ip), image_encoder(ip)
        check_ip_adapter(pipeline.unet, path)
        with loading(folder):
            encoder = pretrained(CLIPVisionModelWithProjection, folder, dtype=pipeline.unet.dtype)
            pipeline.register_modules(image_encoder=encoder)
        check_scale(pipeline.unet, ip.scale)
        with loading(path):
            pipeline.load_ip_adapter(
                str(path.parent), subfolder="", weight_name=path.name, image_encoder_folder=None, local_files_only=True
            )
            pipeline.set_ip_adapter_scale(ip.scale)
        return ip.scale

    def _texts(self, pipeline: Any) -> Texts:
        prompts = [self.prompt, self.negative_prompt]
        prompt, negative = embed(prompts, *text_models(pipeline), pipeline._execution_device)
        if not self.negative_prompt and pipeline.config.get("force_zeros_for_empty_prompt", False):
            negative = prompt.zeros()
        return Texts(prompt, negative)


_IN_ONE_FILE = {
    "unet": ("model.diffusion_model.",),
    "vae": ("first_stage_model.",),
    "text_encoder": ("cond_stage_model.", "conditioner."),
}
"""How the weights of a part begin in a single file."""


def _place(pipeline: Any, device: torch.device, offload: Offload) -> None:
    """Put networks where they work, or where they wait."""
    if offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    elif offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.to(device)
