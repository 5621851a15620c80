"""What a training run is made of; the keys of presets/distill/*.toml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MethodName = Literal["std", "lcm", "tcd", "pcm", "tdd"]


@dataclass(frozen=True)
class DataSettings:
    """Where pictures come from and how they are cut; `clips`, of which `frames` frames `interval` apart make one item,
    are for hub models with motion modules."""

    styles: tuple[str, ...] = ()
    photos: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()
    frames: int = 8
    interval: int = 4
    crop_px: int = 128
    short_side_px: int = 320
    skip_pages: bool = True
    workers: int = 0
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimSettings:
    """AdamW with warm-up, then lr / sqrt(step / decay_after); the weights kept are an EMA. A step is made of
    `accumulate` batches in each process."""

    batch: int = 8
    accumulate: int = 1
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    lr: float = 4e-4
    warmup_steps: int = 200
    decay_after: int = 2000
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    steps: int = 100_000
    save_every_s: int = 300
    sheet_every: int = 500
    log_every: int = 20
    seed: int = 0


@dataclass(frozen=True)
class TeacherLoss:
    """Style-conditioned denoising."""

    max_time: int = 800
    max_weight: float = 6.0
    photo_share: float = 0.25
    drop_style: float = 0.1
    drop_structure: float = 0.15


@dataclass(frozen=True)
class TeacherSettings:
    """`stdvid distill teacher`."""

    start: str = ""
    data: DataSettings = field(default_factory=DataSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    loss: TeacherLoss = field(default_factory=TeacherLoss)
    architecture: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class StudentLoss:
    """Distillation by a method, and the style terms on the student's clean prediction."""

    method: MethodName = "std"
    strength: float = 0.6
    window_rate: float = 0.5
    phases: int = 4
    states: Literal["bank", "rollout"] = "bank"
    begin: Literal["eta", "anywhere"] = "eta"
    bank_slots: int = 64
    bank_resident: int = 0
    bank_probability: float = 0.8
    bank_refresh: Literal["finish", "drop"] = "finish"
    bank_condition: bool = True
    bank_stagger: bool = True
    guidance_min: float = 1.5
    guidance_max: float = 2.5
    target_decay: float = 0.95
    distillation: float = 1.0
    adversarial: float = 0.0
    adversarial_mode: Literal["x0", "xs-xs", "xs-x0", "xs-xr", "xs-xR"] = "xs-xr"
    adversarial_loss: Literal["hinge", "wgan"] = "hinge"
    mismatch: float = 0.0
    discriminator_network: str = "lite1"
    discriminator_lr: float = 5e-4
    r1: float = 1e-5
    style: float = 0.0
    style_batch: int = 0
    style_crop_px: int = 160
    stroke_share: float = 0.5
    contrastive: float = 0.02
    style_networks: tuple[Literal["lite0", "lite1", "lite2"], ...] = ("lite1",)
    structure: float = 0.5
    low_frequency: float = 2.0
    detail: float = 0.05
    roughness: float = 0.2


@dataclass(frozen=True)
class StudentSettings:
    """`stdvid distill student`. `teacher`: a run directory or bundle of nano, or a preset of a hub model, whose student
    is a LoRA; `gradient_checkpointing` and `spatial_head` (which clips are compared through) are for these."""

    teacher: str = ""
    start: str = ""
    lora_rank: int = 0
    gradient_checkpointing: bool = False
    spatial_head: bool = False
    data: DataSettings = field(default_factory=DataSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    loss: StudentLoss = field(default_factory=StudentLoss)
