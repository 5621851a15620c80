"""From settings to a run that is ready to train: the one place where a training run is put together."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator, PartialState

from stdvid.diffusion.schedule import cosine
from stdvid.distill.adversarial import adversarial_term
from stdvid.distill.checkpoint import CHECKPOINT, load_checkpoint, under
from stdvid.distill.consistency import FRESH, ConsistencyLoss, beginnings
from stdvid.distill.data import Pool, load_pool, random_crop
from stdvid.distill.evaluation import Entrant
from stdvid.distill.hub_build import build_hub_task, hub_teacher
from stdvid.distill.methods import METHODS
from stdvid.distill.nano_players import NanoPlayers
from stdvid.distill.settings import DataSettings, MethodName, OptimSettings, StudentSettings, TeacherSettings
from stdvid.distill.sheets import Sheet
from stdvid.distill.slots import Slot, SlotSource
from stdvid.distill.student import StudentTask
from stdvid.distill.style_terms import StyleTerms
from stdvid.distill.teacher import TeacherTask
from stdvid.distill.trainer import Run
from stdvid.errors import InputError, ModelError, UsageError
from stdvid.models.bundle import Bundle, Trained, read_bundle, write_bundle
from stdvid.models.lora import adapt, apply_lora, split_lora
from stdvid.models.nano import DEFAULT_ARCHITECTURE, Nano
from stdvid.models.nano_stylizer import NanoStylizer
from stdvid.models.precision import fast_dtype
from stdvid.models.style_encoder import STYLE_CROP_PX
from stdvid.schema import from_toml, to_toml

log = logging.getLogger(__name__)

TEXTURE_CROPS = 256
"""At most so many crops of the training styles, 8 a picture, set the scale of the texture statistics."""


def accelerator_for(device: str, optim: OptimSettings) -> Accelerator:
    """Accelerate on one device ('auto', 'cpu', 'cuda', 'mps') in the precision asked for; 'auto' is what is fast."""
    cpu, precision = device == "cpu", optim.precision
    if precision == "auto":
        precision = "bf16" if fast_dtype(PartialState(cpu=cpu).device) is torch.bfloat16 else "no"
    return Accelerator(cpu=cpu, mixed_precision=precision)


def prepare_folder(folder: Path, settings: Any, accelerator: Accelerator) -> None:
    """Make a run directory with its config.toml; UsageError if it holds a run of other settings."""
    config = folder / "config.toml"
    if (folder / CHECKPOINT).exists() and config.exists() and from_toml(type(settings), config) != settings:
        raise UsageError(
            f"'{folder}' holds a run with other settings; a run resumes with the same ones; "
            "use another --out, or its own config.toml as --config"
        )
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        config.write_text(to_toml(settings), encoding="utf-8")
    accelerator.wait_for_everyone()


def load_pools(data: DataSettings) -> tuple[Pool, Pool, Sheet]:
    """Training styles, training photos, and the sheet of held-out pairs."""
    if not data.styles or not data.photos:
        raise UsageError("no training pictures; give folders of images; --styles DIR --photos DIR")
    styles, photos = [Path(p) for p in data.styles], [Path(p) for p in data.photos]
    options: dict[str, Any] = {
        "short_side_px": data.short_side_px,
        "weights": data.weights,
        "skip_pages": data.skip_pages,
    }
    return (
        load_pool(styles, **options),
        load_pool(photos, short_side_px=data.short_side_px),
        Sheet(held_out(photos, short_side_px=data.short_side_px), held_out(styles, **options)),
    )


def held_out(folders: Sequence[Path], **options: Any) -> Pool:
    """The pictures kept out of training; a small folder may have none: then those trained on, and it is said."""
    try:
        return load_pool(folders, held_out=True, **options)
    except InputError:
        log.warning("no held-out pictures in %s: sample sheets show training pictures", ", ".join(map(str, folders)))
        return load_pool(folders, **options)


def load_run(folder: Path) -> tuple[Trained, dict[str, Any]]:
    """The averaged network of a run directory, and the facts of its checkpoint: step, seconds, and the task's own."""
    tensors, meta = load_checkpoint(folder / CHECKPOINT)
    facts = {"step": meta["step"], "seconds": meta["seconds"], **meta["task"]}
    if "hub" in facts:
        raise _of_the_hub(str(folder))
    model = Nano(**facts["architecture"])
    weights, lora = split_lora(under("ema", tensors))
    try:
        model.load_state_dict(weights)
    except RuntimeError as exc:
        raise ModelError(f"'{folder}' does not match its own architecture; train it again") from exc
    return Trained(model, facts["strength"], facts["start"], lora), facts


def _of_the_hub(source: str) -> UsageError:
    return UsageError(
        f"'{source}' is of a hub model; a network of nano is needed here; its sample sheets show how it does"
    )


def load_network(source: str, strength: float) -> tuple[Nano, dict[str, Any]]:
    """The network of a run directory, or of a bundle (name or folder) the one nearest to `strength`; and its facts, of
    which "architecture" is always known.

    Raises ModelError for a damaged one, UsageError if there is no such thing.
    """
    if hub_teacher(source) is not None:
        raise _of_the_hub(source)
    if (Path(source) / CHECKPOINT).exists():
        trained, facts = load_run(Path(source))
        apply_lora(trained.model, trained.lora)
        return trained.model, facts
    bundle = read_bundle(source)
    model = bundle.network(bundle.network_for(strength)[0])
    return model.eval().requires_grad_(True), {"architecture": bundle.architecture}


