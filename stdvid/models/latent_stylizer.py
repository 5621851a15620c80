"""A latent diffusion model of the hub around its UNet: Stable Diffusion 1.5 or SDXL, with VAE, prompts, IP-Adapter and
motion modules.

    content -> VAE -> x_0                            cells of 8 px
    reference -> CLIP -> IP-Adapter                   what the network sees of the style
    UNet(x_t, t | prompt, reference) -> eps or v -> x_0
    UNet with motion modules: all frames of a call at once, attending to one another along time
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stdvid.config import ControlKind
from stdvid.diffusion.denoiser import Denoiser, Guided, Prediction, to_x0
from stdvid.diffusion.fusion import Fused
from stdvid.diffusion.schedule import Schedule
from stdvid.models.anchor_attention import AnchorAttention, Memory
from stdvid.models.canvas import Canvas
from stdvid.models.control import control_images
from stdvid.models.prompts import TextEmbedding
from stdvid.models.stylizer import Condition, Style, Stylizer, to_frames

SIZE_MULTIPLE_PX = 16
"""Working sizes are filled up to multiples of this: two latents."""

LONGEST = 1024
"""Frames of a window at most."""

CONTEXT_OVERLAP = 4
"""Frames that the contexts of a motion module share where a window is longer than it can see."""


@dataclass(frozen=True)
class Seen:
    """References as an IP-Adapter sees them: embeddings [1, n, ...] of each adapter, those of `nothing`, and how many
    times its `scale` it counts."""

    references: tuple[Tensor, ...]
    nothing: tuple[Tensor, ...]
    scale: float


@dataclass(frozen=True)
class Texts:
    """The prompt and the negative prompt, embedded."""

    prompt: TextEmbedding
    negative: TextEmbedding


@dataclass(frozen=True)
class Told:
    """What a call of the network is told: a text, and embeddings of images, one of each adapter."""

    text: TextEmbedding
    images: tuple[Tensor, ...]


@dataclass(frozen=True)
class Control:
    """A ControlNet, what it is shown, and how much its word counts."""

    network: Any
    kind: ControlKind
    scale: float


@dataclass(frozen=True)
class Shown:
    """What a window is denoised under: references as they are seen, and `control`, what a ControlNet is shown of the
    frames, [T, 3, H, W] in [0, 1]."""

    seen: Seen
    control: Tensor | None


class LatentStylizer(Stylizer):
    """A pipeline of diffusers as a `Stylizer`. States are float32; network and VAE compute in their own precision."""

    def __init__(
        self,
        pipeline: Any,
        schedule: Schedule,
        prediction: Prediction,
        texts: Texts,
        ip_scale: float | dict[str, Any] = 1.0,
        frames: int = 1,
        vae_frames: int = 1,
        control: Control | None = None,
    ) -> None:
        """`pipeline`: with its adapters loaded; `ip_scale`: of the IP-Adapter; `frames`: so many go through the network
        in one call; with motion modules they are as many as these see at a time; `vae_frames`: through the VAE."""
        self.control = control
        self.pipeline, self.schedule, self.prediction, self.texts = pipeline, schedule, prediction, texts
        self.unet, self.vae = pipeline.unet, pipeline.vae
        # diffusers looks for these in every module each time that it is asked
        self._device: torch.device = pipeline._execution_device
        self._dtype: torch.dtype = self.unet.dtype
        self.together = bool(getattr(self.unet.config, "motion_max_seq_length", None))
        self.frames, self._at_once = frames, vae_frames
        self.canvas = Canvas(pipeline.vae_scale_factor, pipeline.vae_scale_factor, 0, SIZE_MULTIPLE_PX)
        self._ip_scale = ip_scale
        self._scaled: float | None = None
        self._attention = AnchorAttention(self.unet)

    @property
    def device(self) -> torch.device:
        """See `Stylizer`."""
        return self._device

    @property
    def sees(self) -> bool:
        """Whether the network sees references; without an IP-Adapter only their colours are taken."""
        return bool(self.unet.config.encoder_hid_dim_type == "ip_image_proj")

    def frames_together(self, width: int, height: int) -> int:
        """See `Stylizer`. Windows longer than motion modules see are still in one call: see `denoiser`."""
        return LONGEST if self.together else self.frames

    @torch.no_grad()
    def encode_style(self, references: Sequence[Tensor], scale: float) -> Seen:
        """See `Stylizer`."""
        if not self.sees:
            return Seen((), (), scale)
        from PIL import Image

        pictures = [Image.fromarray(to_frames(reference)[0].round().astype("uint8")) for reference in references]
        both = self.pipeline.prepare_ip_adapter_image_embeds([pictures], None, self.device, 1, True)
        nothing, seen = zip(*(embedding.chunk(2) for embedding in both), strict=True)
        return Seen(seen, nothing, scale)

    @torch.no_grad()
    def bind(self, frames: Tensor, content: Tensor, style: Style) -> Condition:
        """See `Stylizer`."""
        control = control_images(frames, self.control.kind) if self.control else None
        return Condition(self.encode(content), content, Shown(style.code, control))

    def denoiser(
        self, condition: Condition, guidance: float = 1.0, anchors: Sequence[Memory] = (), keep: Memory | None = None
    ) -> Denoiser:
        """See `Stylizer`. With guidance both halves are one call where no anchors are seen.

        Where there are more frames than motion modules see at a time, they see them in overlapping contexts, whose
        estimates are blended at every step.
        """
        shown: Shown = condition.told
        seen, control = shown.seen, shown.control
        wanted, unwanted = Told(self.texts.prompt, seen.references), Told(self.texts.negative, seen.nothing)

        def styled(x_t: Tensor, t: Tensor) -> Tensor:
            with self._attention.looking(int(t[0]), anchors, keep):
                return self._estimates(x_t, t, [wanted], control)[0]

        def plain(x_t: Tensor, t: Tensor) -> Tensor:
            return self._estimates(x_t, t, [unwanted], control)[0]

        def both(x_t: Tensor, t: Tensor) -> Tensor:
            without, with_style = self._estimates(x_t, t, [unwanted, wanted], control)
            return without + guidance * (with_style - without)

        if self.sees and self._scaled != seen.scale:
            self.pipeline.set_ip_adapter_scale(_times(self._ip_scale, seen.scale))
            self._scaled = seen.scale
        apart = guidance == 1 or anchors or keep is not None  # only what is wanted sees anchors
        guided = Guided(styled, plain, guidance) if apart else both
        if self.together and len(condition.x_0) > self.frames:
            return Fused(guided, self.frames, CONTEXT_OVERLAP)
        return guided

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """See `Stylizer`."""
        return torch.cat([self.decoded(part) for part in torch.split(latents, self._at_once)])

    def decoded(self, latents: Tensor) -> Tensor:
        """`decode` in one call, and with gradients."""
        mean, std = self._statistics(latents)
        unscaled = latents * std / self.vae.config.scaling_factor + mean
        pictures: Tensor = self.vae.decode(unscaled.to(self.vae.dtype), return_dict=False)[0].float()
        return pictures

    def encode(self, images: Tensor) -> Tensor:
        """Pictures [T, 3, H, W] in [-1, 1] as latents: the mean of what the VAE says of them."""
        latents = []
        for part in torch.split(images.to(self.vae.dtype), self._at_once):
            out = self.vae.encode(part)
            latents.append((out.latent_dist.mode() if hasattr(out, "latent_dist") else out.latents).float())
        mean, std = self._statistics(latents[0])
        scaled: Tensor = (torch.cat(latents) - mean) * self.vae.config.scaling_factor / std
        return scaled

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the VAE's latents, 0 and 1 where it does not say."""
        known = [getattr(self.vae.config, name, None) for name in ("latents_mean", "latents_std")]
        values = ([0.0], [1.0]) if None in known else known
        mean, std = (like.new_tensor(value).view(1, -1, 1, 1) for value in values)
        return mean, std

    def _estimates(self, x_t: Tensor, t: Tensor, told: Sequence[Told], control: Tensor | None = None) -> list[Tensor]:
        """x_0, float32 [T, 4, h, w], of frames `x_t` at times `t` [T], under each of several conditions: one call."""
        x, times = (x_t[None], t[:1]) if self.together else (x_t, t)
        batch, many = len(x), len(told)
        pooled = [condition.text.pooled for condition in told if condition.text.pooled is not None]
        text = TextEmbedding(
            _batched([condition.text.tokens for condition in told], batch), _batched(pooled, batch) if pooled else None
        )
        adapters = zip(*(condition.images for condition in told), strict=True)
        images = [_batched(seen, batch) for seen in adapters]
        if control is not None:
            control = control.repeat(many, 1, 1, 1)
        out = self.predict(x.repeat(many, *[1] * (x.ndim - 1)), times.repeat(many), text, images, control)
        return [part[0] if self.together else part for part in out.chunk(many)]

    def predict(
        self, x_t: Tensor, t: Tensor, text: TextEmbedding, images: Sequence[Tensor], control: Tensor | None = None
    ) -> Tensor:
        """x_0, float32, of a batch: pictures [N, 4, h, w], or clips [N, F, 4, h, w] for motion modules.

        `t`: [N]; `text` and `images`: batches of N or 1; `control`: what the ControlNet is shown, [N, 3, H, W].
        """
        clips, dtype = x_t.ndim == 5, self._dtype
        batch, frames = len(x_t), x_t.shape[1] if clips else 1

        def each(value: Tensor) -> Tensor:
            return value.expand(batch, *[-1] * (value.ndim - 1)).to(dtype)

        words, added = each(text.tokens).repeat_interleave(frames, 0), dict[str, Any]()
        if text.pooled is not None:
            height, width = (side * self.canvas.latent_px for side in x_t.shape[-2:])
            size = [height, width, 0, 0, height, width]  # no cropping, original size and wanted size alike
            added |= {"text_embeds": each(text.pooled), "time_ids": each(x_t.new_tensor([size]))}
        x = (x_t.transpose(1, 2) if clips else x_t).to(dtype)
        held: dict[str, Any] = {}
        if self.control is not None and control is not None:
            down, middle = self.control.network(
                x,
                t,
                encoder_hidden_states=words,
                controlnet_cond=control.to(dtype),
                conditioning_scale=self.control.scale,
                added_cond_kwargs=added,
                return_dict=False,
            )
            held = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        if images:
            added = {**added, "image_embeds": [each(image) for image in images]}
        (raw,) = self.unet(x, t, encoder_hidden_states=words, added_cond_kwargs=added, return_dict=False, **held)
        out = raw.float()
        alpha, sigma = self.schedule.alpha_sigma(t, x_t.ndim)
        return to_x0(out.transpose(1, 2) if clips else out, x_t, alpha, sigma, self.prediction)


def _batched(conditions: Sequence[Tensor], count: int) -> Tensor:
    """Each of some conditions [1, ...] `count` times, one after another."""
    return torch.cat([condition.expand(count, *[-1] * (condition.ndim - 1)) for condition in conditions])


def _times(scale: Any, factor: float) -> Any:
    """The scale of an IP-Adapter, a number or numbers by block, `factor` times as large."""
    if isinstance(scale, dict):
        return {key: _times(value, factor) for key, value in scale.items()}
    if isinstance(scale, list | tuple):
        return [_times(value, factor) for value in scale]
    return scale * factor
