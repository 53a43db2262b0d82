from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tutelage import progress
from tutelage.cli import main
from tutelage.config import SettingsError, convert, recipes_folder
from tutelage.corpus.mix import Mix, allot, drawn, load_mix, mix
from tutelage.corpus.shards import FORMAT, corpus_files, read_documents, write_documents
from tutelage.files import write_json
from tutelage.records import Document

SHARES = st.dictionaries(st.sampled_from("abcde"), st.floats(0.01, 100), min_size=1)


@given(SHARES, st.data())
def test_the_amount_is_taken_and_no_source_more_often_than_allowed(
    shares: dict[str, float], data: st.DataObject
) -> None:
    available = {name: data.draw(st.floats(1, 1e6)) for name in shares}
    epochs = {name: data.draw(st.floats(0.1, 5)) for name in shares}
    whole = sum(available[name] * epochs[name] for name in shares)
    amount = whole * data.draw(st.floats(0.01, 1))
    taken = allot(shares, available, epochs, amount)
    assert sum(one.amount for one in taken.values()) == pytest.approx(amount)
    below = []
    for name, one in taken.items():
        assert one.epochs <= epochs[name] * (1 + 1e-9)
        if one.epochs < epochs[name] * (1 - 1e-9):
            below.append(one.amount / shares[name])
    # Those that are not exhausted stand to each other as their shares do, and an exhausted one gets no more than that.
    assert not below or below == pytest.approx([below[0]] * len(below))
    assert not below or all(one.amount / shares[name] <= below[0] * (1 + 1e-6) for name, one in taken.items())


@given(SHARES, st.data())
def test_without_an_amount_all_shares_are_exact(shares: dict[str, float], data: st.DataObject) -> None:
    available = {name: data.draw(st.floats(1, 1e6)) for name in shares}
    epochs = {name: data.draw(st.floats(0.1, 5)) for name in shares}
    taken = allot(shares, available, epochs, None)
    whole = sum(one.amount for one in taken.values())
    assert {name: one.amount / whole for name, one in taken.items()} == pytest.approx(
        {name: share / sum(shares.values()) for name, share in shares.items()}
    )
    assert any(one.epochs == pytest.approx(epochs[name]) for name, one in taken.items())


def test_more_than_there_is_or_nothing_to_take_is_refused() -> None:
    with pytest.raises(
        ValueError, match="amount is 21, but all sources at their maximum epochs hold 20; lower the amount, allow more"
    ):
        allot({"a": 1.0}, {"a": 10.0}, {"a": 2.0}, 21.0)
    with pytest.raises(ValueError, match="source 'b' is empty"):
        allot({"a": 1.0, "b": 1.0}, {"a": 10.0, "b": 0.0}, {"a": 2.0, "b": 1.0}, 1.0)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.floats(0, 4))
def test_what_is_drawn_is_within_a_document_of_what_was_meant(sizes: list[int], epochs: float) -> None:
    documents = [(Document("x", str(number)), size) for number, size in enumerate(sizes)]
    taken = list(drawn(iter(documents), epochs, lambda size: 1.0))
    assert abs(sum(size for _, size in taken) - epochs * sum(sizes)) <= max(sizes)
    copies = Counter(document.id for document, _ in taken)
    assert all(int(epochs) <= copies[str(number)] <= int(epochs) + 1 for number in range(len(sizes)))
    for name, count in copies.items():
        assert [d.facts.get("copy", 1) for d, _ in taken if d.id == name] == list(range(1, count + 1))


def corpus(folder: Path, name: str, documents: list[Document]) -> str:
    half = len(documents) // 2
    files = {"0.jsonl.zst": documents[:half], "1.parquet": documents[half:]}
    for file, part in files.items():
        write_documents(folder / name / file, part)
    write_json(folder / name / "curation.json", {"format": FORMAT, "files": list(files), "fingerprint": ""})
    return str(folder / name)


def recipe(folder: Path, **more: Any) -> Mix:
    web = corpus(folder, "web", [Document("word " * (5 + n % 7), f"web/{n}") for n in range(300)])
    code = corpus(folder, "code", [Document("code " * (50 if n % 10 == 0 else 5), f"code/{n}") for n in range(40)])
    sources = {"web": {"path": web, "epochs": 1}, "code": {"path": code, "epochs": 3}}
    table = {"name": "test", "sources": sources, "stages": {"one": {"shares": {"web": 3, "code": 1}}}, **more}
    return convert(table, Mix, "recipe")


def rows(out: Path) -> list[Document]:
    return [document for file in corpus_files(out) for document in read_documents(file)]


