"""Files of prompts, and of answers to them, to items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tutelage.annotate.events import AnnotationItem, PromptTurn, dense_ranks, item_id
from tutelage.annotate.masking import mask_names
from tutelage.chat.formats.conversations import read_prompt
from tutelage.chat.formats.prompts import PROMPT_FORMATS, task
from tutelage.io.data_files import data_files
from tutelage.io.row import BrokenRow, Row
from tutelage.io.rows import rows
from tutelage.ledger import Ledger
from tutelage.text.pii import find_pii, mask

MOST_ANSWERS = 9
_SOURCES = ("source", "customer")


def make_item(
    prompt: Sequence[PromptTurn],
    answers: Sequence[str] = (),
    models: Sequence[str] = (),
    gold: Sequence[int] | None = None,
    source: str = "",
    suggestion: str = "",
) -> AnnotationItem:
    """An item. Equal answers of several models become one. `models` and `gold` have one entry for each answer."""
    distinct = tuple(dict.fromkeys(answers))
    pairs = [*zip(models, answers, strict=True)] if models else []
    writers = tuple(tuple(model for model, answer in pairs if answer == text) for text in distinct) if models else ()
    question = prompt[-1].content if prompt else ""
    leaks = tuple(mask_names(question, text, models)[1] for text in distinct)
    ranks = None if gold is None else tuple(gold[answers.index(text)] for text in distinct)
    turns = tuple(prompt)
    return AnnotationItem(
        id=item_id(turns, distinct, writers),
        prompt=turns,
        answers=distinct,
        models=writers,
        leaks=leaks,
        gold=ranks,
        source=source,
        suggestion=suggestion,
    )


def masked_answers(item: AnnotationItem) -> list[str]:
    """The answers as annotators see them."""
    models = [model for writers in item.models for model in writers]
    question = item.prompt[-1].content if item.prompt else ""
    return [mask_names(question, text, models)[0] for text in item.answers]


def read_prompt_items(path: Path, ledger: Ledger) -> list[AnnotationItem]:
    """An item without answers for each prompt of a file, with its "source" where it has one. Personal data in the
    prompts is masked, equal prompts are one item, a broken row is dropped, with its reason in `ledger`.

    Raises:
        DiskError: the file cannot be read.
        ValueError: no row has a prompt.
    """
    return _read_items(path, ledger, _is_prompt, _prompt_item, "{'prompt': ...}")


def read_answer_items(path: Path, ledger: Ledger) -> list[AnnotationItem]:
    """Items of a file of {"prompt", "answers": [text, ...]}, with "models" of the answers, "gold" ranks and "source"
    where it has them. Personal data in the prompts is masked. A broken row is dropped, with its reason in `ledger`.

    Raises:
        DiskError: the file cannot be read.
        ValueError: no row is an item.
    """
    return _read_items(path, ledger, lambda row: "answers" in row, _answer_item, "{'prompt': ..., 'answers': [...]}")


def _read_items(
    path: Path,
    ledger: Ledger,
    is_row: Callable[[Row], bool],
    make: Callable[[Row, Ledger, str], AnnotationItem],
    form: str,
) -> list[AnnotationItem]:
    found: dict[str, AnnotationItem] = {}
    for file in data_files(path):
        for place, row in rows(file, is_row):
            ledger.read()
            try:
                if row is None or isinstance(row, BrokenRow):
                    raise row or BrokenRow("blank line")
                item = make(row, ledger, place)
                if item.id in found:
                    raise BrokenRow("duplicate item")
            except BrokenRow as error:
                ledger.drop(error.reason, where=f"{place}: {error}")
                continue
            ledger.keep()
            found[item.id] = item
    if not found:
        reasons = ", ".join(f"{entry.rows} x {reason}" for reason, entry in ledger.dropped.items())
        raise ValueError(f"{path} has no row to annotate ({reasons or 'no rows'}); a row is {form}")
    return [*found.values()]


def _is_prompt(row: Row) -> bool:
    return any(format_.recognises(row) for format_ in PROMPT_FORMATS.values())


def _prompt_item(row: Row, ledger: Ledger, place: str) -> AnnotationItem:
    name = next((name for name, format_ in PROMPT_FORMATS.items() if format_.recognises(row)), None)
    if name is None:
        raise BrokenRow("no prompt", "a row needs one, such as 'prompt' or 'messages'")
    [found], _ = task(row, name, place, None)
    prompt = [PromptTurn(turn.role, turn.text) for turn in found.prompt]
    return make_item(_masked(prompt, ledger, place), source=_source(row))


def _source(row: Row) -> str:
    return next((str(row[name]) for name in _SOURCES if row.get(name)), "")


def _answer_item(row: Row, ledger: Ledger, place: str) -> AnnotationItem:
    answers = row.get("answers")
    if not isinstance(answers, list) or not all(isinstance(text, str) and text.strip() for text in answers):
        raise BrokenRow("malformed answers", "'answers' must be a list of texts")
    if not 2 <= len(answers) <= MOST_ANSWERS:
        raise BrokenRow("malformed answers", f"{len(answers)} answers; 2 to {MOST_ANSWERS} can be ranked")
    models, gold = row.get("models") or [], row.get("gold")
    if not isinstance(models, list) or (models and len(models) != len(answers)):
        raise BrokenRow("malformed models", "'models' must name the model of each answer")
    if gold is not None and not (
        isinstance(gold, list) and len(gold) == len(answers) and all(type(rank) is int for rank in gold)
    ):
        raise BrokenRow("malformed gold", "'gold' must be a list with the rank of each answer, 1 the best")
    prompt = [PromptTurn(m.role, m.text) for m in read_prompt(row)]
    return make_item(_masked(prompt, ledger, place), answers, [*map(str, models)], gold, _source(row))


def _masked(prompt: Sequence[PromptTurn], ledger: Ledger, place: str) -> list[PromptTurn]:
    """The prompt with personal data replaced by placeholders."""
    cleaned = [PromptTurn(turn.role, mask(turn.content, find_pii(turn.content))) for turn in prompt]
    if cleaned != [*prompt]:
        ledger.note("personal data masked", where=place)
    return cleaned


def gold_matches(item: AnnotationItem, ranks: Sequence[int | None]) -> tuple[int, int]:
    """Of the pairs of answers that a gold item orders, how many a vote orders likewise, and how many there are."""
    assert item.gold is not None
    gold = dense_ranks(tuple(item.gold))
    right = total = 0
    for i in range(len(gold)):
        for k in range(i):
            first, second = gold[i], gold[k]
            assert first is not None and second is not None
            if first != second:
                total += 1
                mine, other = ranks[i], ranks[k]
                right += mine is not None and other is not None and (mine < other) == (first < second) and mine != other
    return right, total
