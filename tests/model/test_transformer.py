from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.batching.packing import collate
from tutelage.model.rotary import rotate, rotation_at, rotation_table
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Batch, Example, ExampleGroup
from tutelage.train.losses import cross_entropy

VOCAB, CONTEXT = 29, 48
LENGTHS = [5, 1, 17, 40, 16, 2, 39, 17]

# Every kind with every other where they could meet in the attention; biases and the head vary along.
KINDS = [
    ModelSettings(
        depth=2, width=24, heads=4, kv_heads=kv_heads, context=CONTEXT, position=position, norm=norm, mlp=mlp,
        qk_norm=qk_norm, bias=(number % 2 == 0), tied=(number % 3 != 0),
    )
    for number, (position, kv_heads, qk_norm, norm, mlp) in enumerate(
        product(("rotary", "learned"), (4, 2, 1), (False, True), ("rms", "layer"), ("swiglu", "gelu", "relu2"))
    )
]  # fmt: skip


def named(settings: ModelSettings) -> str:
    parts = [settings.position, f"kv{settings.kv_heads}", settings.norm, settings.mlp]
    parts += [name for name in ("qk_norm", "bias", "tied") if getattr(settings, name)]
    return "-".join(parts)


def make(settings: ModelSettings) -> Transformer:
    """A model whose weights are large enough that attention differs from the mean of all tokens."""
    model = initialise(Transformer(resolve(settings, VOCAB)), seed=3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(15)
            elif name.endswith("bias"):
                parameter.copy_(torch.linspace(-0.3, 0.3, len(parameter)))
    return model


def units(lengths: list[int], seed: int = 0) -> list[ExampleGroup]:
    random = np.random.default_rng(seed)
    return [
        (
            Example(
                tokens=random.integers(0, VOCAB, length).astype(np.int32),
                weights=random.choice([0.0, 0.3, 1.0], length).astype(np.float32),
            ),
        )
        for length in lengths
    ]


def gradients(model: Transformer, batches: list[Batch]) -> tuple[float, dict[str, torch.Tensor]]:
    """The summed loss over batches, and the gradient of that sum."""
    model.zero_grad()
    losses = [cross_entropy(model, batch)[0]["loss"] for batch in batches]
    for loss in losses:
        loss.backward()
    return sum(float(loss.detach()) for loss in losses), {n: p.grad for n, p in model.named_parameters()}


def relative_distance(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """The largest difference of any number of any gradient, as a share of that gradient's largest number."""
    return max(float((found[n] - wanted[n]).abs().max() / (wanted[n].abs().max() + 1e-12)) for n in wanted)


SMALL = make(KINDS[0])


@pytest.mark.parametrize("settings", KINDS, ids=named)
def test_packed_is_unpacked_loss_and_gradients(settings: ModelSettings) -> None:
    """In float64, to within 1e-9 of each parameter's largest gradient: only the order of the sums differs."""
    model, rows = make(settings).double(), units(LENGTHS)
    loss, grads = gradients(model, [collate(rows)])
    loss_alone, grads_alone = gradients(model, [collate([row]) for row in rows])
    assert loss == pytest.approx(loss_alone, rel=1e-9)
    assert relative_distance(grads, grads_alone) < 1e-9


@pytest.mark.parametrize("settings", KINDS[::5], ids=named)
def test_pain_09_a_changed_token_changes_nothing_in_another_segment(settings: ModelSettings) -> None:
    model = make(settings)
    rows = units(LENGTHS)
    whole = [Example(unit[0].tokens) for unit in rows]  # every token trained
    changed = 3
    tokens = whole[changed].tokens.copy()
    tokens[20] = (tokens[20] + 1) % VOCAB
    other = [Example(tokens) if i == changed else example for i, example in enumerate(whole)]
    with torch.no_grad():
        before, after = (model(collate([(e,) for e in examples])) for examples in (whole, other))
    per_segment = [length - 1 for length in LENGTHS]
    for number, (x, y) in enumerate(zip(before.split(per_segment), after.split(per_segment), strict=True)):
        if number != changed:
            assert torch.equal(x, y)
    x, y = before.split(per_segment)[changed], after.split(per_segment)[changed]
    assert torch.equal(x[:19], y[:19])  # the past does not see the future
    assert not torch.isclose(x[20:], y[20:], atol=1e-4).all()  # and the future does see the past


@pytest.mark.parametrize("settings", KINDS[::7], ids=named)
def test_activation_checkpointing_gives_the_same_gradients_bit_for_bit(settings: ModelSettings) -> None:
    model, batch = make(settings), collate(units(LENGTHS))
    loss, grads = gradients(model, [batch])
    model.activation_checkpointing = True
    loss_again, grads_again = gradients(model, [batch])
    assert loss == loss_again
    assert all(torch.equal(grads[name], grads_again[name]) for name in grads)


def test_activation_checkpointing_saves_little_more_than_block_inputs() -> None:
    kept: dict[bool, int] = {}
    for checkpointing in (False, True):
        model, held = make(KINDS[0]), dict[int, int]()
        model.activation_checkpointing = checkpointing
        weights = {parameter.data_ptr() for parameter in model.parameters()}

        def note(tensor: torch.Tensor, held: dict[int, int] = held, weights: set[int] = weights) -> torch.Tensor:
            if tensor.data_ptr() not in weights:
                held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = cross_entropy(model, collate(units([40] * 20)))[0]["loss"]
        kept[checkpointing] = sum(held.values())
        del loss
    assert kept[True] < kept[False] / 2


@pytest.mark.parametrize("settings", KINDS[::7], ids=named)
def test_bfloat16_gives_the_loss_and_float32_gradients_to_its_own_digits(settings: ModelSettings) -> None:
    model, rows = initialise(Transformer(resolve(settings, VOCAB)), seed=3), units(LENGTHS)
    loss, grads = gradients(model, [collate(rows)])
    with torch.autocast("cpu", torch.bfloat16):
        loss_narrow, grads_narrow = gradients(model, [collate(rows)])
    assert loss_narrow == pytest.approx(loss, rel=1e-3)
    assert all(grad.dtype == torch.float32 for grad in grads_narrow.values())
    whole, narrow = (torch.cat([grad.flatten() for grad in g.values()]) for g in (grads, grads_narrow))
    assert (whole - narrow).norm() < 0.05 * whole.norm()


def test_pain_09_positions_start_again_in_every_segment() -> None:
    batch = collate(units([3, 1, 4]))
    assert batch.positions_N.tolist() == [0, 1, 2, 0, 0, 1, 2, 3]
    assert batch.lengths == (3, 1, 4)


@given(st.lists(st.integers(1, CONTEXT), min_size=1, max_size=8), st.permutations(range(8)))
def test_the_order_of_the_segments_does_not_matter(lengths: list[int], order: list[int]) -> None:
    rows = [(Example(unit[0].tokens),) for unit in units(lengths)]
    order = [i for i in order if i < len(rows)]
    with torch.no_grad():
        there = SMALL(collate(rows)).split([n - 1 for n in lengths])
        here = SMALL(collate([rows[i] for i in order])).split([lengths[i] - 1 for i in order])
    for place, i in enumerate(order):
        torch.testing.assert_close(here[place], there[i], rtol=1e-4, atol=1e-5)


def test_outputs_are_those_of_trained_positions_in_order() -> None:
    example = units([30])[0][0]
    with torch.no_grad():
        everything = SMALL(collate([(Example(example.tokens),)]))
        trained = SMALL(collate([(example,)]))
    assert example.weights is not None
    torch.testing.assert_close(trained, everything[torch.from_numpy(example.weights[1:] != 0)])


def test_log_probabilities_are_those_of_the_logits() -> None:
    batch = collate([(Example(units([30])[0][0].tokens),)])
    with torch.no_grad():
        hidden = SMALL.hidden(batch.tokens_N, batch.positions_N, SMALL.within_segments(batch.lengths))
        direct = SMALL.logits(hidden).log_softmax(dim=-1)[torch.arange(29), batch.labels_N[:29]]
        torch.testing.assert_close(SMALL(batch), direct)


def test_rotations_keep_length_and_depend_on_the_distance_alone() -> None:
    config = resolve(ModelSettings(depth=1, width=16, heads=1, context=64), VOCAB)
    table = rotation_table(config)
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn((2, 1, 1, 16), generator=generator)

    def at(x: torch.Tensor, position: int) -> torch.Tensor:
        return rotate(x, rotation_at(table, torch.tensor([position]), x.dtype))

    torch.testing.assert_close(at(q, 0), q)
    torch.testing.assert_close(at(q, 40).norm(), q.norm())
    torch.testing.assert_close((at(q, 9) * at(k, 4)).sum(), (at(q, 60) * at(k, 55)).sum())
    assert not torch.isclose((at(q, 9) * at(k, 4)).sum(), (at(q, 9) * at(k, 5)).sum())


def test_initialise_gives_the_same_weights_for_the_same_seed_and_scales_residual_projections() -> None:
    config = resolve(ModelSettings(depth=8, width=64, context=16, bias=True, norm="layer"), 512)
    first, again, other = (initialise(Transformer(config), seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])
    assert float(first["embedding.weight"].std()) == pytest.approx(0.02, rel=0.05)
    assert float(first["blocks.0.mlp_down.weight"].std()) == pytest.approx(0.02 / 4, rel=0.05)
    assert all((value == 0).all() for name, value in first.items() if name.endswith("bias"))
    assert all((value == 1).all() for name, value in first.items() if name.endswith("norm.weight"))
