"""From settings to repositories of the hub, and from their file names to the files that are needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_server import pipeline

from stdvid.config import IPAdapterConfig, LoraConfig, ModelConfig
from stdvid.errors import ModelError, UsageError
from stdvid.models.parts import at_home
from stdvid.models.sources import ANY_VARIANT, PLAIN, Source, adapter_sources, choose, source_of, sources

UNET = "unet/diffusion_pytorch_model.safetensors"
SD = Source("lab/sd", kind="pipeline")


def test_a_preset_is_its_repositories(tmp_path: Path) -> None:
    model = ModelConfig(
        base="lab/sd@v2",
        vae="lab/taesd",
        motion_adapter="lab/motion",
        lora=(LoraConfig("lab/lcm", weight_name="lcm.safetensors"), LoraConfig("lab/std"), LoraConfig(str(tmp_path))),
        ip_adapter=IPAdapterConfig("h/IP", "ip.safetensors", subfolder="models"),
    )
    assert sources(model) == [
        Source("lab/sd", "v2", "pipeline"),
        Source("lab/taesd", kind="model"),
        Source("lab/motion", kind="model"),
        Source("lab/lcm", kind="file", path="lcm.safetensors"),
        Source("lab/std", kind="file", path="pytorch_lora_weights.safetensors"),
        Source("h/IP", kind="file", path="models/ip.safetensors"),
        Source("h/IP", kind="model", path="models/image_encoder"),
    ]


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("sdxl/image_encoder", Source("h/IP", kind="model", path="sdxl/image_encoder")),
        ("lab/clip", Source("lab/clip", kind="model")),
        ("/data/clip", None),
    ],
)
def test_an_image_encoder_is_in_the_adapters_repository_or_in_its_own(encoder: str, expected: Source | None) -> None:
    adapter = IPAdapterConfig("h/IP", "ip.safetensors", image_encoder=encoder)
    assert sources(ModelConfig(ip_adapter=adapter))[1:] == ([expected] if expected else [])


@pytest.mark.parametrize("value", ["nano", "nano-teacher", "./there", "/data/sd", "~/sd", "some/where/sd.safetensors"])
def test_what_is_local_is_nothing_of_the_hub(value: str) -> None:
    assert sources(ModelConfig(base=value)) == []


def test_a_folder_that_is_there_is_no_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lab/sd").mkdir(parents=True)
    assert sources(ModelConfig(base="lab/sd")) == []
    assert len(sources(ModelConfig(base="lab/other"))) == 1


def test_a_file_of_weights_takes_a_description_from_the_hub() -> None:
    model = ModelConfig(base="/data/sd.safetensors", config="lab/sd")
    [source] = sources(model)
    assert source.kind == "description"
    plain = choose(SD, pipeline())
    assert choose(source, pipeline()) == [name for name in plain if not name.endswith(".safetensors")]


@pytest.mark.parametrize("value", ["nanoo", "a/b/c", "-a/b", "a--b/c", "a/b@", "a/b@../c", "a/b@x y"])
def test_what_is_neither_a_path_nor_an_id_is_wrong_usage(value: str) -> None:
    with pytest.raises(UsageError, match=r"; allowed: .*; "):
        sources(ModelConfig(base=value))


@pytest.mark.parametrize("name", ["../../evil.safetensors", "/evil.safetensors", "a/../../b.safetensors"])
def test_a_file_that_leads_out_of_its_repository_is_wrong_usage(name: str) -> None:
    with pytest.raises(UsageError, match="leads out of lab/x"):
        sources(ModelConfig(lora=(LoraConfig("lab/x", weight_name=name),)))


@pytest.mark.parametrize("text", ["a/b", "a/b@v1", "a/b/c", "a/b/c/d.safetensors@refs/pr/1"])
def test_a_source_is_written_as_it_is_read(text: str) -> None:
    assert str(source_of(text)) == text


def test_shards_are_taken_whole_or_not_at_all() -> None:
    shards = [f"unet/diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = "unet/diffusion_pytorch_model.safetensors.index.json"
    files = set(pipeline()) - {UNET}
    assert {*shards, index} < set(choose(SD, files | {*shards, index}))
    for lost in (*shards, index):
        with pytest.raises(ModelError, match="unet has its weights only as the variant fp16; add --variant fp16"):
            choose(SD, (files | {*shards, index}) - {lost})


@pytest.mark.parametrize("shard", ["model.fp16-0000{}-of-00002", "model-0000{}-of-00002.fp16"])
@pytest.mark.parametrize("index", ["model.safetensors.index.fp16.json", "model.fp16.safetensors.index.json"])
def test_shards_of_a_variant_are_known_by_both_of_their_names(shard: str, index: str) -> None:
    files = ["config.json", index, *(f"{shard.format(i)}.safetensors" for i in (1, 2))]
    for forms in (("fp16", PLAIN), (PLAIN, ANY_VARIANT)):
        assert choose(Source("lab/text", kind="model"), files, forms) == sorted(files)


def test_a_repository_is_what_is_in_it() -> None:
    any_of = Source("lab/x")
    assert choose(any_of, pipeline()) == choose(SD, pipeline())
    model = ["config.json", "diffusion_pytorch_model.safetensors"]
    assert choose(any_of, [*model, "other.safetensors", "README.md"]) == model
    assert choose(any_of, ["pytorch_lora_weights.safetensors"]) == ["pytorch_lora_weights.safetensors"]
    with pytest.raises(ModelError, match=r"for example lab/x/a\.safetensors"):
        choose(any_of, ["a.safetensors", "b.safetensors"])


def test_a_local_ip_adapter_may_have_an_image_encoder_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "ip.safetensors").write_bytes(b"")
    adapter = IPAdapterConfig(str(tmp_path), "ip.safetensors", image_encoder="owner/encoder")
    weights, encoder = adapter_sources(adapter)
    assert (weights, str(encoder)) == (None, "owner/encoder")
    with pytest.raises(ModelError, match="owner/encoder is not here"):  # looked for where pulls put it
        at_home(ModelConfig(base=str(tmp_path), ip_adapter=adapter))
