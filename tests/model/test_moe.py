from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from tutelage.batching.packing import collate
from tutelage.model.hub import Checkpoint, load_model, save_model
from tutelage.model.memory import training_bytes
from tutelage.model.mlp import activation
from tutelage.model.moe import ExpertMLPs, Router, Routing, grouped_linear, route
from tutelage.model.parts import as_rows, is_matrix, parts
from tutelage.model.settings import Experts
from tutelage.model.sizes import (
    ModelConfig,
    ModelSettings,
    active_parameter_count,
    flops_per_token,
    parameter_count,
    resolve,
)
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Example
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.train.losses import cross_entropy
from tutelage.train.optimizers import Optimizer, OptimizerSettings

EIGHT = Experts(count=8, used=2, width=12)
SHAPE = ModelSettings(depth=2, width=16, heads=2, context=32)

EXPERTS = st.builds(
    Experts,
    count=st.sampled_from([4, 8]),
    used=st.integers(1, 2),
    width=st.sampled_from([6, 12]),
    shared=st.integers(0, 2),
    scores=st.sampled_from(["softmax", "sigmoid"]),
    normalised=st.booleans(),
    scaling=st.sampled_from([1.0, 2.5]),
    groups=st.sampled_from([1, 2]),
    group_score=st.sampled_from(["best", "best_two"]),
    selection_bias=st.booleans(),
    bias=st.booleans(),
    dense_layers=st.sampled_from([(), (0,)]),
)


def moe_config(experts: Experts, vocab: int = 30, **changes: object) -> ModelConfig:
    return resolve(msgspec.structs.replace(SHAPE, experts=experts, **changes), vocab)


