"""Bundled presets of models of the hub: what they need, and the settings that their weights were trained for."""

from __future__ import annotations

import pytest

from stdvid.config import find_preset, load_preset
from stdvid.diffusion.schedule import published_times
from stdvid.errors import UsageError
from stdvid.models.sources import sources


@pytest.mark.parametrize(("eta", "start"), [(0.65, 679), (0.75, 779), (0.85, 879), (0.95, 979)])
@pytest.mark.parametrize("kind", ["i2i", "v2v"])
def test_presets_of_published_students_start_where_they_were_trained(kind: str, eta: float, start: int) -> None:
    name = f"sdxl-std-{kind}-{eta:.2f}".replace("-0.", "-.")
    assert find_preset(name).name == f"{name}.toml"
    config = load_preset(name)
    [student] = config.model.lora
    assert (student.strength, student.start, config.sampling.strength) == (eta, start, eta)
    motion = ["guoyww/animatediff-motion-adapter-sdxl-beta"] if kind == "v2v" else []
    assert [str(source) for source in sources(config.model)] == [
        "stabilityai/stable-diffusion-xl-base-1.0",
        "madebyollin/sdxl-vae-fp16-fix",
        *motion,
        f"SecondComming/Single-Trajectory-Distillation/std_sdxl_{kind}_eta{eta:.2f}.safetensors",
        "h94/IP-Adapter/sdxl_models/ip-adapter_sdxl.safetensors",
        "h94/IP-Adapter/sdxl_models/image_encoder",
    ]


def test_the_published_recipe_is_a_preset() -> None:
    sampling = load_preset("sdxl-std-published").sampling
    recipe = (sampling.sampler, sampling.strength, sampling.steps, sampling.guidance, sampling.gamma)
    assert recipe == ("published", 0.75, 11, 6.0, 0.0)
    times = published_times(sampling.strength, sampling.steps)
    assert (len(times) - 1, times[0]) == (8, 739)


def test_a_name_with_a_dot_is_no_file_and_has_a_nearest() -> None:
    with pytest.raises(UsageError, match=r"no preset named 'sdxl-std-i2i-\.7' \(did you mean 'sdxl-std-i2i-\.75'\?\)"):
        load_preset("sdxl-std-i2i-.7")