def test_a_mix_has_the_shares_that_were_asked_for(tmp_path: Path) -> None:
    result = mix(recipe(tmp_path, shard_mib=0.005), tmp_path / "out")["one"]
    assert len(result["files"]) > 1 and result["warnings"] == []
    taken = rows(tmp_path / "out" / "one")
    words = Counter[str]()
    for document in taken:
        words[str(document.facts["source"])] += len(document.text.split())
    assert words == {name: row["words"] for name, row in result["mix"].items()}
    assert words["code"] / words.total() == pytest.approx(0.25, abs=0.03)
    names = [document.id.partition("/")[0] for document in taken]
    assert "code" in names[: len(names) // 5] and "web" in names[-len(names) // 5 :]  # they are shuffled
    made = [file.read_bytes() for file in corpus_files(tmp_path / "out" / "one")]
    mix(recipe(tmp_path, shard_mib=0.005), tmp_path / "again")
    assert [file.read_bytes() for file in corpus_files(tmp_path / "again" / "one")] == made
    mix(recipe(tmp_path, shard_mib=0.005, seed=1), tmp_path / "other")
    assert [file.read_bytes() for file in corpus_files(tmp_path / "other" / "one")] != made


def test_a_source_that_is_used_up_is_told(tmp_path: Path) -> None:
    stages = {"one": {"shares": {"web": 1, "code": 9}, "amount": 3000}}
    result = mix(recipe(tmp_path, stages=stages), tmp_path / "out")["one"]
    assert result["mix"]["code"]["epochs"] == pytest.approx(3)
    assert len(result["warnings"]) == 1
    assert result["warnings"][0].startswith("source code is smaller than its share, even at 3 epochs: ")


def test_long_documents_are_taken_more_often(tmp_path: Path) -> None:
    stages = {"longer": {"shares": {"code": 1}, "long": 50, "long_times": 3, "amount": 360}}
    mix(recipe(tmp_path, stages=stages), tmp_path / "out")
    copies = Counter(len(document.text.split()) for document in rows(tmp_path / "out" / "longer"))
    # 4 long ones of 50 words count three times: 360 are 6/13 of 780 words, so each long one is taken 18/13 times.
    assert copies[50] == pytest.approx(4 * 18 / 13, abs=1)
    assert copies[5] == pytest.approx(36 * 6 / 13, abs=1)


def test_a_mix_is_made_again_only_where_something_changed(tmp_path: Path) -> None:
    def written() -> int:
        return (tmp_path / "out" / "one" / "curation.json").stat().st_mtime_ns

    mix(recipe(tmp_path), tmp_path / "out")
    first = written()
    mix(recipe(tmp_path), tmp_path / "out")
    assert written() == first
    mix(recipe(tmp_path, stages={"one": {"shares": {"web": 1, "code": 1}}}), tmp_path / "out")
    assert written() != first


@pytest.mark.parametrize("name", ["mix_phi4", "mix_olmo2", "mix_hyperclova"])
def test_the_tables_that_come_along_can_be_read(name: str, tmp_path: Path) -> None:
    made = load_mix(recipes_folder() / f"{name}.toml", ["seed=3"])
    assert made.name == name and made.seed == 3
    with pytest.raises(ValueError, match="is not a finished corpus: curation.json is missing"):
        mix(made, tmp_path)


def test_tables_that_name_what_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="stages.one.shares names 'wbe', which is not in \\[sources\\]"):
        recipe(tmp_path, stages={"one": {"shares": {"wbe": 1}}})
    with pytest.raises(SettingsError, match="set both long and long_times, or neither"):
        recipe(tmp_path, stages={"one": {"shares": {"web": 1}, "long": 5}})


def test_the_verb_mixes_a_recipe_that_has_sources(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    path = tmp_path / "mix.toml"
    path.write_text(
        'name = "small"\n[sources]\n'
        + "".join(
            f'{name} = {{ path = "{name}", epochs = {source.epochs} }}\n' for name, source in made.sources.items()
        )
        + "[stages.one]\nshares = { web = 3, code = 1 }\n"
    )
    done = CliRunner().invoke(main, ["curate", str(path), f"out={tmp_path / 'out'}"])
    assert done.exit_code == 0, done.output
    assert "small/one" in done.output and "25.0%" in done.output
    looked = CliRunner().invoke(main, ["look", str(tmp_path / "out" / "one"), "--json"])
    progress.set_mode("auto")  # --json has changed it for the whole process
    assert set(msgspec.json.decode(looked.stdout)["mix"]) == {"web", "code"}
