from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Verb = Callable[..., Result]
Refused = Callable[..., str]
Chats = Callable[..., Path]


def test_look_shows_the_rows_of_a_step(verb: Verb, tiny: Path) -> None:
    table = verb("look", tiny / "chat").stdout
    assert "<|assistant|>" in table
    assert "micro-batch 1 of 1" in table
    running = verb("look", tiny / "chat", "--text", "--rows", 1).stdout
    assert "⟦" in running
    assert "segment 2" not in running
    (rows,) = json.loads(verb("look", tiny / "base", "--json", "--step", 2, "--rows", 2).stdout)
    assert {row["segment"] for row in rows} == {0, 1}
    assert {row["label_role"] for row in rows} == {"document"}


def test_look_saves_a_picture(verb: Verb, tiny: Path, tmp_path: Path) -> None:
    result = verb("look", tiny / "chat", "--rows", 1, "--svg", tmp_path / "look.svg")
    assert "micro-batch 1 of 1" in result.stdout
    picture = (tmp_path / "look.svg").read_text()
    assert "tutelage&#160;look&#160;tiny/chat" in picture
    assert "@font-face" not in picture  # nothing is fetched from the network


def test_look_at_a_file_shows_what_would_be_trained(
    chats: Chats, refused: Refused, verb: Verb, tiny: Path, tmp_path: Path
) -> None:
    data = chats("What is 2 + 3?", "Who is there?", broken=True)
    result = verb("look", data, "--model", tiny, "--text")
    assert "⟦·It·is·so.<|end|>⟧" in result.stdout
    assert "dropped: not JSON" in result.stdout
    first, _ = json.loads(verb("look", data, "--model", tiny / "base", "--json").stdout)
    trained = [token for token, weight in zip(first["tokens"], first["weights"], strict=True) if weight]
    assert "".join(trained) == " It is so.<|end|>"
    everything = verb("look", data, "--model", tiny, "--train-on", "all_tokens", "--json", "--rows", 1).stdout
    assert sum(json.loads(everything)[0]["weights"]) == len(first["tokens"]) - 1
    assert (
        refused("look", data)
        == f"the tokens of {data} depend on the model; give --model RUN/STAGE, or any model's folder"
    )


def test_look_explains_how_each_row_is_rendered(chats: Chats, refused: Refused, verb: Verb, tiny: Path) -> None:
    data = chats("What is 2 + 3?", "Who is there?")
    shown = verb("look", data, "--model", tiny, "--explain").stdout.replace("\n", " ")
    assert "native renderer" in shown
    assert "trained after the generation prompt <|assistant|>" in shown
    first, _ = json.loads(verb("look", data, "--model", tiny, "--explain", "--json").stdout)
    assert (first["renderer"], first["cache_hit"], first["refused"]) == ("native", None, "")
    assert first["outline"] == "<|user|>{0.0}<|end|><|assistant|>{1.0}<|end|>"
    (turn,) = first["turns"]
    assert (turn["message"], turn["prompt"], turn["end_token"]) == (1, "<|assistant|>", "<|end|>")
    assert sum(first["examples"][0]["weights"]) > 0
    assert "give a file of conversations" in refused("look", tiny, "--explain")


def test_look_explains_cache_hits_and_refusals_of_a_template(
    chats: Chats, verb: Verb, tiny: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny / "chat", tmp_path / "model")
    (model / "chat_template.jinja").write_text(
        "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    data = chats("What is 2 + 3?", "Who is there?", "What is <|end|>?")
    first, second, third = json.loads(verb("look", data, "--model", model, "--explain", "--json").stdout)
    assert [row["renderer"] for row in (first, second, third)] == ["hf"] * 3
    assert (first["cache_hit"], second["cache_hit"]) == (False, True)
    assert "a special token in a text (message 0 holds <|end|>; remove it)" in third["refused"]
    assert (third["outline"], third["turns"], third["examples"]) == ("", [], [])
    shown = verb("look", data, "--model", model, "--explain").stdout
    assert "render-cache hit" in shown
    assert "refused: conversation" in shown


def test_look_at_answers_shows_how_sure_the_model_was(refused: Refused, verb: Verb, tiny: Path) -> None:
    question = "Who are you?"
    (answer,) = json.loads(verb("look", tiny, "--ask", question, "--json").stdout)
    assert answer["question"] == question
    for place in answer["tokens"]:
        assert all(0 <= share <= place["probability"] + 1e-6 for share in place["others"].values())  # greedy
    shown = verb("look", tiny, "--ask", question).stdout
    assert question in shown
    assert "probability" in shown
    assert refused("look", tiny / "base", "--ask", question).endswith("and cannot chat; give a fine-tuned stage")


@pytest.mark.parametrize("what", ["step", "file", "answers"])
def test_look_saves_a_page(chats: Chats, refused: Refused, verb: Verb, tiny: Path, tmp_path: Path, what: str) -> None:
    data = chats("What is 2 + 3?", "Who is there?")
    targets = {"step": [tiny], "file": [data, "--model", tiny], "answers": [tiny, "--ask", "One?", "--ask", "Two?"]}
    page = tmp_path / "page.html"
    result = verb("look", *targets[what], "--rows", 2, "--html", page)
    assert result.stdout == f"page with 2 rows: {page}\n"
    assert page.read_text().startswith("<!doctype html>")
    both = "--svg saves the terminal output, and --html prints none; give one of the two"
    assert refused("look", *targets[what], "--html", page, "--svg", page) == both


def test_a_run_stands_for_its_last_finished_stage(verb: Verb, tiny: Path) -> None:
    of_run, of_stage = (verb("look", path, "--json").stdout for path in (tiny, tiny / "chat"))
    assert of_run == of_stage


def test_f31_names_that_look_like_markup_are_shown_as_they_are(
    chats: Chats, verb: Verb, refused: Refused, tiny: Path, tmp_path: Path
) -> None:
    data = tmp_path / "rows[v1] [bold]x[red].jsonl"
    shutil.copy(chats("What is [2] [/2] [red]?", broken=True), data)
    shown = verb("look", data, "--model", tiny, "--text").stdout
    assert f"1 of 1 conversations of {data.name}" in shown
    assert "What·is·[2]·[/2]·[red]?" in shown
    assert f"{data.name}: 1 conversations" in verb("audit", data).stdout.replace("\n", " ")
    assert f"cannot read {tmp_path}/no[v1].jsonl" in refused("look", tmp_path / "no[v1].jsonl", "--model", tiny)


def test_f08_look_and_audit_say_which_split_they_read(chats: Chats, verb: Verb, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rows[v1]"
    folder.mkdir()
    for name in ("train", "dev", "test"):
        shutil.copy(chats("What is 2 + 3?"), folder / f"{name}.jsonl")
    said = "rows[v1]: trained on: train.jsonl; held out: dev.jsonl; not read: test.jsonl"
    assert said in verb("look", folder, "--model", tiny).stdout
    assert said in verb("audit", folder).stdout
