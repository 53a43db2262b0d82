from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from tutelage.chat import ChatConfig
from tutelage.chat.render.make import base_config
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.model.hub import (
    Checkpoint,
    extend_vocabulary,
    find_checkpoint,
    load_config,
    load_model,
    load_tensors,
    save_model,
    save_tensors,
    with_context,
)
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.tokenizer import END_OF_TEXT, TokenizerSettings, train

TOKENIZER = train(["abcdefgh "], TokenizerSettings(kind="char"))
SHAPES = [
    ModelSettings(depth=2, width=16, context=32),
    ModelSettings(depth=1, width=16, context=32, position="learned", tied=False, bias=True, norm="layer", mlp="gelu"),
    ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=32, tied=False, qk_norm=True),
    ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=32, tied=False, qk_norm=True, mlp="relu2"),
]
LAYOUTS = ["llama", "gpt2", "qwen3", None]  # whose layout each is written in; None is our own


def make(shape: ModelSettings = SHAPES[0]) -> Checkpoint:
    return Checkpoint(initialise(Transformer(resolve(shape, TOKENIZER.vocab_size)), seed=4), TOKENIZER)


@torch.no_grad()
def logits(model: Transformer) -> torch.Tensor:
    tokens = torch.arange(32) % TOKENIZER.vocab_size
    return model.logits(model.hidden(tokens, torch.arange(32), model.within_segments((20, 12))))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_saved_model_is_loaded_bit_for_bit(shape: ModelSettings, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(("shape", "layout"), zip(SHAPES, LAYOUTS, strict=True))
def test_a_new_model_is_saved_as_a_family_that_it_fits(
    shape: ModelSettings, layout: str | None, tmp_path: Path
) -> None:
    saved = make(shape)
    save_model(tmp_path, saved)
    assert json.loads((tmp_path / "config.json").read_text()).get("model_type") == layout
    if layout is None:
        return
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokens = torch.arange(20)[None] % TOKENIZER.vocab_size
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=tokens).logits[0], logits(saved.model)[:20], rtol=0, atol=1e-5)
    assert theirs.num_parameters() == sum(p.numel() for p in saved.model.parameters())


def test_transformers_finds_the_token_that_texts_of_a_new_base_begin_and_end_with(tmp_path: Path) -> None:
    tokenizer = train(["a tale of a whale"], TokenizerSettings(vocab=270))
    model = initialise(Transformer(resolve(SHAPES[0], tokenizer.vocab_size)), seed=4)
    save_model(tmp_path, Checkpoint(model, tokenizer, base_config(tokenizer)))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.bos_token == theirs.eos_token == END_OF_TEXT
    assert [theirs.eos_token_id] == tokenizer.document_edges[1].tolist()
    assert theirs("a tale").input_ids == tokenizer.encode("a tale").tolist()
    assert base_config(train(["ab"], TokenizerSettings(kind="char"), ())) == ChatConfig()


def test_chat_settings_of_a_folder_are_kept(tmp_path: Path) -> None:
    source = ChatConfig("{{ messages }}", {"eos_token": "<|end|>"}, {"temperature": 0.6, "eos_token_id": [3, 4]})
    save_model(tmp_path / "one", replace(make(), chat_config=source))
    checkpoint = extend_vocabulary(with_context(load_model(tmp_path / "one"), 64), TEMPLATE_TOKENS, seed=1)
    save_model(tmp_path / "two", checkpoint)
    assert load_model(tmp_path / "two").chat_config == source
    assert load_config(tmp_path / "two").context == 64


