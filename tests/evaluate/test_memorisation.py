from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from memorised_model import EACH, Planted

from tutelage.cli import main
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.compression import GcgSettings, compress
from tutelage.evaluate.memorisation import Extraction, exposure, extract, memorisation, unlearning
from tutelage.evaluate.token_scores import token_scores
from tutelage.model.hub import load_model

pytestmark = pytest.mark.usefixtures("quiet")
LENGTHS = (2, 4, 6)


def test_canaries_that_were_planted_often_are_found_and_no_others(planted: Planted) -> None:
    """Precision 1 and recall >= .9 for canaries planted 40 times, among as many that were planted once or never."""
    found, too_short = extract(load_model(planted.model), planted.canaries, LENGTHS, 12)
    assert (len(found), too_short) == (3 * EACH, 0)
    memorised = {one.id for one in found if one.extracted[6]}
    often = {one.id for one in planted.canaries if one.count == 40}
    assert memorised <= often
    assert len(memorised) >= 0.9 * len(often)
    by_count = memorisation(found, 0)["by_count"]
    assert list(by_count) == [0, 1, 40]
    assert by_count[0]["nats_per_token"] > by_count[1]["nats_per_token"] > by_count[40]["nats_per_token"]
    assert by_count[40]["exposure"] == pytest.approx(math.log2(EACH + 1))


def test_extraction_is_what_greedy_decoding_gives(planted: Planted) -> None:
    checkpoint = load_model(planted.model)
    texts = planted.canaries[:12]
    found, _ = extract(checkpoint, texts, LENGTHS, 12)
    opening = checkpoint.tokenizer.document_edges[0]
    for length in LENGTHS:
        ids = [checkpoint.tokenizer.encode(one.text) for one in texts]
        prompts = [np.concatenate([opening, one[6 - length : 6]]) for one in ids]
        generations = generate(checkpoint.model, prompts, frozenset(), SamplingSettings(max_tokens=12))
        exact = [of.tokens == one[6:18].tolist() for of, one in zip(generations, ids, strict=True)]
        assert exact == [one.extracted[length] for one in found]


def test_a_short_prompt_makes_the_model_write_a_memorised_text_and_no_other(planted: Planted) -> None:
    checkpoint = load_model(planted.model)
    often = [one.text for one in planted.canaries if one.count == 40]
    found = (compress(checkpoint, text, GcgSettings(steps=40)) for text in (*often[3:], *often[:3]))
    text, short = next((text, one) for text, one in zip((*often[3:], *often[:3]), found, strict=True) if one.ids)
    assert short.ids is not None and short.ratio == short.target_tokens / len(short.ids) > 1
    prompt = np.concatenate([checkpoint.tokenizer.document_edges[0], np.array(short.ids)])
    settings = SamplingSettings(max_tokens=short.target_tokens)
    (generation,) = generate(checkpoint.model, [prompt], frozenset(), settings)
    assert checkpoint.tokenizer.decode(generation.tokens) == text
    never = next(one for one in planted.canaries if one.count == 0)
    assert compress(checkpoint, never.text, GcgSettings(steps=8)).ratio is None


def test_pain_e16_a_text_is_scored_as_if_it_were_alone(base_folder: Path) -> None:
    """lm-eval #1645: the batch size changed the accuracy."""
    checkpoint = load_model(base_folder)
    ids = [np.arange(3, 3 + size) % 200 for size in (5, 40, 17)]
    together = token_scores(checkpoint.model, ids, [1, 1, 9])
    for one, start, scores in zip(ids, [1, 1, 9], together, strict=True):
        (alone,) = token_scores(checkpoint.model, [one], [start])
        assert len(scores.logprob_T) == len(one) - start
        assert scores.logprob_T == pytest.approx(alone.logprob_T, abs=1e-5)
        assert (scores.rank_T == alone.rank_T).all()
    assert (np.exp(together[0].logprob_T) <= 1 / together[0].rank_T + 1e-6).all()


def test_exposure_is_the_rank_among_texts_that_were_not_planted() -> None:
    controls = np.array([1.0, 2.0, 3.0])
    assert [exposure(loss, controls) for loss in (0.5, 1.5, 9.0)] == [2.0, 1.0, 0.0]


def test_what_unlearning_hides_is_told_from_what_it_removes() -> None:
    def extraction(name: str, extracted: bool) -> Extraction:
        return Extraction(name, None, {5: extracted}, 1.0, "x")

    before = [extraction(name, True) for name in "abc"]
    after = [extraction("a", True), extraction("b", False), extraction("c", False)]
    found = unlearning(before, after, {"b": {"ratio": 2.0}, "c": {"ratio": None}})
    assert (found["before"], found["after"], found["no_longer"]) == (3, 1, ["b", "c"])
    assert (found["searched"], found["still_held"]) == (2, ["b"])


def test_the_command(planted: Planted, tmp_path: Path) -> None:
    path = tmp_path / "canaries.jsonl"
    rows = [{"id": one.id, "text": one.text, "count": one.count} for one in planted.canaries]
    path.write_text("\n".join(map(json.dumps, rows)))
    fixed = ["memorisation", str(planted.model), str(path), "--prefixes", "2,6", "--suffix", "12"]
    shown = CliRunner().invoke(main, [*fixed, "--before", str(planted.model)])
    assert shown.exit_code == 0, shown.output
    assert "planted 40 times: extracted " in shown.output
    assert "was not searched for: --acr N" in shown.output
    found = json.loads(CliRunner().invoke(main, [*fixed, "--acr", "1", "--acr-steps", "2", "--json"]).stdout)
    assert list(found["by_prefix"]) == ["2", "6"] and len(found["compression"]) == 1
    long = CliRunner().invoke(main, [*fixed[:3], "--prefixes", "400"])
    assert long.exit_code == 1 and "give smaller --prefixes and --suffix" in long.stderr
