from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.renderer import Rendered
from tutelage.chat.render.template import HEADERS, TEMPLATE_TOKENS
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate import answers
from tutelage.evaluate.answers import ANSWER, ask, continue_text
from tutelage.evaluate.results import Results
from tutelage.evaluate.session import EvalSession, PromptData
from tutelage.evaluate.statistics import rate
from tutelage.evaluate.suites import SUITES, format
from tutelage.evaluate.suites.format import (
    CHECKS,
    FormatResult,
    _failures,
    _prompt_lengths,
    evaluate_format,
    rates_of,
    vocabulary_rate,
    words,
)
from tutelage.model.hub import load_model
from tutelage.recipe import load_recipe
from tutelage.records import Conversation, message
from tutelage.runner import Run
from tutelage.tokenizer import TokenizerSettings, train

PROMPTS = [
    Conversation((message("user", f"who {verb} the {n}?"),)) for verb in ("sees", "hears") for n in ("cat", "fox")
]


def run_format(run: Run) -> Results:
    return SUITES["format"].run(run.session("chat"))


def with_prompts(tales: Path, run: Run, folder: Path, sets: dict[str, list[str]]) -> Run:
    """The same run with other prompts to answer."""
    rows = [json.dumps({"set": name, "prompt": prompt}) for name, prompts in sets.items() for prompt in prompts]
    (folder / "prompts.jsonl").write_text("\n".join(rows))
    return Run(load_recipe(tales, [f"data.unseen.path='{folder / 'prompts.jsonl'}'"]), run.folder)


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
    ("texts", "known", "in_vocabulary", "count"),
    [
        (["The cat's mat!"], {"the", "cat's"}, 2, 3),
        (["the thethe the"], {"the"}, 2, 3),
        (["the cat", "", "12", "zqx"], {"the", "cat", "mat"}, 2, 3),
    ],
)
def test_the_words_in_the_vocabulary_are_those_of_the_text(
    texts: list[str], known: set[str], in_vocabulary: int, count: int
) -> None:
    found = vocabulary_rate(texts, known)
    assert found is not None
    assert (found.rate, found.count) == (in_vocabulary / count, count)


def test_without_words_or_a_text_to_know_them_from_there_is_no_rate() -> None:
    assert vocabulary_rate(["...", ""], {"the"}) is None
    assert vocabulary_rate(["the cat"], set()) is None


def test_an_answer_is_verbatim_only_where_it_is_letter_for_letter_one_trained_on(tales_run: Run) -> None:
    model, settings = load_model(tales_run.folder / "chat"), SamplingSettings(max_tokens=40)
    free = evaluate_format(model, PROMPTS, settings)
    assert free.rate("verbatim").rate == 0
    assert "in_vocabulary" not in rates_of({"near": free}, frozenset())
    texts = [answer.text.strip() for answer in free.answers]
    for trained in ({texts[0]}, {texts[0][:-1], texts[0].upper(), texts[0] + "."}, set(texts)):
        found = evaluate_format(model, PROMPTS, settings, trained_answers={hash(text) for text in trained})
        assert found.rate("verbatim").rate == np.mean([text in trained for text in texts])
        assert found.compliant == free.compliant
    assert found.rate("verbatim").rate == 1