def test_saving_another_model_replaces_the_first(tmp_path: Path) -> None:
    for shape in SHAPES:
        save_model(tmp_path, make(shape))
        assert torch.equal(logits(load_model(tmp_path).model), logits(make(shape).model))


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


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def sentencepiece(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")


def sharded(edit: Callable[[dict[str, str]], object]) -> Callable[[Path], None]:
    """Put every tensor into a shard of its own, then edit which is said to hold what."""

    def cut(folder: Path) -> None:
        lora_targets = {}
        for number, (name, tensor) in enumerate(load_tensors(folder / "model.safetensors").items()):
            lora_targets[name] = f"model-{number}.safetensors"
            save_tensors(folder / lora_targets[name], {name: tensor})
        (folder / "model.safetensors").unlink()
        edit(lora_targets)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": lora_targets}))

    return cut


def other_tokenizer(folder: Path) -> None:
    TOKENIZER.extend(["<|more|>"]).save(folder)


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (
            without("config.json"),
            "{folder} has no config.json, so it is not a model; give the folder of a finished stage",
        ),
        (
            without("model.safetensors"),
            "{folder}/model.safetensors is missing; the model in {folder} is incomplete",
        ),
        (
            without("tokenizer.json"),
            "{folder}/tokenizer.json: no tokenizer here; give a folder that holds tokenizer.json, or such a file",
        ),
        (cut_in_half, "{folder}/model.safetensors is not a valid safetensors file (*); copy or create it again"),
        (
            edit_config(hidden_size=32),
            "{folder}/model.safetensors: model.embed_tokens.weight has shape (10, 16), expected (10, 32)",
        ),
        (
            edit_weights(lambda tensors: tensors.pop("model.layers.1.self_attn.k_proj.weight")),
            "{folder}/model.safetensors lacks model.layers.1.self_attn.k_proj.weight; it does not match the "
            "config.json beside it",
        ),
        (
            edit_weights(lambda tensors: tensors.update(value=torch.zeros(1))),
            "{folder}/model.safetensors contains value, which the model does not have; it does not match the "
            "config.json beside it",
        ),
        (
            edit_weights(lambda tensors: tensors.update({"model.norm.weight": torch.ones(16, dtype=torch.int8)})),
            "{folder}/model.safetensors: model.norm.weight has dtype torch.int8; expected floating-point numbers of 16 "
            "bits or more",
        ),
        (
            edit_weights(lambda tensors: tensors["model.norm.weight"].__setitem__(7, float("nan"))),
            "{folder}/model.safetensors: model.norm.weight contains NaN or infinity, so the model is unusable; "
            "download it again, or use another",
        ),
        (
            edit_weights(
                lambda tensors: tensors.update(
                    {"model.norm.weight": torch.full((16,), -torch.inf, dtype=torch.float16)}
                )
            ),
            "{folder}/model.safetensors: model.norm.weight contains NaN or infinity, *",
        ),
        (
            edit_weights(lambda tensors: tensors.update({"lm_head.weight": torch.zeros(10, 16)})),
            "{folder}/model.safetensors: lm_head.weight differs from the embedding, but tie_word_embeddings is true; "
            "set it to false in config.json",
        ),
        (other_tokenizer, "{folder}: the tokenizer has 11 tokens, the model 10; the files belong to different models"),
        (
            lambda folder: (folder / "config.json").write_text("{"),
            "{folder}/config.json is not valid JSON (*); remove it and make it again",
        ),
        (lambda folder: (folder / "config.json").write_text("[]"), "{folder}/config.json is not a JSON object; *"),
        (
            pickled,
            "{folder}: the weights are in pytorch_model.bin, a pickle, which can run code when loaded and is never "
            "loaded; convert it with transformers: *",
        ),
        (
            sentencepiece,
            "{folder} has tokenizer.model but no tokenizer.json; convert the tokenizer: "
            "transformers.AutoTokenizer.from_pretrained('{folder}').save_pretrained('{folder}')",
        ),
        (
            sharded(lambda lora_targets: lora_targets.update(lost="model-99.safetensors")),
            "{folder}/model-99.safetensors is missing; the model in {folder} is incomplete",
        ),
        (
            sharded(lambda lora_targets: lora_targets.update({"model.norm.weight": "model-1.safetensors"})),
            "{folder}/model-1.safetensors lacks model.norm.weight, which model.safetensors.index.json lists there; "
            "download it again",
        ),
        (
            sharded(lambda lora_targets: lora_targets.pop("model.norm.weight")),
            "{folder}/model.safetensors.index.json lacks model.norm.weight; it does not match the config.json "
            "beside it",
        ),
        (
            sharded(lambda lora_targets: lora_targets.update({"model.norm.weight": "../model-1.safetensors"})),
            "{folder}/model.safetensors.index.json names the shard ../model-1.safetensors, which is not a file in its "
            "folder; download it again",
        ),
        (
            sharded(lambda lora_targets: lora_targets.clear()),
            "{folder}/model.safetensors.index.json has no weight_map; *",
        ),
    ],
)
def test_a_broken_folder_is_one_sentence(break_it: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    save_model(tmp_path / "model", make())
    break_it(tmp_path / "model")
    with pytest.raises(ValueError, match="model") as error:
        load_model(tmp_path / "model")
    start, star, end = sentence.replace("{folder}", str(tmp_path / "model")).partition("*")
    assert str(error.value).startswith(start)
    assert str(error.value).endswith(end)
    assert star or str(error.value) == start
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"widht": 3},
            "has no setting 'widht'; did you mean 'width'? (another version saved this file)",
        ),
        ({"norm": "batch"}, "norm cannot be 'batch'; choose one of rms, *"),
    ],
)
def test_a_broken_config_of_our_own_is_one_sentence(changes: dict[str, object], sentence: str, tmp_path: Path) -> None:
    save_model(tmp_path, make(SHAPES[-1]))
    edit_config(**changes)(tmp_path)
    with pytest.raises(ValueError, match="config.json") as error:
        load_model(tmp_path)
    assert sentence.partition("*")[0] in str(error.value)


