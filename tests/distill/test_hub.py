"""Students of hub models: tiny Stable Diffusion 1.5 and SDXL, distilled, resumed, exported, read by diffusers."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_models
import torch
from accelerate.state import AcceleratorState
from diffusers import StableDiffusionXLImg2ImgPipeline, UNet2DConditionModel
from safetensors import safe_open

from stdvid.config import LoraConfig, ModelConfig
from stdvid.diffusion.schedule import grid_time, scaled_linear
from stdvid.diffusion.solver import jump
from stdvid.distill.build import build_student, load_entrant
from stdvid.distill.checkpoint import load_checkpoint
from stdvid.distill.data import load_pool
from stdvid.distill.hub_export import DIFFUSERS_FILE, export_student
from stdvid.distill.hub_players import HubPlayers, SpatialHead
from stdvid.distill.hub_slots import HubSlot
from stdvid.distill.methods import METHODS
from stdvid.distill.settings import DataSettings, OptimSettings, StudentLoss, StudentSettings
from stdvid.distill.student import StudentTask
from stdvid.distill.trainer import Run, train
from stdvid.errors import InputError, ModelError, UsageError
from stdvid.models.diffusers_adapter import HubModel

Clip = Callable[..., Path]

PRESET = """
[model]
base = "./{kind}"
ip_adapter = {{ path = "./{kind}-ip", weight_name = "ip.safetensors" }}
{motion}
[sampling]
negative_prompt = "a bad thing"
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_models.build_all(tmp_path_factory.mktemp("tiny"))
    for kind in ("sd15", "sdxl"):
        (folder / f"{kind}.toml").write_text(PRESET.format(kind=kind, motion=""))
        motion = f'motion_adapter = "./{kind}-motion"'
        (folder / f"{kind}-moving.toml").write_text(PRESET.format(kind=kind, motion=motion))
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 256, (10, 12, 3), np.uint8)
        cv2.imwrite(str(pictures / f"{number}.png"), cv2.resize(noise, (96, 80), interpolation=cv2.INTER_CUBIC))
        (pictures / f"{number}.txt").write_text(f"the thing in ink {number}\n")
    return folder


def settings_for(tiny: Path, preset: str = "sdxl", **loss: Any) -> StudentSettings:
    return StudentSettings(
        teacher=str(tiny / f"{preset}.toml"),
        lora_rank=4,
        data=DataSettings(styles=(str(tiny / "pictures"),), crop_px=64, short_side_px=80, skip_pages=False),
        optim=OptimSettings(batch=2, warmup_steps=1, lr=1e-3, precision="no", log_every=1, sheet_every=10**6),
        loss=dataclasses.replace(
            StudentLoss(strength=0.75, bank_slots=4, bank_stagger=False, guidance_min=5.0, guidance_max=9.0), **loss
        ),
    )


def run_for(settings: StudentSettings, folder: Path, steps: int) -> Run:
    run = build_student(settings, folder, "cpu")
    events = list(train(run, max_steps=steps, max_seconds=1e9, stop=lambda: False))
    assert all(np.isfinite(list(event.parts.values())).all() for event in events)
    return run


def task_of(run: Run) -> StudentTask:
    assert isinstance(run.task, StudentTask)
    return run.task


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize(
    ("preset", "steps"),
    [("sdxl", 3), pytest.param("sdxl", 50, marks=pytest.mark.slow), pytest.param("sd15", 50, marks=pytest.mark.slow)],
)
def test_every_method_trains_the_changes_and_nothing_else(
    tiny: Path, tmp_path: Path, method: Any, preset: str, steps: int
) -> None:
    settings = settings_for(tiny, preset, method=method)
    run = build_student(settings, tmp_path / "run", "cpu")
    players: Any = task_of(run).players
    before = {name: p.detach().clone() for name, p in players.unet.named_parameters()}
    list(train(run, max_steps=steps, max_seconds=1e9, stop=lambda: False))
    moved = {name for name, p in players.unet.named_parameters() if not torch.equal(p, before[name])}
    assert moved
    assert all(".lora_" in name for name in moved)
    assert {name.split(".")[-2] for name in moved} == {"student", "target"}


