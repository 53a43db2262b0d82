from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.chat.render.template import HEADERS
from tutelage.engine.decode import Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate import asking, format
from tutelage.evaluate.asking import Answer
from tutelage.evaluate.format import _real_words, by_set, evaluate_format, words
from tutelage.model.hub import load_model
from tutelage.recipe import Run
from tutelage.records import Conversation, message

PROMPTS = [
    Conversation((message("user", f"who {verb} the {n}?"),)) for verb in ("sees", "hears") for n in ("cat", "fox")
]


def answers(*texts: str) -> list[Answer]:
    return [Answer(text, Generation(ended="stop")) for text in texts]


def test_words_are_letters_with_apostrophes_within_in_lower_case() -> None:
    assert words("The cat's mat -- 42 'tis O'Brien; über_alles!") == [
        "the",
        "cat's",
        "mat",
        "tis",
        "o'brien",
        "über",
        "alles",
    ]
    assert words("7 + 5 = 12 ... '") == []


@pytest.mark.parametrize(
    ("texts", "known", "real", "count"),
    [
        (["The cat's mat!"], {"the", "cat's"}, 2, 3),
        (["the thethe the"], {"the"}, 2, 3),
        (["the cat", "", "12", "zqx"], {"the", "cat", "mat"}, 2, 3),
    ],
)
def test_real_words_are_those_of_the_text(texts: list[str], known: set[str], real: int, count: int) -> None:
    found = _real_words(answers(*texts), known)
    assert found is not None
    assert (found.rate, found.count) == (real / count, count)


def test_without_words_or_a_text_to_know_them_from_there_is_no_share() -> None:
    assert _real_words(answers("...", ""), {"the"}) is None
    assert _real_words(answers("the cat"), set()) is None


def test_an_answer_is_by_heart_only_where_it_is_letter_for_letter_one_trained_on(tales_run: Run) -> None:
    model, settings = load_model(tales_run.folder / "chat"), SamplingSettings(max_tokens=40)
    free = evaluate_format(model, PROMPTS, settings)
    assert (free.verbatim.rate, free.real_words) == (0, None)
    texts = [answer.text.strip() for answer in free.answers]
    for trained in ({texts[0]}, {texts[0][:-1], texts[0].upper(), texts[0] + "."}, set(texts)):
        found = evaluate_format(model, PROMPTS, settings, trained_answers={hash(text) for text in trained})
        assert found.verbatim.rate == np.mean([text in trained for text in texts])
        assert found.complies == free.complies
    assert found.verbatim.rate == 1


def test_the_renderer_is_made_once(tales_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = load_model(tales_run.folder / "chat"), []
    real = asking.make_renderer
    for module in (asking, format):
        monkeypatch.setattr(module, "make_renderer", lambda *of: made.append(of) or real(*of))
    evaluate_format(model, PROMPTS, SamplingSettings(max_tokens=3))
    assert len(made) == 1


@pytest.mark.parametrize(("weights", "longest"), [("trained", 40), ("trained", 3), ("zero", 40)])
def test_an_answer_complies_that_says_something_stops_and_speaks_for_nobody_else(
    weights: str, longest: int, tales_run: Run
) -> None:
    """By a trained model, by one that is cut off, and by one that writes every token as often as any other."""
    model, prompts = load_model(tales_run.folder / "chat"), PROMPTS * 20
    if weights == "zero":
        with torch.no_grad():
            model.model.embedding.weight.zero_()
    found = evaluate_format(model, prompts, SamplingSettings(max_tokens=longest, temperature=1.0))
    headers = {model.tokenizer.special(name) for name in HEADERS.values()}
    checks = [
        (a.text.strip() != "", a.generation.ended == "stop", not headers & set(a.generation.tokens))
        for a in found.answers
    ]
    assert found.complies == [all(check) for check in checks]
    rates = found.has_content, found.stops, found.keeps_its_turn
    assert [rate.rate for rate in rates] == [sum(column) / len(prompts) for column in zip(*checks, strict=True)]
    assert found.compliant.rate == sum(found.complies) / len(prompts)
    failed = [prompt.messages[0].text for prompt, fine in zip(prompts, found.complies, strict=True) if not fine]
    assert [row["prompt"] for row in found.failures(prompts, model)] == failed[:20]
    if longest == 3:
        assert found.stops.rate == found.compliant.rate == 0
    if weights == "zero":
        assert all(0 < rate.rate < 1 for rate in (*rates, found.compliant))
        assert found.compliant.rate < min(rate.rate for rate in rates)


def test_the_rate_of_a_set_is_that_of_its_own_prompts(tales_run: Run) -> None:
    model = load_model(tales_run.folder / "chat")
    found = evaluate_format(model, PROMPTS, SamplingSettings(max_tokens=15))
    rates = by_set(found, {"one": PROMPTS[:1], "rest": PROMPTS[1:]})
    assert rates["one"].rate == found.complies[0]
    assert (rates["rest"].rate, rates["rest"].count) == (sum(found.complies[1:]) / 3, 3)
