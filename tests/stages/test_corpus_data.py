from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from tutelage import progress
from tutelage.cli import main
from tutelage.config import convert
from tutelage.recipe import Recipe
from tutelage.runner import Run
from tutelage.stages.data import documents, holds, identity
from tutelage.stages.data_files import CorpusData

WORDS = "the cat saw a dog and the dog saw a bird on the tree in the sun".split()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus curated by the command line, of 60 pages of which 20 are too short."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = [" ".join(WORDS[(n * k) % len(WORDS)] for k in range(40)) + f" {n}" for n in range(40)]
    rows = [msgspec.json.encode({"text": text}) for text in [*texts, *("short " + str(n) for n in range(20))]]
    (folder / "pages.jsonl").write_bytes(b"\n".join(rows))
    (folder / "recipe.toml").write_text(
        'name = "pages"\ninput = "pages.jsonl"\n[steps]\nlong = { kind = "length", shortest = 50 }\n'
        'exact = { kind = "dedup_exact" }\n'
    )
    done = CliRunner().invoke(main, ["curate", str(folder / "recipe.toml"), f"out={folder / 'out'}", "workers=1"])
    assert done.exit_code == 0, done.output
    assert "too short" in done.output and "README.md" in done.output
    looked = CliRunner().invoke(main, ["look", str(folder / "out"), "--rows", "1", "--json"])
    progress.set_mode("auto")  # --json has changed it for the whole process
    told = msgspec.json.decode(looked.stdout)
    assert told["steps"][0]["dropped"]["too short"]["sizes"]["documents"] == 20
    assert [row["text"] for row in told["samples"]] == ["short 0"]
    return folder / "out"


def test_a_curated_corpus_is_data_to_pretrain_on(corpus: Path, tmp_path: Path) -> None:
    data = {"kind": "corpus", "path": str(corpus)}
    recipe = convert(
        {
            "name": "pages",
            "model": {"depth": 1, "width": 32, "context": 64},
            "tokenizer": {"kind": "char"},
            "data": {"pages": data},
            "stages": {
                "base": {"kind": "pretrain", "data": {"pages": 1}, "steps": 2, "batch_tokens": 256, "held_out": 0.2}
            },
        },
        Recipe,
        "recipe",
    )
    assert holds(recipe.data["pages"]) == "documents"
    assert len(list(documents("pages", recipe.data))) == 40
    run = Run(recipe, tmp_path / "run")
    run.run()
    info = run.stage_done("base")
    assert info is not None and info["trained_tokens"] > 0


def test_what_a_corpus_holds_decides_what_is_trained_again(corpus: Path, tmp_path: Path) -> None:
    table = {"pages": CorpusData(path=str(corpus))}
    before = identity("pages", table)
    first = corpus / "00000.jsonl.zst"
    first.write_bytes(first.read_bytes() * 2)
    assert identity("pages", table) != before
    with pytest.raises(ValueError, match="is not a finished corpus: curation.json is missing"):
        identity("pages", {"pages": CorpusData(path=str(tmp_path))})