@pytest.mark.parametrize(("training", "dtype"), [("no", torch.float32), ("bf16", torch.bfloat16)])
def test_weights_are_in_the_precision_of_training_whatever_the_preset_paints_in(
    tiny: Path, tmp_path: Path, training: Any, dtype: torch.dtype
) -> None:
    preset = tiny / "half.toml"
    preset.write_text((tiny / "sdxl.toml").read_text().replace("[model]", '[model]\nprecision = "fp16"'))
    settings = settings_for(tiny, "half")
    settings = dataclasses.replace(settings, optim=dataclasses.replace(settings.optim, precision=training))
    AcceleratorState._reset_state()
    try:
        run = run_for(settings, tmp_path / "run", 2)
    finally:
        AcceleratorState._reset_state()
    players: Any = task_of(run).players
    assert {p.dtype for name, p in players.unet.named_parameters() if ".lora_" not in name} == {dtype}
    assert {p.dtype for p in run.task.model.parameters()} == {torch.float32}


def test_a_stored_state_is_one_guided_step_of_the_plain_network_further(tiny: Path, tmp_path: Path) -> None:
    run = build_student(settings_for(tiny), tmp_path / "run", "cpu")
    task = task_of(run)
    begun: list[HubSlot] = []
    fresh = task.consistency.fresh
    task.consistency.fresh = lambda: begun.append(fresh()) or begun[-1]  # type: ignore[assignment,func-returns-value,return-value]
    task.loss(0)
    for old, new in zip(begun, task.consistency.bank.slots, strict=True):
        assert (old.index, new.index) == (38, 37)  # ceil(50 * .75), and one below
        plain = UNet2DConditionModel.from_pretrained(tiny / "sdxl" / "unet")
        stylizer: Any = task.players
        stylizer = stylizer.stylizer
        t, s = (torch.tensor([int(grid_time(i))]) for i in (38, 37))
        negative = stylizer.texts.negative
        # the reference goes by our own UNet's adapter, with its changes switched off
        for layer in task.players._adapted:  # type: ignore[attr-defined]
            layer.enable_adapters(False)
        with torch.no_grad():
            x = [
                stylizer.predict(old.x_t[None], t, text, images)
                for text, images in (
                    (stylizer.texts.prompt.__class__(old.text[None], old.pooled[None]), [old.seen[None]]),
                    (negative, [torch.zeros_like(old.seen)[None]]),
                )
            ]
        x_0 = x[1] + old.guidance * (x[0] - x[1])
        expected = jump(scaled_linear(), old.x_t[None], x_0, t, s)[0]
        torch.testing.assert_close(new.x_t, expected, atol=1e-4, rtol=1e-4)
        for name, value in plain.state_dict().items():
            ours = stylizer.unet.state_dict()
            key = (
                name
                if name in ours
                else name.replace(".weight", ".base_layer.weight").replace(".bias", ".base_layer.bias")
            )
            assert torch.equal(ours[key], value)


def test_an_untrained_student_is_its_unguided_teacher(tiny: Path, tmp_path: Path) -> None:
    alike = settings_for(tiny, guidance_min=1.0, guidance_max=1.0, window_rate=0.01)
    assert float(build_student(alike, tmp_path / "a", "cpu").task.loss(0)[0].detach()) < 1e-4
    guided = settings_for(tiny, guidance_min=9.0, guidance_max=9.0, window_rate=0.01)
    assert float(build_student(guided, tmp_path / "b", "cpu").task.loss(0)[0].detach()) > 1e-3


def test_a_resumed_run_is_an_uninterrupted_one_bit_for_bit(tiny: Path, tmp_path: Path) -> None:
    settings = settings_for(tiny, adversarial=0.7)
    settings = dataclasses.replace(settings, optim=dataclasses.replace(settings.optim, accumulate=2))
    run_for(settings, tmp_path / "halves", 2)
    run_for(settings, tmp_path / "halves", 4)
    run_for(settings, tmp_path / "whole", 4)
    halves, whole = (load_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("halves", "whole"))
    assert halves.keys() == whole.keys()
    assert [name for name in whole if not torch.equal(halves[name], whole[name])] == []


