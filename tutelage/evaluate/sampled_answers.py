"""Answers to prompts, one or several each, with a cache: a killed run goes on with the prompts that have none yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

import msgspec
import numpy as np

from tutelage.chat import Renderer, make_renderer
from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.power_sampling import PowerPrompt, PowerSettings, power_samples
from tutelage.engine.requests import Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.text_stream import TextStream
from tutelage.engine.weights_digest import weights_digest
from tutelage.evaluate.answers import can_chat, text_ends
from tutelage.evaluate.choices import plain_opening
from tutelage.evaluate.result_cache import ResultCache, cache_key
from tutelage.evaluate.thinking_budget import OPEN, ThinkBudget, budget_process
from tutelage.model.hub import Checkpoint
from tutelage.process import keep_freed_memory, release_freed_memory
from tutelage.progress import track
from tutelage.records import Conversation, ToolCall

ROWS = {"cpu": 32, "cuda": 256}  # answers that are written at once


class SampledAnswer(msgspec.Struct, frozen=True):
    """An answer: its text, without what stops it; its number of tokens; their summed log-probability in nats; and why
    it ended, as of `Generation`. A function call stands in the text as JSON between <tool_call> tags."""

    text: str
    tokens: int
    logprob: float
    finish_reason: str


class Prompt(msgspec.Struct, frozen=True):
    """The ids of a prompt, and the same for people."""

    ids: np.ndarray
    text: str


def chat_prompts(checkpoint: Checkpoint, conversations: Sequence[Conversation]) -> list[Prompt]:
    """Prompts in the model's own chat template."""
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    rendered = renderer.render_prompts(conversations)
    return [Prompt(one.ids, checkpoint.tokenizer.decode(one.ids)) for one in rendered]


def plain_prompts(checkpoint: Checkpoint, texts: Sequence[str]) -> list[Prompt]:
    """Prompts as plain text, as they are scored by likelihood too."""
    opening = plain_opening(checkpoint.tokenizer)
    return [
        Prompt(np.concatenate([opening, ids]), text)
        for ids, text in zip(checkpoint.tokenizer.encode_batch(list(texts)), texts, strict=True)
    ]


def sample_answers(
    checkpoint: Checkpoint,
    prompts: Sequence[Prompt],
    settings: SamplingSettings,
    samples: int,
    chat: bool,
    stops: tuple[str, ...],
    cache: ResultCache,
    label: str,
    power: PowerSettings | None = None,
    think: ThinkBudget | None = None,
) -> list[list[SampledAnswer]]:
    """`samples` answers to each prompt. Draws depend on the prompt, the sample's number and the seed, and not on what
    else is asked.

    chat:  stop at the ends of the chat template; otherwise at the end of a document too.
    stops: strings that end an answer too.
    power: answers are drawn from the distribution over whole answers, sharpened (`engine.power_sampling`), and not at
           the temperature of the settings.
    think: how long a thought may be and must be (`thinking_budget`).
    """
    chats = chat or can_chat(checkpoint)
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config) if chats else None
    stop_ids = frozenset() if renderer is None else renderer.stop_ids  # in plain text too: it was trained to end so
    if not chat:
        renderer, stop_ids = None, stop_ids | text_ends(checkpoint)
    digest = weights_digest(checkpoint.model)
    further = [msgspec.json.encode(one) for one in (power, think) if one is not None]
    described = (msgspec.json.encode(settings), chat, stops, *further)
    keys = [[cache_key(digest, one.ids, described, sample) for sample in range(samples)] for one in prompts]
    todo = {
        keys[place][sample]: (place, sample)
        for place in sorted(range(len(prompts)), key=lambda place: -len(prompts[place].ids))
        for sample in range(samples)
        if keys[place][sample] not in cache.values
    }
    total = len(prompts) * samples
    with track(label, total, "answers", start=total - len(todo)) as bar:
        if todo:
            jobs = {key: (prompts[place], sample) for key, (place, sample) in todo.items()}
            if power is None:
                written = _generate(checkpoint, jobs, settings, stop_ids, stops, think)
            else:
                written = _generate_by_power(checkpoint, jobs, settings, stop_ids, stops, power)
            for key, generation in written:
                cache.put(key, msgspec.to_builtins(_answer(checkpoint, generation, renderer, stops)))
                bar.update()
    return [[msgspec.convert(cache.values[key], SampledAnswer) for key in own] for own in keys]


