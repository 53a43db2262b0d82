from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.config import (
    Settings,
    SettingsError,
    apply_overrides,
    convert,
    fingerprint,
    nearest,
    read_toml,
    recipes_folder,
    suggest,
    to_plain,
)


class World(Settings, tag="world", tag_field="kind"):
    people: int = 200


class TextFile(Settings, tag="text", tag_field="kind"):
    path: str


class Stage(Settings):
    epochs: Annotated[int, msgspec.Meta(ge=1)] = 1
    lr: float = 1e-3
    clip: float | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    mask: Literal["assistant", "none"] = "assistant"
    context: Literal["auto"] | int = "auto"
    shuffle: bool = True

    def __post_init__(self) -> None:
        if self.mask == "none" and self.epochs > 3:
            raise ValueError("mask 'none' with more than 3 epochs only memorises")


class Recipe(Settings):
    name: str
    data: dict[str, World | TextFile] = {}
    stages: dict[str, Stage] = {}
    evaluate: dict[str, list[Literal["format", "knowledge"]]] = {}


def mistake(**tables: Any) -> str:
    with pytest.raises(SettingsError) as error:
        convert({"name": "demo", **tables}, Recipe, "demo.toml")
    return str(error.value)


def test_a_right_recipe_becomes_settings_with_defaults() -> None:
    table = {"name": "demo", "data": {"w": {"kind": "world"}}, "stages": {"base": {"lr": 1, "clip": 2.5}}}
    recipe = convert(table, Recipe)
    assert recipe.data == {"w": World(people=200)}
    assert recipe.stages["base"] == Stage(lr=1.0, clip=2.5)
    assert isinstance(recipe.stages["base"].lr, float)
    assert convert(to_plain(recipe), Recipe) == recipe


def test_an_unknown_setting_names_the_nearest_right_one() -> None:
    assert mistake(stages={"base": {"epoch": 3}}) == (
        "demo.toml: stages.base has no setting 'epoch'; did you mean 'epochs'?"
    )
    assert mistake(nmae="x") == "demo.toml has no setting 'nmae'; did you mean 'name'?"
    assert mistake(data={"w": {"kind": "world", "peple": 3}}) == (
        "demo.toml: data.w has no setting 'peple'; did you mean 'people'?"
    )
    assert mistake(stages={"base": {"zzz": 3}}).startswith(
        "demo.toml: stages.base has no setting 'zzz'; choose one of epochs, lr, clip, betas"
    )


def test_an_unknown_kind_names_the_nearest_right_one() -> None:
    assert mistake(data={"w": {"kind": "wrld"}}) == "demo.toml: data.w.kind cannot be 'wrld'; did you mean 'world'?"
    assert mistake(data={"w": {"people": 3}}) == "demo.toml: data.w needs a kind: one of world, text"
    assert mistake(data={"w": 3}) == "demo.toml: data.w must be a table, and 3 is not"
    assert mistake(data={"w": {"kind": 3}}) == "demo.toml: data.w.kind cannot be 3; choose one of world, text"


def test_an_unknown_word_names_the_nearest_right_one() -> None:
    assert mistake(stages={"base": {"mask": "asistant"}}) == (
        "demo.toml: stages.base.mask cannot be 'asistant'; did you mean 'assistant'?"
    )
    assert mistake(evaluate={"chat": ["format", "knowlege"]}) == (
        "demo.toml: evaluate.chat[1] cannot be 'knowlege'; did you mean 'knowledge'?"
    )
    assert mistake(stages={"base": {"context": "aut"}}) == (
        "demo.toml: stages.base.context cannot be 'aut'; did you mean 'auto'?"
    )


