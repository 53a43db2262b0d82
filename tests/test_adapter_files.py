"""From training to what others load: the model in memory, read back, merged and exported give the same logits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.files import read_json, write_json
from tutelage.model.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tutelage.model.hub import (
    Checkpoint,
    extend_vocabulary,
    load_config,
    load_model,
    save_adapter,
    save_model,
    with_context,
    with_lora,
)
from tutelage.model.lora import LoraSettings
from tutelage.model.verify_adapter import (
    AdapterMismatchError,
    export_adapter,
    export_merged,
    probe_logits,
    publish_adapter,
    verify_adapter,
)
from tutelage.model.weights import trained_state
from tutelage.tokenizer import TokenizerSettings, train

TOKENIZER = train(["abcdefgh "], TokenizerSettings(kind="char"))
FULL, SPARE = TOKENIZER.vocab_size, TOKENIZER.vocab_size + 20  # rows for as many tokens as there are, and for more
LLAMA = {
    "vocab_size": FULL, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "tie_word_embeddings": False,
    "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
GPT2 = {
    "vocab_size": FULL, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": None,
    "eos_token_id": None,
}  # fmt: skip
# Architectures that are not built in.
NEOX = {
    "vocab_size": FULL, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 64, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", LLAMA),
    "llama-tied": ("llama", {**LLAMA, "tie_word_embeddings": True}),
    "llama-tied-spare": ("llama", {**LLAMA, "tie_word_embeddings": True, "vocab_size": SPARE}),
    "qwen3": ("qwen3", {**LLAMA, "vocab_size": SPARE}),
    "qwen3-tied": ("qwen3", {**LLAMA, "tie_word_embeddings": True}),
    "phi3": ("phi3", {name: value for name, value in LLAMA.items() if name != "head_dim"}),
    "gemma2-tied": ("gemma2", {**LLAMA, "query_pre_attn_scalar": 20, "tie_word_embeddings": True}),
    "gpt2-tied": ("gpt2", GPT2),
    "gpt2": ("gpt2", {**GPT2, "tie_word_embeddings": False, "vocab_size": SPARE}),
    "gpt_neox": ("gpt_neox", NEOX),
    "granite-tied": ("granite", {**NEOX, "tie_word_embeddings": True, "logits_scaling": 3.0}),
    "qwen2-dora": ("qwen2", {name: value for name, value in LLAMA.items() if name != "head_dim"}),
    "gpt2-tied-dora": ("gpt2", GPT2),
}
SETTINGS = LoraSettings(rank=3, alpha=5, rank_stabilised=True)


def settings_of(kind: str) -> LoraSettings:
    return msgspec.structs.replace(SETTINGS, dora=kind.endswith("-dora"))


def make_base(folder: Path, kind: str) -> Path:
    """A published model of random weights in a folder."""
    family, settings = KINDS[kind]
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(family, **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.save_pretrained(folder)
    TOKENIZER.save(folder)
    return folder


def make_tuned(base: Path, settings: LoraSettings = SETTINGS, dtype: torch.dtype | None = None) -> Checkpoint:
    """A model with new tokens and an adapter, as after some training."""
    checkpoint = load_model(base, dtype=dtype)
    known = checkpoint.tokenizer.vocab_size
    checkpoint = extend_vocabulary(checkpoint, TEMPLATE_TOKENS, seed=1)
    checkpoint = with_lora(checkpoint, settings, range(known, checkpoint.tokenizer.vocab_size), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in trained_state(checkpoint.model).values():
            tensor += torch.randn(tensor.shape, generator=generator) * 0.2
    return checkpoint


@pytest.fixture(scope="module", params=KINDS)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Path]:
    """A tuned model in memory, and the folder it was published in; its base stands beside that as `base`."""
    folder = tmp_path_factory.mktemp(request.param)
    settings = settings_of(request.param)
    live = make_tuned(make_base(folder / "base", request.param), settings)
    publish_adapter(folder / "tuned", live, folder / "base", settings)
    return live, folder / "tuned"


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@torch.no_grad()
def theirs(model: Any, checkpoint: Checkpoint) -> torch.Tensor:
    """The logits of `probe_logits` from a model of transformers."""
    place = torch.arange(64)
    known = checkpoint.tokenizer.vocab_size
    tokens = torch.where(place % 2 == 1, known - 1 - place // 2 % known, place * 7919 % known)
    return model.eval()(input_ids=tokens[None]).logits[0].float()


def test_pain_13_trained_reloaded_merged_and_exported_agree(published: tuple[Checkpoint, Path], tmp_path: Path) -> None:
    live, folder = published
    expected = probe_logits(live)
    assert (
        expected - probe_logits(extend_vocabulary(load_model(folder.parent / "base"), TEMPLATE_TOKENS, 1))
    ).std() > 0.05
    reloaded, merged = load_model(folder, merged=False), load_model(folder)
    assert torch.equal(probe_logits(reloaded), expected)
    assert reloaded.tokenizer.fingerprint() == live.tokenizer.fingerprint()
    close(probe_logits(merged), expected)
    export_merged(folder, tmp_path / "merged")
    close(probe_logits(load_model(tmp_path / "merged")), expected)
    close(theirs(transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged"), live), expected)
    export_adapter(folder, tmp_path / "adapter")
    assert torch.equal(probe_logits(load_model(tmp_path / "adapter", merged=False)), expected)
    # From its length peft knows how much room new tokens need.
    assert len(transformers.AutoTokenizer.from_pretrained(tmp_path / "adapter")) == live.tokenizer.vocab_size
    assert load_config(folder) == merged.model.config


def test_pain_13_the_files_follow_the_semantics_of_peft(published: tuple[Checkpoint, Path]) -> None:
    """W + scale B A beside each matrix that is named, and new tokens' rows in place of the embedding's: by hand."""
    live, folder = published
    said, tensors = read_json(folder / ADAPTER_CONFIG), load_file(folder / ADAPTER_WEIGHTS)
    model = transformers.AutoModelForCausalLM.from_pretrained(said["base_model_name_or_path"])
    tokens = live.tokenizer.vocab_size
    if tokens > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(tokens, mean_resizing=False)
    scale, used = said["lora_alpha"] / said["r"] ** 0.5, set()
    with torch.no_grad():
        for name, module in model.named_modules():
            key = f"base_model.model.{name}"
            if f"{key}.lora_A.weight" in tensors:
                assert name.rpartition(".")[2] in said["target_modules"]
                pair = [f"{key}.lora_{one}.weight" for one in ("B", "A")]
                change = tensors[pair[0]] @ tensors[pair[1]] * scale
                module.weight += change.T if said["fan_in_fan_out"] else change
                used |= {*pair}
                if said["use_dora"]:
                    magnitude = tensors[f"{key}.lora_magnitude_vector"]
                    rows = module.weight.T if said["fan_in_fan_out"] else module.weight
                    rows *= (magnitude / rows.norm(dim=1))[:, None]
                    used.add(f"{key}.lora_magnitude_vector")
            if (rows := f"{key}.token_adapter.trainable_tokens_delta") in tensors:
                module.weight[said["trainable_token_indices"][name.rpartition(".")[2]]] = tensors[rows]
                used.add(rows)
    assert used == tensors.keys()
    close(theirs(model, live), probe_logits(live))


@pytest.mark.filterwarnings("ignore")  # what peft and transformers warn each other of is theirs
def test_pain_13_peft_loads_it(published: tuple[Checkpoint, Path], tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed; the extra dev has it")
    live, folder = published
    export_adapter(folder, tmp_path / "adapter")
    model = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    close(theirs(model, live), probe_logits(live))
    close(theirs(model.merge_and_unload(), live), probe_logits(live))


@pytest.mark.filterwarnings("ignore")
def test_pain_13_adapters_saved_by_peft_are_loaded(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed; the extra dev has it")
    for kind in ("llama", "qwen3-tied", "gpt2-tied", "qwen2-dora", "gpt2-tied-dora"):
        base = make_base(tmp_path / kind, kind)
        model = transformers.AutoModelForCausalLM.from_pretrained(base)
        end = "wte" if kind.startswith("gpt2") else "embed_tokens"
        settings = peft.LoraConfig(
            r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM",
            trainable_token_indices={end: [1, 3]}, use_dora=kind.endswith("-dora"),
        )  # fmt: skip
        tuned = peft.get_peft_model(model, settings)
        with torch.no_grad():
            for name, parameter in tuned.named_parameters():
                if "trainable_tokens" in name or "magnitude" in name:
                    parameter.add_(0.3)
        tuned.save_pretrained(tmp_path / f"{kind}-tuned")
        found = load_model(tmp_path / f"{kind}-tuned")
        close(probe_logits(found), theirs(tuned, found))


def test_an_adapter_holds_only_trained_parameters(published: tuple[Checkpoint, Path]) -> None:
    live, folder = published
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    assert sum(t.numel() for t in tensors.values()) == sum(t.numel() for t in trained_state(live.model).values())
    rows = [tensor for name, tensor in tensors.items() if "token_adapter" in name]
    assert len(rows) == (1 if live.model.config.tied else 2)
    assert all(len(one) == len(TEMPLATE_TOKENS) for one in rows)
    assert not (folder / "model.safetensors").exists()


def test_a_bfloat16_base_is_reloaded_bit_for_bit(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "qwen3-tied")
    live = make_tuned(base, dtype=torch.bfloat16)
    publish_adapter(tmp_path / "tuned", live, base, SETTINGS)
    found = load_model(tmp_path / "tuned", dtype=torch.bfloat16, merged=False)
    assert torch.equal(probe_logits(found), probe_logits(live))
    assert {p.dtype for p in found.model.parameters() if p.requires_grad} == {torch.float32}


def test_an_adapter_that_fails_verification_is_not_published(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "llama-tied")
    live = make_tuned(base)
    publish_adapter(tmp_path / "tuned", live, base, SETTINGS)
    before = (tmp_path / "tuned" / ADAPTER_WEIGHTS).read_bytes()
    with torch.no_grad():  # the base is to stay as its folder has it
        live.model.blocks[0].attention_norm.weight += 0.1
    with pytest.raises(AdapterMismatchError, match="gives other logits than the trained model .* not published"):
        publish_adapter(tmp_path / "tuned", live, base, SETTINGS)
    assert (tmp_path / "tuned" / ADAPTER_WEIGHTS).read_bytes() == before
    assert not list((tmp_path / "tuned").glob(".*"))
    with pytest.raises(AdapterMismatchError):
        verify_adapter(tmp_path / "tuned", live)


def test_a_base_that_changed_is_refused_and_one_that_moved_is_found(tmp_path: Path) -> None:
    base = make_base(tmp_path / "run" / "base", "llama")
    live = make_tuned(base)
    publish_adapter(tmp_path / "run" / "tuned", live, base, SETTINGS)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert torch.equal(probe_logits(load_model(tmp_path / "moved" / "tuned", merged=False)), probe_logits(live))
    weights = tmp_path / "moved" / "base" / "model.safetensors"
    save_file({name: tensor + 0.01 for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(ValueError, match="is not the model that the adapter in .* was trained on"):
        load_model(tmp_path / "moved" / "tuned")
    shutil.rmtree(tmp_path / "moved" / "base")
    with pytest.raises(ValueError, match="holds an adapter, and its base was not found"):
        load_model(tmp_path / "moved" / "tuned")


def test_full_weights_and_an_adapter_replace_each_other(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "llama")
    live, whole = make_tuned(base), load_model(base)
    save_model(tmp_path / "stage", whole)
    publish_adapter(tmp_path / "stage", live, base, SETTINGS)
    assert torch.equal(probe_logits(load_model(tmp_path / "stage", merged=False)), probe_logits(live))
    save_model(tmp_path / "stage", whole)
    assert torch.equal(probe_logits(load_model(tmp_path / "stage")), probe_logits(whole))


def test_an_adapter_on_an_adapter(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "llama-tied")
    publish_adapter(tmp_path / "first", make_tuned(base), base, SETTINGS)
    second = make_tuned(tmp_path / "first")
    assert second.model.embedding_rows is None  # its tokens are known by now
    publish_adapter(tmp_path / "second", second, tmp_path / "first", SETTINGS)
    assert torch.equal(probe_logits(load_model(tmp_path / "second", merged=False)), probe_logits(second))
    with pytest.raises(ValueError, match="is an adapter itself, which PEFT cannot load; add --merge"):
        export_adapter(tmp_path / "second", tmp_path / "out")
    export_merged(tmp_path / "second", tmp_path / "out")
    close(probe_logits(load_model(tmp_path / "out")), probe_logits(second))


def edit(folder: Path, **said: object) -> None:
    write_json(folder / ADAPTER_CONFIG, read_json(folder / ADAPTER_CONFIG) | said)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"peft_type": "IA3"}, "adapters of type 'IA3' are not supported"),
        ({"use_dora": True}, "lora_magnitude_vector of shape None, with use_dora True, which does not match"),
        ({"bias": "all"}, "it trains biases"),
        ({"init_lora_weights": "pissa"}, "it changes the base's weights"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern"),
        ({"r": None}, "the adapter is incomplete"),
        ({"trainable_token_indices": {"embed_tokens": [1, 2]}}, "which does not match the base"),
    ],
)
def test_unsupported_adapters_are_refused(
    said: dict[str, object], sentence: str, adapter: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(adapter, tmp_path / "copy"))
    edit(folder, **said)
    with pytest.raises(ValueError, match=sentence):
        load_model(folder)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    base = make_base(folder / "base", "llama-tied")
    publish_adapter(folder / "tuned", make_tuned(base), base, SETTINGS)
    return folder / "tuned"


def rewrite(folder: Path, change: Any) -> None:
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    change(tensors)
    save_file(tensors, folder / ADAPTER_WEIGHTS, {"format": "pt"})


def test_tensors_of_another_model_are_refused(adapter: Path, tmp_path: Path) -> None:
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    changes = {
        "missing": lambda tensors: tensors.pop(key),
        "unknown": lambda tensors: tensors.update({"base_model.model.model.norm.weight": torch.ones(32)}),
        "layer": lambda tensors: tensors.update({key.replace("layers.0", "layers.7"): tensors.pop(key)}),
        "shape": lambda tensors: tensors.update({key: torch.zeros(3, 31)}),
    }
    for name, change in changes.items():
        folder = Path(shutil.copytree(adapter, tmp_path / name))
        rewrite(folder, change)
        with pytest.raises(ValueError, match="which does not match the base"):
            load_model(folder)


def test_a_pickle_is_never_loaded(adapter: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapter, tmp_path / "copy"))
    (folder / ADAPTER_WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(ValueError, match="a pickle, which can run code"):
        load_model(folder)


def test_pain_13_full_embeddings_are_loaded_and_refused_where_they_untie(adapter: Path, tmp_path: Path) -> None:
    """What PEFT writes where a vocabulary has grown: the whole embedding, and the head beside it."""
    embedding = load_model(adapter).model.embedding.weight.detach()
    keys = [f"base_model.model.{name}.weight" for name in ("model.embed_tokens", "lm_head")]
    rows = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"

    def whole(head: torch.Tensor) -> Path:
        folder = Path(shutil.copytree(adapter, tmp_path / str(len(list(tmp_path.iterdir())))))
        edit(folder, trainable_token_indices=None)
        rewrite(folder, lambda tensors: tensors.pop(rows))
        rewrite(folder, lambda tensors: tensors.update(dict(zip(keys, (embedding.clone(), head), strict=True))))
        return folder

    close(probe_logits(load_model(whole(embedding.clone()))), probe_logits(load_model(adapter)))
    with pytest.raises(ValueError, match="embedding and head were trained separately, but the base ties them"):
        load_model(whole(embedding + 1))


def test_export_overwrites_no_folder_and_needs_an_adapter(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    for export in (export_merged, export_adapter):
        with pytest.raises(ValueError, match="exists already"):
            export(adapter, tmp_path / "taken")
        with pytest.raises(ValueError, match="holds no adapter; its weights are complete"):
            export(adapter.parent / "base", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["some-one/small-1B", "gpt2"])
def test_a_base_from_the_hub_keeps_its_name(tmp_path: Path, name: str) -> None:
    base = make_base(tmp_path / f"models--{name.replace('/', '--')}" / "snapshots" / "0123abc", "llama")
    save_adapter(tmp_path / "tuned", make_tuned(base), base, SETTINGS)
    said = read_json(tmp_path / "tuned" / ADAPTER_CONFIG)
    assert (said["base_model_name_or_path"], said["revision"]) == (name, "0123abc")


def test_peft_is_not_given_trained_rows_of_an_output_matrix_with_a_bias(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "phi", ("phi", {**NEOX, "vocab_size": SPARE}))
    live = make_tuned(make_base(tmp_path / "base", "phi"))
    publish_adapter(tmp_path / "tuned", live, tmp_path / "base", SETTINGS)
    export_merged(tmp_path / "tuned", tmp_path / "merged")
    close(probe_logits(load_model(tmp_path / "merged")), probe_logits(live))
    with pytest.raises(ValueError, match="peft drops the bias of an output matrix whose rows are trained; add --merge"):
        export_adapter(tmp_path / "tuned", tmp_path / "adapter")


def test_an_extended_context_is_kept(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "llama")
    live = with_lora(with_context(load_model(base), 96), SETTINGS, (), seed=0)
    publish_adapter(tmp_path / "tuned", replace(live), base, SETTINGS)
    assert load_model(tmp_path / "tuned").model.config.context == 96
