"""Losses of preferences beside TRL's trainers: the same weights, the same token ids, the same loss to 1e-5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tutelage.batching.packing import collate
from tutelage.batching.preferences import LABEL, MARGIN, SIDE
from tutelage.model.hub import load_model
from tutelage.model.transformer import Transformer
from tutelage.records import Batch, Example, ExampleGroup, Schema, Stream
from tutelage.train.losses import Loss
from tutelage.train.preference_losses import REFERENCE, Z0, LossOptions, estimate_z0, kto_loss, pair_loss
from tutelage.train.reward_losses import reward_loss

trl = pytest.importorskip("trl", reason="TRL is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

LETTERS = "abcdefghijklmnopqrstuvwxyz"
STREAMS = {REFERENCE: Stream("float32")}
PAIRS, LABELS = Schema(STREAMS, {SIDE: 0.0, MARGIN: 0.0}), Schema(STREAMS, {LABEL: 0.0, Z0: 0.0})
BETA = 0.3


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two tiny Llamas with different random weights, a policy and its reference, with one tokenizer of letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("trl")
    backend = Tokenizer(models.WordLevel({text: place for place, text in enumerate(["<pad>", "<end>", *LETTERS])}))
    backend.add_special_tokens(["<pad>", "<end>"])
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<end>", pad_token="<pad>", model_max_length=64
    )
    config = transformers.LlamaConfig(
        vocab_size=2 + len(LETTERS), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, bos_token_id=None, eos_token_id=1, pad_token_id=0,
        initializer_range=0.4,
    )  # fmt: skip
    made = {}
    for seed, name in enumerate(("policy", "reference")):
        transformers.set_seed(seed)
        made[name] = folder / name
        transformers.LlamaForCausalLM(config).save_pretrained(made[name])
        tokenizer.save_pretrained(made[name])
    return made


def dataset(rows: list[dict[str, Any]]) -> Any:
    return pytest.importorskip("datasets").Dataset.from_list(rows)


def sentence(rng: np.random.Generator, fewest: int, most: int) -> str:
    return "".join(rng.choice(list(LETTERS), rng.integers(fewest, most + 1)))


def arguments(config: Any, folder: Path, **options: Any) -> Any:
    return config(
        output_dir=str(folder), use_cpu=True, report_to="none", per_device_train_batch_size=4, bf16=False,
        gradient_checkpointing=False, **options,
    )  # fmt: skip


def causal(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32")


@torch.no_grad()
def with_reference(groups: list[ExampleGroup], reference: Transformer, schema: Schema) -> Batch:
    """The batch, with the reference's log-probabilities in their stream."""
    for example in (example for group in groups for example in group):
        alone = collate([(example,)], schema)
        values = np.zeros(len(example.tokens), np.float32)
        values[np.flatnonzero(example.weights)] = reference(alone).numpy()
        example.streams[REFERENCE] = values
    return collate(groups, schema)


def example(ids: torch.Tensor, attended: torch.Tensor, completion: torch.Tensor, **scalars: float) -> Example:
    """A row of TRL's batch without its padding."""
    kept = attended.bool()
    blank = {REFERENCE: np.zeros(int(kept.sum()), np.float32)}
    return Example(
        ids[kept].numpy().astype(np.int32), completion[kept].numpy().astype(np.float32), None, blank, scalars
    )


def loss_of(loss: Loss, model: Transformer, batch: Batch) -> float:
    components, _ = loss.function(model, batch)
    return float(components["loss"].detach()) / loss.denominators["loss"](batch)


