"""Nothing of a checkpoint is lost when a model made of it is saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3_5Config, Qwen3_5ForConditionalGeneration

from tutelage.chat.render.config import ChatConfig, ChatSettings, read_chat_config, write_chat_config
from tutelage.model.carried import checkpoint_dtype, whole_checkpoint
from tutelage.model.hub import load_model, save_model, save_tensors, with_lora
from tutelage.model.lora import LoraSettings
from tutelage.model.verify_adapter import export_merged, probe_logits, publish_adapter
from tutelage.model.weights import read_tensor, tensor_files, trained_state
from tutelage.tokenizer import TokenizerSettings, train

TOKENIZER = train(["abcdefgh "], TokenizerSettings(kind="char"))
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "vocab_size": 32}


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bfloat16 checkpoint with the files that users have beside the weights."""
    folder = tmp_path_factory.mktemp("half")
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(num_hidden_layers=1, **SIZES)).to(torch.bfloat16).save_pretrained(folder)
    TOKENIZER.save(folder)
    (folder / "tokenizer.model").write_bytes(b"SentencePiece")
    (folder / "preprocessor_config.json").write_text("{}")
    (folder / "LICENSE").write_text("terms")
    (folder / "stage.json").write_text("{}")
    return folder


def test_a_model_is_saved_in_the_dtype_it_came_in(half: Path, tmp_path: Path) -> None:
    checkpoint = load_model(half)
    assert checkpoint.model.embedding.weight.dtype == torch.float32
    save_model(tmp_path / "saved", checkpoint)
    for name, path in tensor_files(half).items():
        saved = read_tensor(tmp_path / "saved" / path.name, name)
        assert saved.dtype == torch.bfloat16
        assert torch.equal(saved, read_tensor(path, name))
    table = json.loads((tmp_path / "saved/config.json").read_text())
    assert checkpoint_dtype(table) == torch.bfloat16
    save_model(tmp_path / "again", load_model(tmp_path / "saved"))
    assert checkpoint_dtype(json.loads((tmp_path / "again/config.json").read_text())) == torch.bfloat16


def test_an_adapter_merged_into_a_bfloat16_base_is_saved_in_bfloat16(half: Path, tmp_path: Path) -> None:
    """Its rotary tables were rounded with the weights in memory, so that the saved model "gave other logits"."""
    settings = LoraSettings(rank=2)
    trained = with_lora(load_model(half), settings, (), seed=1)
    with torch.no_grad():
        for tensor in trained_state(trained.model).values():
            tensor += 0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(2))
    publish_adapter(tmp_path / "tuned", trained, half, settings)
    export_merged(tmp_path / "tuned", tmp_path / "merged")
    assert {read_tensor(path, name).dtype for name, path in tensor_files(tmp_path / "merged").items()} == {
        torch.bfloat16
    }
    scale = float(probe_logits(trained).abs().max())
    merged_PV = probe_logits(load_model(tmp_path / "merged"))
    torch.testing.assert_close(merged_PV, probe_logits(trained), rtol=0, atol=0.02 * scale)


def test_small_files_go_with_the_model_and_those_of_a_run_do_not(half: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "saved", load_model(half))
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert {"tokenizer.model", "preprocessor_config.json", "LICENSE"} <= names
    assert "stage.json" not in names


def test_a_vision_tower_is_saved_as_it_was(tmp_path: Path) -> None:
    """Qwen 3.5 is loaded as a text model: the tensors of its tower, and their names, must survive."""
    linear = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2}
    text = {**SIZES, **linear, "head_dim": 16, "num_key_value_heads": 1, "linear_num_value_heads": 2}
    sight = {"hidden_size": 16, "intermediate_size": 32, "patch_size": 14, "depth": 1, "num_heads": 2}
    config = Qwen3_5Config(
        text_config={**text, "num_hidden_layers": 4, "tie_word_embeddings": True},
        vision_config={**sight, "out_hidden_size": 32, "num_position_embeddings": 16},
        tie_word_embeddings=True,
    )
    source = tmp_path / "source"
    Qwen3_5ForConditionalGeneration(config).save_pretrained(source)
    TOKENIZER.save(source)
    checkpoint = load_model(source)
    with torch.no_grad():
        checkpoint.model.embedding.weight += 1
    save_model(tmp_path / "saved", checkpoint)
    before, after = tensor_files(source), tensor_files(tmp_path / "saved")
    assert before.keys() == after.keys()
    changed = [n for n in before if not torch.equal(read_tensor(before[n], n), read_tensor(after[n], n))]
    assert changed == ["model.language_model.embed_tokens.weight"]
    kept = {name for name in after if name.startswith("model.visual.")}
    assert len(kept) > 10
    table = json.loads((tmp_path / "saved/config.json").read_text())
    assert table["architectures"] == ["Qwen3_5ForConditionalGeneration"]


def test_names_that_do_not_fit_are_not_guessed(tmp_path: Path) -> None:
    save_tensors(tmp_path / "model.safetensors", {"other.weight": torch.zeros(2)})
    assert whole_checkpoint({"model.weight": torch.ones(2)}, tmp_path) is None


def test_a_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n"
    (tmp_path / "model.safetensors").write_text(pointer)
    with pytest.raises(ValueError, match="is a Git LFS pointer.*git lfs pull"):
        tensor_files(tmp_path)


def test_further_templates_and_settings_are_kept(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    config = read_chat_config(tmp_path)
    assert (config.template, config.other_templates) == ("A", {"tool_use": "B"})
    settings = ChatSettings(template_settings={"enable_thinking": False}, system="Be brief.")
    (tmp_path / "out").mkdir()
    write_chat_config(
        tmp_path / "out", ChatConfig(config.template, settings=settings, other_templates={"tool_use": "B"})
    )
    again = read_chat_config(tmp_path / "out")
    assert (again.template, again.other_templates, again.settings) == ("A", {"tool_use": "B"}, settings)


def test_the_name_of_a_template_is_no_path(tmp_path: Path) -> None:
    named = [{"name": "../../x", "template": "B"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    with pytest.raises(ValueError, match="use letters and digits"):
        read_chat_config(tmp_path)