def test_the_exported_files_are_read_by_diffusers_and_by_us(tiny: Path, tmp_path: Path) -> None:
    run = run_for(settings_for(tiny), tmp_path / "run", 3)
    players: Any = task_of(run).players
    files = export_student(tmp_path / "run", tmp_path / "out", "mine", "# Card")
    assert [file.name for file in files] == [DIFFUSERS_FILE, "mine.safetensors"]
    x, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    stylizer = players.stylizer
    seen = torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(1))
    text = stylizer.texts.prompt
    with torch.no_grad(), players.wearing(run.ema.module) as worn:
        ours = worn.predict(x, t, text, [seen])
    players.unet.eval()
    for file in files:
        pipeline = StableDiffusionXLImg2ImgPipeline.from_pretrained(tiny / "sdxl")
        pipeline.load_ip_adapter(str(tiny / "sdxl-ip"), subfolder="", weight_name="ip.safetensors")
        with torch.no_grad():
            plain = predicted(pipeline, x, t, text, seen)
            pipeline.load_lora_weights(file.parent, weight_name=file.name)
            theirs = predicted(pipeline, x, t, text, seen)
        assert (ours - plain).abs().max() > 5e-3  # it was trained
        torch.testing.assert_close(theirs, ours, atol=2e-3, rtol=2e-3)  # fp16 in the file
        model = HubModel.find(ModelConfig(base=str(tiny / "sdxl"), lora=(LoraConfig(str(file)),)))
        assert [(n.strength, n.start) for n in model.networks] == [(0.75, 759)]
        with safe_open(file, "pt") as opened:
            told = opened.metadata()
        assert told["stdvid.method"] == "std"
        assert told["ss_network_dim"] == "4"


def predicted(pipeline: Any, x: Any, t: Any, text: Any, seen: Any) -> Any:
    """x_0 of a plain pipeline's UNet."""
    added = {"text_embeds": text.pooled, "time_ids": torch.tensor([[64, 64, 0, 0, 64, 64]]), "image_embeds": [seen]}
    eps = pipeline.unet(x, t, encoder_hidden_states=text.tokens, added_cond_kwargs=added, return_dict=False)[0]
    alpha, sigma = scaled_linear().alpha_sigma(t)
    return (x - sigma * eps) / alpha


@pytest.mark.parametrize("kind", [pytest.param("sd15", marks=pytest.mark.slow), "sdxl"])
def test_videos_are_distilled_with_motion_modules(tiny: Path, tmp_path: Path, clip: Clip, kind: str) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    clip("long.mp4", n=24).rename(clips / "long.mp4")
    (clips / "broken.mp4").write_bytes(b"no clip")
    settings = settings_for(tiny, f"{kind}-moving", adversarial=0.5, window_rate=0.3)
    data = dataclasses.replace(settings.data, clips=(str(clips),), frames=4, interval=2, short_side_px=64)
    settings = dataclasses.replace(settings, data=data, spatial_head=True)
    run = run_for(settings, tmp_path / "run", 2)
    task = task_of(run)
    assert {slot.x_t.shape for slot in task.consistency.bank.slots} == {(4, 4, 8, 8)}
    players: Any = task.players
    assert isinstance(players, HubPlayers)
    assert any("motion_modules" in name for name in players.changes.named())
    assert players.changes.head.leave.weight.any()
    again = build_student(settings, tmp_path / "run", "cpu")
    assert torch.equal(task_of(again).players.state()["head.leave.weight"], players.state()["head.leave.weight"])


def test_the_spatial_head_begins_as_the_identity() -> None:
    clips = torch.randn(2, 3, 4, 5, 6)
    assert torch.equal(SpatialHead()(clips), clips)


