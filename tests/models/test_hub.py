"""Models of the hub against a hub on this machine: what is pulled, what is refused, what is found to be damaged."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_server import Hub, pipeline, weights

from stdvid.config import LoraConfig, ModelConfig
from stdvid.errors import HubError, ModelError, OutputError
from stdvid.models.hub import locate, pull, verify
from stdvid.models.sources import Source, source_of, sources

UNET = "unet/diffusion_pytorch_model.safetensors"
PULLED = {
    "model_index.json",
    *(f"{part}/config.json" for part in ("unet", "vae", "text_encoder")),
    UNET,
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
}
SD = Source("lab/sd", kind="pipeline")


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def leftovers(hub: Hub) -> list[Path]:
    return [path for path in hub.cache.rglob("*") if path.suffix in (".incomplete", ".tmp")]


def damage(path: Path) -> None:
    """Flip the last byte of what a name of the cache links to."""
    blob = path.resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)


def test_importing_it_imports_neither_torch_nor_the_client() -> None:
    code = "import stdvid.models.hub, sys; print({'torch', 'huggingface_hub', 'diffusers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


# --- pull -------------------------------------------------------------------------------------------------------------


def test_a_pull_gets_what_is_needed_and_nothing_else(hub: Hub) -> None:
    commit = hub.put("lab/sd", pipeline())
    told: list[tuple[int, int, str]] = []
    done = pull(SD, lambda *now: told.append(now))
    assert done.folder == locate(SD) == hub.snapshot("lab/sd", commit)
    assert names(done.folder) == PULLED
    size = sum(len(content) for name, content in pipeline().items() if name in PULLED)
    assert (done.files, done.size, done.fetched) == (len(PULLED), size, size)
    assert told[-1][:2] == (size, size)
    assert [now for now, _, _ in told] == sorted(now for now, _, _ in told)
    assert verify(SD).files == len(PULLED)


def test_diffusers_finds_the_same_files_by_the_same_name(hub: Hub) -> None:
    from huggingface_hub import hf_hub_download

    hub.put("lab/sd", pipeline())
    folder = pull(SD).folder
    found = hf_hub_download("lab/sd", UNET, cache_dir=hub.cache, local_files_only=True)
    assert Path(found) == folder / UNET


def test_a_second_pull_transfers_nothing(hub: Hub) -> None:
    hub.put("lab/sd", pipeline())
    pull(SD)
    assert set(hub.got()) == PULLED
    again = pull(SD)
    assert (hub.got(), again.fetched, again.files) == ([], 0, len(PULLED))


def test_a_variant_is_taken_if_it_is_asked_for(hub: Hub) -> None:
    files = pipeline()
    del files["vae/diffusion_pytorch_model.fp16.safetensors"]
    hub.put("lab/sd", files)
    found = names(pull(SD, variant="fp16").folder)
    assert {name for name in found if name.endswith(".safetensors")} == {
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.fp16.safetensors",
    }
    locate(SD)


def test_a_broken_transfer_goes_on_where_it_broke(hub: Hub) -> None:
    content = weights(values=4096)
    hub.put("lab/lora", {"a.safetensors": content})
    hub.cuts["a.safetensors"] = 5000
    source = source_of("lab/lora/a.safetensors")
    folder = pull(source).folder
    ranges = [asked for method, _, asked in hub.asked if method == "GET"]
    assert ranges == [None, "bytes=4096-"]
    assert (folder / "a.safetensors").read_bytes() == content
    assert leftovers(hub) == []


def test_an_interrupted_pull_keeps_the_files_that_were_done(hub: Hub) -> None:
    hub.put("lab/sd", pipeline())
    fetched: list[str] = []

    def stop(now: int, total: int, name: str) -> None:
        if name == UNET:
            raise KeyboardInterrupt
        fetched.append(name)

    with pytest.raises(KeyboardInterrupt):
        pull(SD, stop)
    with pytest.raises(ModelError, match=r"run: stdvid models pull lab/sd$"):
        locate(SD)
    assert leftovers(hub) == []
    hub.got()
    pull(SD)
    assert set(hub.got()) == PULLED - set(fetched)
    verify(SD)


def test_content_that_is_not_what_was_listed_is_not_kept(hub: Hub) -> None:
    commit = hub.put("lab/sd", pipeline())
    hub.sends[UNET] = weights(seed=77)
    with pytest.raises(ModelError, match=r"sent another unet/.* than it lists \(SHA-256 "):
        pull(SD)
    assert not (hub.snapshot("lab/sd", commit) / UNET).is_symlink()
    blobs = [path.read_bytes() for path in (hub.cache / "models--lab--sd" / "blobs").iterdir()]
    assert weights(seed=77) not in blobs
    with pytest.raises(ModelError, match="is not here"):
        locate(SD)
    hub.sends.clear()
    pull(SD)
    verify(SD)


def test_a_small_file_is_checked_too(hub: Hub) -> None:
    hub.put("lab/sd", pipeline())
    hub.sends["unet/config.json"] = b'{"part": "uNet"}'
    with pytest.raises(ModelError, match=r"unet/config\.json than it lists \(SHA-1 "):
        pull(SD)


def test_what_is_no_safetensors_file_is_not_kept_whatever_its_hash(hub: Hub) -> None:
    hub.put("lab/lora", {"a.safetensors": weights()[:-8]})
    with pytest.raises(ModelError, match="no whole safetensors file"):
        pull(source_of("lab/lora/a.safetensors"))


def test_pickles_alone_are_refused_with_the_reason(hub: Hub) -> None:
    files = pipeline()
    del files[UNET], files["unet/diffusion_pytorch_model.fp16.safetensors"]
    hub.put("lab/sd", files)
    with pytest.raises(ModelError, match=r"lab/sd/unet .* diffusion_pytorch_model\.bin, a pickle, .* runs code"):
        pull(SD)
    assert hub.got() == []
    with pytest.raises(ModelError, match="a pickle"):
        sources(ModelConfig(lora=(LoraConfig("lab/x", weight_name="lora.bin"),)))


def test_a_pipeline_without_a_part_that_it_names_is_refused(hub: Hub) -> None:
    files = {name: content for name, content in pipeline().items() if not name.startswith("tokenizer/")}
    hub.put("lab/sd", files)
    with pytest.raises(ModelError, match="names a part 'tokenizer'"):
        pull(SD)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("lab/none", "no model 'lab/none' on .*hf auth login"),
        ("lab/gated", r"gated: .*/lab/gated, .*HF_TOKEN"),
        ("lab/sd@v9", "no revision 'v9'"),
        ("lab/sd/none.safetensors", r"has no none\.safetensors; beside it are all-in-one\.safetensors"),
        ("lab/sd/none", r"lab/sd/none has no config\.json"),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub: Hub, source: str, words: str) -> None:
    hub.put("lab/sd", pipeline())
    hub.gated.add("lab/gated")
    with pytest.raises(ModelError, match=words) as caught:
        pull(source_of(source))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_offline_is_said_and_nothing_is_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    hub.put("lab/sd", pipeline())
    pull(SD)
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match=r"HF_HUB_OFFLINE is set.*unset it"):
        pull(SD)
    verify(SD)
    assert hub.asked == []


def test_no_hub_is_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(HubError, match=r"127\.0\.0\.1:1 gave no lab/sd: ConnectError: .*check the network") as caught:
        pull(SD)
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (1, False)


def test_a_small_disk_is_seen_before_anything_is_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put("lab/sd", pipeline())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OutputError, match="MiB free; make room"):
        pull(SD)
    assert hub.got() == []


def test_a_cache_that_cannot_be_written_is_one_line(hub: Hub) -> None:
    hub.put("lab/sd", pipeline())
    hub.cache.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match=r"hub.*cannot be written \(.*set HF_HOME to another folder"):
        pull(SD)


@pytest.mark.parametrize("name", ["../../evil.safetensors", "unet/../../../evil.safetensors"])
def test_a_listing_that_leads_out_of_the_cache_is_refused(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.put("lab/sd", {**pipeline(), name: weights()})
    with pytest.raises(ModelError, match="leads out of it"):
        pull(SD)
    assert hub.got() == []
    assert not list(tmp_path.rglob("*evil*"))


def test_the_client_too_refuses_names_that_lead_out_of_its_cache(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import hf_hub_download

    hub.put("lab/sd", {"../../evil.safetensors": weights()})
    with pytest.raises(ValueError, match="evil"):
        hf_hub_download("lab/sd", "../../evil.safetensors", cache_dir=hub.cache, endpoint=hub.url)
    assert not list(tmp_path.rglob("*evil*"))


def test_a_revision_moves_and_stays_where_it_is_named(hub: Hub) -> None:
    old = hub.put("lab/lora", {"a.safetensors": weights(1)})
    source = source_of("lab/lora/a.safetensors")
    pull(source)
    new = hub.put("lab/lora", {"a.safetensors": weights(2)})
    assert locate(source).name == old  # nobody asked
    assert pull(source).folder.name == locate(source).name == new
    assert locate(dataclasses.replace(source, revision=old)).name == old


# --- what is here -----------------------------------------------------------------------------------------------------


def test_before_a_pull_the_command_is_named_and_nothing_is_asked(hub: Hub) -> None:
    hub.put("lab/sd", pipeline())
    with pytest.raises(ModelError, match=r"^lab/sd is not here; .*; run: stdvid models pull lab/sd$"):
        locate(SD)
    with pytest.raises(ModelError, match=r"run: stdvid models pull my-preset$"):
        locate(SD, "my-preset")
    assert hub.asked == []
    assert not hub.cache.exists()


@pytest.mark.parametrize("lost", [UNET, "unet/config.json", "tokenizer", "model_index.json"])
def test_a_part_that_is_gone_is_missed(hub: Hub, lost: str) -> None:
    hub.put("lab/sd", pipeline())
    path = pull(SD).folder / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ModelError, match=r"lab/sd is not all here .*; run: stdvid models pull lab/sd$"):
        locate(SD)
    pull(SD)
    locate(SD)


@pytest.mark.parametrize("name", [UNET, "tokenizer/merges.txt"])
def test_verify_finds_a_flipped_byte_and_pull_mends_it(hub: Hub, name: str) -> None:
    hub.put("lab/sd", pipeline())
    folder = pull(SD).folder
    damage(folder / name)
    with pytest.raises(ModelError, match=rf"/{name}' is damaged \(SHA.*run: stdvid models pull lab/sd, "):
        verify(SD)
    hub.got()
    assert pull(SD).fetched == (folder / name).stat().st_size
    assert hub.got() == [name]
    verify(SD)


def test_a_damaged_blob_that_nothing_links_to_is_no_trap(hub: Hub) -> None:
    hub.put("lab/sd", pipeline())
    path = pull(SD).folder / UNET
    damage(path)
    path.unlink()
    pull(SD)
    verify(SD)


def test_verify_finds_a_truncated_file_where_there_is_no_hash(hub: Hub) -> None:
    hub.put("lab/sd", pipeline())
    path = pull(SD).folder / UNET
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)  # a copy, as caches have it that cannot link
    verify(SD)
    path.write_bytes(content[:-10])
    with pytest.raises(ModelError, match=r"is damaged .no whole safetensors file"):
        verify(SD)
    pull(SD)
    assert path.read_bytes() == content


def test_a_ref_that_is_no_commit_leads_nowhere(hub: Hub) -> None:
    ref = hub.cache / "models--lab--sd" / "refs" / "main"
    ref.parent.mkdir(parents=True)
    for text in ("", "..", "../../../x"):
        ref.write_text(text)
        with pytest.raises(ModelError, match="is not here"):
            locate(SD)