def _generate(
    checkpoint: Checkpoint,
    jobs: Mapping[str, tuple[Prompt, int]],
    settings: SamplingSettings,
    stop_ids: frozenset[int],
    stops: tuple[str, ...],
    think: ThinkBudget | None,
) -> Iterator[tuple[str, Generation]]:
    """The generation of each job, a prompt and the sample's number, under its key, as they end."""
    keep_freed_memory()
    engine = _make_engine(checkpoint, len(jobs))
    keys: dict[int, str] = {}
    for key, (prompt, sample) in jobs.items():
        opened, process = prompt.text.rstrip().endswith(OPEN), None
        if think is not None:
            process = budget_process(checkpoint.tokenizer, think, opened)
        stream = TextStream(checkpoint.tokenizer, stops, markers={}) if stops else None
        number = _prompt_id(prompt.ids)
        keys[engine.add(prompt.ids, stop_ids, settings, number, sample, stream, process).number] = key
    while requests := engine.step():
        yield from ((keys[one.number], one.generation) for one in requests if one.state == "finished")
    engine.rows.close()
    release_freed_memory()


def _generate_by_power(
    checkpoint: Checkpoint,
    jobs: Mapping[str, tuple[Prompt, int]],
    settings: SamplingSettings,
    stop_ids: frozenset[int],
    stops: tuple[str, ...],
    power: PowerSettings,
) -> Iterator[tuple[str, Generation]]:
    """The same by power sampling; as many at once as the engine has rows, so that a killed run keeps what is done."""
    keep_freed_memory()
    engine = _make_engine(checkpoint, len(jobs))

    def make_text() -> TextStream:
        return TextStream(checkpoint.tokenizer, stops, markers={})

    keys = list(jobs)
    for start in range(0, len(keys), engine.settings.max_rows):
        batch = keys[start : start + engine.settings.max_rows]
        prompts = [
            PowerPrompt(prompt.ids, _prompt_id(prompt.ids), sample) for prompt, sample in (jobs[key] for key in batch)
        ]
        text = make_text if stops else None
        yield from zip(batch, power_samples(engine, prompts, stop_ids, settings, power, text), strict=True)
    engine.rows.close()
    release_freed_memory()


def _make_engine(checkpoint: Checkpoint, jobs: int) -> Engine:
    device = checkpoint.model.embedding.weight.device.type
    rows = min(ROWS.get(device, ROWS["cpu"]), jobs)
    return Engine(checkpoint.model, EngineSettings(max_rows=rows, prefix_cache="prompts"))


def _prompt_id(ids: np.ndarray) -> int:
    return int.from_bytes(blake2b(np.asarray(ids, np.int64).tobytes(), digest_size=6).digest(), "big")


def _answer(
    checkpoint: Checkpoint, generation: Generation, renderer: Renderer | None, stops: tuple[str, ...]
) -> SampledAnswer:
    if renderer is None:
        text = checkpoint.tokenizer.decode(generation.content)
    else:
        parsed = renderer.parse(generation.content)
        calls = [part for part in parsed.content if isinstance(part, ToolCall)]
        written = [f'<tool_call>{{"name": "{call.name}", "arguments": {call.arguments}}}</tool_call>' for call in calls]
        text = "\n".join([*([parsed.text] if parsed.text else []), *written])
    cut = min([place for stop in stops if (place := text.find(stop)) >= 0], default=len(text))
    return SampledAnswer(text[:cut], len(generation.tokens), sum(generation.logprobs), generation.finish_reason)
