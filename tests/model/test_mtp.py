"""Multi-token prediction: by its definition, token by token, and what becomes of it on disk."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from saved_bytes import saved_bytes

from tutelage.batching.packing import collate, tokens_ahead
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.hub import Checkpoint, load_model, save_model
from tutelage.model.memory import activation_bytes, training_bytes
from tutelage.model.rotary import rotation_at
from tutelage.model.save import MTP
from tutelage.model.settings import Experts
from tutelage.model.sizes import (
    ModelSettings,
    active_parameter_count,
    flops_per_token,
    matrix_weights,
    parameter_count,
    resolve,
)
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Example
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.train import distributed
from tutelage.train.loop import mean
from tutelage.train.losses import CROSS_ENTROPY, cross_entropy
from tutelage.train.mtp import MtpTraining
from tutelage.train.optimizers import Optimizer, OptimizerSettings
from tutelage.train.router import RouterSettings, RouterTraining

TOKENIZER = train(["abcdefgh "], TokenizerSettings(kind="char"))
VOCAB = TOKENIZER.vocab_size
SHAPE = ModelSettings(depth=2, width=32, heads=2, context=64, tied=False, mtp=2)
EXPERTS = Experts(count=4, used=2, width=16, shared=1, dense_layers=(0,))


def make(**changes: object) -> Transformer:
    return initialise(Transformer(resolve(msgspec.structs.replace(SHAPE, **changes), VOCAB)), seed=0)


def examples(lengths: tuple[int, ...] = (9, 1, 4, 2, 12, 3)) -> list[Example]:
    draw = np.random.default_rng(0)
    return [
        Example(draw.integers(0, VOCAB, n).astype(np.int32), draw.random(n, np.float32) * (draw.random(n) < 0.8))
        for n in lengths
    ]


def further(model: Transformer, rows: list[Example]) -> list[torch.Tensor]:
    model(collate([(row,) for row in rows]))
    return [logprobs.detach() for logprobs in model.further_logprobs]


@given(st.lists(st.integers(1, 8), min_size=1, max_size=6), st.integers(1, 3))
def test_pain_23_tokens_ahead_stop_at_the_end_of_their_segment(lengths: list[int], ahead: int) -> None:
    """By brute force over packed documents: border positions are trained on nothing."""
    rows = examples(tuple(lengths))
    batch = collate([(row,) for row in rows])
    tokens, labels, weights = [], [], []
    for row in rows:
        for place in range(len(row.tokens)):
            inside = place + ahead < len(row.tokens)
            predicted = place + ahead + 1 < len(row.tokens)
            tokens.append(row.tokens[place + ahead] if inside else 0)
            labels.append(row.tokens[place + ahead + 1] if predicted else 0)
            weights.append(row.weights[place + ahead + 1] if predicted and row.weights is not None else 0)
    found = tokens_ahead(batch, ahead)
    assert found.tokens_N.tolist() == tokens
    assert found.labels_N.tolist() == labels
    np.testing.assert_array_equal(found.weights_N.numpy(), np.array(weights, np.float32))


def test_blocks_compute_their_definition() -> None:
    """Equations 21 to 23 of DeepSeek-V3, for one document."""
    model = make()
    tokens_T = torch.from_numpy(examples((12,))[0].tokens).long()
    positions_T = torch.arange(12)
    found = further(model, [Example(tokens_T.int().numpy())])
    assert [len(logprobs) for logprobs in found] == [10, 9]
    with torch.no_grad():
        attend = model.within_segments((12,))
        hidden_TD = model.hidden(tokens_T, positions_T, attend)
        rotation = rotation_at(model.rotations, positions_T, hidden_TD.dtype)
        for ahead, (block, logprobs) in enumerate(zip(model.mtp_blocks, found, strict=True), start=1):
            embedded_TD = model.embedding(torch.cat([tokens_T[ahead:], torch.zeros(ahead, dtype=torch.int64)]))
            pair = torch.cat([block.embedding_in_norm(embedded_TD), block.hidden_in_norm(hidden_TD)], dim=1)
            x_TD, _ = block(pair @ block.combine.weight.T, rotation, attend)
            hidden_TD = block.out_norm(x_TD)
            wanted = model.logits(hidden_TD).log_softmax(-1)
            kept = 12 - ahead - 1
            expected = wanted[:kept].gather(1, tokens_T[ahead + 1 :, None])[:, 0]
            torch.testing.assert_close(logprobs, expected)


def test_pain_23_a_token_changes_no_prediction_of_another_document_or_of_what_comes_before_it() -> None:
    model, rows = make(), [Example(row.tokens) for row in examples((9, 7))]
    before = further(model, rows)
    changed = rows[0].tokens.copy()
    changed[8] = (changed[8] + 1) % VOCAB
    after = further(model, [Example(changed), rows[1]])
    for ahead, (one, other) in enumerate(zip(before, after, strict=True), start=1):
        first = 9 - ahead - 1  # predictions of the first document; the last of them is of the changed token
        assert torch.equal(one[: first - 1], other[: first - 1])
        assert not torch.equal(one[first - 1], other[first - 1])
        assert torch.equal(one[first:], other[first:])


@pytest.mark.parametrize("experts", [None, EXPERTS])
def test_pain_8_eight_micro_batches_are_one_large_one(experts: Experts | None) -> None:
    rows = examples()
    gradients = []
    for batches in ([collate([(row,) for row in rows])], [collate([(row,)]) for row in rows]):
        model = make(experts=experts).double()
        loss = MtpTraining(model, lambda step: 0.3).loss(CROSS_ENTROPY)
        totals = {name: sum(map(count, batches)) for name, count in loss.denominators.items()}
        assert totals["loss"] > totals["mtp.1"] > totals["mtp.2"] > 0
        for batch in batches:
            mean(loss.function(model, batch)[0], totals).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, grad in gradients[0].items():
        torch.testing.assert_close(grad, gradients[1][name])
        assert grad is not None
        assert grad.abs().max() > 0, name


def test_the_weight_follows_the_step_and_routers_of_its_blocks_are_counted() -> None:
    model = make(experts=msgspec.structs.replace(EXPERTS, selection_bias=True))
    training = MtpTraining(model, lambda step: 0.3 if step < 2 else 0.1)
    router = RouterTraining(model, model.config.experts, RouterSettings(bias_rate=0.1, balance=0.01))
    assert len(router.routers) == 1 + 2
    batch = collate([(row,) for row in examples()])
    loss = router.loss(training.loss(CROSS_ENTROPY))
    assert loss.auxiliary == {"mtp.1", "mtp.2", "balance"}
    parts = []
    for _ in training.batches(iter([([batch], None)] * 3), start=1):
        components, metrics = loss.function(model, batch)
        parts.append(float(components["mtp.1"].detach()))
        assert metrics.means()["mtp.1"] > 0
        router.after_step()
    assert parts[0] == pytest.approx(3 * parts[1], rel=0.01)  # biases move in between
    assert parts[1] == pytest.approx(parts[2], rel=0.01)
    assert all(router.selection_bias.abs().max() > 0 for router in router.routers)


@pytest.mark.parametrize("experts", [None, EXPERTS])
def test_parameters_memory_and_matrices_are_counted_exactly(experts: Experts | None) -> None:
    model = make(experts=experts)
    config = model.config
    assert parameter_count(config) == sum(p.numel() for p in model.parameters())
    matrices = sum(p.numel() for name, p in model.named_parameters() if "blocks." in name and p.ndim >= 2)
    assert matrix_weights(config) == matrices
    plain = msgspec.structs.replace(config, mtp=0)
    assert active_parameter_count(config) == active_parameter_count(plain)
    assert flops_per_token(config, 8) > flops_per_token(plain, 8) + 6 * 2 * VOCAB * 32
    optimizer = Optimizer(model, OptimizerSettings(kind="muon"), lr=0.01)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(1.0, optimizer.gradient_norm())
    state = [tensor for name, tensor in optimizer.state_tensors().items() if not name.endswith("/step")]
    assert training_bytes(config, muon=True) == sum(
        tensor.nbytes for tensor in [*state, *model.parameters(), *model.parameters()]
    )
    assert "mtp_blocks.0.combine.weight/momentum_buffer" in optimizer.state_tensors()


@pytest.mark.parametrize("experts", [None, EXPERTS])
def test_activation_bytes_are_what_autograd_saves(experts: Experts | None) -> None:
    model = make(width=64, experts=experts)
    batch = collate([(Example(np.arange(64, dtype=np.int32) % VOCAB),)] * 4)
    loss = MtpTraining(model, lambda step: 0.3).loss(CROSS_ENTROPY).function
    found = saved_bytes(model, lambda: loss(model, batch))
    assert found == pytest.approx(activation_bytes(model.config, 4 * 64), rel=0.05)


def test_pain_23_saving_and_loading_keeps_the_blocks_and_other_programs_see_a_plain_model(tmp_path: Path) -> None:
    model = make()
    save_model(tmp_path, Checkpoint(model, TOKENIZER))
    again = load_model(tmp_path, mtp=True).model
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    plain = load_model(tmp_path)
    assert plain.model.config.mtp == 0
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.from_numpy(examples((12,))[0].tokens).long()
    with torch.no_grad():
        hidden = plain.model.hidden(ids, torch.arange(12), plain.model.within_segments((12,)))
        torch.testing.assert_close(plain.model.logits(hidden), theirs(ids[None]).logits[0], rtol=0, atol=1e-5)
    save_model(tmp_path / "exported", plain)
    assert not (tmp_path / "exported" / MTP).exists()
    settings = SamplingSettings(max_tokens=6)
    answers = [generate(each, [ids.numpy()], frozenset(), settings)[0].tokens for each in (model, plain.model)]
    assert list(answers[0]) == list(answers[1])
    (tmp_path / MTP).write_bytes((tmp_path / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="mtp.safetensors does not match the config.json beside it"):
        load_model(tmp_path, mtp=True)


def test_what_cannot_be_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="^model.mtp is 1; it must not be negative, and needs rotary positions$"):
        make(mtp=1, position="learned")
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(ValueError, match="^multi-token prediction is trained by one process only; set model.mtp = 0$"):
        distributed.shard(make())


def test_a_model_without_gradients_predicts_nothing_further() -> None:
    model = make()
    with torch.no_grad():
        cross_entropy(model, collate([(row,) for row in examples()]))
    assert model.further_logprobs == []