@pytest.mark.parametrize(
    ("ours", "theirs", "smoothing"),
    [
        ("sigmoid", "sigmoid", 0.0),
        ("robust", "robust", 0.1),
        ("ipo_mean", "ipo", 0.0),
        ("sigmoid_norm", "sigmoid_norm", 0.0),
    ],
)
def test_dpo(folders: dict[str, Path], tmp_path: Path, ours: Any, theirs: str, smoothing: float) -> None:
    rng = np.random.default_rng(0)
    sizes = {"prompt": (3, 9), "chosen": (2, 12), "rejected": (2, 12)}
    rows = [{name: sentence(rng, *size) for name, size in sizes.items()} for _ in range(4)]
    trainer = trl.DPOTrainer(
        model=causal(folders["policy"]), ref_model=causal(folders["reference"]), train_dataset=dataset(rows),
        processing_class=transformers.AutoTokenizer.from_pretrained(folders["policy"]),
        args=arguments(trl.DPOConfig, tmp_path, beta=BETA, loss_type=theirs, label_smoothing=smoothing),
    )  # fmt: skip
    inputs = next(iter(trainer.get_train_dataloader()))
    sides = [
        example(*(inputs[name][place] for name in ("input_ids", "attention_mask", "completion_mask")), **{SIDE: side})
        for side, places in ((1.0, range(4)), (-1.0, range(4, 8)))
        for place in places
    ]
    wanted = trainer.compute_loss(trainer.model, inputs).item()
    policy, reference = (load_model(folders[name]).model for name in ("policy", "reference"))
    batch = with_reference(list(zip(sides[:4], sides[4:], strict=True)), reference, PAIRS)
    assert loss_of(pair_loss(ours, LossOptions(BETA, smoothing)), policy, batch) == pytest.approx(wanted, rel=1e-5)


def test_kto_with_trls_estimate_of_the_divergence(folders: dict[str, Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [
        {"prompt": sentence(rng, 3, 9), "completion": sentence(rng, 2, 12), "label": label}
        for label in (True, False, True, False)
    ]
    trainer = trl.KTOTrainer(
        model=causal(folders["policy"]), ref_model=causal(folders["reference"]), train_dataset=dataset(rows),
        processing_class=transformers.AutoTokenizer.from_pretrained(folders["policy"]),
        args=arguments(trl.KTOConfig, tmp_path, beta=BETA, desirable_weight=1.0, undesirable_weight=1.5),
    )  # fmt: skip
    inputs = next(iter(trainer.get_train_dataloader()))
    wanted = trainer.compute_loss(trainer.model, inputs).item()
    policy, reference = (load_model(folders[name]).model for name in ("policy", "reference"))
    names = "input_ids", "attention_mask", "completion_mask"
    mismatched = [(example(*(inputs[f"KL_{name}"][row] for name in names)),) for row in range(4)]
    z0 = estimate_z0(policy, [with_reference(mismatched, reference, LABELS)])
    assert z0 > 0
    assert z0 == pytest.approx(trainer._metrics["eval"]["kl"][-1], rel=1e-5)
    answers: list[ExampleGroup] = [
        (example(*(inputs[name][row] for name in names), **{LABEL: 2.0 * bool(inputs["label"][row]) - 1, Z0: z0}),)
        for row in range(4)
    ]
    batch = with_reference(answers, reference, LABELS)
    assert loss_of(kto_loss(BETA, 1.0, 1.5), policy, batch) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("margins", [False, True])
def test_reward_model(folders: dict[str, Path], tmp_path: Path, margins: bool) -> None:
    rng = np.random.default_rng(2)
    rows: list[dict[str, Any]] = [{name: sentence(rng, 3, 12) for name in ("chosen", "rejected")} for _ in range(4)]
    if margins:
        rows = [{**row, "margin": 0.2 * number} for number, row in enumerate(rows)]
    scorer = transformers.AutoModelForSequenceClassification.from_pretrained(
        folders["policy"], num_labels=1, dtype="float32"
    )
    trainer = trl.RewardTrainer(
        model=scorer, train_dataset=dataset(rows),
        processing_class=transformers.AutoTokenizer.from_pretrained(folders["policy"]),
        args=arguments(trl.RewardConfig, tmp_path, center_rewards_coefficient=0.01, disable_dropout=True),
    )  # fmt: skip
    inputs = next(iter(trainer.get_train_dataloader()))
    wanted = trainer.compute_loss(trainer.model, dict(inputs)).item()
    policy = load_model(folders["policy"]).model
    policy.set_head("reward", scorer.score.weight.detach())
    sides = [
        example(inputs["input_ids"][place], attended, attended, **{SIDE: side, MARGIN: margin})
        for side, places in ((1.0, range(4)), (-1.0, range(4, 8)))
        for place in places
        for attended in (inputs["attention_mask"][place],)
        for margin in (float(inputs["margin"][place % 4]) if margins else 0.0,)
    ]
    batch = collate(list(zip(sides[:4], sides[4:], strict=True)), PAIRS)
    loss = reward_loss("rows" if margins else 0.0, 0.01)
    components, _ = loss.function(policy, batch)
    total = sum(
        float(part.detach()) / loss.denominators[name](batch) for name, part in components.items() if name != "replay"
    )
    assert total == pytest.approx(wanted, rel=1e-5)
