from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from tutelage.engine.engine import Engine, EngineSettings, generate
from tutelage.engine.requests import Generation, Request
from tutelage.engine.rows import Rows
from tutelage.engine.sampling import DrawStream, SamplingSettings, choose, distribution
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise

VOCAB, CONTEXT = 37, 40
NEVER: frozenset[int] = frozenset()
LENGTHS = [5, 1, 17, 9, 30, 2, 16, 5]


def make(settings: ModelSettings) -> Transformer:
    """Weights large enough that the next token depends on all tokens before it."""
    model = initialise(Transformer(resolve(settings, VOCAB)), seed=2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(12)
    return model


SETTINGS = [
    ModelSettings(
        depth=2, width=32, heads=4, kv_heads=kv_heads, context=CONTEXT, position=position, qk_norm=qk_norm, tied=qk_norm
    )
    for position, kv_heads, qk_norm in product(("rotary", "learned"), (4, 2, 1), (False, True))
]
MODEL = make(SETTINGS[2])


def prompts(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, VOCAB, length).astype(np.int32) for length in lengths]


@torch.no_grad()
def full_logits(model: Transformer, tokens: list[int]) -> torch.Tensor:
    """The last logits after reading everything at once, without a cache."""
    ids = torch.tensor(tokens)
    return model.logits(model.hidden(ids, torch.arange(len(ids)), model.within_segments((len(ids),))))[-1]


def slow_generate(
    model: Transformer, prompt: np.ndarray, stop_ids: frozenset[int], sampling: SamplingSettings, row: int
) -> Generation:
    """A reference for generate: a full forward pass for every token, one row at a time."""
    result = Generation()
    tokens = prompt.tolist()
    draws = DrawStream(sampling.seed, row, 0)
    while True:
        logits = full_logits(model, tokens)[None]
        position = len(result.tokens)
        uniform = torch.tensor([draws[position]]) if sampling.temperature > 0 else None
        token = int(choose(logits, sampling, uniform)[0])
        result.tokens.append(token)
        result.logprobs.append(float(logits[0].log_softmax(dim=-1)[token]))
        result.sample_logprobs.append(drawn_logprob(logits, sampling, token))
        tokens.append(token)
        if token in stop_ids:
            result.finish_reason, result.stop_token = "stop", token
        elif len(result.tokens) < sampling.max_tokens:
            if len(tokens) <= model.config.context:
                continue
            result.finish_reason = "context"
        return result


def drawn_logprob(logits: torch.Tensor, sampling: SamplingSettings, token: int) -> float:
    """The log-probability of a token under the distribution it is drawn from."""
    if sampling.temperature == 0:
        return 0.0
    probabilities, tokens = distribution(logits, sampling)
    place = token if tokens is None else int((tokens[0] == token).nonzero())
    return float((probabilities[0, place] / probabilities.sum()).log())


def assert_same(results: list[Generation], expected: list[Generation]) -> None:
    for ours, theirs in zip(results, expected, strict=True):
        assert ours.tokens == theirs.tokens
        assert ours.finish_reason == theirs.finish_reason
        assert ours.stop_token == theirs.stop_token
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
        assert ours.sample_logprobs == pytest.approx(theirs.sample_logprobs, abs=1e-4)


@pytest.mark.parametrize("shape", SETTINGS, ids=lambda s: f"{s.position}-kv{s.kv_heads}-{s.qk_norm}")
def test_cached_decoding_is_the_full_forward(shape: ModelSettings) -> None:
    """Greedy over ragged prompts: the same tokens, log-probabilities to within 1e-4."""
    model = make(shape)
    greedy = SamplingSettings(max_tokens=12)
    expected = [slow_generate(model, prompt, NEVER, greedy, 0) for prompt in prompts(LENGTHS)]
    assert_same(generate(model, prompts(LENGTHS), NEVER, greedy), expected)
    assert len({tuple(generation.tokens) for generation in expected}) > len(LENGTHS) / 2  # the prompts do matter


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_tokens_and_finish_reasons_are_those_of_each_row_alone(temperature: float) -> None:
    """Some rows stop, some fill the context, some reach max_tokens; finished rows leave the batch."""
    sampling = SamplingSettings(temperature=temperature, max_tokens=24, seed=3, top_p=0.98)
    lengths = [30, 1, 12, 39, 5, 25, 8, 36, 3, 20, 33, 2]
    stop_ids = frozenset(range(0, VOCAB, 12)) if temperature == 0 else frozenset({7})
    expected = [
        slow_generate(MODEL, prompt, stop_ids, sampling, row) for row, prompt in enumerate(prompts(lengths))
    ]  # fmt: skip
    assert {generation.finish_reason for generation in expected} == {"stop", "length", "context"}
    assert_same(generate(MODEL, prompts(lengths), stop_ids, sampling), expected)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_size_of_a_batch_changes_no_answer(temperature: float) -> None:
    sampling = SamplingSettings(temperature=temperature, max_tokens=10, seed=1, top_k=20)
    together = generate(MODEL, prompts(LENGTHS), frozenset({4}), sampling)
    for batch in (1, 3):
        assert_same(generate(MODEL, prompts(LENGTHS), frozenset({4}), sampling, batch=batch), together)


