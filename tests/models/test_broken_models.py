"""Models of the hub that are broken, of another kind, or malicious: one line, the right code; nothing run or left."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from broken_models import (
    UNET,
    VAE,
    WORDS,
    Change,
    Desk,
    cut,
    disguised,
    evil_file,
    evil_index,
    foreign_lora,
    nan_lora,
    no_lora,
    of_base,
    only_pickles,
    other_encoder,
    other_motion,
    other_vae,
    outside_lora,
    partly_foreign_lora,
    rewritten,
    said_lora,
    shards_elsewhere,
    told,
    truncated,
)

from stdvid.config import ControlNetConfig, IPAdapterConfig, ModelConfig
from stdvid.errors import ModelError, UsageError
from stdvid.models.diffusers_adapter import HubModel
from stdvid_cli.app import main

pytestmark = pytest.mark.error_log  # the log of the command line has the error too


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build_all(tmp_path_factory.mktemp("tiny"))


def case(name: str, words: str, make: Change, code: int = 3, slow: bool = False) -> Any:
    return pytest.param(code, words, make, id=name, marks=[pytest.mark.slow] if slow else [])


GARBAGE = b"\x00{not json"

CASES = [
    case("base is a pickle", "is a pickle", lambda d: d.text(base=d.pickled("base.ckpt"))),
    case("vae is a pickle", "is a pickle", lambda d: d.text(vae=d.pickled("vae.bin"))),
    case("lora is a pickle", "is a pickle", lambda d: d.lora(d.pickled("lora.bin"))),
    case("lora names a pickle", "is a pickle", lambda d: d.lora(d.pickled("l/l.pt").parent, weight_name="l.pt")),
    case("ip_adapter is a pickle", "is a pickle", lambda d: d.ip(d.pickled("ip/ip.bin").parent, weight_name="ip.bin")),
    case("pickle by another name", "no safetensors", disguised),
    case("base has only pickles", "only pickles", only_pickles("unet")),
    case("text encoder has only pickles", "only pickles", only_pickles("text_encoder")),
    case("shards are a pickle", "no shards", shards_elsewhere("evil.bin")),
    case("shards are elsewhere", "no shards", shards_elsewhere("../evil.safetensors")),
    case("index names os", "made by 'os'", evil_index("os", "system")),
    case("index names a file of its own", "made by 'evil'", evil_index("evil", "Net")),
    case("config of a single file names code", "made by 'evil'", evil_file),
    case(
        "another network",
        "holds a FluxTransformer2DModel",
        of_base(lambda b: told(b / "unet/config.json", _class_name="FluxTransformer2DModel")),
    ),
    case(
        "another autoencoder",
        "holds a AutoencoderKLWan",
        of_base(lambda b: told(b / "vae/config.json", _class_name="AutoencoderKLWan")),
    ),
    case(
        "no class but a list",
        "holds a ['os', 'system']",
        of_base(lambda b: told(b / "vae/config.json", _class_name=["os", "system"])),
    ),
    case(
        "another prediction",
        "predicts 'flow'",
        of_base(lambda b: told(b / "scheduler/scheduler_config.json", prediction_type="flow")),
    ),
    case(
        "prediction is a list",
        "predicts '[]'",
        of_base(lambda b: told(b / "scheduler/scheduler_config.json", prediction_type=[])),
    ),
    case(
        "schedule of 100 times",
        "100 noisy times",
        of_base(lambda b: told(b / "scheduler/scheduler_config.json", num_train_timesteps=100)),
    ),
    case(
        "schedule to nothing",
        "cannot be used",
        of_base(lambda b: told(b / "scheduler/scheduler_config.json", rescale_betas_zero_snr=True)),
    ),
    case(
        "schedule of words",
        "does not fit",
        of_base(lambda b: told(b / "scheduler/scheduler_config.json", num_train_timesteps="many")),
    ),
    *(
        case(f"garbage in {name}", words, of_base(lambda b, name=name: (b / name).write_bytes(GARBAGE)), slow=slow)
        for name, words, slow in [
            ("model_index.json", "no JSON", False),
            ("unet/config.json", "no JSON", False),
            ("scheduler/scheduler_config.json", "no JSON", False),
            ("vae/config.json", "no JSON", False),
            ("text_encoder/config.json", "does not fit", False),
            ("tokenizer/vocab.json", "does not fit", True),
            ("tokenizer/tokenizer_config.json", "does not fit", True),
        ]
    ),
    case("index is a list", "no JSON object", of_base(lambda b: (b / "model_index.json").write_text("[1]"))),
    *(
        case(f"truncated {name}", "damaged", of_base(lambda b, name=name: truncated(b / name)))
        for name in (UNET, VAE, WORDS)
    ),
    case(
        "truncated text_encoder_2",
        "damaged",
        of_base(lambda b: truncated(b / "text_encoder_2/model.safetensors"), "sdxl"),
    ),
    case("truncated lora", "damaged", cut("sd15-lora.safetensors", lambda d: d.lora(d.copy("sd15-lora.safetensors")))),
    case("truncated ip_adapter", "damaged", cut("sd15-ip/ip.safetensors", lambda d: d.ip(d.copy("sd15-ip")))),
    case(
        "truncated image encoder",
        "damaged",
        cut("sd15-ip/image_encoder/model.safetensors", lambda d: d.ip(d.copy("sd15-ip"))),
    ),
    case(
        "truncated motion adapter",
        "damaged",
        cut("sd15-motion/diffusion_pytorch_model.safetensors", lambda d: d.text(motion_adapter=d.copy("sd15-motion"))),
    ),
    case(
        "unet lacks weights",
        "has no conv_in.bias",
        of_base(lambda b: rewritten(b / UNET, lambda t: t.pop("conv_in.bias"))),
    ),
    case(
        "text encoder lacks weights",
        "has no ",
        of_base(lambda b: rewritten(b / WORDS, lambda t: t.pop(min(t)))),
        slow=True,
    ),
    case(
        "unet of another width",
        "does not fit",
        of_base(lambda b: told(b / "unet/config.json", cross_attention_dim=48)),
        slow=True,
    ),
    case(
        "unet is of no numbers",
        "paints NaN",
        of_base(lambda b: rewritten(b / UNET, lambda t: t["conv_out.bias"].fill_(float("nan")))),
    ),
    case("vae of other channels", "latents of 8 channels", other_vae(latent_channels=8)),
    case(
        "vae of other pixels",
        "and 4 pixels",
        other_vae(
            block_out_channels=(16, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
        ),
        slow=True,
    ),
    case("lora of the other kind", "does not fit", lambda d: d.lora(d.tiny / "sdxl-lora.safetensors")),
    case("lora of another network", "not found in the base model", foreign_lora),
    case("lora partly of another network", "of which the model has 48", partly_foreign_lora, slow=True),
    case("lora that is none", "does not fit", no_lora, slow=True),
    case("lora with NaN", "NaN", nan_lora, slow=True),
    case("lora that says nonsense", "stdvid.strength = strong", said_lora(stdvid_strength="strong", stdvid_start="9")),
    case("lora that starts nowhere", "stdvid.start = 5000", said_lora(stdvid_strength="0.5", stdvid_start="5000")),
    case("lora that says half", "needs both", said_lora(stdvid_strength="0.5"), 2),
    case("lora folder without a name", "weight_name", lambda d: d.lora(d.tiny), 2),
    case("lora out of its folder", "leads out", outside_lora, 2),
    case(
        "lora by an absolute name", "leads out", lambda d: d.lora(d.tiny, weight_name=str(d.tiny / "x.safetensors")), 2
    ),
    case("ip_adapter out of its folder", "leads out", lambda d: d.ip(d.tiny / "sdxl", subfolder="../sd15-ip"), 2),
    case("ip_adapter of the other kind", "for 12 layers", lambda d: d.ip(d.tiny / "sdxl-ip"), slow=True),
    case(
        "ip_adapter of a smaller network",
        "for 5 layers",
        lambda d: d.ip(
            rewritten(
                d.copy("sd15-ip") / "ip.safetensors", lambda t: [t.pop(k) for k in list(t) if "ip_adapter.1." in k]
            ).parent
        ),
    ),
    case("image encoder of another adapter", "does not fit", other_encoder, slow=True),
    case("motion adapter of another width", "does not fit", other_motion),
    case(
        "motion adapter that is a unet",
        "has no down_blocks.0.motion",
        lambda d: d.text(motion_adapter=d.tiny / "sd15" / "unet"),
        slow=True,
    ),
    case("single file without a description", "`config`", lambda d: d.text(base=d.tiny / "sd15" / UNET), 2),
    case(
        "single file of something else",
        "does not fit",
        lambda d: d.text(base=d.tiny / "sd15-lora.safetensors", config=d.tiny / "sd15"),
        slow=True,
    ),
]


def tree(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(("code", "words", "make"), CASES)
def test_one_line_nothing_run_and_nothing_left(
    code: int,
    words: str,
    make: Change,
    tiny: Path,
    clip: Callable[..., Path],
    style: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(tmp_path, tiny)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # what is named could be imported
    with torch.random.fork_rng():
        preset = make(desk)
    (tmp_path / "mine.toml").write_text(preset)
    capfd.readouterr()
    before = tree(tmp_path)
    command = ["stylize", str(clip("six.mp4", n=6)), "--style", str(style), "-o", str(tmp_path / "o.mp4")]
    command += ["--preset", str(tmp_path / "mine.toml"), "--size", "64", "--steps", "1", "-q"]
    exit_code = main([*command, "--style-guidance", "0"])
    out, err = capfd.readouterr()
    assert not desk.marker.exists()
    assert "internal" not in err
    assert "Traceback" not in err
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert words in err
    assert exit_code == code, err
    assert out == ""
    assert tree(tmp_path) == before


def test_what_is_evil_would_have_been_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other half of the proof: the traps work."""
    desk = Desk(tmp_path, tmp_path)
    pickle.loads(desk.pickled("evil.bin").read_bytes())
    assert desk.marker.is_dir()
    desk.marker.rmdir()
    torch.load(desk.pickled("evil.ckpt"), weights_only=False)
    assert desk.marker.is_dir()


