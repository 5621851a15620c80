"""The training loop: one for every teacher and student. A `Task` says what is trained and on what loss."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from stdvid.distill.checkpoint import (
    CHECKPOINT,
    load_checkpoint,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    save_checkpoint,
    under,
)
from stdvid.distill.gradients import average_gradients
from stdvid.distill.settings import OptimSettings
from stdvid.errors import ModelError, UsageError


class Task(Protocol):
    """What a run trains."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        ...

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of step `step` and the parts to log; randomness comes from (seed, step) alone."""
        ...

    def after_step(self, step: int) -> None:
        """Called after the weights have moved."""
        ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON-able facts that a resumed run needs besides weights and optimizer."""
        ...

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        ...

    def sheet(self, model: nn.Module) -> NDArray[np.uint8]:
        """A picture, uint8 [H, W, 3] RGB, of what `model` (the averaged weights) does on held-out pairs."""
        ...


@dataclass(frozen=True)
class TrainEvent:
    """One line of the log: the mean of each loss part since the last one."""

    step: int
    seconds: float
    parts: dict[str, float]


def learning_rate(step: int, optim: OptimSettings) -> float:
    """Linear warm-up, constant, then 1/sqrt (EDM2, arXiv 2312.02696 eq. 67): needs no end to aim at."""
    warm = min(1.0, (step + 1) / max(1, optim.warmup_steps))
    return optim.lr * warm / math.sqrt(max(1.0, step / optim.decay_after))


