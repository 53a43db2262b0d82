from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from tutelage.batching.packing import collate
from tutelage.config import SettingsError
from tutelage.model import logprobs
from tutelage.model.lora import LoraLinear, LoraSettings, add_lora, lora_pairs, lora_scale, lora_targets, merge_lora
from tutelage.model.memory import lora_training_bytes
from tutelage.model.settings import Experts, Latent
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.tensor_map import DEEPSEEK, GPT2, LLAMA, MIXTRAL, OWN, PHI3, QWEN_MOE, ModuleNames
from tutelage.model.transformer import Transformer, initialise
from tutelage.model.weights import trained_state
from tutelage.records import Batch, Example
from tutelage.train.checkpoint import OPTIMIZER_FILE, TrainState, load_checkpoint, save_checkpoint
from tutelage.train.losses import cross_entropy
from tutelage.train.optimizers import Optimizer, OptimizerSettings

VOCAB, NEW = 61, (57, 58, 60)
SHAPES: dict[str, tuple[ModelSettings, ModuleNames]] = {
    "llama-tied": (ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=64), LLAMA),
    "llama-untied": (ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=64, tied=False), LLAMA),
    "phi3": (ModelSettings(depth=2, width=32, context=64, tied=False), PHI3),
    "gpt2": (
        ModelSettings(depth=2, width=32, context=64, position="learned", bias=True, norm="layer", mlp="gelu"), GPT2,
    ),
    "capped": (ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=64), LLAMA),
    "own": (ModelSettings(depth=2, width=32, context=64, mlp="relu2", qk_norm=True), OWN),
}  # fmt: skip
SETTINGS = LoraSettings(rank=3, alpha=5.0)


def make(kind: str = "llama-tied") -> Transformer:
    config = resolve(SHAPES[kind][0], VOCAB)
    if kind == "capped":  # as in Gemma
        config = msgspec.structs.replace(config, logit_softcap=0.3, embedding_scale=6.0)
    return initialise(Transformer(config), seed=0)


def adapted(kind: str = "llama-tied", settings: LoraSettings = SETTINGS, *, trained: bool = True) -> Transformer:
    """A model with an adapter, as it is after some training: no pair's product is zero, no row is the base's."""
    model = make(kind)
    add_lora(model, SHAPES[kind][1], settings, NEW, seed=1)
    if trained:
        stir(model)
    return model


def stir(model: Transformer, deviation: float = 0.1) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in trained_state(model).values():
            tensor += torch.randn(tensor.shape, generator=generator) * deviation


def examples(count: int = 6) -> list[Example]:
    draw = np.random.default_rng(3)
    made = [draw.integers(VOCAB, size=draw.integers(3, 40)).astype(np.int32) for _ in range(count)]
    for tokens in made:
        tokens[::3] = NEW[len(tokens) % len(NEW)]  # new tokens are read and are predicted
    return [Example(tokens, draw.random(len(tokens), np.float32)) for tokens in made]


