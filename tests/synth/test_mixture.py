from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from synth_runs import rows

from tutelage.chat.formats import read_conversations
from tutelage.cli import main
from tutelage.config import convert, recipes_folder
from tutelage.ledger import Ledger
from tutelage.synth.mixture import Mixture, load_mixture, mix_rows


def source(folder: Path, name: str, count: int, text: str = "Question {n} of {name}?") -> str:
    path = folder / f"{name}.jsonl"
    lines = [
        json.dumps({"prompt": text.replace("{n}", str(n)).replace("{name}", name), "completion": f"Answer {n}."})
        for n in range(count)
    ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def mixture(sources: dict[str, Any], **more: Any) -> Mixture:
    return convert({"name": "m", "sources": sources, **more}, Mixture)


def sources_of(folder: Path) -> Counter[str]:
    return Counter(row["lineage"]["source"] for row in rows(folder))


def test_shares_are_exact_and_the_order_is_random_but_fixed(tmp_path: Path) -> None:
    table = {
        "a": {"share": 3, "path": source(tmp_path, "a", 90)},
        "b": {"share": 1, "path": source(tmp_path, "b", 50)},
    }
    result = mix_rows(mixture(table), tmp_path / "out")
    assert sources_of(tmp_path / "out") == {"a": 90, "b": 30}
    order = [row["lineage"]["source"] for row in rows(tmp_path / "out")]
    assert order[:90] != ["a"] * 90
    first = (tmp_path / "out" / "data.jsonl").read_bytes()
    mix_rows(mixture(table), tmp_path / "out")
    assert (tmp_path / "out" / "data.jsonl").read_bytes() == first
    mix_rows(mixture(table, seed=1), tmp_path / "other")
    assert (tmp_path / "other" / "data.jsonl").read_bytes() != first
    assert result["sources"]["b"]["epochs"] == 0.6 and result["absent"] == {}
    ledger = Ledger("rows")
    assert len(list(read_conversations(tmp_path / "out" / "data.jsonl", ledger, 0.0))) == 120
    assert not ledger.noted


def test_caps_and_epochs(tmp_path: Path) -> None:
    table = {
        "a": {"share": 1, "path": source(tmp_path, "a", 10), "epochs": 3},
        "b": {"share": 1, "path": source(tmp_path, "b", 90), "most": 40},
    }
    mix_rows(mixture(table, amount=60), tmp_path / "out")
    assert sources_of(tmp_path / "out") == {"a": 30, "b": 30}
    assert set(Counter(row["id"] for row in rows(tmp_path / "out") if row["id"].startswith("a")).values()) == {3}
    mix_rows(mixture(table, amount=70), tmp_path / "more")
    assert sources_of(tmp_path / "more") == {"a": 30, "b": 40}
    with pytest.raises(ValueError, match="all sources at their maximum epochs hold 70"):
        mix_rows(mixture(table, amount=71), tmp_path / "most")


def test_evaluation_texts_are_left_out_and_counted(tmp_path: Path) -> None:
    text = "What is the sum of {n} and the number of the stars that stand on the old flag of {name}?"
    table = {
        "a": {"share": 1, "path": source(tmp_path, "a", 5, text)},
        "b": {"share": 1, "path": source(tmp_path, "b", 5)},
    }
    (tmp_path / "evaluation.jsonl").write_text(
        json.dumps({"q": text.replace("{n}", "77").replace("{name}", "a")}) + "\n"
    )
    with pytest.raises(ValueError, match="source 'a' is empty"):
        mix_rows(mixture(table, against=[str(tmp_path / "evaluation.jsonl")]), tmp_path / "out")
    table["c"] = {"share": 1, "path": source(tmp_path, "c", 3)}
    del table["a"]
    result = mix_rows(mixture(table, against=[str(tmp_path / "evaluation.jsonl")]), tmp_path / "out")
    assert result["rows"] == 6 and result["ledgers"]["c"]["rows_kept"] == 3


def test_published_mixtures_run_on_what_is_at_hand(tmp_path: Path) -> None:
    path = source(tmp_path, "mine", 40)
    recipe = recipes_folder() / "mixtures" / "tulu3.toml"
    settings = [f"sources.no_robots.path={path}", f"sources.oasst.path={path}", f"out={tmp_path / 'out'}"]
    done = CliRunner().invoke(main, ["mix", str(recipe), *settings])
    assert done.exit_code == 0, done.output
    assert "not at hand, 98% of the published mixture" in done.output and "ODC-BY, gated" in done.output
    counts = sources_of(tmp_path / "out")
    assert counts["oasst"] / counts["no_robots"] == pytest.approx(7132 / 9500, abs=0.05)
    nothing = CliRunner().invoke(main, ["mix", str(recipe), f"out={tmp_path / 'none'}"])
    assert nothing.exit_code == 1 and "no source is at hand" in nothing.output


@pytest.mark.parametrize(
    ("name", "rows"), [("tulu3", 939_344), ("tulu3_dpo", 425_145), ("dolmino", 100), ("phi4", 100), ("hyperclova", 100)]
)
def test_published_sums(name: str, rows: int) -> None:
    recipe = load_mixture(recipes_folder() / "mixtures" / f"{name}.toml", [])
    assert sum(one.share for one in recipe.sources.values()) == pytest.approx(rows, abs=0.1)


def test_every_mixture_is_valid_and_says_where_its_sources_are() -> None:
    for path in sorted((recipes_folder() / "mixtures").glob("*.toml")):
        recipe = load_mixture(path, [])
        assert recipe.name == path.stem
        assert all(one.licence and one.address for one in recipe.sources.values()), path


MIXTURES = sorted(path.stem for path in (recipes_folder() / "mixtures").glob("*.toml"))
ROWS = {
    "conversations": {"prompt": "What is a river?", "completion": "Water that flows."},
    "preferences": {"prompt": "What is a river?", "chosen": "Water that flows.", "rejected": "A stone."},
    "documents": {"text": "A river is water that flows to the sea."},
}


def test_the_published_mixtures_are_there() -> None:
    named = {"tulu3", "tulu3_dpo", "dolmino", "olmo2", "hyperclova", "phi4", "llama3_annealing", "minicpm_decay"}
    assert named <= set(MIXTURES)


@pytest.mark.parametrize("name", MIXTURES)
def test_every_mixture_runs_on_the_sources_at_hand_and_names_the_others(name: str, tmp_path: Path) -> None:
    plain = load_mixture(recipes_folder() / "mixtures" / f"{name}.toml", [])
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({**ROWS[plain.rows], "id": f"{number}"}) + "\n" for number in range(30)))
    first, second, *others = plain.sources
    settings = [f"sources.{source}.path={path}" for source in (first, second)]
    result = mix_rows(load_mixture(recipes_folder() / "mixtures" / f"{name}.toml", settings), tmp_path / "out")
    assert result["rows"] >= 2 and set(result["sources"]) == {first, second} and list(result["absent"]) == others
    assert all(source["licence"] and source["address"] for source in result["absent"].values())


@given(st.lists(st.integers(1, 30), min_size=2, max_size=4), st.integers(1, 3))
def test_no_row_is_used_more_than_its_epochs(sizes: list[int], epochs: int) -> None:
    from tutelage.corpus.mix import allot

    available = {str(number): float(size) for number, size in enumerate(sizes)}
    allotted = allot(dict.fromkeys(available, 1.0), available, dict.fromkeys(available, float(epochs)), None)
    assert all(allotted[name].epochs <= epochs * (1 + 1e-9) for name in available)
