"""A benchmark of multiple choice that the model answers in words: the choices are listed, and it names a letter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tutelage.evaluate.benchmarks.benchmark import (
    ChoiceBenchmark,
    ItemScore,
    PromptBenchmark,
    PromptItem,
    as_item_score,
)
from tutelage.evaluate.benchmarks.run_choices import read_choice_set
from tutelage.evaluate.choice_rows import LETTERS
from tutelage.evaluate.questions import CHOOSE
from tutelage.scoring.choice import choice
from tutelage.scoring.extract import marked_result, visible

_LETTER = re.compile(r"\W*([A-Z])\b\W*(.*)", re.DOTALL)


def by_answer(benchmark: ChoiceBenchmark) -> PromptBenchmark:
    """The same questions, answered in words. Examples are drawn from other questions of the group."""

    def read(files: Sequence[Path]) -> list[PromptItem]:
        items = read_choice_set(benchmark, files)
        if any(item.beginnings or len(item.choices) < 2 for item in items):
            raise ValueError(f"{benchmark.name} has texts to continue and no choices to name; leave --by answer out")
        return [
            PromptItem(
                item.id,
                "\n".join([item.question.strip(), *map("{}. {}".format, LETTERS, item.choices)]),
                LETTERS[item.gold],
                solution=f"{LETTERS[item.gold]}. {item.choices[item.gold]}",
                group=item.group,
                data={"choices": item.choices, "shown": f"{LETTERS[item.gold]}. {item.choices[item.gold]}"},
            )
            for item in items
        ]

    return PromptBenchmark(
        name=f"{benchmark.name}_answer",
        title=f"{benchmark.title}, by answer",
        files=benchmark.files,
        read=lambda row, place: PromptItem(place, "", ""),
        read_files=read,
        score=score_choice,
        shot_files=benchmark.shot_files,
        same_group=benchmark.first,
        instruction=CHOOSE,
        max_tokens=64,
    )


def score_choice(answer: str, item: PromptItem) -> Mapping[str, ItemScore]:
    """Lenient: the letter that the answer names, or the only choice whose text it has. Strict: nothing but a letter,
    maybe with its choice, or one that is marked as the answer."""
    text, choices = visible(answer), item.data["choices"]
    named = as_item_score(choice(answer, item.gold))
    lenient = named
    if lenient.outcome == "unparsable":
        places = [place for place, words in enumerate(choices) if _has(text, words)]
        if len(places) == 1:
            letter = LETTERS[places[0]]
            lenient = ItemScore("right" if letter == item.gold else "wrong", letter)
    plain = any(_is_plain(part, choices) for part in (text, marked_result(text) or ""))
    return {"lenient": lenient, "strict": named if plain else ItemScore("unparsable")}


def _is_plain(text: str, choices: Sequence[str]) -> bool:
    """Whether a text is a letter, maybe with its choice."""
    found = _LETTER.fullmatch(text)
    if found is None or found[1] not in LETTERS[: len(choices)]:
        return False
    return found[2].strip(" .*\n").lower() in ("", choices[LETTERS.index(found[1])].strip(" .").lower())


def _has(text: str, words: str) -> bool:
    wanted = words.strip().rstrip(".").lower()
    return bool(wanted) and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", text.lower()) is not None