def made(experts: Experts, seed: int = 0) -> ExpertMLPs:
    mlps, generator = ExpertMLPs(moe_config(experts), experts).double(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in mlps.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return mlps


def token_by_token(mlps: ExpertMLPs, x_ND: torch.Tensor, routing: Routing) -> torch.Tensor:
    """The definition: the sum of the weighted outputs of each token's experts."""
    outputs = []
    for token, x_D in enumerate(x_ND):
        y_D = torch.zeros_like(x_D)
        for expert, weight in zip(routing.chosen_NC[token], routing.weights_NC[token], strict=True):
            up_bias = 0 if mlps.up.bias is None else mlps.up.bias[expert]
            down_bias = 0 if mlps.down.bias is None else mlps.down.bias[expert]
            hidden = activation(mlps.kind, mlps.up.weight[expert] @ x_D + up_bias)
            y_D = y_D + weight * (mlps.down.weight[expert] @ hidden + down_bias)
        outputs.append(y_D)
    return torch.stack(outputs)


@pytest.mark.parametrize("bias", [False, True])
def test_sorted_rows_give_outputs_and_gradients_of_the_definition(bias: bool) -> None:
    experts = msgspec.structs.replace(EIGHT, bias=bias)
    mlps, x_ND = made(experts), torch.randn(20, 16, dtype=torch.float64, requires_grad=True)
    logits_NE = torch.randn(20, 8, dtype=torch.float64, requires_grad=True)
    inputs = [x_ND, logits_NE, *mlps.parameters()]
    results = []
    for compute in (mlps, lambda x, routing: token_by_token(mlps, x, routing)):
        y_ND = compute(x_ND, route(experts, logits_NE, None))
        results.append((y_ND, torch.autograd.grad((y_ND * torch.arange(16)).sum(), inputs)))
    (ours, our_gradients), (expected, gradients) = results
    torch.testing.assert_close(ours, expected)
    for found, wanted in zip(our_gradients, gradients, strict=True):
        torch.testing.assert_close(found, wanted)


def test_pain_13_an_expert_without_tokens_has_a_gradient_of_zero_and_not_none() -> None:
    mlps, x_ND = made(EIGHT), torch.randn(5, 16, dtype=torch.float64)
    logits_NE = torch.zeros(5, 8, dtype=torch.float64)
    logits_NE[:, 3], logits_NE[:, 5] = 9, 8
    mlps(x_ND, route(EIGHT, logits_NE, None)).sum().backward()
    for parameter in mlps.parameters():
        assert parameter.grad is not None
        used = parameter.grad.flatten(1).abs().sum(1) > 0
        assert used.nonzero().flatten().tolist() == [3, 5]


def test_pain_4_the_grouped_product_of_gpus_writes_every_row() -> None:
    """Rows beyond the last offset would be uninitialised memory. Groups of 0 rows are among them."""
    counts = torch.tensor([0, 7, 0, 3, 14, 0])
    x_RI, weight_EOI = torch.randn(24, 8, requires_grad=True), torch.randn(6, 12, 8, requires_grad=True)
    grouped = F.grouped_mm(x_RI, weight_EOI.transpose(1, 2), offs=counts.cumsum(0).int())
    looped = grouped_linear(x_RI, weight_EOI, counts)
    torch.testing.assert_close(grouped, looped)
    gradients = [torch.autograd.grad(y.square().sum(), (x_RI, weight_EOI)) for y in (grouped, looped)]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_pain_12_the_router_of_one_chosen_expert_has_a_gradient() -> None:
    """Softmax after the choice would be 1 whatever the logits."""
    one = msgspec.structs.replace(EIGHT, used=1, normalised=False)
    logits_NE = torch.randn(6, 8, requires_grad=True)
    route(one, logits_NE, None).weights_NC.sum().backward()
    assert logits_NE.grad is not None
    assert (logits_NE.grad.abs().sum(1) > 1e-3).all()


def test_pain_11_weights_of_the_chosen_sum_to_1_only_where_they_are_normalised() -> None:
    logits_NE = torch.randn(50, 8)
    sums = [
        route(msgspec.structs.replace(EIGHT, normalised=yes), logits_NE, None).weights_NC.sum(1)
        for yes in (True, False)
    ]
    torch.testing.assert_close(sums[0], torch.ones(50))
    assert (sums[1] < 0.99).all()
    probabilities = logits_NE.softmax(1).topk(2).values
    torch.testing.assert_close(sums[1], probabilities.sum(1))


def test_pain_10_a_selection_bias_chooses_and_does_not_weight() -> None:
    """Biases of 7 and small differences: in bfloat16 sums would tie, and scores recovered from them be 0."""
    experts = Experts(count=238, used=4, width=1, scores="sigmoid", normalised=False, selection_bias=True)
    generator = torch.Generator().manual_seed(0)
    logits_NE = torch.randn(40, 238, generator=generator)
    bias_E = 7 + 0.1 * torch.randn(238, generator=generator)
    assert len(bias_E.bfloat16().unique()) < 30 < len(bias_E.unique())
    routing = route(experts, logits_NE, bias_E)
    torch.testing.assert_close(routing.weights_NC, logits_NE.sigmoid().gather(1, routing.chosen_NC))
    expected = (logits_NE.sigmoid() + bias_E).topk(4).indices
    assert torch.equal(routing.chosen_NC, expected)
    assert not torch.equal(routing.chosen_NC, route(experts, logits_NE, None).chosen_NC)


def test_pain_10_a_router_chooses_in_float32_under_autocast_and_in_a_bfloat16_model() -> None:
    experts = msgspec.structs.replace(EIGHT, selection_bias=True)
    router = Router(16, experts)
    x_ND = torch.randn(64, 16).bfloat16()
    with torch.no_grad():
        router.weight.copy_((torch.randn(8, 16)).bfloat16())
        assert router.selection_bias is not None
        router.selection_bias.copy_(7 + 0.1 * torch.randn(8))
    wide = router(x_ND.float())
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = router(x_ND)
    bias = router.selection_bias.clone()
    narrow = router.bfloat16()(x_ND)
    assert router.weight.dtype == torch.bfloat16
    assert torch.equal(router.selection_bias, bias)
    for other in (under_autocast, narrow):
        assert other.logits_NE.dtype == torch.float32
        assert torch.equal(other.chosen_NC, wide.chosen_NC)


def test_experts_come_from_the_best_groups_alone() -> None:
    experts = Experts(count=6, used=2, width=1, groups=3, used_groups=1, scores="sigmoid")
    logits_NE = torch.tensor([[9.0, -9, 5, 6, 4, 3]])  # the best expert is in group 0, the best two in group 1
    assert set(route(experts, logits_NE, None).chosen_NC[0].tolist()) == {2, 3}
    best = msgspec.structs.replace(experts, group_score="best")
    assert set(route(best, logits_NE, None).chosen_NC[0].tolist()) == {0, 1}


def test_the_margin_is_that_of_the_nearest_decision() -> None:
    scores = torch.tensor([[0.4, 0.3, 0.2, 0.1]])
    two = Experts(count=4, used=2, width=1)
    torch.testing.assert_close(route(two, scores.log(), None).margin_N, torch.tensor([0.1]))
    everything = msgspec.structs.replace(two, used=4)
    assert route(everything, scores.log(), None).margin_N.item() == float("inf")
    grouped = Experts(count=4, used=2, width=1, groups=2, used_groups=1, group_score="best")
    torch.testing.assert_close(route(grouped, scores.log(), None).margin_N, torch.tensor([0.2]))


@given(EXPERTS, st.sampled_from(["swiglu", "relu2"]), st.booleans())
def test_parameters_of_experts_are_counted_exactly(experts: Experts, mlp: str, bias: bool) -> None:
    config = moe_config(experts, mlp=mlp, bias=bias)
    with torch.device("meta"):
        model = Transformer(config)
    assert parameter_count(config) == sum(p.numel() for p in model.parameters())
    unused = sum(
        parameter.numel() // experts.count * (experts.count - experts.used)
        for name, parameter in model.named_parameters()
        if ".experts." in name
    )
    assert active_parameter_count(config) == parameter_count(config) - unused
    matrices = sum(
        p.numel() for name, p in model.named_parameters() if name.startswith("blocks.") and is_matrix(name, p)
    )
    assert training_bytes(config, muon=True) == 16 * parameter_count(config) - 4 * matrices


@pytest.mark.parametrize("experts", [EIGHT, msgspec.structs.replace(EIGHT, shared=1, dense_layers=(0,))])
def test_flops_of_a_mixture_are_those_that_torch_counts(experts: Experts) -> None:
    config = moe_config(experts, vocab=200)
    model = initialise(Transformer(config), seed=0)
    batch = collate([(Example(torch.zeros(8).int().numpy(), targets=torch.ones(8).int().numpy()),)] * 3)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model, batch)[0]["loss"].backward()
    # What torch does not count is attention to other tokens.
    assert flops_per_token(config, 0) == pytest.approx(counter.get_total_flops() / len(batch.tokens_N), rel=1e-9)


