from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from click.testing import CliRunner
from tokenizers import decoders, models, pre_tokenizers

from tutelage.cli import main
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate import choices as choices_module
from tutelage.evaluate.choice_items import Asked, ChoiceItem, asked, read_choice_items, sample_items
from tutelage.evaluate.choices import (
    ChoiceScore,
    chat_sequences,
    choice_figures,
    choice_rates,
    plain_sequence,
    score_choices,
    sequence_scores,
)
from tutelage.evaluate.sequence_scores import SequenceScore
from tutelage.model.hub import Checkpoint, load_model
from tutelage.runner import Run
from tutelage.tokenizer import Tokenizer

ITEM = ChoiceItem("a", "who sees the cat?", ("the dog sees the cat.", "the hen."), 0)


# The tiny model knows small letters alone, so that it is asked without "Question:".
ASKED = Asked(ITEM, ("who sees the cat?",) * 2, (" the dog sees the cat.", " the hen."))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(scope="module")
def chat(tales_run: Run) -> Checkpoint:
    return load_model(tales_run.folder / "chat")


def test_all_forms_of_rows_are_read(tmp_path: Path) -> None:
    rows = [
        {"question": "Which?", "choices": ["x", "y"], "answer": "B", "id": 7},
        {"query": "Question: Which?", "choices": ["x", "y"], "gold": 1},
        {"question": "Which?", "choice0": "x", "choice1": "y", "choice2": None, "answer": "1"},
        {"context_options": ["x saw", "y saw"], "continuation": "it.", "gold": 1},
        {"context": "She said", "continuation": "no"},
    ]
    items = read_choice_items(write(tmp_path / "rows.jsonl", rows))
    assert [item.gold for item in items] == [1, 1, 1, 1, 0]
    assert items[0] == ChoiceItem("7", "Which?", ("x", "y"), 1)
    assert items[3] == ChoiceItem("rows.jsonl:4", "it.", ("x saw", "y saw"), 1, beginnings=True)
    assert asked(items[1], "cloze").contexts == ("Question: Which?\nAnswer:",) * 2
    assert asked(items[0], "letters").contexts[0] == "Question: Which?\nA. x\nB. y\nAnswer:"
    assert asked(items[0], "letters").continuations == (" A", " B")
    assert asked(items[3], "cloze").contexts == ("x saw", "y saw")
    assert asked(items[4], "cloze").continuations == (" no",)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"question": "Q", "choices": ["x"], "answer": 0}, "rows.jsonl:1: it needs 2 to 26 choices"),
        ({"question": "Q", "choices": ["x", "y"], "answer": 2}, "the answer 2 is none of the 2 choices"),
        ({"question": " ", "choices": ["x", "y"], "answer": 0}, "the question is missing or empty"),
        ({"context_options": ["x"], "continuation": "it.", "gold": 0}, "must be two texts or more"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_choice_items(write(tmp_path / "rows.jsonl", [row]))


def test_pain_e14_no_question_is_its_own_example() -> None:
    items = [ChoiceItem(str(n), f"Q{n}", ("x", "y"), 0) for n in range(3)]
    twin = ChoiceItem("twin", "Q0", ("x", "y"), 0)
    for item in items:
        one = asked(item, "cloze", items, 2)
        assert one.contexts[0].count(item.question) == 1
    assert asked(twin, "cloze", [*items, twin], 2).contexts[0].count("Q0") == 1
    with pytest.raises(ValueError, match="3 examples are asked for, but there are 2 other questions"):
        asked(items[0], "cloze", items, 3)


def test_pain_e17_a_sample_is_seeded_and_not_the_first_rows() -> None:
    items = [ChoiceItem(str(n), f"Q{n}", ("x", "y"), 0) for n in range(100)]
    drawn = sample_items(items, 20, 0)
    assert drawn == sample_items(items, 20, 0) != sample_items(items, 20, 1)
    assert [item.id for item in drawn] == sorted((item.id for item in drawn), key=int)
    assert max(int(item.id) for item in drawn) > 50


def straddling() -> Tokenizer:
    """Byte-level pieces in which ": C" is one token."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocab = {piece: number for number, piece in enumerate([*sorted(alphabet), "Ġ" + "C", ":" + "ĠC"])}
    backend = tokenizers.Tokenizer(models.BPE(vocab, [("Ġ", "C"), (":", "ĠC")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(backend)


def test_pain_e2_a_token_over_the_border_is_scored_whole() -> None:
    example, reaches = plain_sequence(straddling(), "Answer:", " C")
    assert reaches
    assert example.weights is not None and example.weights.tolist() == [0] * 6 + [1]
    example, reaches = plain_sequence(straddling(), "Answer:", " B")
    assert not reaches
    assert example.weights is not None and example.weights.tolist() == [0] * 7 + [1, 1]


def test_pain_e10_the_border_is_an_index_and_nothing_before_it_is_scored(chat: Checkpoint) -> None:
    """mlx-lm PR 1902: the border of a prompt that was cut, used on one that was not, scored context as the answer."""
    for context in ("the cat sees", "the cat sees " * 20):
        example, _ = plain_sequence(chat.tokenizer, context.strip(), " the hen.")
        assert example.weights is not None
        assert chat.tokenizer.decode(example.tokens[example.weights > 0]).strip() == "the hen."


def test_pain_e33_scores_read_no_cache_of_keys_and_values(chat: Checkpoint) -> None:
    """vLLM #42019: prompt log-probabilities were missing, or another request's, where a prefix was cached."""
    texts = ["the cat sees", "the cat sees the dog. the hen", "the cat"]
    examples = [plain_sequence(chat.tokenizer, text, " the hen.")[0] for text in texts]
    generate(chat.model, [example.tokens for example in examples], frozenset(), SamplingSettings(max_tokens=3))
    first = [score.logprob for score in sequence_scores(chat.model, examples)]
    last = [score.logprob for score in sequence_scores(chat.model, examples[::-1])][::-1]
    assert first == last


def test_pain_e1_the_scored_token_is_the_one_that_stands_in_the_examples() -> None:
    tokenizer = straddling()
    pool = [ChoiceItem("b", "P", ("x", "y", "z"), 2)]
    one = asked(ChoiceItem("c", "Q", ("x", "y", "z"), 2), "letters", pool, 1)
    example, _ = plain_sequence(tokenizer, one.contexts[2], one.continuations[2])
    assert example.weights is not None
    (scored,) = example.tokens[example.weights > 0].tolist()
    assert tokenizer.token_bytes(scored) == b": C"
    assert example.tokens.tolist().count(scored) == 2


def test_pain_e4_in_a_chat_the_scored_tokens_are_those_that_training_trains(chat: Checkpoint) -> None:
    first, second = chat_sequences(chat, ASKED)
    for example, text in ((first, ITEM.choices[0]), (second, ITEM.choices[1])):
        assert example.weights is not None
        assert chat.tokenizer.decode(example.tokens[example.weights > 0]) == text
    scores, _ = score_choices(chat, [ASKED], chat=True)
    assert scores[0].alone_C is None and scores[0].tokens_C.tolist() == [21, 8]


def test_pain_e16_a_score_does_not_depend_on_what_is_scored_beside_it(chat: Checkpoint) -> None:
    texts = ["the cat", "the dog sees the cat. the hen hears the owl.", "who", "the fox likes the hen and the cat"]
    examples = [plain_sequence(chat.tokenizer, text, " the cat.")[0] for text in texts]
    together = [score.logprob for score in sequence_scores(chat.model, examples)]
    alone = [sequence_scores(chat.model, [example])[0].logprob for example in examples]
    assert together == pytest.approx(alone, abs=1e-5)
    ids = torch.tensor(examples[1].tokens, dtype=torch.long)
    with torch.inference_mode():
        hidden = chat.model.hidden(ids, torch.arange(len(ids)), chat.model.within_segments((len(ids),)))
        logprobs = chat.model.logits(hidden).log_softmax(-1)
    scored = np.flatnonzero(examples[1].weights)
    assert alone[1] == pytest.approx(sum(float(logprobs[t - 1, ids[t]]) for t in scored), abs=1e-4)


def test_pain_e7_normalisers_have_their_names() -> None:
    """`ééééé` has 5 characters and 10 bytes."""
    item = ChoiceItem("a", "Q", ("ééééé", "hello!"), 0)
    score = ChoiceScore(item, np.array([-6.0, -7.0]), np.array([5, 1]), np.array([-9.0, -11.0]))
    assert score.picks() == {"acc": 0, "acc/char": 1, "acc/byte": 0, "acc/token": 0, "acc/pmi": 1}
    assert choice_rates([score])["acc/char"].rate == 0


def test_pain_e9_what_does_not_fit_is_left_out_and_counted(chat: Checkpoint) -> None:
    long = replace(ASKED, item=replace(ITEM, id="long"), contexts=("the cat sees the dog. " * 200,) * 2)
    scores, too_long = score_choices(chat, [ASKED, long], alone=False)
    assert [score.item.id for score in scores] == ["a"] and [one.item.id for one in too_long] == ["long"]
    assert choice_figures(scores, 2)["too_long"] == 1
    with pytest.raises(ValueError, match="no question fits into the context"):
        score_choices(chat, [long])


def test_pain_e3_choices_that_are_all_equal_are_an_error(chat: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = lambda model, examples, cache: [SequenceScore(0.0, False)] * len(examples)  # noqa: E731
    monkeypatch.setattr(choices_module, "sequence_scores", zeros)
    with pytest.raises(ValueError, match="all choices of all 1 questions are equally likely"):
        score_choices(chat, [ASKED], alone=False)


def test_the_command_names_the_format_of_a_score(tales_run: Run, tmp_path: Path) -> None:
    rows = [
        {"context_options": ["the dog sees", "w w. w"], "continuation": f"the {noun}.", "gold": 0}
        for noun in ("cat", "hen", "owl")
    ]
    file = write(tmp_path / "rows.jsonl", rows)
    model = str(tales_run.folder / "base")
    asked_for = ["evaluate", model, "--suite", str(file), "--by", "likelihood", "--shots", "1"]
    result = CliRunner().invoke(main, asked_for)
    assert result.exit_code == 0, result.output
    assert "acc: 100.0% of 3" in result.output and "plain text, cloze, 1 examples" in result.output
    plain = json.loads(CliRunner().invoke(main, [*asked_for, "--json", "--limit", "2"]).stdout)
    assert len(plain["items"]) == 2 and len(plain["items"][0]["logprobs"]) == 2
    refused = CliRunner().invoke(main, ["evaluate", model, "--suite", str(file), "--shots", "1"])
    assert "--shots is for --suite FILE --by likelihood" in refused.output
    refused = CliRunner().invoke(main, [*asked_for, "--chat"])
    assert "is a base model; leave --chat out" in refused.output
