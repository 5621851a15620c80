"""Whether the parts of a model of the hub fit one another: foreign loaders only warn where weights are missing, match
nothing, or are of another network, and go on with random ones.

Each check raises ModelError.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from stdvid.errors import ModelError, StdvidError, UsageError
from stdvid.models.stylizer import Condition

if TYPE_CHECKING:
    from stdvid.models.latent_stylizer import LatentStylizer

TRIAL_PX, TRIAL_TIME = 64, 499
"""Side of the picture and time of the trial of a loaded model."""

_SILENT = 100
"""Above every level of logging: what went wrong is in the exception, and said once."""

_LATENTS_PX = 8
"""What Stable Diffusion's autoencoders make one latent of."""


@contextmanager
def loading(what: Path) -> Iterator[None]:
    """Errors of foreign loaders in one line; their chatter stays away."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    before = diffusers_logging.get_verbosity(), transformers_logging.get_verbosity()
    diffusers_logging.set_verbosity(_SILENT)
    transformers_logging.set_verbosity(_SILENT)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except StdvidError as exc:
        if isinstance(exc, ModelError):
            raise
        raise ModelError(f"'{what}' cannot be used: {exc}") from exc
    except ImportError as exc:
        raise ModelError(
            f"'{what}' needs a package that is not here: {_line(exc)}; pip install 'stdvid[hub]', or choose another "
            "model"
        ) from exc
    except torch.OutOfMemoryError as exc:
        raise ModelError(
            f"'{what}' does not fit into memory: {_line(exc)}; choose a smaller size, or offload = \"sequential\""
        ) from exc
    except Exception as exc:  # tokenizers and converters raise all there is
        raise ModelError(
            f"'{what}' does not fit the model: {_line(exc)}; files of one model are needed; get them again"
        ) from exc
    finally:
        diffusers_logging.set_verbosity(before[0])
        transformers_logging.set_verbosity(before[1])


def _line(exc: Exception) -> str:
    text = " ".join(str(exc).split())
    if "size mismatch" in text:
        return "its weights have other shapes, as those of another kind of model"
    return text[:200].rstrip(". ") or type(exc).__name__


def whole(loaded: tuple[Any, dict[str, Any]], folder: Path) -> Any:
    """A network that `from_pretrained` has loaded, with what it says of it: not one weight may be missing."""
    network, info = loaded
    for key, found in (("missing_keys", "no"), ("mismatched_keys", "another shape of")):
        if names := [str(name) for name in info.get(key) or ()]:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(
                f"'{folder}' has {found} {sorted(names)[0]}{more}; weights and config.json of one network are needed; "
                "get them again"
            )
    return network


def check_vae(vae: Any, unet: Any, folder: Path) -> None:
    """Whether a VAE has the latents of a UNet: as many channels, of 8 pixels."""
    channels, needed = vae.config.latent_channels, unet.config.in_channels
    side = 2 ** (len(vae.config.block_out_channels) - 1)
    if (channels, side) != (needed, _LATENTS_PX):
        raise ModelError(
            f"'{folder}' has latents of {channels} channels and {side} pixels; the network takes {needed} channels and "
            f"{_LATENTS_PX} pixels; choose a VAE of the same kind of model"
        )


def check_lora(pipeline: Any, adapter: str, path: Path) -> None:
    """Whether all that a LoRA changes is there, and what it changes it to are numbers."""
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        broken = next((name for name in names if not file.get_tensor(name).isfinite().all()), None)
    if broken:
        raise ModelError(f"'{path}' has {broken} with NaN or infinity; it is damaged; get it again or train it anew")
    wanted = sum(name.endswith("down.weight") or ".lora_A." in name for name in names)
    parts = [getattr(pipeline, name, None) for name in ("unet", "text_encoder", "text_encoder_2")]
    layers = (layer for part in parts if part is not None for layer in part.modules())
    changed = sum(adapter in getattr(layer, "lora_A", ()) for layer in layers)
    if not wanted or changed < wanted:
        raise ModelError(
            f"'{path}' changes {wanted} layers, of which the model has {changed}; a LoRA for this kind of model is "
            "needed; choose another"
        )


def check_ip_adapter(unet: Any, path: Path) -> None:
    """Whether an IP-Adapter has keys and values for each layer that attends to words, and for no others."""
    with safe_open(path, "pt") as file:
        found = sum(name.startswith("ip_adapter.") and name.endswith(".to_k_ip.weight") for name in file.keys())  # noqa: SIM118
    needed = sum(".attn2." in name and "motion_modules" not in name for name in unet.attn_processors)
    if found != needed:
        raise ModelError(
            f"'{path}' is for {found} layers of attention; the model has {needed}; an IP-Adapter of the same kind of "
            "model is needed; choose another"
        )


def check_scale(unet: Any, scale: Any) -> None:
    """Whether the scale of an IP-Adapter names blocks that there are, and has a number for each of their layers.

    Raises UsageError: it is a mistake of the preset.
    """
    if not isinstance(scale, dict):
        return
    sides: dict[str, list[Any]] = {"down": list(unet.down_blocks), "up": list(unet.up_blocks), "mid": [unet.mid_block]}
    for side, wanted in scale.items():
        blocks = {f"block_{n}": len(getattr(b, "attentions", None) or ()) for n, b in enumerate(sides.get(side, ()))}
        there = [name for name, layers in blocks.items() if layers]
        kinds = (int, float) if side == "mid" else (int, float, dict)
        if side not in sides or not isinstance(wanted, kinds):
            raise UsageError(
                f"ip_adapter.scale has '{side}'; allowed: down and up with a number or a table of blocks, mid with a "
                "number; correct it"
            )
        if not isinstance(wanted, dict):
            continue
        for name, numbers in wanted.items():
            if name not in there:
                raise UsageError(
                    f"ip_adapter.scale names {side}.{name}; the model attends in {side}.{', '.join(there)}; correct it"
                )
            if isinstance(numbers, list | tuple) and len(numbers) != blocks[name]:
                raise UsageError(
                    f"ip_adapter.scale has {len(numbers)} numbers for {side}.{name}; it has {blocks[name]} layers; "
                    "give so many, or one for all"
                )


def check_controlnet(network: Any, unet: Any, folder: Path) -> None:
    """Whether a ControlNet is of a UNet's kind."""
    for name in ("cross_attention_dim", "block_out_channels", "in_channels", "addition_embed_type"):
        ours, theirs = getattr(network.config, name), getattr(unet.config, name)
        if (tuple(ours) if isinstance(ours, list) else ours) != (tuple(theirs) if isinstance(theirs, list) else theirs):
            raise ModelError(
                f"'{folder}' is a ControlNet with {name} {ours}; the model has {theirs}; one for the same kind of "
                "model is needed; choose another"
            )


@torch.no_grad()
def try_out(stylizer: LatentStylizer, what: Path) -> None:
    """Paint next to nothing: parts that are each whole may still not fit one another, or give no numbers."""
    from stdvid.models.latent_stylizer import Shown

    grey = torch.zeros(1, 3, TRIAL_PX, TRIAL_PX, device=stylizer.device)
    with loading(what):
        seen = stylizer.encode_style([grey], 1.0)
        told = Shown(seen, (grey + 1) / 2 if stylizer.control else None)
        condition = Condition(stylizer.encode(grey), grey, told)
        estimate = stylizer.denoiser(condition)(condition.x_0, torch.tensor([TRIAL_TIME], device=stylizer.device))
        picture = stylizer.decode(estimate)
    if not picture.isfinite().all():
        raise ModelError(
            f"'{what}' paints NaN or infinity; weights are damaged, or the precision is too low for them; get them "
            'again, or set precision = "fp32"'
        )