def gradients(model: Transformer, batches: list[Batch]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    for batch in batches:
        cross_entropy(model, batch)[0]["loss"].backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@torch.no_grad()
def logits(model: Transformer) -> torch.Tensor:
    tokens = torch.arange(VOCAB)
    return model.logits(model.hidden(tokens, tokens, model.within_segments((VOCAB,))))


@pytest.mark.parametrize("kind", SHAPES)
def test_a_fresh_adapter_changes_nothing_and_merging_keeps_the_outputs(kind: str) -> None:
    base = logits(make(kind))
    torch.testing.assert_close(logits(adapted(kind, trained=False)), base, rtol=0, atol=1e-6)
    model = adapted(kind)
    beside = logits(model)
    assert (beside - base).abs().max() > 0.1
    names = make(kind).state_dict().keys()
    merge_lora(model)
    assert model.state_dict().keys() == names
    assert all(parameter.requires_grad for parameter in model.parameters())
    torch.testing.assert_close(logits(model), beside, rtol=0, atol=1e-4)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("kind", SHAPES)
def test_gradients_of_pairs_follow_from_those_of_the_full_weights(
    kind: str, chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """d/dB = scale dW A^T and d/dA = scale B^T dW, with dW the gradient of the merged model's weight."""
    if chunked:
        monkeypatch.setattr(logprobs, "CHUNK_LOGITS", 100)
        monkeypatch.setattr(logprobs, "MIN_CHUNK_POSITIONS", 7)
    model, whole = adapted(kind).double(), adapted(kind).double()
    merge_lora(whole)
    batch = collate([(example,) for example in examples()])
    found, expected = gradients(model, [batch]), gradients(whole, [batch])
    scale = lora_scale(SETTINGS.alpha, SETTINGS.rank, SETTINGS.rank_stabilised)
    pairs = 0
    for layer, block in enumerate(model.blocks):
        for matrix in ("qkv", "attention_out", "mlp_up", "mlp_down"):
            linear, name = getattr(block, matrix), f"blocks.{layer}.{matrix}"
            assert isinstance(linear, LoraLinear)
            for part, d_weight in zip(
                linear.sizes, expected[f"{name}.weight"].split(list(linear.sizes.values())), strict=True
            ):
                a, b = linear.lora_A[part], linear.lora_B[part]
                torch.testing.assert_close(found.pop(f"{name}.lora_A.{part}"), scale * b.T @ d_weight)
                torch.testing.assert_close(found.pop(f"{name}.lora_B.{part}"), scale * d_weight @ a.T)
                pairs += 1
    assert pairs == len(lora_targets(model, SHAPES[kind][1]))
    for end in ("embedding", "head"):
        if f"embedding_rows.{end}" in found:
            torch.testing.assert_close(found.pop(f"embedding_rows.{end}"), expected[f"{end}.weight"][list(NEW)])
    assert found == {}


def test_only_pairs_and_rows_of_new_tokens_have_gradients_state_and_files(tmp_path: Path) -> None:
    model = adapted("llama-untied", trained=False)
    optimizer = Optimizer(model, OptimizerSettings(), lr=0.01)
    batch = collate([(example,) for example in examples()])
    assert set(gradients(model, [batch])) == set(optimizer.named) == set(trained_state(model))
    optimizer.step(1.0, optimizer.gradient_norm())
    sizes = {name: tensor.numel() for name, tensor in optimizer.state_tensors().items() if not name.endswith("/step")}
    trained = sum(tensor.numel() for tensor in trained_state(model).values())
    assert sum(sizes.values()) == 2 * trained
    width, rank, layers = 32, SETTINGS.rank, 2
    inputs_and_outputs = [(width, 32), (width, 16), (width, 16), (32, width), (width, 96), (width, 96), (96, width)]
    assert trained == layers * rank * sum(map(sum, inputs_and_outputs)) + 2 * len(NEW) * width
    assert all(len(NEW) == len(rows) for name, rows in trained_state(model).items() if "embedding_rows" in name)
    save_checkpoint(tmp_path / "checkpoint", model, optimizer, TrainState(1, None, "abc"))
    written = sum(path.stat().st_size for path in (tmp_path / "checkpoint").glob("*.safetensors"))
    assert written < 3 * 4 * trained + 20_000


def test_eight_micro_batches_and_one_have_the_same_gradients() -> None:
    rows = examples(8)
    model = adapted("llama-untied").double()
    once = gradients(model, [collate([(example,) for example in rows])])
    by_eight = gradients(model, [collate([(example,)]) for example in rows])
    assert once.keys() == by_eight.keys()
    for name, gradient in once.items():
        torch.testing.assert_close(by_eight[name], gradient, rtol=1e-9, atol=1e-12)


def test_activation_checkpointing_gives_the_same_gradients() -> None:
    model, batch = adapted(), collate([(example,) for example in examples()])
    kept = gradients(model, [batch])
    model.activation_checkpointing = True
    again = gradients(model, [batch])
    assert kept.keys() == again.keys()
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_resuming_after_a_step_is_exact(tmp_path: Path) -> None:
    batches = [collate([(example,)]) for example in examples()]

    def steps(model: Transformer, optimizer: Optimizer, part: list[Batch]) -> None:
        for batch in part:
            cross_entropy(model, batch)[0]["loss"].backward()
            optimizer.step(1.0, optimizer.gradient_norm())
            optimizer.zero_grad()

    whole, halves, later = (adapted("llama-untied", trained=False) for _ in range(3))
    of_whole, of_halves, of_later = (Optimizer(m, OptimizerSettings(), lr=0.01) for m in (whole, halves, later))
    steps(whole, of_whole, batches)
    steps(halves, of_halves, batches[:3])
    position = TrainState(3, {"chat": {"epoch": 0, "position": 3, "trained_tokens": 1.0}}, "abc")
    save_checkpoint(tmp_path / "checkpoint", halves, of_halves, position)
    stir(later)
    assert load_checkpoint(tmp_path / "checkpoint", later, of_later, "abc") == position
    steps(later, of_later, batches[3:])
    for name, tensor in whole.state_dict().items():
        assert torch.equal(later.state_dict()[name], tensor), name
    assert (tmp_path / "checkpoint" / OPTIMIZER_FILE).exists()


def test_a_checkpoint_of_full_weights_is_refused_for_a_lora_model(tmp_path: Path) -> None:
    whole, model = make(), adapted()
    save_checkpoint(tmp_path / "c", whole, Optimizer(whole, OptimizerSettings(), lr=0.1), TrainState(1, None, "abc"))
    with pytest.raises(ValueError, match="is trained in the model or in the checkpoint, but not in both"):
        load_checkpoint(tmp_path / "c", model, Optimizer(model, OptimizerSettings(), lr=0.1), "abc")


@pytest.mark.parametrize("autocast", [False, True])
def test_a_bfloat16_base_trains_float32_pairs(autocast: bool) -> None:
    model = make("llama-untied").bfloat16()
    add_lora(model, LLAMA, SETTINGS, NEW, seed=1)
    stir(model)
    batch = collate([(example,) for example in examples()])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = cross_entropy(model, batch)[0]["loss"]
    loss.backward()
    expected = gradients(adapted("llama-untied"), [batch])
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {tensor.dtype for tensor in (*found.values(), *trained_state(model).values())} == {torch.float32}
    assert all(p.dtype == torch.bfloat16 and p.grad is None for p in model.parameters() if not p.requires_grad)
    one, other = (torch.cat([part[name].flatten() for name in expected]) for part in (found, expected))
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.99


def test_targets_are_chosen_as_peft_chooses_them() -> None:
    def chosen(kind: str, *targets: str) -> list[str]:
        model = adapted(kind, LoraSettings(rank=2, targets=list(targets)))
        return [name for name, _, _ in lora_pairs(model, SHAPES[kind][1])]

    assert chosen("llama-tied", "q_proj", "layers.1.mlp.up_proj") == [
        "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "model.layers.1.mlp.up_proj",
    ]  # fmt: skip
    assert chosen("gpt2", "c_proj") == [f"transformer.h.{i}.{kind}.c_proj" for i in (0, 1) for kind in ("attn", "mlp")]
    assert chosen("phi3", "qkv_proj") == [f"model.layers.{i}.self_attn.qkv_proj" for i in (0, 1)]
    with pytest.raises(SettingsError, match="targets names 'q_prj', .* did you mean 'q_proj'"):
        adapted("llama-tied", LoraSettings(targets=["q_proj", "q_prj"]))


def test_a_rank_above_that_of_every_matrix_is_refused() -> None:
    adapted("llama-tied", LoraSettings(rank=32), trained=False)
    sentence = r"lora.rank \(--lora\) is 33, but the matrices of this model have rank 32 at most; .* 16 is usual$"
    with pytest.raises(SettingsError, match=sentence):
        adapted("llama-tied", LoraSettings(rank=33))
    with pytest.raises(SettingsError, match="rank 16 at most"):
        adapted("llama-tied", LoraSettings(rank=17, targets=["v_proj"]))


def test_a_matrix_without_a_pair_is_left_alone() -> None:
    model, base = adapted("llama-tied", LoraSettings(rank=2, targets=["v_proj"])), make()
    x = torch.randn(5, 32)
    found, expected = (m.blocks[0].qkv(x) for m in (model, base))
    assert torch.equal(found[:, :48], expected[:, :48])  # 32 for queries and 16 for keys
    assert not torch.allclose(found[:, 48:], expected[:, 48:])


def test_lora_scale_and_rank_stabilised_scale() -> None:
    assert lora_scale(32, 16, False) == 2
    assert lora_scale(32, 16, True) == 8


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"alpha": 0.0}, "alpha is 0"),
        ({"alpha": float("inf")}, "alpha is inf"),
        ({"targets": []}, "targets is empty"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        LoraSettings(**wrong)  # type: ignore[arg-type]


def test_the_same_seed_draws_the_same_pairs() -> None:
    one, two, other = make(), make(), make()
    for model, seed in ((one, 1), (two, 1), (other, 2)):
        add_lora(model, LLAMA, SETTINGS, NEW, seed=seed)
    first, second, third = (trained_state(model) for model in (one, two, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], third[name]) for name in first)