def test_a_model_folder_is_found_and_a_missing_one_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_checkpoint(str(tmp_path)) == tmp_path
    with pytest.raises(ValueError, match="^there is no model folder /no/such/model; give a folder, or the name of a "):
        find_checkpoint("/no/such/model")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is a file, but a model is a folder; give the folder$"):
        find_checkpoint(tmp_path / "file")
    for name in ("owner/name", "no-such-model"):  # HF_HUB_OFFLINE is set for all tests
        with pytest.raises(
            ValueError,
            match=f"^there is no folder {name}, and no model of that name is in the hub's local cache, and the hub "
            "cannot be reached; check the path or the network$",
        ):
            find_checkpoint(name)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"^there is no folder owner/name, and .* pip install 'tutelage\[hub\]'$"):
        find_checkpoint("owner/name")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("RepositoryNotFoundError", "the hub has no model of that name, or you have no access to it; check the name"),
        ("GatedRepoError", "the model of that name on the hub is gated; accept its terms"),
        (
            "HfHubHTTPError",
            r"no model of that name could be downloaded from the hub \(401: no\); run the ",
        ),
    ],
)
def test_a_failed_download_states_its_reason(
    error: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def refuse(name: str, *, repo_type: str, revision: str | None, **_: object) -> str:
        kind = getattr(huggingface_hub.errors, error)
        made = kind.__new__(kind)  # without the answer of a server that its own maker asks for
        made.args = ("401: no\nmore",)
        raise made

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ValueError, match=f"^there is no folder gpt2, and {sentence}"):
        find_checkpoint("gpt2")


def test_no_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="^there is no model folder .*nowhere; `tutelage run` creates one for every stage$"
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


def test_pain_13_an_extended_vocabulary_is_saved_exactly(tmp_path: Path) -> None:
    for shape in SHAPES:
        new = extend_vocabulary(make(shape), TEMPLATE_TOKENS, seed=1)
        save_model(tmp_path / "model", new)
        assert torch.equal(logits(load_model(tmp_path / "model").model), logits(new.model))


def test_vocabulary_extension_depends_on_the_seed_alone() -> None:
    first, again, other = (
        extend_vocabulary(make(), TEMPLATE_TOKENS, seed).model.embedding.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_extending_by_what_is_there_changes_nothing() -> None:
    extended = extend_vocabulary(make(), TEMPLATE_TOKENS, seed=1)
    assert extend_vocabulary(extended, TEMPLATE_TOKENS[:3], seed=1) is extended
