"""Settings are strict, typed, and explain mistakes in one line; presets are complete and every key has a comment."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stdvid.config import (
    EncodeConfig,
    ModelConfig,
    SamplingConfig,
    StylizeConfig,
    VideoConfig,
    find_preset,
    load_preset,
    parse_size,
    preset_names,
)
from stdvid.errors import UsageError
from stdvid.models.catalogue import is_bundle
from stdvid.schema import Range, build, from_toml, merge, nearest, to_toml, unknown_name


@dataclass(frozen=True)
class Bank:
    """A nested table of the sample configuration."""

    capacity: Annotated[int, Range(start=1)] = 70
    reuse: float = 0.8


@dataclass(frozen=True)
class Train:
    """A configuration with every kind of field that the loader knows."""

    method: Literal["std", "lcm"]
    rate: Annotated[float, Range(above=0, to=1)] = 0.5
    ema: float | None = 0.999
    channels: tuple[int, ...] = (64, 128)
    span: tuple[float, float] = (0.5, 1.5)
    folders: list[str] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    bf16: bool = True
    data: Path = Path("data")
    extra: Any = 0
    bank: Bank = Bank()


def complaint(text: str, cls: type[Any] = StylizeConfig) -> str:
    with pytest.raises(UsageError) as caught:
        from_toml(cls, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_an_empty_file_is_the_defaults() -> None:
    assert from_toml(StylizeConfig, "") == StylizeConfig()


def test_values_replace_defaults_and_overrides_replace_values() -> None:
    text = "[sampling]\nsteps = 8\nstrength = 1\n[video]\nsize = '512x288'"
    config = from_toml(StylizeConfig, text, {"sampling": {"steps": 2, "seed": None}})
    assert config.sampling == SamplingConfig(steps=2, strength=1.0)
    assert isinstance(config.sampling.strength, float)
    assert config.video == VideoConfig(size="512x288")
    assert (config.model, config.encode) == (ModelConfig(), EncodeConfig())


def test_other_dataclasses_load_with_every_kind_of_field() -> None:
    text = """
        method = "lcm"
        rate = 1
        ema = "none"
        channels = [32, 64, 96]
        span = [1, 2]
        folders = ["a", "b"]
        weights = { pg = 1, met = 0.5 }
        bf16 = false
        data = "/data/x"
        extra = [1, "two"]
        [bank]
        capacity = 8
    """
    config = from_toml(Train, text)
    assert config == Train(
        "lcm", 1.0, None, (32, 64, 96), (1.0, 2.0), ["a", "b"], {"pg": 1.0, "met": 0.5}, False, Path("/data/x"),
        [1, "two"], Bank(8),
    )  # fmt: skip
    assert isinstance(config.weights["pg"], float)


def test_a_file_is_named_in_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[sampling]\nsteps = 0\n")
    with pytest.raises(UsageError, match=r"sampling\.steps is 0, an integer; allowed: 1 to 1000 \(in .*mine\.toml\)"):
        from_toml(StylizeConfig, path)


@pytest.mark.parametrize("content", [b"[sampling\n", b"\xff\xfe\x00", None])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"bad\.toml") as caught:
        from_toml(StylizeConfig, path)
    assert "\n" not in str(caught.value)


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sampling]\nstregth = 0.5", "unknown key 'sampling.stregth'; did you mean 'sampling.strength'?"),
        ("[sampling]\nzzz = 1", "known keys: color, gamma, guidance, negative_prompt, prompt, sampler, seed, steps,"),
        ("[smpling]\n", "did you mean 'sampling'?"),
        ("strength = 0.5", "it belongs to a table: sampling.strength"),
        ("[video]\nconsistency = 'glue'", "video.consistency is 'glue', a string; allowed: 'none', 'noise', 'flow'"),
        ("[sampling]\nsteps = 4.0", "sampling.steps is 4.0, a number; allowed: an integer"),
        ("[sampling]\nsteps = true", "sampling.steps is True, a boolean; allowed: an integer"),
        ("[sampling]\nstrength = '0.5'", "sampling.strength is '0.5', a string; allowed: a number"),
        ("[sampling]\nstrength = nan", "sampling.strength is nan"),
        ("[sampling]\nstrength = inf", "sampling.strength is inf"),
        ("[sampling]\nstrength = 0", "allowed: above 0 and at most 1"),
        ("[sampling]\nstrength = 1.01", "sampling.strength is 1.01, a number; allowed: above 0 and at most 1"),
        ("[encode]\nenc = { threads = 2 }", "encode.enc.threads is 2, an integer; allowed: a string"),
        ("[encode]\nenc = 'fast'", "encode.enc is 'fast', a string; allowed: a table of a string"),
        ("sampling = 3", "sampling is 3, an integer; allowed: a table"),
        ("[video]\nsize = 288.0", "video.size is 288.0, a number; allowed: an integer or a string"),
        ("[video]\nsize = 'huge'", "size is 'huge'; allowed: the short side in pixels (32 to 4320) or WIDTHxHEIGHT"),
        ("[video]\nwindow = 4\noverlap = 4", "overlap of 4 frames with a window of 4"),
        ("[sampling]\nsteps = ", "not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(text: str, words: str) -> None:
    assert words in complaint(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "method is missing"),
        ("method = 'std'\nchannels = [64, 'x']", "channels[1] is 'x', a string; allowed: an integer"),
        ("method = 'std'\nchannels = 64", "channels is 64, an integer; allowed: a list of an integer"),
        ("method = 'std'\nspan = [1, 2, 3]", "span is [1, 2, 3], a list; allowed: [a number, a number]"),
        ("method = 'std'\nema = 'x'", "ema is 'x', a string; allowed: a number or \"none\""),
        ("method = 'std'\nbf16 = 1", "bf16 is 1, an integer; allowed: true or false"),
        ("method = 'std'\n[bank]\ncapacity = 0", "bank.capacity is 0, an integer; allowed: 1 or more"),
        ("method = 'std'\ncapacity = 5", "it belongs to a table: bank.capacity"),
        ("method = 'STD'", "method is 'STD', a string; allowed: 'std', 'lcm'"),
        ("method = 'std'\nfolders = ''", "folders is '', a string; allowed: a list of a string"),
        ("method = 'std'\ndata = 3", "data is 3, an integer; allowed: a path"),
    ],
)
def test_mistakes_in_other_dataclasses(text: str, words: str) -> None:
    assert words in complaint(text, Train)


def test_options_are_called_by_their_own_name() -> None:
    names = {"sampling.strength": "--strength"}
    with pytest.raises(UsageError, match=r"^--strength is 2\.0, a number"):
        merge(StylizeConfig(), {"sampling": {"strength": 2.0}}, names)
    with pytest.raises(UsageError, match=r"^--strength is 2\.0, a number"):
        load_preset("nano", {"sampling": {"strength": 2.0}}, names)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SamplingConfig(strength=1.5),
        lambda: VideoConfig(window=0),
        lambda: VideoConfig(size="1x1"),
        lambda: EncodeConfig(crf=-1),
        lambda: StylizeConfig(video=VideoConfig(window=2)),
        lambda: dataclasses.replace(SamplingConfig(), steps=0),
    ],
)
def test_construction_in_code_is_checked_too(make: Any) -> None:
    with pytest.raises(UsageError, match=r"allowed|smaller"):
        make()


def test_configurations_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        StylizeConfig().sampling.steps = 5  # type: ignore[misc]


# --- merging and writing ---------------------------------------------------------------------------------------------

TEXT = st.text("aB0_-. '\"\\#=[]{}\n\t\r\x00\x7f\x85é漢🎨", max_size=8)
SAMPLING = st.fixed_dictionaries(
    {},
    optional={
        "strength": st.floats(0.001, 1),
        "steps": st.integers(1, 1000),
        "guidance": st.floats(0, 50),
        "style_scale": st.floats(0, 4),
        "style_guidance": st.integers(0, 1000),
        "seed": st.integers(0, 2**63 - 1),
    },
)
VIDEO = st.fixed_dictionaries(
    {},
    optional={
        "size": st.integers(32, 4320) | st.sampled_from(["512x288", "288"]),
        "window": st.integers(5, 1024),
        "consistency": st.sampled_from(["none", "noise", "flow"]),
    },
)
ENCODE = st.fixed_dictionaries({}, optional={"codec": TEXT, "enc": st.dictionaries(TEXT, TEXT)})
TABLES = st.fixed_dictionaries({}, optional={"sampling": SAMPLING, "video": VIDEO, "encode": ENCODE})


@given(table=TABLES)
def test_what_is_written_reads_back_equal(table: dict[str, Any]) -> None:
    config = build(StylizeConfig, table)
    assert from_toml(StylizeConfig, to_toml(config)) == config


@given(first=TABLES, second=TABLES)
def test_the_later_value_wins_and_the_rest_stays(first: dict[str, Any], second: dict[str, Any]) -> None:
    merged = merge(build(StylizeConfig, first), second)
    for section in ("model", "sampling", "video", "encode"):
        for spec in dataclasses.fields(getattr(merged, section)):
            value = getattr(getattr(merged, section), spec.name)
            a, b = first.get(section, {}), second.get(section, {})
            if spec.name == "enc":
                assert value == {**a.get("enc", {}), **b.get("enc", {})}
            else:
                default = getattr(getattr(StylizeConfig(), section), spec.name)
                assert value == b.get(spec.name, a.get(spec.name, default))


@given(config=TABLES.map(lambda table: build(StylizeConfig, table)))
def test_merging_nothing_changes_nothing(config: StylizeConfig) -> None:
    assert merge(config, {}) == config
    assert merge(config, {"sampling": {"steps": None}, "video": None}) == config


@given(
    ema=st.none() | st.floats(0, 1),
    channels=st.lists(st.integers(), max_size=4).map(tuple),
    weights=st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False)),
    folders=st.lists(TEXT),
)
def test_every_kind_of_field_is_written_and_read(ema: Any, channels: Any, weights: Any, folders: Any) -> None:
    config = Train("std", ema=ema, channels=channels, weights=weights, folders=folders, bf16=False, bank=Bank(3, 1e-7))
    assert from_toml(Train, to_toml(config)) == config


def test_merging_a_dataclass_replaces_it() -> None:
    assert merge(StylizeConfig(), {"sampling": SamplingConfig(steps=9)}).sampling.steps == 9


def test_overrides_with_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'sampling\.steps'"):
        merge(StylizeConfig(), {"sampling": {"step": 2}})
    with pytest.raises(UsageError, match="did you mean 'video'"):
        merge(StylizeConfig(), {"vide": {}})


# --- sizes and names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "size"), [(288, 288), ("288", 288), ("512x288", (512, 288)), ("64 X 32", (64, 32))])
def test_sizes(text: int | str, size: int | tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", 31, 4321, "288x", "x288", "1x2x3", "-288", "2.5", "512x8", True, "9" * 9])
def test_what_is_not_a_size(text: int | str) -> None:
    with pytest.raises(UsageError, match="WIDTHxHEIGHT"):
        parse_size(text)


def test_nearest_is_forgiving_about_case_and_dashes_and_silent_when_lost() -> None:
    assert nearest("Max-Steps", ["max_steps", "minutes"]) == "max_steps"
    assert nearest("qqqq", ["max_steps", "minutes"]) is None


def test_an_unknown_name_is_answered_with_the_list() -> None:
    message = str(unknown_name("style", "vangoh", ["hokusai", "vangogh"], "give a path"))
    assert message == "no style named 'vangoh' (did you mean 'vangogh'?); known: hokusai, vangogh; give a path"
    assert "known: none" in str(unknown_name("style", "x", [], "give a path"))


# --- presets ---------------------------------------------------------------------------------------------------------


def test_the_bundled_presets_are_there() -> None:
    assert {"nano", "nano-teacher", "nano-fast"} <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_complete_and_every_key_has_a_comment(name: str) -> None:
    path = find_preset(name)
    config = load_preset(name)
    table = tomllib.loads(path.read_text())
    for section in dataclasses.fields(StylizeConfig):
        keys = {spec.name for spec in dataclasses.fields(getattr(config, section.name))}
        if is_bundle(config.model.base):  # the rest is for models of the hub
            keys = {"model": {"base", "precision"}, "sampling": keys - {"prompt", "negative_prompt"}}.get(
                section.name, keys
            )
        assert set(table[section.name]) == keys
    for line in path.read_text().splitlines():
        assert not re.match(r"\w+ *=", line) or re.search(r"\s# \w", line), f"no comment: {line}"


def test_the_presets_differ_where_they_should() -> None:
    assert load_preset("nano") == merge(StylizeConfig(), {"sampling": {"steps_between": 1}})
    assert load_preset("nano-teacher").sampling.steps == 50
    assert load_preset("nano-teacher").sampling.guidance > 1
    fast = load_preset("nano-fast")
    assert fast.sampling.steps == 2
    assert isinstance(fast.video.size, int)
    assert fast.video.size < 288


def test_a_preset_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[sampling]\nsteps = 6\n")
    assert load_preset(str(path), {"video": {"overlap": 2}}) == StylizeConfig(
        sampling=SamplingConfig(steps=6), video=VideoConfig(overlap=2)
    )


def test_an_unknown_preset_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no preset named 'nano-fst' \(did you mean 'nano-fast'\?\); known: nano, "):
        load_preset("nano-fst")
    with pytest.raises(UsageError, match=r"cannot read nowhere/x\.toml"):
        load_preset("nowhere/x.toml")


def test_a_preset_extends_another_and_holds_what_differs(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("[sampling]\nsteps = 3\nstrength = 0.5\n[encode.enc]\ntune = 'grain'\n")
    (tmp_path / "more.toml").write_text("extends = 'base.toml'\n[sampling]\nsteps = 7\n[encode.enc]\npreset = 'slow'\n")
    config = from_toml(StylizeConfig, tmp_path / "more.toml", {"sampling": {"seed": 4}})
    assert (config.sampling.steps, config.sampling.strength, config.sampling.seed) == (7, 0.5, 4)
    assert config.encode.enc == {"tune": "grain", "preset": "slow"}


def test_mistakes_in_extends_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("extends = 'b.toml'\n")
    with pytest.raises(UsageError, match=r"cannot read .*b\.toml"):
        from_toml(StylizeConfig, tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text("extends = 'a.toml'\n")
    with pytest.raises(UsageError, match=r"in a circle: a\.toml -> b\.toml -> a\.toml"):
        from_toml(StylizeConfig, tmp_path / "a.toml")
    with pytest.raises(UsageError, match="allowed: in a file"):
        from_toml(StylizeConfig, "extends = 'a.toml'")
    (tmp_path / "a.toml").write_text("extends = 3\n")
    with pytest.raises(UsageError, match="extends is 3"):
        from_toml(StylizeConfig, tmp_path / "a.toml")