def test_a_number_in_quotes_is_refused_with_a_hint() -> None:
    # Parsers of other tools disagree about 1e-4: some read text, and a run trains at the default rate in silence.
    assert mistake(stages={"base": {"lr": "1e-4"}}) == (
        "demo.toml: stages.base.lr must be a number, and '1e-4' is not; drop the quotes: 1e-4"
    )
    assert mistake(stages={"base": {"clip": "1"}}).endswith("drop the quotes: 1")
    assert mistake(stages={"base": {"epochs": "3"}}).endswith("drop the quotes: 3")
    assert mistake(stages={"base": {"context": "512"}}).endswith("drop the quotes: 512")
    assert mistake(stages={"base": {"shuffle": "true"}}).endswith("drop the quotes: true")


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("epochs", True, "must be a whole number, and true is not"),
        ("epochs", 2e6, "must be a whole number, and 2000000.0 is not; write 2000000"),
        ("epochs", 2.5, "must be a whole number, and 2.5 is not"),
        ("epochs", 0, "must be >= 1, and is 0"),
        ("lr", False, "must be a number, and false is not"),
        ("lr", "fast", "must be a number, and 'fast' is not"),
        ("lr", float("nan"), "must be a number, and nan is not one"),
        ("lr", [1], "must be a number, and a list of 1 is not"),
        ("clip", "x" * 200, f"must be a number, and '{'x' * 76}... is not"),
        ("betas", [0.9], "must be a list of 2, and a list of 1 is not"),
        ("betas", 0.9, "must be a list of 2, and 0.9 is not"),
        ("mask", 3, "must be one of assistant, none, and 3 is not"),
        ("shuffle", 1, "must be true or false, and 1 is not"),
    ],
)
def test_a_wrong_value_says_what_was_expected_and_found(setting: str, value: Any, sentence: str) -> None:
    assert mistake(stages={"base": {setting: value}}) == f"demo.toml: stages.base.{setting} {sentence}"


def test_other_mistakes_are_sentences_too() -> None:
    assert mistake(name=3) == 'demo.toml: name must be text, and 3 is not; put it in quotes: "3"'
    assert mistake(stages={"base": {"betas": [0.9, "x"]}}) == (
        "demo.toml: stages.base.betas[1] must be a number, and 'x' is not"
    )
    assert mistake(stages={"base": {"mask": "none", "epochs": 9}}) == (
        "demo.toml: stages.base cannot be used: mask 'none' with more than 3 epochs only memorises"
    )
    assert mistake(data={"t": {"kind": "text"}}) == "demo.toml: data.t needs 'path', and it is not set"
    with pytest.raises(SettingsError, match="^demo.toml needs 'name', and it is not set$"):
        convert({}, Recipe, "demo.toml")
    with pytest.raises(SettingsError, match="^demo.toml: stages.base has no setting 'x'"):
        convert({"x": 1}, Stage, "demo.toml: stages.base")
    with pytest.raises(SettingsError, match="^the table must be a table, and 3 is not$"):
        convert(3, Recipe)
    with pytest.raises(SettingsError, match="^people must be a whole number"):
        convert({"people": "many"}, World)


words = st.text("ab'._ é", max_size=5)
toml_values = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(["name", "data", "stages", "evaluate", "other"]),
        toml_values
        | st.dictionaries(
            words,
            toml_values
            | st.dictionaries(st.sampled_from(["kind", "people", "path", "epochs", "lr", "betas", "mask"]), toml_values)
            | st.fixed_dictionaries({"kind": st.sampled_from(["world", "text", "txt"])}),
        ),
    )
)
def test_any_table_is_settings_or_a_sentence_about_a_place(table: dict[str, Any]) -> None:
    try:
        msgspec.convert(table, Recipe)
        right = True
    except msgspec.ValidationError:
        right = False
    if right:
        assert convert(table, Recipe, "demo.toml") == msgspec.convert(table, Recipe)
    else:
        with pytest.raises(SettingsError, match="^demo.toml") as error:
            convert(table, Recipe, "demo.toml")
        # The words of the library below never come through.
        assert "`" not in str(error.value)


def test_overrides_change_a_copy_and_are_typed_as_toml() -> None:
    table = {"name": "demo", "stages": {"rl": {"group": 8}}}
    overrides = ["stages.rl.group=16", "stages.rl.lr = 1e-4", "stages.new.on=true", "name=tiny", "a.path=runs/x=1,b c"]
    assert apply_overrides(table, overrides) == {
        "name": "tiny",
        "stages": {"rl": {"group": 16, "lr": 1e-4}, "new": {"on": True}},
        "a": {"path": "runs/x=1,b c"},
    }
    assert table == {"name": "demo", "stages": {"rl": {"group": 8}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, 2]", [1, 2]),
        ("{ world = 1 }", {"world": 1}),
        ('"16"', "16"),
        ("'a.b'", "a.b"),
        ("-0.5", -0.5),
        ("1_000", 1000),
        ("world-chat", "world-chat"),
        ("2024-01-01", "2024-01-01"),
        ("/tmp/ä b.txt", "/tmp/ä b.txt"),
        ("1e-4x", "1e-4x"),
    ],
)
def test_the_right_side_is_a_toml_value_or_a_bare_word(text: str, value: Any) -> None:
    assert apply_overrides({}, [f"x={text}"]) == {"x": value}