def test_the_renderer_is_made_once(tales_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = load_model(tales_run.folder / "chat"), []
    real = answers.make_renderer
    for module in (answers, format):
        monkeypatch.setattr(module, "make_renderer", lambda *of: made.append(of) or real(*of))
    evaluate_format(model, PROMPTS, SamplingSettings(max_tokens=3))
    assert len(made) == 1


@pytest.mark.parametrize(("weights", "longest"), [("trained", 40), ("trained", 3), ("zero", 40)])
def test_a_compliant_answer_says_something_stops_and_writes_no_other_turn(
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
        (a.text.strip() != "", a.generation.finish_reason == "stop", not headers & set(a.generation.tokens))
        for a in found.answers
    ]
    assert found.compliant == [all(check) for check in checks]
    rates = [found.rate(check) for check in CHECKS if check != "compliant"]
    assert [rate.rate for rate in rates] == [sum(column) / len(prompts) for column in zip(*checks, strict=True)]
    compliant = found.rate("compliant")
    assert compliant.rate == sum(found.compliant) / len(prompts)
    failed = [prompt.messages[0].text for prompt, passed in zip(prompts, found.compliant, strict=True) if not passed]
    assert [row["prompt"] for row in _failures(found, model.tokenizer)] == failed[:20]
    if longest == 3:
        assert found.rate("stops").rate == compliant.rate == 0
    if weights == "zero":
        assert all(0 < rate.rate < 1 for rate in (*rates, compliant))
        assert compliant.rate < min(rate.rate for rate in rates)


def test_the_rate_of_a_set_is_that_of_its_own_prompts(tales_run: Run) -> None:
    model = load_model(tales_run.folder / "chat")
    found = evaluate_format(model, PROMPTS, SamplingSettings(max_tokens=15))
    parts = {"one": slice(0, 1), "rest": slice(1, None)}
    results = {
        name: FormatResult(
            found.prompts[part],
            found.answers[part],
            {check: passed[part] for check, passed in found.checks.items()},
        )
        for name, part in parts.items()
    }
    rates = rates_of(results, frozenset())
    assert rates["prompts.one"].rate == found.compliant[0]
    assert (rates["prompts.rest"].rate, rates["prompts.rest"].count) == (sum(found.compliant[1:]) / 3, 3)
    assert rates["compliant"] == found.rate("compliant")


def test_the_headline_is_about_unseen_prompts_of_the_same_domain_where_there_are_any(tales_run: Run) -> None:
    """Mixed in, prompts near and far would make the rate depend on how many there are of each."""
    model = load_model(tales_run.folder / "chat")
    sets = {"seen": PROMPTS[:1], "in_domain": PROMPTS[1:3], "near": PROMPTS[3:]}
    results = {name: evaluate_format(model, prompts, SamplingSettings(max_tokens=15)) for name, prompts in sets.items()}
    assert rates_of(results, frozenset())["compliant"].count == 2
    unseen = {name: result for name, result in results.items() if name != "in_domain"}
    assert rates_of(unseen, frozenset())["compliant"].count == 1
    seen_alone = rates_of({"seen": results["seen"]}, frozenset())
    assert seen_alone.keys() == set(CHECKS)
    assert rates_of({}, frozenset()) == {}


def test_outcomes_agree_with_the_rates(format_results: dict[str, Any]) -> None:
    outcomes, rates = format_results["outcomes"], format_results["rates"]
    assert [prompt for prompt, _ in outcomes["compliant"]] == [
        "who fears the fox?",
        "who hears the hen and the owl?",
        "what is the sea?",  # and not the next, with digits that a tokenizer of these characters lacks
    ]
    compliant = [passed for _, passed in outcomes["compliant"]]
    assert {name: rates["compliant"][name] for name in ("rate", "low", "high", "count")} == {
        name: getattr(rate(sum(compliant), 3), name) for name in ("rate", "low", "high", "count")
    }
    assert (rates["prompts.near"]["rate"], rates["prompts.near"]["count"]) == (sum(compliant[:2]) / 2, 2)
    assert (rates["prompts.far"]["rate"], rates["prompts.far"]["count"]) == (compliant[2], 1)
    assert rates["prompts.seen"]["count"] == 11
    assert len(format_results["figures"]["failures"]) == compliant.count(0)
    for name, items in outcomes.items():
        assert rates[name]["rate"] == sum(passed for _, passed in items) / len(items)


def test_words_and_copies_are_counted_over_the_unseen_prompts(format_results: dict[str, Any], tales_run: Run) -> None:
    rates, data = format_results["rates"], tales_run.session("chat").prompts
    unseen = [row for row in format_results["samples"] if row["set"] != "seen"]
    assert len(unseen) == rates["verbatim"]["count"] == 3
    assert rates["verbatim"]["rate"] == sum(hash(row["after"].strip()) in data.trained_answers for row in unseen) / 3
    written = [word for row in unseen for word in words(row["after"])]
    assert rates["in_vocabulary"]["count"] == len(written) > 0
    assert rates["in_vocabulary"]["rate"] == sum(word in data.known_words for word in written) / len(written)


def test_of_the_bases_words_it_is_counted_how_many_are_known(format_results: dict[str, Any], tales_run: Run) -> None:
    known = tales_run.session("chat").prompts.known_words
    written = [word for row in format_results["samples"] for word in words(row["before"])]
    found = format_results["rates"]["base_in_vocabulary"]
    assert found["count"] == len(written) > 0
    assert found["rate"] == sum(word in known for word in written) / len(written)


def test_samples_show_each_prompt_with_what_the_base_and_this_model_write(
    tales: Path, tales_run: Run, tmp_path: Path
) -> None:
    asked = {"odd": ["who sees the fox?", "ooo"], "odder": ["likes likes likes", "7?", "h"]}  # they are answered unlike
    made = with_prompts(tales, tales_run, tmp_path, asked)
    samples = run_format(made).samples
    prompts = made.session("chat").prompts.sets["seen"][:8]
    seen = [("seen", prompt.messages[-1].text) for prompt in prompts]
    unseen = [(name, prompt) for name, prompts in asked.items() for prompt in prompts if prompt != "7?"]
    assert [(row["set"], row["prompt"]) for row in samples] == seen + unseen
    assert len({row["after"] for row in samples[8:]}) >= 3
    model, base = load_model(tales_run.folder / "chat"), load_model(tales_run.folder / "base")
    for row in samples:
        (after,) = ask(model, [Conversation((message("user", row["prompt"]),))], ANSWER, "")
        (before,) = continue_text(base, [row["prompt"]], ANSWER, "")
        assert (row["after"], row["before"]) == (after.text, before.text)
        assert row["compliant"] == (bool(after.text.strip()) and after.generation.finish_reason == "stop")


def test_a_set_of_which_nothing_can_be_said_is_left_out(tales: Path, tales_run: Run, tmp_path: Path) -> None:
    found = run_format(with_prompts(tales, tales_run, tmp_path, {"sums": ["7?"], "near": ["who?"]})).rates
    assert "prompts.sums" not in found
    assert (found["compliant"].count, found["prompts.near"].count) == (1, 1)
    seen_alone = run_format(with_prompts(tales, tales_run, tmp_path, {"sums": ["7?", "8?"]}))
    assert seen_alone.rates["compliant"].count == len(seen_alone.outcomes["compliant"]) == 11


def test_a_set_may_be_named_like_a_figure(tales: Path, tales_run: Run, tmp_path: Path) -> None:
    """What a set is called and what a rate is called are apart, in the results and in the summary."""
    asked = {"stops": ["who?"], "compliant": ["what?", "h"], "samples": ["ooo"]}
    found = run_format(with_prompts(tales, tales_run, tmp_path, asked))
    counts = {name: found.rates[f"prompts.{name}"].count for name in asked}
    assert counts == {"stops": 1, "compliant": 2, "samples": 1}
    assert found.rates["stops"].count == found.rates["compliant"].count == 4
    assert len(found.outcomes["stops"]) == 4
    assert [prompt for prompt, _ in found.outcomes["prompts.stops"]] == ["who?"]


def test_pain_15_prompts_that_leave_no_room_to_answer_end_nothing(tales: Path, tmp_path: Path) -> None:
    """A row whose question alone fills the context is dropped and counted; it must not end the training. A prompt that
    fits the chat stage's longer context is continued by the base model too."""
    shutil.copytree(tales.parent, tmp_path, dirs_exist_ok=True)
    for name, verb in (("chat.jsonl", "sees"), ("held_out.jsonl", "likes")):
        row = json.dumps({"prompt": f"who {verb} the cat " * 10, "completion": "the dog."})
        (tmp_path / name).write_text(row + "\n" + (tmp_path / name).read_text())
    with (tmp_path / "prompts.jsonl").open("a") as file:
        for times in (4, 10):
            file.write("\n" + json.dumps({"set": "long", "prompt": "who hears the cat " * times}))
    overrides = [f"stages.chat.{setting}" for setting in ("too_long=drop", "context=80", "steps=1", "evaluate_every=1")]
    run = Run(load_recipe(tmp_path / "tales.toml", overrides), tmp_path / "run")
    summary = run.run()
    assert summary["stages.chat.ledgers.chat.dropped.longer than the context of 80 tokens.rows"] == 1
    assert summary["evaluate.chat.format.compliant.count"] == 4
    assert summary["evaluate.chat.format.prompts.long.count"] == 1
    assert summary["evaluate.chat.format.prompts.seen.count"] == 11
    line = json.loads((tmp_path / "run" / "chat" / "train.jsonl").read_text().splitlines()[-1])
    assert line["dev_eval"]["format"]["count"] == 4  # the openings of the other held-out rows, each once


def test_f26_a_prompt_that_the_template_refuses_is_not_asked() -> None:
    class Refusing(NativeRenderer):
        def render_prompts(self, conversations: Sequence[Conversation], spans: bool = False) -> list[Rendered]:
            if any(one.messages[0].role == "system" for one in conversations):
                raise ValueError("the chat template refuses it: no system message")
            return super().render_prompts(conversations, spans)

    tokenizer = train(["What is it?"], TokenizerSettings(kind="char")).extend(TEMPLATE_TOKENS)
    asked = Conversation((message("user", "What is it?"),))
    refused = Conversation((message("system", "What?"), *asked.messages))
    assert _prompt_lengths(Refusing(tokenizer), [asked, refused, asked]) == [14, None, 14]
    assert _prompt_lengths(Refusing(tokenizer), [asked]) == [14]


def test_a_base_that_chats_answers_through_its_own_template_beside_the_reference(tales_run: Run) -> None:
    """Field failure: an instruct model was given bare text, and wrote turns of a conversation that nobody had asked."""
    folder = tales_run.folder / "chat"
    data = PromptData({"seen": PROMPTS[:2]}, references={PROMPTS[0].messages: "the owl"})
    session = EvalSession("chat", dict.fromkeys(("model", "parent", "base"), folder), frozenset({"chat"}), lambda: data)
    samples = SUITES["format"].run(session).samples
    assert [sample["before"] for sample in samples] == [sample["after"] for sample in samples]
    assert [sample["reference"] for sample in samples] == ["the owl", ""]