@pytest.mark.parametrize(
    ("scale", "match"),
    [
        ({"up": {"block_7": 1.0}}, "names up.block_7; the model attends in up.block_0"),
        ({"up": {"block_0": [1.0, 0.0]}}, "has 2 numbers for up.block_0; it has 3 layers"),
        ({"upp": {"block_0": 1.0}}, "has 'upp'; allowed: down and up"),
    ],
)
def test_a_scale_for_blocks_that_are_not_there_is_a_mistake(tiny: Path, scale: Any, match: str) -> None:
    adapter = IPAdapterConfig(str(tiny / "sdxl-ip"), "ip.safetensors", scale=scale)
    model = HubModel.find(ModelConfig(base=str(tiny / "sdxl"), ip_adapter=adapter))
    with pytest.raises(UsageError, match=match):
        model.load(model.networks[0], torch.device("cpu"))


def test_a_controlnet_of_the_other_kind_is_named(tiny: Path) -> None:
    control = ControlNetConfig(str(tiny / "sd15-control"))
    model = HubModel.find(ModelConfig(base=str(tiny / "sdxl"), controlnet=control))
    with pytest.raises(ModelError, match="sd15-control' is a ControlNet with cross_attention_dim 32; the model has 64"):
        model.load(model.networks[0], torch.device("cpu"))
