from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from tutelage.batching.datasets import SplitLedgers
from tutelage.batching.preferences import LABEL, LABELLER_UTILITY, SIDE, labelled_groups, pair_groups, ranked_groups
from tutelage.chat import Rendered, make_renderer
from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.records import (
    AnyPreference,
    ExampleGroup,
    Preference,
    Ranking,
    Split,
    UnpairedPreference,
    Utility,
    message,
)
from tutelage.tokenizer import Tokenizer, TokenizerSettings, train


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train(["abc who sees the cat? 456 $46 dog."], TokenizerSettings(kind="char"), ()).extend(TEMPLATE_TOKENS)


def row(number: int, chosen: str, rejected: str, split: Split | None = "train") -> Preference:
    prompt = (
        message("user", "who?"),
        message("assistant", "the dog."),
        message("user", f"the cat sees {4 + number % 2}?"),
    )
    answers = [(message("assistant", text),) for text in (chosen, rejected)]
    return Preference(prompt, *answers, f"rows:{number}", split=split)


def labelled(number: int, prompt: str, answer: str, desirable: bool) -> UnpairedPreference:
    return UnpairedPreference(
        (message("user", prompt),), (message("assistant", answer),), desirable, f"rows:{number}", split="train"
    )


Make = Callable[..., tuple[list[tuple[Split, ExampleGroup]], SplitLedgers]]


@pytest.fixture
def make(tokenizer: Tokenizer) -> Make:
    def make_groups(
        rows: Iterable[AnyPreference],
        context: int = 200,
        max_refused: float = 0.0,
        groups: Callable[..., object] = pair_groups,
    ) -> tuple[list[tuple[Split, ExampleGroup]], SplitLedgers]:
        ledgers = SplitLedgers.of("test")
        renderer = make_renderer(tokenizer, ChatConfig())
        made = list(groups(rows, renderer, context, 0.0, max_refused, ledgers))  # type: ignore[call-overload]
        ledgers.train.check()
        ledgers.held_out.check()
        return made, ledgers

    return make_groups


def test_only_the_completions_are_trained_and_both_sides_share_their_prompt(make: Make, tokenizer: Tokenizer) -> None:
    ((split, (chosen, rejected)),), ledgers = make([row(0, "the cat.", "a dog")])
    assert split == "train"
    assert (chosen.scalars[SIDE], rejected.scalars[SIDE]) == (1.0, -1.0)
    prompts = []
    for side, text in ((chosen, "the cat."), (rejected, "a dog")):
        assert side.weights is not None
        trained = side.tokens[side.weights > 0]
        assert tokenizer.decode(trained[:-1]) == text
        assert side.weights[-1] == 1  # the token that ends the answer is the last of the segment
        prompts.append(side.tokens[: int(np.argmax(side.weights > 0))])
    assert np.array_equal(*prompts)
    assert "the dog." in tokenizer.decode(prompts[0])  # an earlier answer is context only
    assert (ledgers.train.rows_kept, ledgers.train.rows_out) == (1, 1)


