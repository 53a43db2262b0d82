"""Every family against transformers, on small models of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tutelage.batching.packing import collate
from tutelage.cost import training as cost
from tutelage.cost.shapes import SHAPES, cache_bytes_per_token, parameters
from tutelage.engine.requests import Chunk, Generation, Request, StepPlan
from tutelage.engine.rows import Rows
from tutelage.engine.sampling import DrawStream, SamplingSettings
from tutelage.model import logprobs, weights
from tutelage.model.families import FAMILIES, read_config
from tutelage.model.hub import Checkpoint, extend_vocabulary, load_model, save_model, with_context
from tutelage.model.memory import activation_bytes
from tutelage.model.sizes import (
    ModelSettings,
    active_parameter_count,
    flops_per_token,
    kv_bytes_per_token,
    parameter_count,
    resolve,
)
from tutelage.model.tensor_map import split_tensor
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Example
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.train.losses import cross_entropy

VOCAB = 61
TOKENIZER = train(["abcdefgh "], TokenizerSettings(kind="char"))
LENGTHS = [40, 3, 17, 33, 1]  # two share a padded group; windows of 6 are shorter than most
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
GPT2 = {
    "vocab_size": VOCAB, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "bos_token_id": None,
    "eos_token_id": None,
}  # fmt: skip
GEMMA = {**SIZES, "head_dim": 12, "query_pre_attn_scalar": 20, "sliding_window": 6}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 300.0, "factor": 4.0, "original_max_position_embeddings": 16}
DIVISORS = [1.0, 1.3, 2.0]
MOE = {**SIZES, "num_experts": 6, "num_experts_per_tok": 2}
DEEPSEEK = {
    **SIZES, "num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 20, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 12, "v_head_dim": 10, "moe_intermediate_size": 24, "n_routed_experts": 8,
    "num_experts_per_tok": 3, "first_k_dense_replace": 1,
}  # fmt: skip
QWEN3_MOE = {**MOE, "moe_intermediate_size": 24, "head_dim": 12}

# Each family, and what its settings may hold: the family's name, then what its config says.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", SIZES),
    "llama3": ("llama", {**SIZES, "rope_scaling": LLAMA3, "tie_word_embeddings": True, "head_dim": 12}),
    "llama-linear-biases": (
        "llama",
        {**SIZES, "rope_scaling": {"type": "linear", "factor": 3.0}, "attention_bias": True, "mlp_bias": True},
    ),
    "mistral": ("mistral", {**SIZES, "sliding_window": 6}),
    "mistral-whole": ("mistral", {**SIZES, "sliding_window": None, "head_dim": 16}),
    "qwen2": ("qwen2", {**SIZES, "tie_word_embeddings": True}),
    "qwen2-window": ("qwen2", {**SIZES, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    "qwen2-yarn": ("qwen2", {**SIZES, "rope_scaling": YARN}),
    "qwen3": ("qwen3", {**SIZES, "head_dim": 12}),
    "qwen3-yarn": ("qwen3", {**SIZES, "head_dim": 16, "rope_scaling": {**YARN, "truncate": False}}),
    "smollm3": ("smollm3", {**SIZES, "no_rope_layer_interval": 2, "num_hidden_layers": 4}),
    "gpt2": ("gpt2", GPT2),
    "gpt2-untied": ("gpt2", {**GPT2, "tie_word_embeddings": False, "n_inner": 40, "activation_function": "gelu"}),
    "olmo2": ("olmo2", SIZES),
    "gemma2": ("gemma2", {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma2-uncapped": ("gemma2", {**GEMMA, "attn_logit_softcapping": None, "final_logit_softcapping": None}),
    "gemma3": ("gemma3_text", {**GEMMA, "sliding_window_pattern": 2}),
    "gemma3-linear": (
        "gemma3_text",
        {**GEMMA, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
         "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "tie_word_embeddings": False},
    ),
    "mixtral": ("mixtral", {**SIZES, "num_local_experts": 4}),
    "mixtral-window": ("mixtral", {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 1, "sliding_window": 6}),
    "olmoe": ("olmoe", MOE),
    "olmoe-normalised": ("olmoe", {**MOE, "norm_topk_prob": True, "tie_word_embeddings": True}),
    "qwen3_moe": ("qwen3_moe", {**QWEN3_MOE, "mlp_only_layers": [1], "norm_topk_prob": True}),
    "qwen3_moe-step": (
        "qwen3_moe",
        {**QWEN3_MOE, "decoder_sparse_step": 2, "use_sliding_window": True, "sliding_window": 6},
    ),
    "deepseek_v2": (
        "deepseek_v2",
        {**DEEPSEEK, "q_lora_rank": None, "n_shared_experts": 2,
         "rope_scaling": {**YARN, "mscale": 0.707, "mscale_all_dim": 1.0}},
    ),
    "deepseek_v2-groups": (
        "deepseek_v2",
        {**DEEPSEEK, "topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2,
         "routed_scaling_factor": 3.0},
    ),
    "deepseek_v3": (
        "deepseek_v3",
        {**DEEPSEEK, "n_group": 4, "topk_group": 2, "rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}},
    ),
    "deepseek_v3-whole": (
        "deepseek_v3",
        {**DEEPSEEK, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 0, "norm_topk_prob": False},
    ),
    "gpt_oss": (
        "gpt_oss",
        {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8, "sliding_window": 6,
         "rope_parameters": {**YARN, "truncate": False}},
    ),
    "phi3": ("phi3", {**SIZES, "sliding_window": 6}),
    "phi3-longrope": (
        "phi3",
        {**SIZES, "max_position_embeddings": 128, "original_max_position_embeddings": 64,
         "partial_rotary_factor": 0.75,
         "rope_scaling": {"type": "longrope", "short_factor": DIVISORS, "long_factor": [2.0, 3.0, 5.0]}},
    ),
}  # fmt: skip


MIXTURES = ["mixtral", "olmoe", "deepseek_v2", "deepseek_v3", "gpt_oss"]


def make(folder: Path, kind: str) -> transformers.PreTrainedModel:
    """A model of random weights in a folder, and as transformers has it."""
    family, settings = KINDS[kind]
    torch.manual_seed(sum(map(ord, kind)))
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(family, **settings))
    with torch.no_grad():
        for parameter in model.parameters():  # gains and biases too, which would be ones and zeros
            parameter.add_(torch.randn(parameter.shape) * 0.2)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.add_(torch.randn(buffer.shape) * 0.2)
    model.eval().save_pretrained(folder)
    TOKENIZER.save(folder)
    return model


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Transformer]:
    """A family's folder, the model in it as transformers has it, and as we have it."""
    folder = tmp_path_factory.mktemp(request.param)
    theirs = make(folder, request.param)
    return folder, theirs, load_model(folder).model


