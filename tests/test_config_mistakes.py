"""Every kind of mistake in a configuration and its message; limits, names and the exact TOML that is written."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stdvid.config import (
    EncodeConfig,
    IPAdapterConfig,
    LoraConfig,
    ModelConfig,
    SamplingConfig,
    StylizeConfig,
    VideoConfig,
    find_preset,
    parse_size,
    preset_names,
)
from stdvid.distill.settings import StudentSettings, TeacherSettings
from stdvid.errors import UsageError
from stdvid.schema import Range, build, from_toml, merge, to_toml, validate

SECTIONS = {"model": ModelConfig, "sampling": SamplingConfig, "video": VideoConfig, "encode": EncodeConfig}
KEYS = [(section, spec.name) for section, cls in SECTIONS.items() for spec in dataclasses.fields(cls)]


@dataclass(frozen=True)
class Layer:
    """A nested table without defaults."""

    width: Annotated[int, Range(start=8, to=64)]
    kind: Literal["conv", 3] = "conv"


@dataclass(frozen=True)
class Net:
    """Hints that the settings of stdvid do not use yet."""

    first: Layer
    pairs: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    limit: Annotated[float, Range(to=2)] | None = None
    layers: tuple[Layer, ...] = ()
    tables: dict[str, list[int]] = dataclasses.field(default_factory=dict)


def complaint(text: str, cls: type[Any] = StylizeConfig) -> str:
    with pytest.raises(UsageError) as caught:
        from_toml(cls, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Range(), ""),
        (Range(start=1), "1 or more"),
        (Range(to=0.5), "at most 0.5"),
        (Range(above=0), "above 0"),
        (Range(start=1, to=2), "1 to 2"),
        (Range(above=0, to=1), "above 0 and at most 1"),
    ],
)
def test_limits_in_words(limits: Range, text: str) -> None:
    assert str(limits) == text


@given(value=st.integers(-5, 5), start=st.integers(-5, 5), to=st.integers(-5, 5), above=st.integers(-5, 5))
def test_limits_in_numbers(value: int, start: int, to: int, above: int) -> None:
    assert Range(start=start, to=to).admits(value) == (value in range(start, to + 1))
    assert Range(above=above, to=to).admits(value) == (value in range(above + 1, to + 1))
    assert Range().admits(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[encode]\ncrf = 64", 'encode.crf is 64, an integer; allowed: an integer 0 to 63 or "none"'),
        ("[encode]\ncrf = 'low'", "encode.crf is 'low', a string; allowed: an integer 0 to 63"),
        ("[encode]\ncrf = true", "encode.crf is True, a boolean"),
        ("[encode]\ncodec = 3", "encode.codec is 3, an integer; allowed: a string"),
        ("[encode]\ncodec = 'none'\ncrf = 1.5", "encode.crf is 1.5, a number"),
        ("[sampling]\nsampler = 'ddim'", "sampling.sampler is 'ddim', a string; allowed: 'std'"),
        ("[sampling]\nseed = 2020-01-01", "sampling.seed is datetime.date(2020, 1, 1); allowed: an integer"),
        ("[sampling]\nseed = 9223372036854775808", "sampling.seed is 9223372036854775808, an integer"),
        ("[sampling]\nsteps = [4]", "sampling.steps is [4], a list; allowed: an integer"),
        ("[sampling.steps]\nx = 1", "sampling.steps is {'x': 1}, a table; allowed: an integer"),
        ("[[sampling]]\nsteps = 4", "sampling is [{'steps': 4}], a list; allowed: a table"),
        ("[sampling]\nsteps = 4\nsteps = 5", "not valid TOML: Cannot overwrite a value"),
        ("[sampling]\nsteps = 4\n[sampling]", "not valid TOML: Cannot declare ('sampling',) twice"),
        ("[video]\nsize = true", "video.size is True, a boolean; allowed: an integer or a string"),
        ("[video]\nsize = '8x8'", "size is '8x8'; allowed: the short side in pixels"),
        ("[video]\noverlap = 16", "the overlap must be smaller than the window; lower the overlap or widen"),
        ("codec = 'x'", "unknown key 'codec'; it belongs to a table: encode.codec"),
        ("[Video]", "unknown key 'Video'; did you mean 'video'?"),
        ('[""]', "unknown key ''; known keys: encode, model, sampling, video"),
    ],
)
def test_a_mistake_in_a_preset(text: str, words: str) -> None:
    assert words in complaint(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pairs = []", "first is missing; it has no default; add it"),
        ("[first]\nkind = 3", "first.width is missing"),
        ("[first]\nwidth = 4", "first.width is 4, an integer; allowed: 8 to 64"),
        ("[first]\nwidth = 8\nkind = '3'", "first.kind is '3', a string; allowed: 'conv', 3"),
        ("[first]\nwidth = 8\nkind = 3.0", "first.kind is 3.0, a number; allowed: 'conv', 3"),
        ("pairs = [[1]]\n[first]\nwidth = 8", "pairs[0] is [1], a list; allowed: [an integer, a string]"),
        ("pairs = [[1, 'a'], [2, 3]]\n[first]\nwidth = 8", "pairs[1][1] is 3, an integer; allowed: a string"),
        ("limit = 2.5\n[first]\nwidth = 8", 'limit is 2.5, a number; allowed: a number at most 2 or "none"'),
        ("layers = [{width = 9}, {width = 99}]\n[first]\nwidth = 8", "layers[1].width is 99, an integer; allowed: 8"),
        ("layers = [{wide = 9}]\n[first]\nwidth = 8", "unknown key 'layers[0].wide'; did you mean 'layers[0].width'?"),
        ("tables = { a = [1, 'b'] }\n[first]\nwidth = 8", "tables.a[1] is 'b', a string; allowed: an integer"),
        ("tables = [1]\n[first]\nwidth = 8", "tables is [1], a list; allowed: a table of a list of an integer"),
    ],
)
def test_a_mistake_deep_inside_is_named_by_its_place(text: str, words: str) -> None:
    assert words in complaint(text, Net)


def test_what_is_right_deep_inside_is_read() -> None:
    text = "pairs = [[1, 'a']]\nlimit = 2\nlayers = [{width = 9, kind = 3}]\n[first]\nwidth = 8\n[tables]\na = [1, 2]"
    net = from_toml(Net, text)
    assert net == Net(Layer(8), [(1, "a")], 2.0, (Layer(9, 3),), {"a": [1, 2]})
    assert from_toml(Net, "limit = 'none'\n[first]\nwidth = 8") == Net(Layer(8))


@pytest.mark.parametrize(("section", "key"), [(s, k) for s, k in KEYS if len(k) > 3], ids=".".join)
def test_a_lost_letter_is_found_again(section: str, key: str) -> None:
    for place in range(len(key)):
        short = key[:place] + key[place + 1 :]
        assert f"'{section}.{short}'; did you mean '{section}.{key}'?" in complaint(f"[{section}]\n{short} = 1")


@pytest.mark.parametrize(("section", "key"), KEYS, ids=".".join)
def test_no_key_takes_a_date_or_a_table_of_tables(section: str, key: str) -> None:
    for value in ("1979-05-27", "{ a = { b = 1 } }"):
        assert f"{section}.{key}" in complaint(f"[{section}]\n{key} = {value}")


def test_a_folder_is_no_preset_and_the_reason_stays_attached(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a readable TOML file") as caught:
        from_toml(StylizeConfig, tmp_path)
    assert isinstance(caught.value.__cause__, OSError)


def test_merging_leaves_the_old_settings_alone() -> None:
    old = StylizeConfig(encode=EncodeConfig(enc={"preset": "slow"}))
    new = merge(old, {"encode": {"enc": {"tune": "grain"}}, "video": {"size": 96}})
    assert old.encode.enc == {"preset": "slow"}
    assert new.encode.enc == {"preset": "slow", "tune": "grain"}
    assert (old.video.size, new.video.size) == (288, 96)
    assert new.sampling is old.sampling


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"encode": {"enc": {"threads": 2}}}, "encode.enc.threads is 2"),
        ({"encode": {"enc": "fast"}}, "encode.enc is 'fast'"),
        ({"video": 3}, "video is 3, an integer; allowed: a table"),
        ({"video": {"window": 3}}, "overlap of 4 frames with a window of 3"),
        ({"sampling": {"steps": "none"}}, "sampling.steps is 'none', a string; allowed: an integer"),
    ],
)
def test_overrides_are_as_strict_as_files(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        merge(StylizeConfig(), overrides)
    assert words in str(caught.value)


def test_a_value_smuggled_in_is_found() -> None:
    config = SamplingConfig()
    object.__setattr__(config, "steps", "four")
    with pytest.raises(UsageError, match="steps is 'four', a string"):
        validate(config)
    with pytest.raises(UsageError, match=r"mine\.steps is 'four'"):
        build(SamplingConfig, {"steps": "four"}, prefix="mine.")


def test_what_is_written_word_for_word() -> None:
    odd = EncodeConfig("libx265", None, {"x265-params": 'a="b"\n', "two words": "c\\d"})
    assert to_toml(odd) == (
        'codec = "libx265"\ncrf = "none"\nenc = {x265-params = "a=\\"b\\"\\u000a", "two words" = "c\\\\d"}\n'
    )
    lora = LoraConfig("a.safetensors", weight=0.5)
    text = to_toml(
        StylizeConfig(ModelConfig("mine", lora=(lora,), ip_adapter=IPAdapterConfig("b", "c", scale={"up": 1})))
    )
    assert text.startswith('[model]\nbase = "mine"\nconfig = "none"\n')
    assert (
        'lora = [{path = "a.safetensors", weight_name = "none", weight = 0.5, strength = "none", start = "none"}]\n'
        in text
    )
    assert 'ip_adapter = {path = "b", weight_name = "c", ' in text
    assert "scale = {up = 1}}\n" in text
    assert '\n\n[sampling]\nsampler = "std"\nstrength = 0.6\n' in text


@given(width=st.integers(0, 9999), height=st.integers(0, 9999))
def test_exactly_the_sizes_from_32_to_4320_are_taken(width: int, height: int) -> None:
    inside = [32 <= side <= 4320 for side in (width, height)]
    for text, expected, good in ((f"{width}x{height}", (width, height), all(inside)), (str(width), width, inside[0])):
        if good:
            assert parse_size(text) == expected
        else:
            with pytest.raises(UsageError, match="32 to 4320"):
                parse_size(text)


def test_presets_for_training_are_complete_settings_of_their_kind() -> None:
    names = preset_names("distill")
    assert {"nano-teacher", "nano-student"} <= set(names)
    for name in names:
        cls = TeacherSettings if "teacher" in name else StudentSettings
        settings = from_toml(cls, find_preset(name, "distill"))
        assert from_toml(cls, to_toml(settings)) == settings
    with pytest.raises(UsageError, match=r"no preset named 'nano-fast'.*known: ablation-begin, "):
        find_preset("nano-fast", "distill")


def test_a_file_without_a_suffix_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("[sampling]\nsteps = 3\n")
    assert find_preset("mine") == Path("mine")
    (tmp_path / "nano").write_text("[sampling]\nsteps = 3\n")
    assert find_preset("nano") != Path("nano")  # a bundled name wins over a file
    assert find_preset("./nano") == Path("nano")


def test_a_mistake_in_a_table_that_may_be_none_is_said_where_it_is() -> None:
    for table, match in (
        ({"path": "x"}, "model.ip_adapter.weight_name is missing"),
        ({"path": "x", "weight_nam": "y"}, "unknown key 'model.ip_adapter.weight_nam'; did you mean"),
    ):
        with pytest.raises(UsageError, match=match):
            build(StylizeConfig, {"model": {"ip_adapter": table}})
    with pytest.raises(UsageError, match=r"model.controlnet.kind is 'pose'.*allowed: 'tile', 'canny', 'lineart'"):
        build(StylizeConfig, {"model": {"controlnet": {"path": "x", "kind": "pose"}}})