def ema_update(decay: float) -> Callable[[Any, Any, Any], None]:
    """Average of all parameters at once, with a shorter memory in the first steps."""

    def update(average: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        n = float(count)
        torch._foreach_lerp_(average, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def new_optimizer(parameters: list[nn.Parameter], optim: OptimSettings) -> torch.optim.Optimizer:
    """AdamW, or the one that keeps its moments in 8 bits; UsageError if the package of that is missing."""
    options: dict[str, Any] = {"lr": optim.lr, "betas": (0.9, 0.99), "weight_decay": optim.weight_decay}
    if optim.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **options)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as exc:
        raise UsageError(
            "optim.optimizer is 'adamw8bit', and bitsandbytes is not installed; pip install bitsandbytes, or 'adamw'"
        ) from exc
    optimizer: torch.optim.Optimizer = AdamW8bit(parameters, **options)
    return optimizer


class Run:
    """A run directory: config.toml, log.jsonl, TensorBoard events, checkpoint.safetensors, samples/."""

    def __init__(self, folder: Path, task: Task, optim: OptimSettings, accelerator: Accelerator) -> None:
        self.folder, self.task, self.optim, self.accelerator = folder, task, optim, accelerator
        self.step, self.seconds = 0, 0.0
        self.optimizer = new_optimizer([p for p in task.model.parameters() if p.requires_grad], optim)
        self.ema = AveragedModel(task.model, multi_avg_fn=ema_update(optim.ema_decay))
        self.optimizer = accelerator.prepare(self.optimizer)
        if (folder / CHECKPOINT).exists():
            self._resume()

    def _resume(self) -> None:
        tensors, meta = load_checkpoint(self.folder / CHECKPOINT)
        own = tensors, meta
        if not self.accelerator.is_main_process:
            own = load_checkpoint(self.folder / self._own_checkpoint)
        try:
            self.task.model.load_state_dict(under("model", tensors))
            self.ema.module.load_state_dict(under("ema", tensors))
        except RuntimeError as exc:
            raise ModelError(
                f"the checkpoint in '{self.folder}' is of another architecture; use another --out, or its own config"
            ) from exc
        self.step, self.seconds = meta["step"], meta["seconds"]
        self.ema.n_averaged.fill_(meta["averaged"])
        restore_optimizer(self.optimizer, self.task.model, under("optimizer", tensors))
        self.task.restore(under("task", own[0]), own[1]["task"])

    @property
    def _own_checkpoint(self) -> str:
        """What a process beside the first one keeps of its own: banks, and how far its data is."""
        return f"checkpoint-{self.accelerator.process_index}.safetensors"

    def save(self) -> None:
        """Write the checkpoint, and each process beside the first its own."""
        task_tensors, task_meta = self.task.state()
        if not self.accelerator.is_main_process:
            save_checkpoint(self.folder / self._own_checkpoint, prefixed("task", task_tensors), {"task": task_meta})
            return
        tensors = {
            **prefixed("model", self.task.model.state_dict()),
            **prefixed("ema", self.ema.module.state_dict()),
            **prefixed("optimizer", optimizer_tensors(self.optimizer, self.task.model)),
            **prefixed("task", task_tensors),
        }
        meta = {"step": self.step, "seconds": self.seconds, "averaged": int(self.ema.n_averaged), "task": task_meta}
        save_checkpoint(self.folder / CHECKPOINT, tensors, meta)

    def train_step(self) -> dict[str, float]:
        """One optimizer step; returns the loss parts."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.optim)
        self.optimizer.zero_grad(set_to_none=True)
        count, sums = self.optim.accumulate, dict[str, float]()
        for batch in range(count):
            loss, parts = self.task.loss(self.step * count + batch)
            self.accelerator.backward(loss / count)
            for name, value in {"loss": float(loss.detach()), **parts}.items():
                sums[name] = sums.get(name, 0.0) + value / count
        average_gradients(self.task.model.parameters(), self.accelerator)
        norm = self.accelerator.clip_grad_norm_(self.task.model.parameters(), self.optim.max_grad_norm)
        self.optimizer.step()
        self.ema.update_parameters(self.task.model)
        self.task.after_step(self.step)
        self.step += 1
        return {**sums, "grad_norm": float(norm)}

    def close(self) -> None:
        """Part from the other processes, when all have come as far."""
        if self.accelerator.num_processes > 1:
            self.accelerator.wait_for_everyone()
            self.accelerator.end_training()

    def agreed(self, decision: bool) -> bool:
        """What the first process has decided."""
        if self.accelerator.num_processes == 1:
            return decision
        said = torch.tensor([decision], device=self.accelerator.device, dtype=torch.int32)
        return bool(broadcast(said).item())

    def write_sheet(self) -> None:
        """samples/step_NNNNNN.png, made with the averaged weights; by the first process."""
        if not self.accelerator.is_main_process:
            return
        averaged = self.ema.module.eval()
        with torch.no_grad():
            sheet = self.task.sheet(averaged)
        path = self.folder / "samples" / f"step_{self.step:06d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), sheet[:, :, ::-1])


def train(run: Run, *, max_steps: int, max_seconds: float, stop: Callable[[], bool]) -> Iterator[TrainEvent]:
    """Train until step `max_steps`, for at most `max_seconds`, or until `stop()`; save at the end and on the way.

    Yields an event every `log_every` steps, after it went to log.jsonl and TensorBoard.
    """
    from torch.utils.tensorboard import SummaryWriter

    optim = run.optim
    run.folder.mkdir(parents=True, exist_ok=True)
    run.task.model.train()
    main = run.accelerator.is_main_process
    started, before = time.monotonic(), run.seconds
    saved = started
    sums: dict[str, float] = {}
    counted = 0
    with (
        SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.step) if main else nullcontext() as board,
        open(run.folder / "log.jsonl", "a", encoding="utf-8") if main else nullcontext() as log,
    ):
        while run.step < max_steps and run.agreed(time.monotonic() - started < max_seconds and not stop()):
            for key, value in run.train_step().items():
                sums[key] = sums.get(key, 0.0) + value
            counted += 1
            run.seconds = before + time.monotonic() - started
            if run.step % optim.log_every == 0:
                event = TrainEvent(run.step, run.seconds, {k: v / counted for k, v in sums.items()})
                if board is not None and log is not None:
                    line = {"step": event.step, "seconds": round(event.seconds, 1), **event.parts}
                    log.write(json.dumps(line) + "\n")
                    log.flush()
                    for key, value in event.parts.items():
                        board.add_scalar(key, value, run.step)
                sums, counted = {}, 0
                yield event
            if run.step % optim.sheet_every == 0:
                run.write_sheet()
            if run.agreed(time.monotonic() - saved > optim.save_every_s):
                run.save()
                saved = time.monotonic()
        run.save()