def texts(lengths: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(VOCAB, (length,), generator=generator) for length in lengths]


@torch.no_grad()
def packed_logits(model: Transformer, rows: list[torch.Tensor]) -> list[torch.Tensor]:
    lengths = tuple(len(row) for row in rows)
    positions = torch.cat([torch.arange(length) for length in lengths])
    hidden = model.hidden(torch.cat(rows), positions, model.within_segments(lengths))
    return list(model.logits(hidden).split(lengths))


@torch.no_grad()
def padded_logits(model: transformers.PreTrainedModel, rows: list[torch.Tensor]) -> list[torch.Tensor]:
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    logits = model(input_ids=ids, attention_mask=mask).logits
    return [one[: len(row)] for one, row in zip(logits, rows, strict=True)]


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_logits_are_those_of_transformers(made: tuple[Path, Any, Transformer]) -> None:
    """Packed at once against padded; the differences between tokens are large beside what is allowed."""
    _, theirs, ours = made
    rows = texts(LENGTHS)
    for found, expected in zip(packed_logits(ours, rows), padded_logits(theirs, rows), strict=True):
        assert_close(found, expected)
    assert found.std() > 0.1


def test_logits_over_the_cache_are_those_of_transformers(made: tuple[Path, Any, Transformer]) -> None:
    """Prompts in chunks of 5 and the rest, then token by token; the rows reach their ends at different steps."""
    _, theirs, ours = made
    rows, steps = texts([20, 3, 17, 9]), 12
    whole = padded_logits(theirs, rows)
    cache = Rows(ours, len(rows))
    requests = []
    for number, row in enumerate(rows):
        prompt = row[: max(1, len(row) - steps)].tolist()
        draws = DrawStream(0, number, 0)
        requests.append(
            Request(
                number,
                len(prompt),
                prompt,
                SamplingSettings(max_tokens=steps),
                frozenset(),
                draws,
                Generation(),
                "running",
            )
        )
        cache.admit(requests[-1], len(rows))
    while requests:
        decodes = [request for request in requests if request.decodes]
        fills = [request for request in requests if not request.decodes]
        chunks = [Chunk(request, min(5, len(request.ids) - request.computed)) for request in fills]
        plan = StepPlan(decodes, chunks)
        with torch.inference_mode():
            logits = iter(cache.forward(plan))
        for request, count in [(r, 1) for r in decodes] + [(chunk.request, chunk.count) for chunk in chunks]:
            request.computed += count
            if request.computed < len(request.ids):
                continue
            row = rows[request.number]
            assert_close(next(logits), whole[request.number][request.computed - 1])
            if request.computed < len(row):
                request.ids.append(int(row[request.computed]))
            else:
                cache.remove(request)
                requests.remove(request)


