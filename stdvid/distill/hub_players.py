"""A model of the hub as the players of a distillation: one UNet, whose low-rank changes say who it is.

    teacher phi       the UNet as it is
    student theta     with the changes "student", which are trained
    target theta-     with the changes "target", their average

Only the changes are trained, averaged, stored and exported.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from stdvid.distill.bank import stack
from stdvid.distill.hub_slots import HubSlot
from stdvid.errors import UsageError
from stdvid.models.latent_stylizer import LatentStylizer
from stdvid.models.prompts import TextEmbedding

STUDENT, TARGET = "student", "target"

LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")
"""Layers that get changes: those of the transformers, in space and along time."""

UNTOUCHED = r".*motion_modules.*\.proj_(in|out)"
"""Layers that peft cannot wrap: diffusers calls them by the name of their argument."""

HEAD_DECAY = 0.95
"""Of the average of the spatial head that the target is seen through."""


@dataclass(frozen=True)
class Given:
    """What slots are denoised under: their captions and, where the model sees references, these."""

    text: TextEmbedding
    seen: tuple[Tensor, ...]


class SpatialHead(nn.Module):
    """A small residual network on single frames of latents, at first the identity: what of a clip is appearance is
    compared through it, what is motion stays as it is (as the released training of video students has it)."""

    def __init__(self, channels: int = 4, width: int = 32) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(channels, width, 3, 1, 1), nn.Conv2d(width, channels, 3, 1, 1)
        nn.init.zeros_(self.leave.weight)
        if self.leave.bias is not None:
            nn.init.zeros_(self.leave.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """[N, F, C, h, w] -> the same shape."""
        frames = clips.flatten(0, 1)
        out: Tensor = frames + self.leave(torch.nn.functional.silu(self.enter(frames)))
        return out.view_as(clips)


class Changes(nn.Module):
    """The trained part: the student's changes by the names of their layers, and the spatial head, if there is one."""

    def __init__(self, unet: nn.Module, head: nn.Module | None) -> None:
        super().__init__()
        named = ((name, p) for name, p in unet.named_parameters() if f".{STUDENT}." in name)
        self.lora = nn.ParameterDict({name.replace(f".{STUDENT}.", ".").replace(".", "/"): p for name, p in named})
        self.head = head

    def named(self) -> dict[str, Tensor]:
        """Changes by their names in the UNet, "LAYER.lora_A.weight" and "LAYER.lora_B.weight"."""
        return {name.replace("/", "."): value for name, value in self.lora.items()}