def test_two_processes_take_the_same_steps(tiny: Path, tmp_path: Path) -> None:
    """Each on its own data, the gradients averaged (gloo)."""
    config = tmp_path / "config.toml"
    config.write_text(
        "lora_rank = 4\n[data]\ncrop_px = 64\nshort_side_px = 80\nskip_pages = false\n"
        '[optim]\nbatch = 2\nprecision = "no"\nlog_every = 1\n[loss]\nstrength = 0.75\nbank_stagger = false\n'
    )
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, torch\n"
        "from accelerate import Accelerator\n"
        "from stdvid_cli.app import main\n"
        "from stdvid.distill.gradients import average_gradients\n"
        "ours, accelerator = torch.nn.Parameter(torch.zeros(3)), Accelerator(cpu=True)\n"
        "ours.grad = torch.full((3,), float(accelerator.process_index + 1))\n"
        "average_gradients([ours], accelerator)\n"
        "assert accelerator.num_processes == 2 and ours.grad.tolist() == [1.5] * 3\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    asked = ["distill", "student", "--teacher", tiny / "sdxl.toml", "--config", config, "--out", tmp_path / "run"]
    asked += ["--styles", tiny / "pictures", "--max-steps", "2", "--device", "cpu"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", program, *asked]
    done = subprocess.run(launch, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("saved at step 2") == 1  # one of them speaks
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    first, second = (tmp_path / "run" / f"checkpoint{n}.safetensors" for n in ("", "-1"))
    (a, _), (b, _) = load_checkpoint(first), load_checkpoint(second)
    targets = [name for name in b if name.startswith("task.target.")]
    assert targets
    assert all(torch.equal(a[name], b[name]) for name in targets)  # the average of the same weights
    states = [name for name in b if name.endswith(".x_0")]
    assert any(not torch.equal(a[name], b[name]) for name in states)  # data of their own


@pytest.mark.parametrize(
    ("preset", "changes", "match"),
    [
        ("sdxl", {"lora_rank": 0}, "lora_rank is 0"),
        ("sdxl", {"loss": {"style": 1.0}}, "for nano"),
        ("sdxl", {"start": "nano"}, "--start is for nano"),
        ("sdxl", {"data": {"clips": ("clips",)}}, "no motion_adapter"),
        ("sdxl-moving", {}, "--clips"),
        ("sdxl", {"data": {"crop_px": 72}}, "multiple of 16"),
        ("sdxl", {"data": {"styles": ()}}, "no training pictures"),
        ("sdxl", {"optim": {"optimizer": "adamw8bit"}}, "bitsandbytes"),
    ],
)
def test_what_does_not_go_together_is_said(
    tiny: Path, tmp_path: Path, preset: str, changes: dict[str, Any], match: str
) -> None:
    settings = settings_for(tiny, preset)
    for name, value in changes.items():
        if isinstance(value, dict):
            value = dataclasses.replace(getattr(settings, name), **value)
        settings = dataclasses.replace(settings, **{name: value})
    with pytest.raises(UsageError, match=match):
        build_student(settings, tmp_path / "run", "cpu")


def test_shards_of_webdataset_are_read_with_their_captions(tiny: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for path in sorted((tiny / "pictures").iterdir()):
            member = tarfile.TarInfo(path.name)
            member.size = path.stat().st_size
            archive.addfile(member, io.BytesIO(path.read_bytes()))
    for pool, prefix in ((load_pool([tmp_path]), "shard.tar/"), (load_pool([tiny / "pictures"]), "")):
        assert len(pool.names) >= 4  # some are held out
        numbers = [name.removeprefix(prefix).removesuffix(".png") for name in pool.names]
        assert list(pool.captions) == [f"the thing in ink {number}" for number in numbers]
        assert pool.draw_captioned(np.random.default_rng(0))[1] in pool.captions
    (tmp_path / "shard.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(InputError, match="damaged"):
        load_pool([tmp_path])


def test_a_discriminator_network_that_was_not_pulled_is_not_fetched(tiny: Path, tmp_path: Path) -> None:
    settings = settings_for(tiny, adversarial=0.7, discriminator_network="facebook/dinov2-small")
    with pytest.raises(ModelError, match="run: stdvid models pull facebook/dinov2-small"):
        build_student(settings, tmp_path / "run", "cpu")


def test_what_is_for_nano_says_so(tiny: Path, tmp_path: Path) -> None:
    run_for(settings_for(tiny), tmp_path / "run", 1)
    for source in (str(tiny / "sdxl.toml"), str(tmp_path / "run")):
        with pytest.raises(UsageError, match="a network of nano is needed"):
            load_entrant(source, 0.6)