def test_a_later_override_wins_and_a_table_is_replaced() -> None:
    assert apply_overrides({"a": {"b": 1, "c": 2}}, ["a.b=3", "a.b=4"]) == {"a": {"b": 4, "c": 2}}
    assert apply_overrides({"a": {"b": 1, "c": 2}}, ["a={b=3}"]) == {"a": {"b": 3}}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "stages.base.epochs",
            "'stages.base.epochs' is not an override; write dotted.key=value, e.g. stages.base.epochs=3",
        ),
        ("=3", "'=3' is not an override; write dotted.key=value"),
        ("a..b=3", "'a..b=3' is not an override; write dotted.key=value"),
        ("a=[1, 2", "'a=[1, 2' has no readable value ("),
        ('a="x', "has no readable value ("),
        ("a=", "'a=' has no readable value ("),
        ("a=1\nb=2", "has more than one setting; use one override for each"),
        ("name.x=1", "'name.x=1' cannot be set, because name is 'demo' and not a table"),
    ],
)
def test_a_malformed_override_is_one_sentence(override: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        apply_overrides({"name": "demo"}, [override])
    assert sentence in str(error.value)


def test_a_toml_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('name = "é"\n[data]\nx = { kind = "world" }\n', encoding="utf-8")
    assert read_toml(tmp_path / "a.toml") == {"name": "é", "data": {"x": {"kind": "world"}}}


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "demo.toml").touch()
    with pytest.raises(SettingsError) as error:
        read_toml(tmp_path / "dmo.toml")
    assert str(error.value) == f"there is no file {tmp_path / 'dmo.toml'}; did you mean {tmp_path / 'demo.toml'}?"
    with pytest.raises(SettingsError, match="there is no file .*; check the path"):
        read_toml(tmp_path / "no" / "demo.toml")
    with pytest.raises(SettingsError, match="cannot read .*: is a directory; check the path"):
        read_toml(tmp_path)


def test_a_syntax_error_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "x"\nmodel = { depth = }\n')
    with pytest.raises(SettingsError) as error:
        read_toml(path)
    assert str(error.value).startswith(f"{path}, line 2, column 19: invalid TOML (")
    path.write_text("[stages")
    with pytest.raises(SettingsError, match="a.toml, end of document: invalid TOML"):
        read_toml(path)
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(SettingsError, match=r"a.toml is not UTF-8 text \(byte 8\); save it as UTF-8"):
        read_toml(path)


def test_in_a_checkout_the_recipes_stand_beside_the_package() -> None:
    assert recipes_folder() == Path(__file__).parents[1] / "recipes"


def test_nearest_and_suggest() -> None:
    assert nearest("Bsae", ["chat", "base"]) == "base"
    assert nearest("sft", ["Base", "SFT"]) == "SFT"
    assert nearest("xyz", ["base"]) == ""
    assert suggest("bass", ["chat", "base"]) == "; did you mean 'base'?"
    assert suggest("xyz", ["chat", "base"]) == "; choose one of chat, base"
    assert suggest("xyz", []) == ""


@given(toml_values)
def test_a_fingerprint_depends_on_the_content_only(value: Any) -> None:
    assert fingerprint({"a": 1, "b": value}) == fingerprint({"b": value, "a": 1})
    assert fingerprint(value) != fingerprint([value])
    assert fingerprint({"a": 1}, value) != fingerprint({"a": 2}, value)


def test_a_fingerprint_is_the_same_on_every_machine() -> None:
    assert fingerprint(Stage(), "parent") == fingerprint(to_plain(Stage()), "parent") == "774fe1dc85358342"
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
