"""A student of a hub model, put together: a preset names the teacher, a run directory holds the changes to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import nn

from stdvid.config import StylizeConfig, load_preset, preset_names
from stdvid.diffusion.sampler import sample, sample_last
from stdvid.diffusion.schedule import grid_time, sampling_times, start_index
from stdvid.distill.adversarial import adversarial_term
from stdvid.distill.consistency import FRESH, ConsistencyLoss, beginnings
from stdvid.distill.data import Pool, load_pool, step_rng
from stdvid.distill.hub_players import Changes, HubPlayers
from stdvid.distill.hub_slots import HubSlot, HubSlots, Items, training_clips
from stdvid.distill.settings import StudentSettings
from stdvid.distill.sheets import fit
from stdvid.distill.slots import SlotStream
from stdvid.distill.student import StudentTask
from stdvid.errors import UsageError
from stdvid.models.catalogue import is_bundle
from stdvid.models.diffusers_adapter import HubModel
from stdvid.models.embedded import bundle_names
from stdvid.models.network import NetworkEntry
from stdvid.models.stylizer import to_frames, to_tensor

SHEET_PAIRS, SHEET_STEPS = 4, 4

FROZEN: dict[str, Literal["fp32", "fp16", "bf16"]] = {"no": "fp32", "fp16": "fp16", "bf16": "bf16"}
"""Precision of the weights under each one of training, whatever the preset paints in: two halves cannot be mixed."""


def hub_teacher(name: str) -> StylizeConfig | None:
    """The preset that a teacher's name means, if that is one of a hub model."""
    if name in bundle_names() or not (name in preset_names() or name.endswith(".toml")):
        return None
    config = load_preset(name)
    return None if is_bundle(config.model.base) else config


def build_hub_task(settings: StudentSettings, preset: StylizeConfig, accelerator: Accelerator) -> StudentTask:
    """The task of a student of the preset's model.

    Raises:
        UsageError: settings that contradict one another, or are for nano alone.
        InputError: training data is missing.
        ModelError: the model is missing or damaged.
    """
    data, loss, seed = settings.data, settings.loss, settings.optim.seed
    _check(settings, preset)
    prompt, negative = preset.sampling.prompt, preset.sampling.negative_prompt
    config = dataclasses.replace(preset.model, precision=FROZEN[accelerator.mixed_precision], offload="none")
    model = HubModel.find(config, prompt, negative)
    whole = NetworkEntry(preset.model.base, model.identity, None, model.schedule.train_steps - 1)
    stylizer = model.load(whole, accelerator.device)
    if settings.gradient_checkpointing:
        stylizer.unet.enable_gradient_checkpointing()
    stylizer.unet.train()
    clips = training_clips(data.clips)
    styles = _pool(data.styles or data.photos, settings)
    pictures = styles if clips or not data.photos else _pool(data.photos, settings)
    players = HubPlayers(stylizer, settings.lora_rank, accelerator, seed=seed, head=settings.spatial_head)
    process = accelerator.process_index
    key = (seed, FRESH, process) if process else (seed, FRESH)
    slots = HubSlots(Items(pictures, styles, clips, data, loss, key, beginnings(loss)), stylizer, data.workers)
    consistency = ConsistencyLoss(players, stylizer.schedule, SlotStream(slots), loss, accelerator.device)
    return StudentTask(
        players,
        consistency,
        _Sheet(players, pictures, styles, loss.strength, data.crop_px).draw,
        settings,
        accelerator,
        {
            "hub": preset.model.base,
            "kind": model.kind,
            "rank": settings.lora_rank,
            "rate": loss.window_rate,
            "identity": model.identity,
            "frames": data.frames if clips else 1,
        },
        slot_type=HubSlot,
        adversarial=adversarial_term(players, stylizer.schedule, players.vector_dim, loss, seed, accelerator),
    )


def _check(settings: StudentSettings, preset: StylizeConfig) -> None:
    if settings.lora_rank < 1:
        raise UsageError("lora_rank is 0; a student of a hub model is a LoRA; 1 or more is needed, 64 is usual")
    if settings.loss.style > 0:
        raise UsageError("loss.style has a weight; the style terms are for nano; set it to 0")
    if settings.start:
        raise UsageError("--start is for nano; a run of a hub model is resumed by its --out; leave it out")
    if settings.data.clips and preset.model.motion_adapter is None:
        raise UsageError("data.clips need motion modules; the preset has no motion_adapter; add it, or leave clips out")
    if preset.model.motion_adapter is not None and not settings.data.clips:
        raise UsageError("the preset has a motion_adapter; its student is trained on clips; --clips DIR")
    if settings.data.crop_px % 16:
        raise UsageError(f"data.crop_px is {settings.data.crop_px}; a multiple of 16 is needed; 512 is usual")
    if not (settings.data.styles or settings.data.photos):
        raise UsageError("no training pictures; give folders of images; --styles DIR --photos DIR")


def _pool(folders: tuple[str, ...], settings: StudentSettings) -> Pool:
    data = settings.data
    paths = [Path(folder) for folder in folders]
    return load_pool(paths, short_side_px=data.short_side_px, weights=data.weights, skip_pages=data.skip_pages)


class _Sheet:
    """Rows of picture, reference, result: some pairs, painted in few steps."""

    def __init__(self, players: HubPlayers, pictures: Pool, styles: Pool, strength: float, size_px: int) -> None:
        rng = step_rng(20241218, 0)
        self.players, self.strength = players, strength
        self.pairs = [
            (fit(pictures.draw(rng), size_px, size_px), fit(styles.draw(rng), size_px, size_px))
            for _ in range(SHEET_PAIRS)
        ]

    @torch.no_grad()
    def draw(self, changes: nn.Module) -> NDArray[np.uint8]:
        """The sheet with these changes, uint8 [4 P, 3 P, 3]."""
        times = sampling_times(int(grid_time(start_index(self.strength))), SHEET_STEPS)
        rows = []
        with self.players.wearing(cast(Changes, changes)) as stylizer:
            for photo, reference in self.pairs:
                condition = stylizer.condition(to_tensor(photo[None]), stylizer.read_style([reference]), 0.0)
                noise = torch.randn(condition.x_0.shape, generator=torch.Generator().manual_seed(0))
                start = torch.tensor([times[0]], device=stylizer.device)
                x = stylizer.schedule.add_noise(condition.x_0, noise.to(condition.x_0), start)
                latents = sample_last(sample(stylizer.denoiser(condition), x, times, stylizer.schedule))
                painted: Any = to_frames(stylizer.decode(latents))[0].round().astype(np.uint8)
                rows.append(np.hstack([photo, reference, painted]))
        return np.vstack(rows)