def test_saved_weights_are_the_loaded_ones_bit_for_bit(made: tuple[Path, Any, Transformer], tmp_path: Path) -> None:
    folder, theirs, ours = made
    checkpoint = load_model(folder)
    save_model(tmp_path, checkpoint)
    before, after = (load_file(where / "model.safetensors") for where in (folder, tmp_path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads((folder / "config.json").read_text())
    again = load_model(tmp_path)
    assert again.model.config == ours.config
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), ours.parameters(), strict=True))
    reread = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(reread.parameters(), theirs.parameters(), strict=True))


def test_parameters_are_counted_exactly(made: tuple[Path, Any, Transformer]) -> None:
    _, theirs, ours = made
    assert parameter_count(ours.config) == sum(p.numel() for p in ours.parameters()) == theirs.num_parameters()


PUBLISHED = {
    "mixtral-8x7b": {"model_type": "mixtral", "intermediate_size": 14336},
    "olmoe-1b-7b": {"model_type": "olmoe", "intermediate_size": 1024},
    "qwen3-30b-a3b": {"model_type": "qwen3_moe", "num_key_value_heads": 4, "intermediate_size": 6144},
    "qwen3-235b-a22b": {"model_type": "qwen3_moe", "intermediate_size": 12288, "moe_intermediate_size": 1536},
    "deepseek-v2-lite": {
        "model_type": "deepseek_v2", "intermediate_size": 10944, "moe_intermediate_size": 1408, "n_routed_experts": 64,
        "num_experts_per_tok": 6, "n_shared_experts": 2, "first_k_dense_replace": 1, "q_lora_rank": None,
    },
    "deepseek-v3": {
        "model_type": "deepseek_v3", "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256,
        "num_experts_per_tok": 8, "n_shared_experts": 1,
    },
    "gpt-oss-20b": {"model_type": "gpt_oss", "num_local_experts": 32, "intermediate_size": 2880},
    "gpt-oss-120b": {"model_type": "gpt_oss", "intermediate_size": 2880},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_mixtures_have_their_parameters_active_ones_and_cache(name: str) -> None:
    shape = SHAPES[name]
    heads = {"num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_size}
    sizes = {"vocab_size": shape.vocab, "num_hidden_layers": shape.depth, "hidden_size": shape.width}
    config = read_config({**heads, **sizes, "max_position_embeddings": 4096, **PUBLISHED[name]}, name)
    expected = parameters(shape)
    assert (parameter_count(config), active_parameter_count(config)) == (expected.total, expected.active)
    assert kv_bytes_per_token(config, 2) == cache_bytes_per_token(shape)
    whole = msgspec.structs.replace(config, window=None, windowed=())
    assert flops_per_token(whole, 2048) == cost.flops_per_token(shape, 2048)


@pytest.mark.parametrize(
    ("kind", "setting", "other"),
    [
        ("llama3", "rope_scaling", None),
        ("qwen2-yarn", "rope_scaling", None),
        ("phi3-longrope", "rope_scaling", None),
        ("mistral", "window", 7),
        ("gemma3", "window_rope_theta", None),
        ("gemma2", "attention_softcap", None),
        ("gemma2", "logit_softcap", None),
        ("gemma2", "attention_scale", None),
        ("gemma2", "embedding_scale", 1.0),
        ("smollm3", "unrotated", ()),
        ("deepseek_v3", "rope_scaling", None),
        ("deepseek_v3", "attention_scale", 20**-0.5),
        ("gpt_oss", "window", 7),
        ("gpt2", "mlp", "gelu"),
    ],
)
def test_every_setting_changes_the_logits(kind: str, setting: str, other: object, tmp_path: Path) -> None:
    """Otherwise the tests above would not test it."""
    make(tmp_path, kind)
    model, rows = load_model(tmp_path).model, texts([40])
    changed = Transformer(msgspec.structs.replace(model.config, **{setting: other}))
    changed.load_state_dict(model.state_dict())
    [found], [without] = packed_logits(model, rows), packed_logits(changed, rows)
    assert (found - without).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gemma3", "gpt2", "olmo2"])
def test_gradients_are_those_of_transformers(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the summed loss of texts packed at once, against each alone; logits under a cap are made in chunks."""
    monkeypatch.setattr(logprobs, "CHUNK_LOGITS", 5 * VOCAB)
    monkeypatch.setattr(logprobs, "MIN_CHUNK_POSITIONS", 5)
    theirs, ours, rows = make(tmp_path, kind), load_model(tmp_path).model, texts([20, 9, 17])
    loss = cross_entropy(ours, collate([(Example(row.int().numpy()),) for row in rows]))[0]["loss"]
    loss.backward()
    expected = torch.zeros(())
    for row in rows:
        logits = theirs(input_ids=row[None]).logits[0]
        expected = expected + torch.nn.functional.cross_entropy(logits[:-1], row[1:], reduction="sum")
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    wanted = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        for called, grad in split_tensor(FAMILIES[KINDS[kind][0]].modules, ours.config, name, parameter.grad).items():
            assert (grad - wanted[called].grad).abs().max() < 1e-4 * wanted[called].grad.abs().max() + 1e-5


@pytest.mark.parametrize("room", [True, False], ids=["in-spare-rows", "grown"])
@pytest.mark.parametrize("kind", ["llama", "llama3", "qwen2", "gpt2", "gpt2-untied", "gemma2", "phi3", "olmo2"])
def test_pain_13_an_extended_vocabulary_loads_in_transformers(kind: str, room: bool, tmp_path: Path) -> None:
    theirs, rows = make(tmp_path, kind), texts([30])
    full = train([chr(97 + i) for i in range(VOCAB - 1)], TokenizerSettings(kind="char"))
    (TOKENIZER if room else full).save(tmp_path)
    rows = [row % load_model(tmp_path).tokenizer.vocab_size for row in rows]
    extended = extend_vocabulary(load_model(tmp_path), ("<|user|>", "<|end|>"), seed=1)
    size = VOCAB if room else VOCAB + 2
    assert extended.model.config.vocab == size
    save_model(tmp_path / "more", extended)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "more").eval()
    assert again.config.vocab_size == size
    [found], [before], [ours] = (
        padded_logits(again, rows),
        padded_logits(theirs, rows),
        packed_logits(extended.model, rows),
    )
    known = VOCAB if not room else TOKENIZER.vocab_size
    torch.testing.assert_close(found[:, :known], before[:, :known], rtol=1e-5, atol=1e-5)
    assert_close(found, ours)
    assert again.config.tie_word_embeddings == theirs.config.tie_word_embeddings
    new = extended.model.embedding.weight[extended.tokenizer.special("<|user|>")]
    assert (new - extended.model.embedding.weight[:known].mean(dim=0)).abs().max() < 0.2


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2-window", "gemma2", "gemma3", "olmo2", *MIXTURES])
def test_activation_bytes_are_what_autograd_saves(kind: str, tmp_path: Path) -> None:
    make(tmp_path, kind)
    config = load_model(tmp_path).model.config
    changed: dict[str, Any] = {"vocab": logprobs.CHUNK_LOGITS // (4 * 63) + 1}  # logits made in chunks
    if kind not in MIXTURES:  # wide enough that what is kept once a token, and once a window, is little
        changed |= {"width": 64, "head_size": 16, "mlp_width": 192}
    config = msgspec.structs.replace(config, **changed)
    model = Transformer(config)
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.is_floating_point():
            saved[storage.data_ptr()] = storage  # held, so that no other tensor gets its address
        return tensor

    example = Example(np.arange(64, dtype=np.int32))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        cross_entropy(model, collate([(example,)] * 4))
    found = sum(storage.nbytes() for storage in saved.values())
    assert found == pytest.approx(activation_bytes(config, 4 * 64), rel=0.05)


def test_flops_of_sliding_window_layers_count_attended_tokens(tmp_path: Path) -> None:
    make(tmp_path, "gemma3")
    config = load_model(tmp_path).model.config
    whole = msgspec.structs.replace(config, window=None, windowed=())
    for segment in (4, 40):
        pairs = [sum(min(i + 1, window) for i in range(segment)) for window in (segment, 6)]
        saved = 12 * config.heads * config.head_size * len(config.windowed) * (pairs[0] - pairs[1]) / segment
        found = flops_per_token(whole, segment) - flops_per_token(config, segment)
        # Half a token of each row apart: a token sees itself, which half its segment in the mean leaves out.
        assert found == pytest.approx(saved, abs=12 * config.heads * config.head_size * len(config.windowed))
        assert (found > 0) == (segment > 6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_weights_are_loaded_as_float32_or_as_asked(dtype: torch.dtype, tmp_path: Path) -> None:
    make(tmp_path, "qwen2").to(dtype).save_pretrained(tmp_path)
    wide, narrow = load_model(tmp_path), load_model(tmp_path, dtype=dtype)
    assert {p.dtype for p in wide.model.parameters()} == {torch.float32}
    assert {p.dtype for p in narrow.model.parameters()} == {dtype}
    assert narrow.model.rotations.dtype == torch.float32
    for a, b in zip(wide.model.parameters(), narrow.model.parameters(), strict=True):
        assert torch.equal(a, b.float())
    save_model(tmp_path / "wide", wide)
    save_model(tmp_path / "narrow", narrow)
    for name in ("wide", "narrow"):  # in the dtype of the checkpoint, whatever it was trained in
        again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name)
        assert again.dtype == dtype


def test_shards_are_loaded_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, rows = make(tmp_path / "one", "qwen3"), texts([12])
    theirs.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    TOKENIZER.save(tmp_path / "many")
    checkpoint = load_model(tmp_path / "many")
    assert torch.equal(*(packed_logits(load_model(tmp_path / name).model, rows)[0] for name in ("one", "many")))
    monkeypatch.setattr(weights, "SHARD_BYTES", 30_000)
    save_model(tmp_path / "ours", checkpoint)
    assert len(list((tmp_path / "ours").glob("model-*-of-*.safetensors"))) > 2
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), theirs.parameters(), strict=True))
    assert torch.equal(*(packed_logits(load_model(tmp_path / name).model, rows)[0] for name in ("one", "ours")))
    monkeypatch.undo()
    save_model(tmp_path / "ours", checkpoint)  # over the shards, which must not stay
    assert [path.name for path in (tmp_path / "ours").glob("model*")] == ["model.safetensors"]
    save_model(tmp_path / "ours", load_model(tmp_path / "ours"))


@pytest.mark.parametrize("kind", ["llama3", "gpt2"])
def test_old_files_without_the_name_prefix_and_with_tables_are_loaded(kind: str, tmp_path: Path) -> None:
    make(tmp_path, kind)
    [before] = packed_logits(load_model(tmp_path).model, texts([20]))
    tensors = {name.partition(".")[2]: t for name, t in load_file(tmp_path / "model.safetensors").items()}
    tensors |= {"h.0.attn.bias": torch.ones(1, 1, 64, 64), "layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6)}
    save_file(tensors, tmp_path / "model.safetensors")  # and without the metadata that transformers asks for
    assert torch.equal(packed_logits(load_model(tmp_path).model, texts([20]))[0], before)


def test_a_longer_context_keeps_the_original_context_of_rope_scaling(tmp_path: Path) -> None:
    """A missing original context means the present one."""
    settings = {**SIZES, "rope_scaling": {"rope_type": "yarn", "factor": 2.0}}
    config = transformers.AutoConfig.for_model("qwen2", **settings)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    TOKENIZER.save(tmp_path)
    table = json.loads((tmp_path / "config.json").read_text())
    table["rope_parameters"].pop("original_max_position_embeddings")
    (tmp_path / "config.json").write_text(json.dumps(table))
    longer = with_context(load_model(tmp_path), 256)
    save_model(tmp_path / "longer", longer)
    again = load_model(tmp_path / "longer").model
    assert again.config == longer.model.config
    assert again.config.context == 256
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "longer")
    rows = texts([200])
    assert_close(packed_logits(again, rows)[0], padded_logits(theirs, rows)[0])


@pytest.mark.parametrize("kind", ["gpt2", "phi3-longrope"])
def test_positions_that_cannot_be_extended_are_one_sentence(kind: str, tmp_path: Path) -> None:
    make(tmp_path, kind)
    name = "learned" if kind == "gpt2" else "LongRoPE"
    with pytest.raises(
        ValueError, match=f"^a context of 65 is more than the 64 tokens of the model's {name} positions$"
    ):
        with_context(load_model(tmp_path), 65)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "mamba"}, "models of type 'mamba' are not supported; supported: llama, mistral, *"),
        ({"hidden_size": "32"}, "hidden_size must be a whole number, and '32' is not; drop the quotes: 32"),
        ({"hidden_size": None}, "* needs 'hidden_size', and it is not set"),
        ({"intermediate_size": None}, "'intermediate_size' is not set"),
        ({"num_hidden_layers": 0}, "every size must be at least 1"),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of 3 key-value heads"),
        ({"hidden_act": "relu"}, "its activation 'relu' is not supported; supported: silu, *"),
        (
            {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
            "its rope_type 'dynamic' is not supported; supported: linear, llama3, yarn, longrope",
        ),
        ({"rope_scaling": {"type": "linear"}}, "its rope of type 'linear' lacks factor"),
        ({"partial_rotary_factor": 0.5}, "it rotates only a part of each head (partial_rotary_factor), *"),
        ({"rope_parameters": {"full_attention": {}}}, "its rope_parameters differ by layer, which is not supported"),
        ({"quantization_config": {"bits": 4}}, "its weights are quantised; use the original checkpoint"),
        (
            {"model_type": "smollm3", "no_rope_layers": [1]},
            "no_rope_layers lists 1 layers, but num_hidden_layers is 3",
        ),
        (
            {"model_type": "gemma2", "layer_types": ["chunked_attention"] * 3, "hidden_act": "gelu_pytorch_tanh"},
            "it has layers of type 'chunked_attention', which is not supported",
        ),
        (
            {"model_type": "gemma3_text", "use_bidirectional_attention": True},
            "its attention is bidirectional; only causal models are supported",
        ),
    ],
)
def test_an_unsupported_config_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match="here") as error:
        read_config({"model_type": "llama", **SIZES, **changes}, "here/config.json")
    start, _, end = sentence.partition("*")
    assert start in str(error.value)
    assert str(error.value).startswith("here/config.json")
    assert str(error.value).endswith(end)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["llama", "qwen3-yarn", "deepseek_v3", "gpt_oss"])
def test_pain_17_a_context_extended_by_yarn_is_that_of_transformers(kind: str, tmp_path: Path) -> None:
    """Two steps give the frequencies of one. The saved model has the same table, and its original context."""
    make(tmp_path, kind)
    before = load_model(tmp_path)
    steps = with_context(with_context(before, 128, "yarn"), 256, "yarn")
    once = with_context(before, 256, "yarn")
    assert steps.model.config == once.model.config
    assert not torch.equal(steps.model.rotations[:, :64], before.model.rotations)
    save_model(tmp_path / "longer", steps)
    again = load_model(tmp_path / "longer").model
    assert again.config == steps.model.config
    assert torch.equal(again.rotations, steps.model.rotations)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "longer")
    row = texts([200])
    assert_close(packed_logits(again, row)[0], padded_logits(theirs, row)[0])


def test_a_model_trained_here_keeps_yarn(tmp_path: Path) -> None:
    model = initialise(
        Transformer(resolve(ModelSettings(depth=1, width=32, heads=2, context=32), TOKENIZER.vocab_size)), 0
    )
    longer = with_context(Checkpoint(model, TOKENIZER), 64, "yarn")
    save_model(tmp_path, longer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    row = [torch.arange(60) % TOKENIZER.vocab_size]
    assert_close(packed_logits(longer.model, row)[0], padded_logits(theirs, row)[0])


def test_positions_scaled_in_another_way_are_not_extended_by_yarn(tmp_path: Path) -> None:
    make(tmp_path, "llama3")
    with pytest.raises(
        ValueError, match='^rope = "yarn" extends plain rotary positions or those of YaRN, and the model'
    ):
        with_context(load_model(tmp_path), 128, "yarn")


@pytest.mark.parametrize("kind", ["mixtral", "olmoe", "deepseek_v3", "gpt_oss"])
def test_gradients_of_mixtures_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    """Of experts, of the router and of the layer below all of them."""
    theirs, ours, rows = make(tmp_path, kind), load_model(tmp_path).model, texts([20, 9])
    cross_entropy(ours, collate([(Example(row.int().numpy()),) for row in rows]))[0]["loss"].backward()
    for row in rows:
        logits = theirs(input_ids=row[None]).logits[0]
        torch.nn.functional.cross_entropy(logits[:-1], row[1:], reduction="sum").backward()
    mlp, block = theirs.model.layers[1].mlp, ours.blocks[1]
    router = mlp.router if kind == "gpt_oss" else mlp.gate
    up, down = mlp.experts.gate_up_proj.grad, mlp.experts.down_proj.grad
    if kind == "gpt_oss":
        up, down = torch.cat([up[..., 0::2], up[..., 1::2]], dim=-1).transpose(1, 2), down.transpose(1, 2)
        torch.testing.assert_close(block.sinks.weight.grad, theirs.model.layers[1].self_attn.sinks.grad)
    for found, expected in (
        (block.experts.up.weight.grad, up),
        (block.experts.down.weight.grad, down),
        (block.router.weight.grad, router.weight.grad),
        (ours.embedding.weight.grad, theirs.model.embed_tokens.weight.grad),
    ):
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max() + 1e-5