def test_pains_6_and_7_a_pair_whose_sides_do_not_share_their_prompt_tokens_is_refused_with_the_reason(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL PR 1153: the tokens of the prompt changed with the answer after it."""
    from tutelage.batching import preferences

    real = preferences.render_all

    def merging(*arguments: object) -> object:
        for conversation, made in real(*arguments):  # type: ignore[arg-type]
            if conversation.messages[-1].text.startswith("$"):
                (one,) = made
                made = [Rendered(np.where(np.arange(len(one.ids)) == 3, 0, one.ids), one.weights, one.roles)]
            yield conversation, made

    monkeypatch.setattr(preferences, "render_all", merging)
    rows = [row(0, "46", "$46"), row(1, "46", "a cat")]
    with pytest.raises(
        ValueError, match="^rows:0: chosen and rejected do not share their prompt tokens; correct the row"
    ):
        make(rows)
    groups, ledgers = make(rows, max_refused=0.5)
    assert len(groups) == 1
    assert ledgers.train.dropped["chosen and rejected do not share their prompt tokens"].rows == 1
    with pytest.raises(ValueError, match="^1 of 2 pairs cannot be trained on, more than max_refused = 0.4"):
        make(rows, max_refused=0.4)


def test_a_pair_of_which_one_side_does_not_fit_is_one_dropped_row(make: Make) -> None:
    groups, ledgers = make(
        [row(0, "the cat.", "the cat. " * 20), row(1, "a", "the"), row(2, "the", "a", "held_out")], 120
    )
    assert [split for split, _ in groups] == ["train", "held_out"]
    assert ledgers.train.dropped["longer than the context of 120 tokens"].rows == 1
    assert (ledgers.train.rows_read, ledgers.train.rows_kept, ledgers.train.rows_held_out) == (3, 1, 1)


def test_a_ranking_is_one_group_of_its_answers_in_their_order(make: Make, tokenizer: Tokenizer) -> None:
    pair, texts = row(0, "the cat.", "a dog"), ("the dog.", "the cat", "a dog sees the cat")
    answers = tuple((message("assistant", text),) for text in texts)
    known = (Utility(1.0, 2.0), Utility(3.0, 6.0), Utility(-1.0, -2.0))
    ranked = Ranking(pair.prompt, answers, (2, 1, 2), "rows:1", split="train", known=known)
    (first, second), ledgers = make([pair, ranked], groups=ranked_groups)
    assert [example.scalars[SIDE] for example in first[1]] == [1.0, -1.0]
    assert [example.scalars[SIDE] for example in second[1]] == [2.0, 3.0, 2.0]
    assert [example.scalars[LABELLER_UTILITY] for example in second[1]] == [2.0, 6.0, -2.0]
    for example, text in zip(second[1], texts, strict=True):
        assert example.weights is not None
        assert tokenizer.decode(example.tokens[example.weights > 0][:-1]) == text
    assert (ledgers.train.rows_read, ledgers.train.rows_kept) == (2, 2)
    for groups in (pair_groups, labelled_groups):
        with pytest.raises(ValueError, match="rows:1 ranks 3 answers; train a reward model on it"):
            make([pair, ranked], groups=groups)


def test_a_labelled_answer_is_no_pair(make: Make) -> None:
    with pytest.raises(ValueError, match="rows:0 has one answer with a label, and not a pair; .* `tutelage kto`"):
        make([labelled(0, "who?", "the cat", True)])


def test_every_labelled_answer_comes_with_one_to_another_prompt(make: Make, tokenizer: Tokenizer) -> None:
    """TRL #1911: a reversed batch of odd length matched its middle row with itself."""
    rows = [labelled(n, f"who {'abc'[n]}?", answer, n != 1) for n, answer in enumerate(("the cat", "a dog", "46"))]
    groups, ledgers = make(rows, groups=labelled_groups)
    assert [[example.scalars[LABEL] for example in group] for _, group in groups] == [[1, 0], [-1, 0], [1, 0]]
    for number, (_, (own, other)) in enumerate(groups):
        texts = [tokenizer.decode(example.tokens) for example in (own, other)]
        assert all(f"who {'abc'[number]}?" in text for text in texts)
        assert texts[0] != texts[1]
    assert ledgers.train.rows_kept == 3


def test_a_pair_is_a_desirable_and_an_undesirable_answer(make: Make, tokenizer: Tokenizer) -> None:
    groups, ledgers = make([row(0, "the cat.", "a dog"), row(1, "46", "a")], groups=labelled_groups)
    assert [group[0].scalars[LABEL] for _, group in groups] == [1, -1, 1, -1]
    assert ledgers.train.rows_kept == 4
    for number, (_, (_, other)) in enumerate(groups):  # the rejected answer to the same prompt would be no mismatch
        text = tokenizer.decode(other.tokens)
        assert any(answer in text for answer in (("46", "a<") if number < 2 else ("the cat.<", "a dog<"))), text


def test_kto_needs_two_prompts(make: Make) -> None:
    with pytest.raises(ValueError, match="rows:0: KTO needs answers to at least two different prompts"):
        make([labelled(0, "who?", "the cat", True), labelled(1, "who?", "a dog", False)], groups=labelled_groups)
