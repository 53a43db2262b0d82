from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console
from tiny_recipe import run_quietly, write_tiny_recipe

from tutelage import tokenizer as tokenizers
from tutelage.chat import ChatConfig
from tutelage.ledger import Ledger
from tutelage.recipe import load_recipe
from tutelage.records import Batch
from tutelage.runner import Run
from tutelage.stages import look as looking
from tutelage.stages.look import rendered_file, rows_as_data, show_rows, step_batches
from tutelage.stages.train_stage import set_up
from tutelage.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose base is finished; looking at the next stage does not need that stage."""
    folder = tmp_path_factory.mktemp("look")
    chat = "replay = 0.5\nepochs = 1\nbatch_tokens = 512\nmicro_tokens = 256"
    recipe = write_tiny_recipe(folder, "steps = 1\nbatch_tokens = 512", chat)
    return run_quietly(Run(load_recipe(recipe), folder / "run"), "base")


def look(run: Run, name: str, step: int) -> tuple[list[Batch], Tokenizer]:
    return step_batches(run.trained_stage(name), run.context(name), step)


def test_it_is_the_step_that_the_loop_gets(run: Run) -> None:
    stream = set_up(run.trained_stage("chat"), run.context("chat")).stream
    expected = [micro for micro, _ in stream.batches(None, False)]
    for step in (1, 2, len(expected)):
        found, _ = look(run, "chat", step)
        assert [batch.tokens_N.tolist() for batch in found] == [b.tokens_N.tolist() for b in expected[step - 1]]
    assert len(expected[1]) > 1  # a step of several micro-batches is shown whole
    assert not (run.folder / "chat" / "stage.json").exists()
    with pytest.raises(ValueError, match="^stage chat has fewer than 9999 steps; choose an earlier one$"):
        look(run, "chat", 9999)
    with pytest.raises(ValueError, match="^step 0 does not exist; steps are counted from 1$"):
        look(run, "chat", 0)


def test_as_data_every_trained_position_has_its_label_and_its_role(run: Run) -> None:
    micro, tokenizer = look(run, "chat", 1)
    batches = rows_as_data(micro, tokenizer, segments=1000)
    assert len(batches) == len(micro)
    for batch, rows in zip(micro, batches, strict=True):
        assert len(rows) == len(batch.tokens_N)
        assert sum(row["weight"] for row in rows) == batch.count
        for row, following in pairwise(rows):
            assert (row["label"] is None) == (row["weight"] == 0)
            if row["weight"]:
                assert (row["label"], row["segment"]) == (following["token"], following["segment"])
                assert row["label_role"] in ("assistant", "document")
        opened = [row["weight"] for row in rows if row["token"] == "<|assistant|>"]
        assert all(opened)  # what reads <|assistant|> is trained to begin the answer
    assert {row["label_role"] for rows in batches for row in rows} >= {"assistant", "document", "user"}


def test_only_the_first_segments_are_shown(run: Run) -> None:
    micro, tokenizer = look(run, "chat", 1)
    for batch, rows in zip(micro, rows_as_data(micro, tokenizer, segments=2), strict=True):
        assert len(rows) == sum(batch.lengths[:2])
        assert [row["position"] for row in rows] == [*range(batch.lengths[0]), *range(sum(batch.lengths[1:2]))]


@pytest.mark.parametrize("as_text", [False, True])
def test_shown_to_a_person(run: Run, as_text: bool) -> None:
    micro, tokenizer = look(run, "chat", 1)
    console = Console(file=io.StringIO(), width=100, color_system=None)
    show_rows(micro, tokenizer, 2, as_text, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for number, batch in enumerate(micro, 1):
        size = f"{len(batch.tokens_N):,} tokens in {len(batch.lengths)} segments, {batch.count:,.0f} trained"
        assert f"micro-batch {number} of {len(micro)}: {size}; the first {min(2, len(batch.lengths))}:" in text
    assert ("⟦" in text) == as_text
    assert ("label" in text) == (not as_text)


@pytest.mark.parametrize(("rows", "said"), [(2, "2 of 2"), (3, "3 of 3"), (7, "3 of 7"), (8, "3 of more than 7")])
def test_of_a_file_it_is_said_how_many_are_shown_of_how_many(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, said: str
) -> None:
    monkeypatch.setattr(looking, "COUNTED", 4)
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": "Yes."}) + "\n" for n in range(rows)))
    tokenizer = tokenizers.load(run.folder / "base")
    found = rendered_file(path, tokenizer, ChatConfig(), 3, "assistant", Ledger("rows"))
    assert found.counted() == f"{said} conversations"
    assert len(found.rendered) == min(rows, 3)
