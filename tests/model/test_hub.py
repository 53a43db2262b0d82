from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tutelage.chat.template import TEMPLATE_TOKENS
from tutelage.model.hub import Checkpoint, extend_vocabulary, load_model, load_tensors, save_model, save_tensors
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.tokenizer import TokenizerSettings, train

TOKENIZER = train(["abcdefgh "], TokenizerSettings(kind="char"))
SHAPES = [
    ModelSettings(depth=2, width=16, context=32),
    ModelSettings(depth=1, width=16, context=32, position="learned", tied=False, bias=True, norm="layer", mlp="gelu"),
    ModelSettings(depth=1, width=32, heads=4, kv_heads=2, context=32, tied=False, qk_norm=True, mlp="relu2"),
]


def make(shape: ModelSettings = SHAPES[0]) -> Checkpoint:
    return Checkpoint(initialise(Transformer(resolve(shape, TOKENIZER.vocab_size)), seed=4), TOKENIZER)


@torch.no_grad()
def logits(model: Transformer) -> torch.Tensor:
    tokens = torch.arange(32) % TOKENIZER.vocab_size
    return model.logits(model.hidden(tokens, torch.arange(32), model.within_segments((20, 12))))


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_saved_is_loaded_bit_for_bit(shape: ModelSettings, tmp_path: Path) -> None:
    saved = make(shape)
    save_model(tmp_path / "model", saved)
    loaded = load_model(tmp_path / "model")
    assert loaded.model.config == saved.model.config
    assert loaded.tokenizer.fingerprint() == saved.tokenizer.fingerprint()
    before, after = saved.model.state_dict(), loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(logits(saved.model), logits(loaded.model))
    assert all(p.requires_grad for p in loaded.model.parameters())


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut_in_half(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit_config(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return edit


def edit_weights(edit: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        tensors = load_tensors(folder / "model.safetensors")
        edit(tensors)
        save_tensors(folder / "model.safetensors", tensors)

    return rewrite


def other_tokenizer(folder: Path) -> None:
    TOKENIZER.extend(["<|more|>"]).save(folder)


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (
            without("config.json"),
            "{folder} holds no config.json, so it is no model; give the folder of a finished stage",
        ),
        (
            without("model.safetensors"),
            "{folder}/model.safetensors is missing; the folder {folder} is not a whole model",
        ),
        (
            without("tokenizer.json"),
            "{folder}/tokenizer.json: no tokenizer here; give a folder that holds tokenizer.json, or such a file",
        ),
        (cut_in_half, "{folder}/model.safetensors is not a whole safetensors file (*); copy or make it again"),
        (
            edit_config(width=32, head_size=32),
            "{folder}/model.safetensors: embedding.weight has shape (10, 16), expected (10, 32)",
        ),
        (
            edit_weights(lambda tensors: tensors.pop("blocks.1.qkv.weight")),
            "{folder}/model.safetensors lacks blocks.1.qkv.weight; it does not belong to the config.json beside it",
        ),
        (
            edit_weights(lambda tensors: tensors.update(value=torch.zeros(1))),
            "{folder}/model.safetensors holds value, which the model does not have; it does not belong to the "
            "config.json beside it",
        ),
        (other_tokenizer, "{folder}: the tokenizer has 11 tokens, the model 10"),
        (
            edit_config(widht=3),
            "{folder}/config.json has no setting 'widht'; did you mean 'width'? (this file was not written by this "
            "version)",
        ),
        (
            lambda folder: (folder / "config.json").write_text("{"),
            "{folder}/config.json is not valid JSON (*); remove it and make it again",
        ),
    ],
)
def test_a_broken_folder_is_one_sentence(break_it: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    save_model(tmp_path / "model", make())
    break_it(tmp_path / "model")
    with pytest.raises(ValueError, match="model") as error:
        load_model(tmp_path / "model")
    start, _, end = sentence.replace("{folder}", str(tmp_path / "model")).partition("*")
    assert str(error.value).startswith(start)
    assert str(error.value).endswith(end)
    assert end or str(error.value) == start
    assert "\n" not in str(error.value)


def test_no_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="^there is no model folder .*nowhere; `tutelage run` makes one for every stage$"
    ):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize("shape", SHAPES)
def test_an_extended_vocabulary_keeps_every_old_weight_and_logit(shape: ModelSettings) -> None:
    old = make(shape)
    new = extend_vocabulary(old, TEMPLATE_TOKENS, seed=1)
    added, before = len(TEMPLATE_TOKENS), TOKENIZER.vocab_size
    assert new.tokenizer.vocab_size == new.model.config.vocab == before + added
    assert [new.tokenizer.special(name) for name in TEMPLATE_TOKENS] == list(range(before, before + added))
    grown = {"embedding.weight"} | (set() if shape.tied else {"head.weight"})
    for name, weight in old.model.state_dict().items():
        kept = new.model.state_dict()[name]
        assert torch.equal(kept[: len(weight)], weight)
        assert len(kept) == len(weight) + (added if name in grown else 0)
        if name in grown:
            rows = kept[before:]
            assert len({tuple(row.tolist()) for row in rows}) == added  # no two new tokens are alike
            assert ((rows - weight.mean(dim=0)).abs().max(dim=1).values < weight.std()).all()
    torch.testing.assert_close(logits(new.model)[:, :before], logits(old.model), rtol=1e-5, atol=1e-6)
    assert all(p.requires_grad for p in new.model.parameters())


def test_pain_13_a_saved_extension_is_the_extension(tmp_path: Path) -> None:
    for shape in SHAPES:
        new = extend_vocabulary(make(shape), TEMPLATE_TOKENS, seed=1)
        save_model(tmp_path / "model", new)
        assert torch.equal(logits(load_model(tmp_path / "model").model), logits(new.model))


def test_extension_is_the_same_for_the_same_seed() -> None:
    first, again, other = (
        extend_vocabulary(make(), TEMPLATE_TOKENS, seed).model.embedding.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_extending_by_what_is_there_changes_nothing() -> None:
    extended = extend_vocabulary(make(), TEMPLATE_TOKENS, seed=1)
    assert extend_vocabulary(extended, TEMPLATE_TOKENS[:3], seed=1) is extended
