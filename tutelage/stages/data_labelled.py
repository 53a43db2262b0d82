"""Files of labelled rows: classes of texts, tags of words, answers in passages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from tutelage.config import Settings
from tutelage.io.data_files import data_files
from tutelage.io.row import BrokenRow, Row
from tutelage.io.rows import rows
from tutelage.records import Labelled, Span, Split, Word
from tutelage.stages.data_files import held_out_files

_WORD = re.compile(r"\w+|[^\w\s]")
_FORMS = (
    '{"text", "label"} or {"text", "second", "label"}, {"tokens", "tags"}, {"text", "entities"}, or SQuAD\'s '
    '{"question", "context", "answers"}'
)


class LabelledData(Settings, tag="labelled", tag_field="kind", frozen=True, kw_only=True):
    """Files of labelled rows, for a stage of kind "classify": JSON lines, JSON, Parquet or CSV. A row is `{"text",
    "label"}`, with `"second"` where there are two texts; `{"tokens", "tags"}` or `{"text", "entities"}`, whose entities
    have `start`, `end` and `label`; or `{"question", "context", "answers"}` as in SQuAD.

    path, held_out: as of "chat".
    """

    path: str
    held_out: str | None = None


def labelled_rows(data: LabelledData) -> Iterator[Labelled]:
    """The rows of the data's files; where held-out files are named, each with the part that it belongs to.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a row is broken; the sentence names it.
    """
    others = held_out_files(data)
    own = ((file, None if others is None else "train") for file in data_files(Path(data.path)))
    held = () if others is None else ((file, "held_out") for file in data_files(*others))
    for file, split in chain(own, held):
        for place, row in rows(file, lambda row: True):
            if row is None:
                continue
            try:
                if isinstance(row, BrokenRow):
                    raise row
                yield labelled(row, place, split)  # type: ignore[arg-type]
            except BrokenRow as error:
                raise ValueError(f"{file.with_name(place)}: {error}; correct the row or remove it") from None


def labelled(row: Row, id: str, split: Split | None = None) -> Labelled:
    """A row of a file.

    Raises:
        BrokenRow: it has none of the forms, or its offsets do not fit its text.
    """
    if "question" in row and "context" in row:
        return Labelled(_text(row, "question"), _text(row, "context"), answers=_answers(row), id=id, split=split)
    tags = next((name for name in ("tags", "ner_tags") if name in row), None)
    if "tokens" in row and tags is not None:
        text, words = _tagged(row["tokens"], row[tags])
        return Labelled(text, words=words, id=id, split=split)
    if "entities" in row:
        text = _text(row, "text")
        return Labelled(text, words=_entities(text, row["entities"]), id=id, split=split)
    if "label" in row and ("text" in row or "sentence" in row):
        label, second = row["label"], row.get("second", "")
        if isinstance(label, bool) or not isinstance(label, str | int) or not isinstance(second, str):
            raise BrokenRow("a label that is neither text nor a number", repr(label))
        return Labelled(_text(row, "text" if "text" in row else "sentence"), second, str(label), id=id, split=split)
    raise BrokenRow("no known form", f"its fields: {', '.join(map(repr, list(row)[:8]))}; known: {_FORMS}")


def _text(row: Row, name: str) -> str:
    if not isinstance(row.get(name), str) or not row[name].strip():
        raise BrokenRow(f"no text in '{name}'")
    return str(row[name])


def _answers(row: Row) -> tuple[Span, ...]:
    answers = row.get("answers")
    if isinstance(answers, dict):  # SQuAD on the hub: lists of texts and of starts
        answers = [
            {"text": text, "answer_start": start}
            for text, start in zip(answers.get("text", ()), answers.get("answer_start", ()), strict=True)
        ]
    if not isinstance(answers, list):
        raise BrokenRow("no list of answers")
    context, found = str(row["context"]), []
    for answer in answers:
        start, text = answer.get("answer_start"), answer.get("text")
        if not isinstance(start, int) or not isinstance(text, str) or context[start : start + len(text)] != text:
            raise BrokenRow("an answer that is not at its place", f"{text!r} at character {start} of the context")
        found.append(Span(start, text))
    return tuple(found)


def _tagged(tokens: Any, tags: Any) -> tuple[str, tuple[Word, ...]]:
    """Words with a blank between, and their places."""
    if not isinstance(tokens, list) or not isinstance(tags, list) or len(tokens) != len(tags) or not tokens:
        raise BrokenRow("tokens and tags are not two lists of one length")
    if not all(isinstance(token, str) and token.strip() for token in tokens):
        raise BrokenRow("a token without text")
    if not all(isinstance(tag, str) and tag for tag in tags):
        raise BrokenRow("a tag that is no text", 'numbers need their names: write "B-PER", not 1')
    words, start = [], 0
    for token, tag in zip(tokens, tags, strict=True):
        words.append(Word(start, start + len(token), tag))
        start += len(token) + 1
    return " ".join(tokens), tuple(words)


def _entities(text: str, entities: Any) -> tuple[Word, ...]:
    """The words of a text with tags B-LABEL, I-LABEL and O. An entity covers whole words."""
    if not isinstance(entities, list):
        raise BrokenRow("no list of entities")
    words = [match.span() for match in _WORD.finditer(text)]
    tags = ["O"] * len(words)
    for entity in entities:
        start, end, label = (entity.get(name) for name in ("start", "end", "label"))
        inside = [place for place, word in enumerate(words) if start <= word[0] and word[1] <= end]
        exact = inside and words[inside[0]][0] == start and words[inside[-1]][1] == end
        if not exact or any(tags[place] != "O" for place in inside):
            raise BrokenRow("an entity that is not whole words, or overlaps another", f"{text[start:end]!r}")
        for place in inside:
            tags[place] = f"{'B' if place == inside[0] else 'I'}-{label}"
    return tuple(Word(*word, tag) for word, tag in zip(words, tags, strict=True))