def test_under_autocast_every_label_stays_at_its_position() -> None:
    """Where all tokens and the trained ones are padded to the same number."""
    model = make("llama-untied")
    batch = collate([(example,) for example in examples()])
    trained = int((batch.weights_N != 0).sum())
    assert -(-trained // 128) == -(-len(batch.tokens_N) // 128)
    assert trained < len(batch.tokens_N)
    with torch.no_grad():
        expected = model(batch)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


MIXTURE = Experts(count=4, used=2, width=24, shared=1, dense_layers=(0,))
LATENT = Latent(rank=16, query_rank=12, plain=12, rotated=8, value=10)


@pytest.mark.parametrize(("modules", "target"), [(MIXTRAL, "w1"), (MIXTRAL, "gate"), (QWEN_MOE, "gate_proj")])
def test_routed_experts_and_routers_are_refused_as_targets(modules: ModuleNames, target: str) -> None:
    experts = msgspec.structs.replace(MIXTURE, shared=0, dense_layers=())
    model = Transformer(resolve(ModelSettings(depth=1, width=32, heads=4, context=64, experts=experts), VOCAB))
    with pytest.raises(
        SettingsError, match=f"^lora.targets names '{target}' of routed experts or routers, which LoRA le"
    ):
        add_lora(model, modules, LoraSettings(rank=2, targets=["q_proj", target]), (), seed=0)
    add_lora(model, modules, LoraSettings(rank=2), (), seed=0)
    assert len(list(lora_pairs(model, modules))) == 4


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("kind", ["llama-tied", "llama-untied", "mixture", "latent"])
def test_planned_memory_is_the_memory_in_use(kind: str, dora: bool) -> None:
    if kind in SHAPES:
        model, modules = make(kind), SHAPES[kind][1]
    else:
        latent = LATENT if kind == "latent" else None
        shape = ModelSettings(depth=2, width=32, heads=4, context=64, experts=MIXTURE, latent=latent)
        model, modules = initialise(Transformer(resolve(shape, VOCAB)), seed=0), DEEPSEEK
    add_lora(model, modules, LoraSettings(rank=3, dora=dora), (), seed=1)
    optimizer = Optimizer(model, OptimizerSettings(), lr=0.01)
    for parameter in optimizer.parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(1.0, optimizer.gradient_norm())
    state = [tensor for name, tensor in optimizer.state_tensors().items() if not name.endswith("/step")]
    held = [tensor for p in model.parameters() for tensor in (p, p.grad) if tensor is not None] + state
    assert lora_training_bytes(model.config, 3, dora=dora) == sum(tensor.nbytes for tensor in held)
