from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec
import pytest
import torch
from tiny_recipe import START, run_quietly

from tutelage.batching.store import Store
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.model.hub import Checkpoint, load_model
from tutelage.recipe import load_recipe
from tutelage.records import ROLES
from tutelage.runner import Run
from tutelage.stages.train_stage import MICRO_TOKENS, TrainSetup, micro_tokens, set_up

PartsOf = Callable[[Run, str], Any]

STAGES = """
other = { kind = "world-chat", split = "held_out" }

[stages]
base  = { kind = "pretrain", data = { world = 1 }, steps = 1, batch_tokens = 512, held_out = 0.2, lr = 0.006 }
mid   = { kind = "pretrain", from = "base", data = { world = 1 }, steps = 1, batch_tokens = 512, seed = 3, lr = 0.003 }
chat  = { kind = "sft", from = "mid", data = { chat = 1 }, steps = 1, batch_tokens = 512, too_long = "drop" }
mixed = { kind = "sft", from = "chat", data = { chat = 3, other = 1 }, replay = 0.2, steps = 1, too_long = "drop" }

[stages.plain]
kind = "sft"
from = "chat"
data = { chat = 1 }
train_on = "all_tokens"
steps = 1
too_long = "drop"
lr = 0.5
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose first three stages are finished."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "tiny.toml").write_text(START + STAGES)
    return run_quietly(Run(load_recipe(folder / "tiny.toml"), folder / "run"), "base", "mid", "chat")


def checkpoint_of(run: Run, name: str) -> Checkpoint:
    """The model that a stage starts from."""
    return set_up(run.trained_stage(name), run.context(name)).checkpoint


def test_a_stage_starts_from_the_weights_of_the_one_it_names(run: Run) -> None:
    for name, parent in (("mid", "base"), ("mixed", "chat")):
        start, end = checkpoint_of(run, name).model, load_model(run.folder / parent).model
        assert all(torch.equal(start.state_dict()[key], value) for key, value in end.state_dict().items())


def test_fine_tuning_a_base_adds_the_templates_tokens_and_a_later_one_adds_none(run: Run) -> None:
    base, chat, mixed = (checkpoint_of(run, name) for name in ("mid", "chat", "mixed"))
    assert chat.tokenizer.vocab_size == base.tokenizer.vocab_size + len(TEMPLATE_TOKENS)
    assert chat.model.config.vocab == mixed.model.config.vocab == chat.tokenizer.vocab_size
    assert set(TEMPLATE_TOKENS) <= set(mixed.tokenizer.special_tokens)


def test_shares_are_those_of_the_trained_tokens_with_replay(run: Run, parts_of: PartsOf) -> None:
    mixed = parts_of(run, "mixed")
    shares = {name: dataset.share for name, dataset in mixed.datasets.items()}
    assert shares == pytest.approx({"chat": 0.8 * 0.75, "other": 0.8 * 0.25, "replay.world": 0.2})
    assert next(iter(shares)) == "chat"  # epochs are those of the first
    assert mixed.setup.stream.names == tuple(shares)
    assert list(parts_of(run, "chat").datasets) == ["chat"]


def test_the_lr_is_a_third_of_the_nearest_pre_trainings_unless_it_is_set(run: Run) -> None:
    lrs = {name: set_up(run.trained_stage(name), run.context(name)).lr for name in ("base", "chat", "mixed", "plain")}
    assert lrs["chat"] == lrs["mixed"] == pytest.approx(0.003 / 3)
    assert lrs["plain"] == 0.5
    assert lrs["base"] == 0.006


def test_train_on_decides_whose_tokens_are_trained(run: Run, parts_of: PartsOf) -> None:
    def trained_roles(name: str) -> set[str]:
        store = parts_of(run, name).datasets["chat"].store
        found = set()
        for index in range(len(store)):
            for example in store.group(index):
                assert example.weights is not None
                found |= {ROLES[role] for role in example.streams["roles"][1:][example.weights[1:] > 0]}
        return found

    assert trained_roles("chat") == {"assistant"}
    assert trained_roles("plain") >= {"assistant", "user"}


def full_pieces(store: Store) -> set[bytes]:
    """The tokens of every group that fills the context: long enough that no two documents have it in common."""
    return {store.group(i)[0].tokens.tobytes() for i in range(len(store)) if store.tokens_G[i] == 128}


def test_training_and_held_out_parts_share_no_row(run: Run, parts_of: PartsOf) -> None:
    for name in ("base", "chat"):
        parts = parts_of(run, name)
        for data, store in parts.held_out.items():
            train, held_out = parts.datasets[data].store.ledger, store.ledger
            assert train.rows_held_out == held_out.rows_read > 0
            assert train.rows_read == train.rows_kept + train.rows_dropped + train.rows_held_out
            assert held_out.rows_read == held_out.rows_kept + held_out.rows_dropped
            assert train.rows_kept > 0
            assert held_out.rows_held_out == 0
    parts = parts_of(run, "base")
    training, held_out_pieces = full_pieces(parts.datasets["world"].store), full_pieces(parts.held_out["world"])
    assert training
    assert held_out_pieces
    assert not training & held_out_pieces


def test_replayed_text_is_the_training_part_alone(run: Run, parts_of: PartsOf) -> None:
    at = run.context("mixed")
    name, pretraining = at.base(run.recipe.stages["mixed"])
    assert name == "mid"
    parts = parts_of(run, "mixed")
    tokenizer = parts.setup.checkpoint.tokenizer
    held_out = full_pieces(at.stores(pretraining.held_out).held_out_text("world", tokenizer, 128))
    replayed = full_pieces(parts.datasets["replay.world"].store)
    assert replayed
    assert held_out
    assert not replayed & held_out
    assert full_pieces(parts.base_held_out["world"]) == held_out


def test_a_stage_reads_segments_as_long_as_its_context(run: Run) -> None:
    override = load_recipe(run.folder.parent / "tiny.toml", ["stages.mid.context=40"])
    changed = Run(override, run.folder)
    assert set_up(changed.trained_stage("mid"), changed.context("mid")).stream.longest == 40


def test_activation_checkpointing_and_micro_batches_are_as_the_stage_says(run: Run) -> None:
    def longest_micro_batch(setup: TrainSetup) -> int:
        micro, _ = next(setup.stream.batches(None, False))
        return max(len(batch.tokens_N) for batch in micro)

    stage = run.trained_stage("mixed")
    setup = set_up(stage, run.context("mixed"))
    assert not setup.checkpoint.model.activation_checkpointing
    assert micro_tokens(stage, setup.stream.longest) == MICRO_TOKENS
    assert longest_micro_batch(setup) <= MICRO_TOKENS
    frugal = msgspec.structs.replace(stage, activation_checkpointing=True, micro_tokens=256)
    setup = set_up(frugal, run.context("mixed"))
    assert setup.checkpoint.model.activation_checkpointing
    assert longest_micro_batch(setup) <= 256


def test_an_endless_stream_does_not_stop_after_the_last_epoch(run: Run) -> None:
    stage = msgspec.structs.replace(run.trained_stage("chat"), steps=None, epochs=1)
    stream = set_up(stage, run.context("chat")).stream
    assert sum(1 for _ in stream.batches(None, False)) == stream.steps
    assert sum(1 for _ in islice(stream.batches(None, True), stream.steps + 2)) == stream.steps + 2


def test_a_stream_resumes_from_its_state(run: Run) -> None:
    """The state of a stream is a JSON value."""
    stream = set_up(run.trained_stage("mixed"), run.context("mixed")).stream
    first, second, third = islice(stream.batches(None, True), 3)
    state = json.loads(json.dumps(second[1]))
    again, _ = next(stream.batches(state, True))
    assert [batch.tokens_N.tolist() for batch in again] == [batch.tokens_N.tolist() for batch in third[0]]
    assert stream.epoch(first[1]) == 0
    described = stream.describe(second[1])
    assert set(described["trained_by_dataset"]) == set(described["stores"]) == set(stream.names)
    assert all(place.endswith("/train") for place in described["stores"].values())
