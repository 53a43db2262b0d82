from __future__ import annotations

import msgspec
import pytest
import torch

from tutelage import progress
from tutelage.batching.store import Store
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.model.hub import load_model
from tutelage.recipe import Run, load_recipe
from tutelage.records import ROLES
from tutelage.stages.prepare import TrainSetup, prepare
from tutelage.stages.settings import MICRO_TOKENS, Sft

RECIPE = """
name      = "tiny"
model     = { depth = 1, width = 32, context = 128 }
tokenizer = { kind = "bpe", vocab = 300 }

[data]
world = { kind = "world", people = 20, versions = 1 }
chat  = { kind = "world-chat" }
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
    folder = tmp_path_factory.mktemp("prepare")
    (folder / "tiny.toml").write_text(RECIPE)
    made = Run(load_recipe(folder / "tiny.toml"), folder / "run")
    progress.set_mode("quiet")
    for name in ("base", "mid", "chat"):
        made.run(only=name)
    progress.set_mode("auto")
    return made


def prepared(run: Run, name: str) -> TrainSetup:
    return prepare(run.recipe.stages[name], run.context(name))


def test_a_stage_goes_on_from_the_weights_of_the_one_it_names(run: Run) -> None:
    for name, parent in (("mid", "base"), ("mixed", "chat")):
        start, end = prepared(run, name).checkpoint.model, load_model(run.folder / parent).model
        assert all(torch.equal(start.state_dict()[key], value) for key, value in end.state_dict().items())


def test_fine_tuning_a_base_adds_the_templates_tokens_and_a_later_one_adds_none(run: Run) -> None:
    base, chat, mixed = (prepared(run, name).checkpoint for name in ("mid", "chat", "mixed"))
    assert chat.tokenizer.vocab_size == base.tokenizer.vocab_size + len(TEMPLATE_TOKENS)
    assert chat.model.config.vocab == mixed.model.config.vocab == chat.tokenizer.vocab_size
    assert set(TEMPLATE_TOKENS) <= set(mixed.tokenizer.special_tokens)


def test_shares_are_those_of_the_graded_tokens_with_replay(run: Run) -> None:
    shares = {name: source.share for name, source in prepared(run, "mixed").sources.items()}
    assert shares == pytest.approx({"chat": 0.8 * 0.75, "other": 0.8 * 0.25, "replay.world": 0.2})
    assert next(iter(shares)) == "chat"  # epochs count passes over the first
    assert list(prepared(run, "chat").sources) == ["chat"]


def test_the_rate_is_a_third_of_the_nearest_pre_trainings_unless_it_is_said(run: Run) -> None:
    assert prepared(run, "chat").lr == prepared(run, "mixed").lr == pytest.approx(0.003 / 3)
    assert prepared(run, "plain").lr == 0.5
    assert prepared(run, "base").lr == 0.006


def test_the_mask_decides_whose_tokens_are_graded(run: Run) -> None:
    def graded_roles(name: str) -> set[str]:
        store = prepared(run, name).sources["chat"].store
        found = set()
        for index in range(len(store)):
            for example in store.group(index):
                assert example.weights is not None
                found |= {ROLES[role] for role in example.streams["roles"][1:][example.weights[1:] > 0]}
        return found

    assert graded_roles("chat") == {"assistant"}
    assert graded_roles("plain") >= {"assistant", "user"}


def full_pieces(store: Store) -> set[bytes]:
    """The tokens of every group that fills the context: long enough that no two documents have it in common."""
    return {store.group(i)[0].tokens.tobytes() for i in range(len(store)) if store.tokens_G[i] == 128}


def test_training_and_held_out_parts_share_no_row(run: Run) -> None:
    for name in ("base", "chat"):
        stage = prepared(run, name)
        for data, held_out in stage.held_out.items():
            training = stage.sources[data].store
            ledgers = training.ledger, held_out.ledger
            aside = "in the held-out part", "in the training part"
            assert [ledger.dropped[reason].rows for ledger, reason in zip(ledgers, aside, strict=True)] > [0, 0]
            assert (
                ledgers[0].rows_read
                == ledgers[1].rows_read
                == sum(ledger.dropped[reason].rows for ledger, reason in zip(ledgers, aside, strict=True))
            )
    stage = prepared(run, "base")
    training, held_out = full_pieces(stage.sources["world"].store), full_pieces(stage.held_out["world"])
    assert training
    assert held_out
    assert not training & held_out


def test_replayed_text_is_the_training_part_alone(run: Run) -> None:
    at = run.context("mixed")
    name, pretraining = at.ancestor(run.recipe.stages["mixed"])
    assert name == "mid"
    stage = prepared(run, "mixed")
    tokenizer = stage.checkpoint.tokenizer
    held_out = full_pieces(at.stores(pretraining.held_out).text("world", tokenizer, 128, "held_out"))
    replayed = full_pieces(stage.sources["replay.world"].store)
    assert replayed
    assert held_out
    assert not replayed & held_out


def test_a_stage_reads_segments_as_long_as_its_context(run: Run) -> None:
    override = load_recipe(run.folder.parent / "tiny.toml", ["stages.mid.context=40"])
    stage = prepared(Run(override, run.folder), "mid")
    assert stage.longest_group == 40


def test_recompute_and_micro_batches_are_as_the_stage_says(run: Run) -> None:
    stage = run.recipe.stages["mixed"]
    assert isinstance(stage, Sft)
    ready = prepare(stage, run.context("mixed"))
    assert not ready.checkpoint.model.recompute
    assert ready.micro_tokens(stage) == MICRO_TOKENS
    assert max(len(batch.tokens_N) for batch in next(ready.batches(stage))[0]) <= MICRO_TOKENS
    frugal = msgspec.structs.replace(stage, recompute=True, micro_tokens=256)
    ready = prepare(frugal, run.context("mixed"))
    assert ready.checkpoint.model.recompute
    assert max(len(batch.tokens_N) for batch in next(ready.batches(frugal))[0]) <= 256