def test_the_seed_decides_the_tokens() -> None:
    def drawn(seed: int) -> list[list[int]]:
        sampling = SamplingSettings(temperature=1.0, max_tokens=8, seed=seed)
        return [generation.tokens for generation in generate(MODEL, prompts(LENGTHS), NEVER, sampling)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_the_context_is_used_to_its_last_token() -> None:
    """A prompt that leaves one position free is continued by two tokens: one fills it, and the next is never read."""
    [generation] = generate(MODEL, prompts([CONTEXT - 1]), NEVER, SamplingSettings(max_tokens=50))
    assert generation.finish_reason == "context"
    assert len(generation.tokens) == 2
    [exact] = generate(MODEL, prompts([CONTEXT - 1]), NEVER, SamplingSettings(max_tokens=2))
    assert exact.finish_reason == "length"
    assert exact.tokens == generation.tokens


def test_answers_come_in_the_order_of_the_prompts_and_are_counted() -> None:
    counted: list[int] = []
    results = generate(MODEL, prompts(LENGTHS), NEVER, SamplingSettings(max_tokens=3), batch=3, done=counted.append)
    assert sum(counted) == len(LENGTHS)
    for prompt, generation in zip(prompts(LENGTHS), results, strict=True):
        assert generation.tokens == generate(MODEL, [prompt], NEVER, SamplingSettings(max_tokens=3))[0].tokens


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_rows_of_the_vocabulary_that_name_no_token_are_never_chosen(temperature: float) -> None:
    """Published models are filled up with rows beyond their tokenizer's tokens."""
    filled = make(SETTINGS[2])
    filled.token_count = 20
    sampling = SamplingSettings(temperature=temperature, max_tokens=10)
    written = [token for row in generate(MODEL, prompts(LENGTHS), NEVER, sampling) for token in row.tokens]
    assert max(written) >= 20
    written = [token for row in generate(filled, prompts(LENGTHS), NEVER, sampling) for token in row.tokens]
    assert max(written) < 20


def test_no_prompts_give_no_answers() -> None:
    assert generate(MODEL, [], NEVER, SamplingSettings()) == []


@pytest.mark.parametrize(
    ("lengths", "sentence"),
    [
        ([3, 0], "prompt 2 is empty; there is nothing to continue from"),
        ([CONTEXT], f"prompt 1 has {CONTEXT} tokens; the context of {CONTEXT} leaves no room to answer"),
    ],
)
def test_prompts_that_cannot_be_continued_are_one_sentence(lengths: list[int], sentence: str) -> None:
    with pytest.raises(ValueError, match="^prompt") as error:
        generate(MODEL, prompts(lengths), NEVER, SamplingSettings())
    assert str(error.value) == sentence


def test_the_digest_names_the_weights_that_wrote_an_answer() -> None:
    model = make(SETTINGS[2])
    settings = SamplingSettings(max_tokens=2)
    first, again = (generate(model, prompts([3]), NEVER, settings)[0].weights for _ in range(2))
    assert first == again == generate(make(SETTINGS[2]), prompts([3]), NEVER, settings)[0].weights
    with torch.no_grad():
        model.final_norm.weight[0] += 1e-3
    assert generate(model, prompts([3]), NEVER, settings)[0].weights != first


def test_samples_of_one_prompt_differ_and_repeat() -> None:
    """Unlike nanochat's first token, which all samples share (reference S30), each sample has its own draws."""
    sampling = SamplingSettings(temperature=1.0, max_tokens=6, seed=4)

    def drawn() -> list[list[int]]:
        engine = Engine(MODEL, EngineSettings(max_rows=3))
        requests = [engine.add(prompts([5])[0], NEVER, sampling, prompt_id=7, sample=sample) for sample in range(8)]
        engine.run()
        return [request.generation.tokens for request in requests]

    assert drawn() == drawn()
    assert len({tuple(tokens) for tokens in drawn()}) == 8
    assert len({tokens[0] for tokens in drawn()}) > 1


def test_a_stream_yields_what_generate_returns_and_ends_its_request() -> None:
    engine, [prompt], sampling = Engine(MODEL), prompts([9]), SamplingSettings(max_tokens=8)
    [whole] = generate(MODEL, [prompt], NEVER, sampling)
    assert list(engine.stream(engine.add(prompt, NEVER, sampling))) == whole.tokens
    stop = frozenset({whole.tokens[4]})
    assert (
        list(engine.stream(engine.add(prompt, stop, sampling))) == whole.tokens[: whole.tokens.index(whole.tokens[4])]
    )
    stream = engine.stream(engine.add(prompt, NEVER, sampling))
    assert next(stream) == whole.tokens[0]
    stream.close()
    assert not engine.scheduler.running
    engine.check()


def test_8_bit_weights_write_nearly_the_same_and_are_named_in_the_digest() -> None:
    model = make(ModelSettings(depth=2, width=256, context=CONTEXT))
    plain, reduced = Engine(model), Engine(model, EngineSettings(int8=True))
    requests = [engine.add(prompts([9])[0], NEVER, SamplingSettings(max_tokens=1)) for engine in (plain, reduced)]
    for engine in (plain, reduced):
        engine.run()
    [exact], [rounded] = (request.generation.logprobs for request in requests)
    assert exact != rounded
    assert rounded == pytest.approx(exact, abs=0.05)
    assert requests[1].generation.weights == f"{requests[0].generation.weights} int8"


def test_a_call_leaves_no_cache_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines are freed late, since they are a part of cycles: evaluations of a small model took 2.4 GB."""
    made: list[Rows] = []
    admit = Rows.admit

    def kept(rows: Rows, request: Request, expected: int) -> None:
        made.append(rows)
        admit(rows, request, expected)

    monkeypatch.setattr(Rows, "admit", kept)
    model = make(ModelSettings(depth=1, width=32, context=64))
    generate(model, [np.arange(1, 9, dtype=np.int32)] * 3, frozenset(), SamplingSettings(max_tokens=5))
    assert made and made[0].kv.numel() == made[0].store.numel() == 0
    assert made[0].fast is None