def load_entrant(source: str, strength: float, name: str = "") -> Entrant:
    """A run directory or bundle as an entrant of an evaluation, with the sampler of its method."""
    model, facts = load_network(source, strength)
    method: MethodName = facts.get("method", "std")
    return Entrant(name or Path(source).name, NanoStylizer(model.eval(), cosine()), METHODS[method].gamma)


def load_entrants(sources: Sequence[str], strength: float) -> list[Entrant]:
    """Several of them, each named by its folder, or by all that was given where two folders have one name."""
    folders = [Path(source).name for source in sources]
    names = [source if folders.count(folder) > 1 else folder for source, folder in zip(sources, folders, strict=True)]
    return [load_entrant(source, strength, name) for source, name in zip(sources, names, strict=True)]


def build_teacher(settings: TeacherSettings, folder: Path, device: str) -> Run:
    """A teacher run, new or resumed from `folder`; it starts from nothing, or from the network `start`."""
    if settings.start and settings.architecture:
        raise UsageError(
            "start and architecture are both given; a network brings its own architecture; give one of them"
        )
    accelerator = accelerator_for(device, settings.optim)
    prepare_folder(folder, settings, accelerator)
    torch.backends.cudnn.benchmark = True  # all batches have one shape
    if settings.start:
        model, facts = load_network(settings.start, settings.loss.max_time / 1000)
        architecture = facts["architecture"]
    else:
        architecture = {**DEFAULT_ARCHITECTURE, **settings.architecture}
        with torch.random.fork_rng():
            torch.manual_seed(settings.optim.seed)
            model = Nano(**architecture)
    model = model.to(accelerator.device)
    styles, photos, sheet = load_pools(settings.data)
    if not (folder / CHECKPOINT).exists() and not model.style.hears_texture:
        rng = np.random.default_rng(settings.optim.seed)
        count = min(TEXTURE_CROPS, 8 * len(styles.images))
        crops = [random_crop(styles.draw(rng), STYLE_CROP_PX, rng) for _ in range(count)]
        model.style.fit_texture(torch.stack(crops).to(accelerator.device))
    task = TeacherTask(model, architecture, cosine(), styles, photos, sheet, settings, accelerator)
    return Run(folder, task, settings.optim, accelerator)


def build_student(settings: StudentSettings, folder: Path, device: str) -> Run:
    """A student run, new or resumed from `folder`; it starts as a copy of the teacher, or of the run `start`."""
    if not settings.teacher:
        raise UsageError("no teacher; a student needs a run directory or a bundle of one; --teacher DIR")
    if settings.loss.adversarial > 0 and settings.loss.distillation == 0:
        raise UsageError(
            "adversarial has a weight and distillation has none; it judges the jumps; give both, or neither"
        )
    accelerator = accelerator_for(device, settings.optim)
    prepare_folder(folder, settings, accelerator)
    if preset := hub_teacher(settings.teacher):
        return Run(folder, build_hub_task(settings, preset, accelerator), settings.optim, accelerator)
    teacher, facts = load_network(settings.teacher, settings.loss.strength)
    model = load_network(settings.start, settings.loss.strength)[0] if settings.start else copy.deepcopy(teacher)
    if settings.lora_rank > 0:
        with torch.random.fork_rng():
            torch.manual_seed(settings.optim.seed)
            adapt(model, settings.lora_rank)
    styles, photos, sheet = load_pools(settings.data)
    schedule = cosine()
    seed, loss = settings.optim.seed, settings.loss
    source = SlotSource(photos, styles, schedule, loss, settings.data.workers)
    model, teacher = model.to(accelerator.device), teacher.to(accelerator.device).eval().requires_grad_(False)
    players = NanoPlayers(model, teacher, accelerator)
    fresh = source.stream((seed, FRESH), settings.data.crop_px, beginnings(loss))
    task = StudentTask(
        players,
        ConsistencyLoss(players, schedule, fresh, loss, accelerator.device),
        lambda averaged: sheet.draw(cast(Nano, averaged), schedule, steps=4),
        settings,
        accelerator,
        {"architecture": facts["architecture"]},
        slot_type=Slot,
        style_terms=StyleTerms(model, schedule, source, loss, accelerator, seed=seed) if loss.style > 0 else None,
        adversarial=adversarial_term(players, schedule, facts["architecture"]["vector_dim"], loss, seed, accelerator),
    )
    return Run(folder, task, settings.optim, accelerator)


def export_bundle(runs: Sequence[Path], folder: Path, name: str, card: str) -> Bundle:
    """Write the averaged networks of one teacher run, or of student runs of several strengths, as a bundle.

    Raises ModelError if a folder is no run or they differ in architecture.
    """
    loaded = [load_run(run) for run in runs]
    architectures = [facts["architecture"] for _, facts in loaded]
    if any(a != architectures[0] for a in architectures):
        raise ModelError(f"the runs {', '.join(map(str, runs))} differ in architecture; a bundle has one; export apart")
    return write_bundle(folder, name, architectures[0], [trained for trained, _ in loaded], card)