def test_pain_25_experts_are_separate_matrices_to_muon() -> None:
    """Updates have one size in gate, up and down of every expert, though their gradients differ by 100. Biases of
    experts are vectors, which AdamW trains without decay."""
    model = initialise(Transformer(moe_config(msgspec.structs.replace(EIGHT, bias=True))), seed=0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = Optimizer(model, OptimizerSettings(kind="muon", clip=None), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for number, (name, parameter) in enumerate(model.named_parameters()):
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        for place, part in enumerate(parts(model.config, name)):
            as_rows(parameter.grad, name)[part.rows] *= 10.0 ** ((place + number) % 3 - 1)
    optimizer.step(1.0, 1.0)
    for name in ("blocks.0.experts.up.weight", "blocks.1.experts.down.weight"):
        pieces = parts(model.config, name)
        assert len(pieces) == (16 if ".up." in name else 8)
        change = as_rows(model.get_parameter(name).detach() - before[name], name)
        sizes = [float(change[part.rows].square().mean().sqrt()) for part in pieces]
        assert max(sizes) < 1.15 * min(sizes)
    state = optimizer.state_tensors()
    assert "blocks.0.experts.up.bias/exp_avg" in state
    assert state["blocks.0.experts.up.weight/momentum_buffer"].shape == (8, 24, 16)


def test_parts_cover_the_rows_of_every_expert_once() -> None:
    config = moe_config(msgspec.structs.replace(EIGHT, shared=1, bias=True))
    for name, parameter in Transformer(config).named_parameters():
        rows = as_rows(parameter, name)
        covered = torch.cat([torch.arange(len(rows))[part.rows] for part in parts(config, name)])
        assert torch.equal(covered, torch.arange(len(rows)))
    assert [part.name for part in parts(config, "blocks.0.experts.up.weight")[:3]] == ["0.gate", "0.up", "1.gate"]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "MixtralForCausalLM"),
        ({"qk_norm": True}, "Qwen3MoeForCausalLM"),
    ],
)
def test_a_mixture_trained_here_loads_in_transformers(changes: dict, kind: str, tmp_path: Path) -> None:
    tokenizer = train(["abc "], TokenizerSettings(kind="char"))
    dense = (0,) if changes else ()
    config = moe_config(msgspec.structs.replace(EIGHT, dense_layers=dense), tokenizer.vocab_size, **changes)
    model = initialise(Transformer(config), seed=1)
    save_model(tmp_path, Checkpoint(model, tokenizer))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(theirs).__name__ == kind
    ids = torch.tensor([0, 1, 2, 3, 1])
    with torch.no_grad():
        hidden = model.hidden(ids, torch.arange(5), model.within_segments((5,)))
        torch.testing.assert_close(model.logits(hidden), theirs(ids[None]).logits[0], rtol=0, atol=1e-5)


def test_a_mixture_that_fits_no_family_is_saved_in_our_own_layout(tmp_path: Path) -> None:
    tokenizer = train(["abc "], TokenizerSettings(kind="char"))
    experts = msgspec.structs.replace(EIGHT, shared=1, scores="sigmoid", selection_bias=True)
    model = initialise(Transformer(moe_config(experts, tokenizer.vocab_size)), seed=1)
    model.blocks[0].router.selection_bias += torch.randn(8)
    save_model(tmp_path, Checkpoint(model, tokenizer))
    again = load_model(tmp_path).model
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"count": 0, "used": 1, "width": 1}, "experts.count is 0; it must be at least 1"),
        ({"count": 4, "used": 5, "width": 1}, "experts.used is 5, but a token can choose from 4 experts only"),
        (
            {"count": 8, "used": 5, "width": 1, "groups": 2, "used_groups": 1},
            "experts.used is 5, but a token can choose from 4 experts only",
        ),
        (
            {"count": 8, "used": 1, "width": 1, "groups": 3},
            "8 experts cannot form 3 equal groups of which 1 are used; choose experts.groups that divides "
            "experts.count, and experts.used_groups of at most experts.groups",
        ),
        (
            {"count": 8, "used": 1, "width": 1, "dense_layers": (2,)},
            "experts.dense_layers names layer 2; layers are 0 to 1",
        ),
        (
            {"count": 8, "used": 1, "width": 1, "dense_layers": (0, 1)},
            "experts.dense_layers names every layer, so no layer has experts; leave experts out",
        ),
    ],
)
def test_experts_that_do_not_fit_together_are_one_sentence(settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match="experts") as error:
        moe_config(Experts(**settings))
    assert str(error.value) == sentence
