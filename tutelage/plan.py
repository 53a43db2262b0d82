"""What a recipe will cost, before it is run: sizes, tokens, FLOPs, time, memory. Nothing is trained."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any

import msgspec
import torch

from tutelage import tokenizer as tokenizers
from tutelage.chat import ChatConfig, chat_tokenizer
from tutelage.engine.sample_time import sample_seconds
from tutelage.model.hub import load_chat_files, load_config, load_module_names
from tutelage.model.lora import add_lora
from tutelage.model.memory import activation_bytes
from tutelage.model.sizes import (
    ModelConfig,
    flops_per_token,
    parameter_count,
    resolve,
)
from tutelage.model.tensor_map import OWN, ModuleNames
from tutelage.model.transformer import Transformer
from tutelage.process import best_device
from tutelage.records import Conversation, Document, Labelled
from tutelage.runner import Run
from tutelage.stages.base import CHECKPOINT, TOKENIZER, chats
from tutelage.stages.data import DataTable, MadeData, conversations, documents, labelled_data, plain_texts
from tutelage.stages.store_stream import few_steps_warning
from tutelage.stages.train_stage import MICRO_TOKENS, RolloutShape, TrainStage
from tutelage.tokenizer import Tokenizer
from tutelage.train.checkpoint import find_train_state
from tutelage.train.step_time import step_seconds

# The share of the speed of a plain matrix product that training reaches; what small models on few cores came to.
# Only for architectures that are not built in: of others real steps are measured.
UTILISATION = 0.4
SAMPLE_ROWS = 500
PROBE_TOKENS = 1024  # of a measured step, at most; larger steps take longer in proportion


@dataclass(frozen=True)
class StagePlan:
    """One stage. Parameters, FLOPs a token and the bytes of weights, gradients and optimizer state are exact; tokens
    are exact where the stage is done, else estimated from the first rows of the data; seconds of training, from a few
    measured steps.

    sampling_seconds:         those of `seconds` that sampling takes, at most: answers may end before max_tokens.
    steps_done:               those of a stage that was stopped, by its last checkpoint.
    flops_left, seconds_left: of what is still to do.
    warning:                  where the stage has too few steps to learn from; else "".
    """

    done: bool
    parameters: int
    tokens: int
    steps: int
    steps_done: int
    flops: float
    flops_left: float
    seconds: float
    seconds_left: float
    sampling_seconds: float
    state_bytes: int
    activation_bytes: int
    warning: str


@dataclass(frozen=True)
class DataSize:
    """The size of a dataset: rows, tokens and trained tokens.

    unfilled: the tokens that a step stays below `batch_tokens` by, because the next row would not fit.
    lengths:  the tokens of the first rows.
    """

    rows: float
    tokens: float
    trained_tokens: float
    unfilled: float
    lengths: list[int]


def plan(run: Run) -> dict[str, Any]:
    """The plan of every stage and of all together, as plain data. A stage on rows that a stage above has not made yet
    is left out, and named with that stage in "unplanned"."""
    base, source = _tokenizer(run)
    chat = chat_tokenizer(base, source)
    stages, unplanned, table = {}, {}, run.data_table()
    for name, stage in run.trained_stages().items():
        makers = [data.stage for of in stage.data if isinstance(data := table[of], MadeData)]
        if makers:
            unplanned[name] = makers[0]
            continue
        tokenizer = chat if chats(run.recipe.stages, name) else base
        stages[name] = asdict(_plan_stage(run, name, stage, tokenizer, source))
    left = [stage for stage in stages.values() if not stage["done"]]
    return {
        "name": run.recipe.name,
        "stages": stages,
        "unplanned": unplanned,
        "seconds": sum(stage["seconds_left"] for stage in left),
        "flops": sum(stage["flops_left"] for stage in left),
        "peak_bytes": max((stage["state_bytes"] + stage["activation_bytes"] for stage in left), default=0),
    }


def matrix_speed() -> float:
    """FLOP/s of a float32 matrix product on this machine, the best of a few short tries."""
    a = torch.randn(1024, 1024)
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        torch.mm(a, a)
        best = max(best, 2 * 1024**3 / (time.perf_counter() - began))
    return best


def _plan_stage(run: Run, name: str, stage: TrainStage, tokenizer: Tokenizer, source: ChatConfig) -> StagePlan:
    root = _root(run, name)
    modules = OWN
    if not run.recipe.stages[root].trains:
        folder = run.context(root).folders[root]
        config = load_config(folder)
        modules = OWN if config.hf_parameters is not None else load_module_names(folder)
        config = msgspec.structs.replace(config, vocab=max(config.vocab, tokenizer.vocab_size))
    else:
        config = resolve(run.recipe.model, tokenizer.vocab_size)
    context = stage.context or config.context
    mtp = config.mtp if stage.reads == "documents" else 0
    config = msgspec.structs.replace(config, context=max(config.context, context), mtp=mtp)
    sizes = {data: _measure(run, data, stage, tokenizer, source, context) for data in stage.data}
    info = run.stage_done(name)
    longest = max(max(size.lengths) for size in sizes.values())
    step_tokens = stage.step_tokens(sum(size.tokens for size in sizes.values()), longest)
    segment = sum(size.tokens for size in sizes.values()) / sum(size.rows for size in sizes.values())
    rollouts = stage.rollouts(next(iter(sizes.values())).rows)
    if info is not None:
        tokens, steps = info["tokens"], info["steps"]
    elif rollouts is not None:
        steps, replay = rollouts.steps, stage.replay_share()
        replayed = rollouts.max_tokens * replay / (1 - replay)
        tokens = round(steps * rollouts.step_samples * (segment + replayed))
    elif stage.steps is not None:
        steps = stage.steps
        tokens = round(_tokens_of_steps(stage, sizes, steps, longest))
    else:
        assert stage.epochs is not None
        tokens = round(stage.epochs * _tokens_of_an_epoch(stage, sizes))
        steps = math.ceil(tokens / _tokens_of_a_step(stage, sizes, step_tokens))
    flops = tokens * flops_per_token(config, min(segment, context))
    position = None if info else find_train_state(run.folder / name / CHECKPOINT, run.fingerprint(name))
    left = 0.0 if info else 1.0 if position is None else max(0.0, 1 - position.tokens / max(tokens, 1))
    spent = position.seconds if position else 0.0
    micro = min(stage.micro_tokens or max(MICRO_TOKENS, round(segment)), step_tokens, max(tokens, 1))
    seconds = sampling = 0.0
    if not info:
        per_token = _seconds_per_token(stage, config, modules, sizes, step_tokens, flops / tokens)
        seconds = tokens * per_token
        if rollouts is not None:
            # A forward pass is a third of a training step.
            seconds += rollouts.rollouts * rollouts.passes * rollouts.samples * segment * per_token / 3
            sampling = _sampling_seconds(stage, config, modules, rollouts, segment)
            seconds += sampling
    return StagePlan(
        done=info is not None,
        parameters=parameter_count(config),
        tokens=tokens,
        steps=steps,
        steps_done=position.step if position else steps if info else 0,
        flops=flops,
        flops_left=flops * left,
        seconds=info["seconds"] if info else spent + seconds * left,
        seconds_left=seconds * left,
        sampling_seconds=sampling,
        state_bytes=stage.state_bytes(config),
        activation_bytes=activation_bytes(config, micro, activation_checkpointing=stage.activation_checkpointing),
        warning="" if info or stage.steps is not None else few_steps_warning(name, steps),
    )


def _seconds_per_token(
    stage: TrainStage,
    config: ModelConfig,
    modules: ModuleNames,
    sizes: dict[str, DataSize],
    step_tokens: int,
    flops: float,
) -> float:
    """Seconds of training for each token, from a few steps like the stage's on a shallow copy of its model.

    Raises:
        SettingsError: the LoRA does not fit the model.
    """
    if config.hf_parameters is not None:
        return flops / (matrix_speed() * UTILISATION)
    rows = [length for size in sizes.values() for length in size.lengths]
    lengths: list[int] = []
    while not lengths or sum(lengths) + rows[len(lengths) % len(rows)] <= min(step_tokens, PROBE_TOKENS):
        lengths.append(rows[len(lengths) % len(rows)])
    read = sum(size.tokens for size in sizes.values())
    trained = sum(size.trained_tokens for size in sizes.values()) / read
    prepare = partial(_prepare, stage, modules)
    precision = stage.precision or ("bfloat16" if best_device() == "cuda" else "float32")
    seconds = step_seconds(config, prepare, stage.optimizer, lengths, min(trained, 1.0), MICRO_TOKENS, precision)
    return seconds / sum(lengths)


def _prepare(stage: TrainStage, modules: ModuleNames, model: Transformer) -> None:
    lora = stage.adapter()
    if lora is not None:
        if lora.base_dtype != "float32":
            model.to(torch.bfloat16)
        add_lora(model, modules, lora, (), seed=0)


def _sampling_seconds(
    stage: TrainStage, config: ModelConfig, modules: ModuleNames, rollouts: RolloutShape, segment: float
) -> float:
    """Seconds of writing all samples of a stage, each up to its limit, from a few tokens of shallow copies."""
    prompt = max(1, round(segment) - rollouts.max_tokens)
    if config.hf_parameters is not None:
        tokens = rollouts.rollouts * rollouts.samples * segment
        return tokens * flops_per_token(config, segment) / 3 / (matrix_speed() * UTILISATION)
    prepare = partial(_prepare, stage, modules)
    return rollouts.rollouts * sample_seconds(config, prepare, rollouts.samples, prompt, rollouts.max_tokens)


def _tokens_of_an_epoch(stage: TrainStage, sizes: dict[str, DataSize]) -> float:
    """Tokens read in an epoch of the first dataset; other datasets, and replay, keep their shares of trained tokens."""
    total = sum(stage.data.values())
    first = next(iter(stage.data))
    trained = sizes[first].trained_tokens / (stage.data[first] / total)
    tokens = sum(
        trained * share / total * sizes[data].tokens / sizes[data].trained_tokens for data, share in stage.data.items()
    )
    replay = stage.replay_share()
    return tokens + trained * replay / (1 - replay)  # every token of replayed text is trained


def _tokens_of_steps(stage: TrainStage, sizes: dict[str, DataSize], steps: int, longest: int) -> float:
    """Tokens of so many steps, which may grow with the tokens trained on."""
    read, trained = (
        sum(column) for column in zip(*((s.tokens, s.trained_tokens) for s in sizes.values()), strict=True)
    )
    plan, total = stage.batch_plan(read, longest), 0.0
    if isinstance(plan, int):
        return steps * _tokens_of_a_step(stage, sizes, plan)
    for _ in range(steps):
        total += _tokens_of_a_step(stage, sizes, plan(total * trained / read))
    return total


def _tokens_of_a_step(stage: TrainStage, sizes: dict[str, DataSize], step_tokens: int) -> float:
    if stage.batch_rows is not None:
        rows = sum(size.rows for size in sizes.values())
        return stage.batch_rows * sum(size.tokens for size in sizes.values()) / rows
    tokens = sum(size.tokens for size in sizes.values())
    unfilled = sum(size.unfilled * size.tokens / tokens for size in sizes.values())
    return max(step_tokens - unfilled, step_tokens / 2)


def _measure(
    run: Run, name: str, stage: TrainStage, tokenizer: Tokenizer, config: ChatConfig, context: int
) -> DataSize:
    """All rows are counted; their tokens are estimated from the first ones."""
    table = run.data_table()
    sample = stage.render_sample(name, table, tokenizer, config, SAMPLE_ROWS, context)
    readers: Mapping[str, Callable[[str, DataTable], Iterator[Document | Conversation | Labelled]]] = {
        "documents": documents,
        "labelled": labelled_data,
    }
    rows = _count(readers.get(stage.reads, conversations)(name, table), stage.held_out)
    if not sample:
        raise ValueError(f"data '{name}' holds nothing to train on")
    tokens = sum(len(rendered.ids) for rendered in sample) / len(sample)
    trained = sum(float(rendered.weights.sum()) for rendered in sample) / len(sample)
    # A row that would cross a step's end waits for the next step. Long rows cross more often, and on average half of
    # such a row would have fitted.
    lengths = [min(len(rendered.ids), context) for rendered in sample]
    unfilled = sum(length * length for length in lengths) / (2 * sum(lengths))
    return DataSize(rows, rows * tokens, rows * trained, unfilled, lengths)


def _count(rows: Iterator[Document | Conversation | Labelled], held_out: float) -> float:
    """How many rows there are to train on, where a share of those that do not say so themselves is held out."""
    return sum(1.0 if row.split else 1 - held_out for row in rows if row.split != "held_out")


def _root(run: Run, name: str) -> str:
    """The stage with which a stage's lineage begins."""
    while parent := run.recipe.stages[name].parent:
        name = parent
    return name


def _tokenizer(run: Run) -> tuple[Tokenizer, ChatConfig]:
    """The run's tokenizer, or one trained on the first rows where there is none yet; what its model says of chats."""
    stages = run.recipe.stages
    folders = [stage.folder(name, run.folder) for name, stage in stages.items() if not stage.trains]
    if folders:
        return load_chat_files(folders[0])
    if run.tokenizer_done():
        return tokenizers.load(run.folder / TOKENIZER), ChatConfig()
    table = run.recipe.data
    texts = (text for name in run.tokenizer_data() for text in islice(plain_texts(name, table), 4 * SAMPLE_ROWS))
    return tokenizers.train(texts, run.recipe.tokenizer), ChatConfig()