class HubPlayers:
    """See `Players`."""

    def __init__(
        self, stylizer: LatentStylizer, rank: int, accelerator: Accelerator, *, seed: int, head: bool = False
    ) -> None:
        """Give the UNet changes of `rank`; `head`: compare clips through a spatial head.

        Raises UsageError if peft is not installed.
        """
        try:
            from peft import LoraConfig
            from peft.tuners.tuners_utils import BaseTunerLayer
        except ImportError as exc:
            raise UsageError(
                "peft is not installed; students of hub models need it; pip install 'stdvid[train]'"
            ) from exc
        self.stylizer, self.unet, self.accelerator = stylizer, stylizer.unet, accelerator
        self.unet.requires_grad_(False)
        stylizer.vae.requires_grad_(False)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            config = LoraConfig(
                r=rank,
                lora_alpha=rank,
                target_modules=list(LAYERS),
                exclude_modules=UNTOUCHED,
                init_lora_weights="gaussian",
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that there are two
                for name in (TARGET, STUDENT):
                    self.unet.add_adapter(config, adapter_name=name)
            self._adapted = [layer for layer in self.unet.modules() if isinstance(layer, BaseTunerLayer)]
            self._head = SpatialHead(self.unet.config.in_channels).to(accelerator.device) if head else None
        for name, parameter in self.unet.named_parameters():
            if ".lora_" in name:
                parameter.data = parameter.data.float()
        self._as(STUDENT)
        self.changes = Changes(self.unet, self._head)
        self._head_minus = copy.deepcopy(self._head).requires_grad_(False) if self._head is not None else None
        self._targets, self._students = (
            [p for name, p in self.unet.named_parameters() if f".{who}." in name] for who in (TARGET, STUDENT)
        )
        with torch.no_grad():
            self.move_target(0.0)
        blank = torch.zeros(1, 3, 64, 64, device=stylizer.device)
        self._unseen = stylizer.encode_style([blank], 1.0).nothing

    @property
    def trained(self) -> Changes:
        """See `Players`."""
        return self.changes

    @property
    def vector_dim(self) -> int:
        """D of the vectors that `student` gives."""
        prompt = self.stylizer.texts.prompt
        return self.vector(Given(prompt, self._unseen)).shape[1]

    def condition(self, slots: Sequence[HubSlot]) -> Given:
        """See `Players`."""
        device = self.stylizer.device
        text, pooled, seen = (stack(slots, name, device) for name in ("text", "pooled", "seen"))
        return Given(TextEmbedding(text, pooled if pooled.numel() else None), (seen,) if seen.numel() else ())

    def teacher(self, x_t: Tensor, t: Tensor, condition: Given, styled: bool) -> Tensor:
        """See `Players`."""
        for layer in self._adapted:
            layer.enable_adapters(False)
        try:
            return self._x0(x_t, t, condition if styled else self._nothing(condition))
        finally:
            self._as(STUDENT)

    def target(self, x_t: Tensor, t: Tensor, condition: Given) -> Tensor:
        """See `Players`."""
        self._as(TARGET)
        try:
            return self._x0(x_t, t, condition)
        finally:
            self._as(STUDENT)

    def student(self, x_t: Tensor, t: Tensor, condition: Given, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Players`."""
        if keep is not None:
            nothing = self._nothing(condition)
            pairs = zip(condition.seen, nothing.seen, strict=True)
            condition = Given(
                TextEmbedding(
                    _where(keep, condition.text.tokens, nothing.text.tokens),
                    None
                    if condition.text.pooled is None or nothing.text.pooled is None
                    else _where(keep, condition.text.pooled, nothing.text.pooled),
                ),
                tuple(_where(keep, a, b) for a, b in pairs),
            )
        return self._x0(x_t, t, condition), self.vector(condition)

    @torch.no_grad()
    def move_target(self, decay: float) -> None:
        """See `Players`."""
        torch._foreach_lerp_(self._targets, self._students, 1 - decay)
        if self._head is not None and self._head_minus is not None:
            pairs = zip(self._head_minus.parameters(), self._head.parameters(), strict=True)
            heads, ours = map(list, zip(*pairs, strict=True))
            torch._foreach_lerp_(heads, ours, 1 - min(decay, HEAD_DECAY))

    def compared(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """See `Players`: clips through the spatial head."""
        if self._head is None or self._head_minus is None or prediction.ndim != 5:
            return prediction, target
        with torch.no_grad():
            target = self._head_minus(target)
        return self._head(prediction), target

    def bounded(self, x_0: Tensor) -> Tensor:
        """See `Players`: latents have no bounds."""
        return x_0

    def decode(self, latents: Tensor) -> Tensor:
        """See `Players`; of clips the frames at a quarter and at three quarters."""
        if latents.ndim == 5:
            count = latents.shape[1]
            latents = latents[:, [count // 4, 3 * count // 4]].flatten(0, 1)
        return self.stylizer.decoded(latents)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """See `Players`."""
        return self.stylizer.encode(pictures)

    def state(self) -> dict[str, Tensor]:
        """See `Players`."""
        tensors = {name: p for name, p in self.unet.named_parameters() if f".{TARGET}." in name}
        if self._head_minus is not None:
            tensors |= {f"head.{name}": value for name, value in self._head_minus.state_dict().items()}
        return tensors

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """See `Players`."""
        for name, parameter in self.unet.named_parameters():
            if f".{TARGET}." in name:
                parameter.copy_(tensors[name])
        if self._head_minus is not None:
            self._head_minus.load_state_dict(
                {k.removeprefix("head."): v for k, v in tensors.items() if k[:5] == "head."}
            )

    @contextmanager
    def wearing(self, changes: Changes) -> Iterator[LatentStylizer]:
        """The student with other changes, for example their average, ready to paint."""
        own = [p.detach().clone() for p in self.changes.lora.values()]
        with torch.no_grad():
            for parameter, other in zip(self.changes.lora.values(), changes.lora.values(), strict=True):
                parameter.copy_(other)
        try:
            yield self.stylizer
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.changes.lora.values(), own, strict=True):
                    parameter.copy_(value)

    def _as(self, name: str) -> None:
        for layer in self._adapted:
            layer.enable_adapters(True)
            layer.set_adapter(name)

    def _nothing(self, given: Given) -> Given:
        """What guidance leads away from: the negative prompt, and no reference."""
        count, negative = len(given.text.tokens), self.stylizer.texts.negative
        pooled = None if negative.pooled is None else negative.pooled.expand(count, -1)
        tokens = negative.tokens[:, : given.text.tokens.shape[1]].expand(count, -1, -1)
        return Given(
            TextEmbedding(tokens, pooled),
            tuple(unseen[0].expand_as(seen) for unseen, seen in zip(self._unseen, given.seen, strict=True)),
        )

    def vector(self, given: Given) -> Tensor:
        """What a discriminator judges under, [N, D]."""
        if given.seen:
            return given.seen[0].flatten(1, -2).mean(1).detach()
        return (given.text.tokens.mean(1) if given.text.pooled is None else given.text.pooled).detach()

    def _x0(self, x_t: Tensor, t: Tensor, given: Given) -> Tensor:
        with self.accelerator.autocast():
            return self.stylizer.predict(x_t, t, given.text, given.seen)


def _where(keep: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(keep.view(-1, *[1] * (a.ndim - 1)), a, b.to(a))
