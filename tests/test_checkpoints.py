"""From a published checkpoint and a file of conversations to a checkpoint that loads everywhere, as a user does it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from tutelage import progress
from tutelage.cli import main
from tutelage.model.hub import load_model

transformers = pytest.importorskip("transformers")

# ChatML that leaves the reasoning out of earlier turns, as many reasoning models do.
TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.reasoning_content and loop.last %}
        {{- '<think>' + message.reasoning_content + '</think>' }}
    {%- endif %}
    {{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
ROWS = [("What is red?", "A colour."), ("What is two?", "A number."), ("Who are you?", "A model.")] * 4


@pytest.fixture(autouse=True)
def automatic_progress() -> Iterator[None]:
    yield
    progress.set_mode("auto")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint as `transformers` writes it: its turn's end is not its end of text, its padding is."""
    folder = tmp_path_factory.mktemp("published")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator([f"{asked} {answer}" for asked, answer in ROWS], trainer)
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=128, tie_word_embeddings=True,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def verb(*arguments: object, stdin: str = "") -> Result:
    result = CliRunner(env={"COLUMNS": "120"}).invoke(main, [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == 0, result.output
    return result


def written(folder: Path, rows: list[list[dict[str, str]]]) -> Path:
    path = folder / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return path


def one_turn(asked: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


@pytest.fixture(scope="module")
def tuned(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    data = written(folder, [one_turn(*row) for row in ROWS])
    verb("sft", "--model", published, "--data", data, "--out", folder / "out", "--lr", 0.01, "--epochs", 30)
    return folder / "out"


def test_what_was_tuned_loads_in_transformers_and_answers_there_as_here(tuned: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tuned)
    model = transformers.AutoModelForCausalLM.from_pretrained(tuned)
    for asked, _ in ROWS[:3]:
        answer = json.loads(verb("chat", tuned, "--json", stdin=f"{asked}\n").stdout)[0]["assistant"]
        assert answer in {known for _, known in ROWS}
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": asked}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        # Nothing is said about stopping: the folder itself knows the token that training taught as the end.
        there = model.generate(**prompt, max_new_tokens=30, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        assert tokenizer.decode(there) == f"{answer}<|im_end|>"


def test_samples_during_training_stop_at_the_templates_own_end_of_turn(published: Path, tmp_path: Path) -> None:
    """A model whose turns do not end as Tutelage's do would write turn after turn otherwise."""
    data = written(tmp_path, [one_turn(*row) for row in ROWS])
    options = "--lr", 0.01, "--epochs", 30, "stages.sft.held_out=0.3", "stages.sft.evaluate_every=8"
    verb("sft", "--model", published, "--data", data, "--out", tmp_path / "out", *options)
    lines = map(json.loads, (tmp_path / "out" / "sft" / "train.jsonl").read_text().splitlines())
    samples = [line["samples"] for line in lines if "samples" in line]
    assert len(samples) > 1
    answers = {answer for _, answer in ROWS}
    for sample in samples[-1]:
        assert sample["prompt"].endswith("<|im_start|>assistant\n")
        assert sample["written"] in answers
        assert sample["truth"].startswith(tuple(f"{answer}<|im_end|>" for answer in answers))
    for row in samples:
        assert not any("<|im_" in sample["written"] for sample in row)


def test_a_published_layout_comes_back_with_all_that_was_not_trained(published: Path, tuned: Path) -> None:
    before, after = ({p.name for p in folder.iterdir() if p.is_file()} for folder in (published, tuned))
    assert before <= after
    assert (tuned / "chat_template.jinja").read_text() == (published / "chat_template.jinja").read_text()
    configs = [json.loads((folder / "config.json").read_text()) for folder in (published, tuned)]
    assert configs[0]["architectures"] == configs[1]["architectures"] == ["Qwen3ForCausalLM"]
    assert (tuned / "model.safetensors").samefile(tuned / "sft" / "model.safetensors")
    assert not np.array_equal(*(load_model(f).model.embedding.weight.detach().numpy() for f in (published, tuned)))


def test_pain_17_what_the_base_forgot_is_reported_though_its_text_is_not_known(tuned: Path) -> None:
    summary = json.loads((tuned / "summary.json").read_text())
    low, increase, high = (summary[f"evaluate.sft.forgetting.{name}"] for name in ("low", "increase", "high"))
    assert low <= increase <= high
    assert "probe" not in summary["stages.sft.ledgers.chat.step"]


def test_pain_14_turns_that_the_template_rewrites_are_trained_one_by_one_and_the_ledger_says_so(
    published: Path, tmp_path: Path
) -> None:
    thought = {"role": "assistant", "content": "A colour.", "reasoning_content": "Red?"}
    row = [{"role": "user", "content": "What is red?"}, thought] * 2
    out = tmp_path / "out"
    data = written(tmp_path, [row] * 3)
    verb("sft", "--model", published, "--data", data, "--out", out, "--lr", 0.01, "--epochs", 1)
    ledger = json.loads((out / "sft" / "stage.json").read_text())["ledgers"]["chat"]
    assert ledger["noted"]["conversations whose turns are trained one by one"]["rows"] == 3
    text = verb("look", data, "--model", published, "--rows", 1, "--text").stdout
    assert text.count("Red?") == 2  # each answer is trained with its reasoning, and read without it afterwards
    assert "chats.jsonl:1" in text


def test_what_cannot_be_proven_is_refused_with_its_text_and_left_out_only_when_asked(
    published: Path, tmp_path: Path
) -> None:
    good = [one_turn(*row) for row in ROWS]
    data = written(tmp_path, [*good, one_turn("What is this?", "The token <|im_end|> ends a turn.")])
    arguments = "sft", "--model", published, "--data", data, "--out", tmp_path / "out", "--epochs", 1
    refused = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert refused.exit_code == 1
    assert f"chats.jsonl:{len(good) + 1}" in refused.stderr
    assert "<|im_end|>" in refused.stderr
    verb(*arguments, "--max-refused", 0.1)
    ledger = json.loads((tmp_path / "out" / "sft" / "stage.json").read_text())["ledgers"]["chat"]
    assert ledger["rows_read"] == len(good) + 1
    assert [part["rows"] for part in ledger["dropped"].values()] == [1]
