"""Text prompts of any length for CLIP text encoders.

    prompt -> tokens -> chunks of 75, each with a beginning and an end -> encoders -> [1, 77 k, C]

CLIP sees 77 tokens; longer prompts are encoded chunk by chunk and their embeddings put one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextEmbedding:
    """`tokens` [1, 77 k, C] to attend to, and the `pooled` embedding of the first chunk [1, P], where the model has
    one."""

    tokens: Tensor
    pooled: Tensor | None = None

    def zeros(self) -> TextEmbedding:
        """Nothing at all, of the same shape."""
        return TextEmbedding(
            torch.zeros_like(self.tokens), None if self.pooled is None else torch.zeros_like(self.pooled)
        )


def text_models(pipeline: Any) -> tuple[list[Any], list[Any]]:
    """Tokenizers and text encoders of a pipeline of diffusers: two of SDXL, one of others."""
    names = ["", "_2"] if hasattr(pipeline, "text_encoder_2") else [""]
    tokenizers, encoders = ([getattr(pipeline, kind + n) for n in names] for kind in ("tokenizer", "text_encoder"))
    return tokenizers, encoders


@torch.no_grad()
def embed(
    prompts: Sequence[str],
    tokenizers: Sequence[Any],
    encoders: Sequence[Any],
    device: torch.device | None = None,
    chunks: int | None = None,
) -> list[TextEmbedding]:
    """Embeddings of `prompts`, all of one length: shorter ones are filled up with empty chunks, and where there are to
    be so many `chunks`, longer ones are cut.

    `device`: where the encoders work, if not where their weights are.

    One encoder (Stable Diffusion 1.5) gives its last layer; several (SDXL) the last but one, side by side.
    """
    count = chunks or max(len(_chunks(prompt, tokenizer)) for prompt in prompts for tokenizer in tokenizers)
    return [_embed(prompt, count, tokenizers, encoders, device) for prompt in prompts]


def _embed(
    prompt: str, count: int, tokenizers: Sequence[Any], encoders: Sequence[Any], device: torch.device | None
) -> TextEmbedding:
    sides, pooled = [], None
    for tokenizer, encoder in zip(tokenizers, encoders, strict=True):
        chunks = _chunks(prompt, tokenizer)[:count]
        chunks += _chunks("", tokenizer) * (count - len(chunks))
        out = encoder(torch.tensor(chunks, device=device or encoder.device), output_hidden_states=len(encoders) > 1)
        sides.append(out[0] if len(encoders) == 1 else out.hidden_states[-2])
        if len(encoders) > 1 and out[0].ndim == 2:
            pooled = out[0][:1]
    return TextEmbedding(torch.cat([side.flatten(0, 1) for side in sides], -1)[None], pooled)


def _chunks(prompt: str, tokenizer: Any) -> list[list[int]]:
    """Token ids of a prompt in chunks of the tokenizer's length."""
    ids = tokenizer(prompt, add_special_tokens=False, truncation=False, verbose=False).input_ids
    length = tokenizer.model_max_length - 2
    parts = [ids[start : start + length] for start in range(0, len(ids), length)] or [[]]
    chunks = []
    for part in parts:
        chunk = [tokenizer.bos_token_id, *part, tokenizer.eos_token_id]
        chunks.append(chunk + [tokenizer.pad_token_id] * (length + 2 - len(chunk)))
    return chunks
