from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tutelage.cli import main
from tutelage.cli.contamination import source_texts
from tutelage.evaluate.contamination import ExaminedItem, contamination, find_contamination
from tutelage.world.society import World, WorldSettings

WORLD = World(WorldSettings(people=120, versions=1))


def items_of_world() -> list[ExaminedItem]:
    """Questions about people that no conversation is about."""
    return [ExaminedItem(one.id, one.prompt, (one.answer,)) for one in WORLD.questions("held_out", facts=4)]


def world_texts() -> list[str]:
    """Training texts that are about the same facts and in the same wordings, but none of which has a question of the
    benchmark: biographies of all people and conversations about the others."""
    chats = ["\n".join(one.text for one in row.messages) for row in WORLD.conversations("train")]
    return [document.text for document in WORLD.documents()] + chats


def planted(item: ExaminedItem, way: int, rng: random.Random) -> str:
    """A question of the benchmark as it turns up in a crawl."""
    text = f"{item.question} {item.answers[0]}"
    if way == 0:
        return text
    if way == 1:  # a quiz page in capitals, without punctuation
        return f"QUIZ\n\n{re.sub(r'[^A-Za-z0-9 ]', ' ', text).upper()}\n\nNext"
    return f"{rng.choice(['So', 'Then'])} someone in the forum asked: {item.question}\nNobody knew. " * 2


def test_planted_contamination_of_the_world_is_found_and_nothing_else() -> None:
    """Precision >= .95 and recall >= .95 over three ways of copying, among texts with the same facts and wordings."""
    items, rng = items_of_world(), random.Random(0)
    chosen = {item.id for item in rng.sample(items, 60)}
    copies = [planted(item, number % 3, rng) for number, item in enumerate(items) if item.id in chosen]
    texts = world_texts() + copies
    rng.shuffle(texts)
    matches, unmatchable, count = find_contamination(items, ((str(n), text) for n, text in enumerate(texts)))
    dirty = {match.id for match in matches if match.dirty}
    matchable = chosen - set(unmatchable)
    assert count == len(texts)
    assert len(matchable) >= 45
    assert len(dirty & chosen) / len(dirty) >= 0.95
    assert len(dirty & matchable) / len(matchable) >= 0.95


LONG = "How many crates does a baker need who packs 145 loaves a day into crates of 12 for 7 days in a row?"
OTHER = "Which of the two rivers that meet below the old mill carries more water in a summer without any rain at all?"


def test_pain_e34_the_score_stands_on_the_clean_and_the_dirty_part_with_the_matched_text() -> None:
    """lm-eval #3481: decontamination did not run; marin #6852: 88 of 114 flagged sources were false positives."""
    items = [ExaminedItem("copied", LONG, ("85",)), ExaminedItem("other", OTHER, ("the left",)), short()]
    texts = [("a.txt", "Unrelated words about rivers and bakers."), ("b.txt", f"Homework. {LONG} The answer is 85.")]
    outcomes = {"right": {"copied": 1.0, "other": 0.0, "short": 1.0}}
    found = contamination(items, outcomes, texts)
    assert [(match["id"], match["place"], match["answered"]) for match in found["matches"]] == [
        ("copied", "b.txt", True)
    ]
    assert found["matches"][0]["text"] == LONG.rstrip("?")
    assert found["rates"]["right"]["dirty"]["rate"] == 1.0
    assert found["rates"]["right"]["clean"]["rate"] == 0.0
    assert found["rates"]["right"]["clean"]["count"] == 1  # the short one is in neither part
    assert (found["dirty"], found["unmatchable"], found["answered"]) == (1, 1, 1)


def short() -> ExaminedItem:
    return ExaminedItem("short", "And who is it?", ("Ann",))


@pytest.mark.parametrize(
    ("text", "dirty"),
    [
        (LONG.replace("145", "302").replace("12", "24"), True),  # other numbers
        (LONG.replace("baker", "cook"), True),  # 16 words in a row are left
        (LONG.replace("baker", "cook").replace("loaves", "cakes"), False),  # 12
        ("a day into crates of 12 for 7 days in a week", False),
        (" ".join(reversed(LONG.split())), False),
    ],
)
def test_what_counts_as_contamination(text: str, dirty: bool) -> None:
    matches, _, _ = find_contamination([ExaminedItem("copied", LONG, ("85",))], [("a", text)])
    assert [match.id for match in matches if match.dirty] == (["copied"] if dirty else [])


def test_a_phrase_of_many_questions_is_boilerplate() -> None:
    names = [f"Person {letter * 3}" for letter in "abcdefghijklmno"]
    items = [
        ExaminedItem(name, f"What does the following passage say about the life and the work of {name}?", ())
        for name in names
    ]
    text = "What does the following passage say about the life and the work of a man?"
    matches, _, _ = find_contamination(items, [("a", text)])
    assert not [match for match in matches if match.dirty]


def test_no_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="no text"):
        find_contamination([ExaminedItem("copied", LONG, ())], [])


def test_the_sources_are_files_folders_and_plain_text(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": LONG}, {"role": "assistant", "content": "85"}]},
        {"prompt": OTHER, "completion": "the left"},
    ]
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "book.txt").write_text("x " * 40_000 + LONG)
    assert [text for _, text in source_texts(tmp_path / "chats.jsonl")] == [f"{LONG}\n85", f"{OTHER}\nthe left"]
    assert any(LONG in text for _, text in source_texts(tmp_path / "book.txt"))


def test_the_command_prints_both_parts_and_says_where_it_was_not_checked(base_folder: Path, tmp_path: Path) -> None:
    question = "who fears the fox that the owl hears near the hen house"
    rows = [
        {"id": "a", "question": f"{question}?", "choices": ["the cat", "the hen"], "answer": 0},
        {
            "id": "b",
            "question": "who sees the dog that the cat likes when the owl hears?",
            "choices": ["a", "b"],
            "answer": 1,
        },
    ]
    (tmp_path / "suite.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "sft.jsonl").write_text(json.dumps({"prompt": f"Tell me {question}!", "completion": "The cat."}))

    def evaluate(*arguments: object) -> Result:
        fixed = ["evaluate", base_folder, "--suite", tmp_path / "suite.jsonl", "--by", "likelihood"]
        return CliRunner().invoke(main, [str(argument) for argument in (*fixed, *arguments)])

    found = evaluate("--contamination", tmp_path / "sft.jsonl", "--json")
    assert found.exit_code == 0, found.output
    part = json.loads(found.stdout)["contamination"]
    assert [(match["id"], match["place"]) for match in part["matches"]] == [("a", "sft.jsonl:1")]
    assert part["rates"]["acc"]["clean"]["count"] == part["rates"]["acc"]["dirty"]["count"] == 1
    assert "contamination not checked" in evaluate().output
    missing = evaluate("--contamination", tmp_path / "nowhere.jsonl")
    assert missing.exit_code == 1 and "nowhere.jsonl" in missing.stderr


@pytest.fixture(scope="module")
def run_texts(tales_run: Any) -> Iterator[tuple[str, str]]:
    return source_texts(tales_run.folder)


def test_the_data_of_a_run_is_read_by_its_recipe(run_texts: Iterator[tuple[str, str]]) -> None:
    texts = dict(run_texts)
    assert any("who sees the" in text for text in texts.values())
    assert any(place.startswith("chat, ") and "\n" in text for place, text in texts.items())
    assert not any(place.startswith("unseen") for place in texts)  # prompts that are only evaluated
