from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import groupby

import numpy as np
import pytest

from tutelage.chat.render.documents import render_document
from tutelage.chat.render.hf import HFRenderer
from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.renderer import Rendered
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.chat.token_page import Row, generation_row, packed_rows, rendered_row, rows_page
from tutelage.html import Html, Token
from tutelage.records import Conversation, message
from tutelage.tokenizer import TokenizerSettings, train

TOKENIZER = train(["Write a greeting", "Good day"] * 8, TokenizerSettings(vocab=290)).extend(TEMPLATE_TOKENS)
RENDERER = NativeRenderer(TOKENIZER)
((RENDERED,),) = RENDERER.render_rows([Conversation((message("user", "Write\né"), message("assistant", "Good day")))])
DOCUMENT = render_document("Good day", TOKENIZER)
NOTHING = DOCUMENT.part(0, 0)


def words(cell: str) -> str:
    """What a cell shows, without its markup."""
    return re.sub("<[^>]*>", "", cell.replace("&lt;", "‹").replace("&gt;", "›"))


def cells(row: Row) -> list[list[str]]:
    return [[words(cell) for cell in line] for line in row.table]


def test_a_conversation_shows_what_is_trained_and_what_each_position_predicts() -> None:
    row = rendered_row(RENDERED, TOKENIZER, "one", {"file": "a.jsonl"})
    assert (
        "".join(token.text for token in row.tokens) == "<|user|> Write\n\\xc3\\xa9<|end|><|assistant|> Good day<|end|>"
    )
    assert [token.text for token in row.tokens if token.trained] == [" Good", " day", "<|end|>"]
    assert [token.text for token in row.tokens if token.special] == ["<|user|>", "<|end|>", "<|assistant|>", "<|end|>"]
    assert row.meta == {"file": "a.jsonl", "tokens": "10", "trained": "3"}
    assert cells(row)[5:] == [
        ["5", "‹|end|›", "user", "", "0"],
        ["6", "‹|assistant|›", "assistant", " Good", "1"],
        ["7", " Good", "assistant", " day", "1"],
        ["8", " day", "assistant", "‹|end|›", "1"],
        ["9", "‹|end|›", "assistant", "", "0"],
    ]
    assert row.tokens[7].title == f"position 7, assistant, id {RENDERED.ids[7]}\ntrained, weight 1\npredicts “·day”"
    assert "context only" in row.tokens[1].title


def test_segments_of_a_packed_row_are_rows_like_those_rendered_alone() -> None:
    segments = (DOCUMENT, RENDERED)
    columns = [
        np.concatenate([np.append(getattr(one, name)[1:], getattr(one, name).dtype.type(0)) for one in segments])
        for name in ("ids", "weights", "roles")
    ]
    labels, weights, roles = columns
    lengths = [len(one.ids) for one in segments]
    packed = packed_rows(np.concatenate([one.ids for one in segments]), labels, weights, roles, lengths, TOKENIZER)
    assert [row.title for row in packed] == ["segment 1 of 2", "segment 2 of 2"]
    for row, rendered in zip(packed, segments, strict=True):
        alone = rendered_row(rendered, TOKENIZER, row.title)
        assert row.tokens == alone.tokens
        assert row.table == alone.table
        assert row.meta == alone.meta


def test_a_generation_shows_how_sure_the_model_was_and_what_else_it_could_have_written() -> None:
    prompt = RENDERER.render_prompts([Conversation((message("user", "Write"),))])[0]
    good, day, end = RENDERED.ids[7:10].tolist()
    alternatives = [[(good, 0.5), (day, 0.25)], [(day, 1.0)], [(end, 0.25), (good, 0.125)]]
    row = generation_row(prompt, [good, day, end], np.log([0.5, 1, 0.25]), alternatives, TOKENIZER, "one")
    probabilities = [token.probability for token in row.tokens]
    assert probabilities[: len(prompt.ids)] == [None] * len(prompt.ids)
    assert probabilities[len(prompt.ids) :] == pytest.approx([0.5, 1, 0.25])
    assert [token.role for token in row.tokens] == ["user"] * 3 + ["assistant"] * 4
    assert cells(row)[-3:] == [
        ["4", " Good", "assistant", "50.0%", "“·day” 25.0%"],
        ["5", " day", "assistant", "100.0%", ""],
        ["6", "‹|end|›", "assistant", "25.0%", "“·Good” 12.5%"],
    ]
    assert row.meta == {"written": "3 tokens", "perplexity": "2.00"}
    assert row.tokens[4].title.endswith("probability 50.0%\nor “·day” 25.0%")


def test_with_a_template_of_its_own_too_an_answer_is_the_assistants(make: Callable[..., HFRenderer]) -> None:
    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    renderer = make(template, eos="<|im_end|>")
    (prompt,) = renderer.render_prompts([Conversation((message("system", "Be brief"), message("user", "Who?")))])
    answer = renderer.tokenizer.encode("Ada").tolist()
    row = generation_row(prompt, answer, [-1.0] * len(answer), [[]] * len(answer), renderer.tokenizer, "one")
    roles = [role for role, _ in groupby(token.role for token in row.tokens)]
    assert roles == ["system", "user", "assistant"]
    assert [token.role for token in row.tokens[-len(answer) :]] == ["assistant"] * len(answer)


def test_a_base_model_writes_a_document() -> None:
    row = generation_row(DOCUMENT.part(0, 1), DOCUMENT.ids[1:2], [1e-9], [[]], TOKENIZER, "one")
    assert {token.role for token in row.tokens} == {"document"}
    assert row.tokens[1].probability == 1  # a logarithm a hair above 0 is rounding
    nothing = generation_row(NOTHING, [], [], [], TOKENIZER, "nothing")
    assert nothing.meta == {"written": "0 tokens"}


def test_a_generation_that_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="'one' has 2 ids, 1 log-probabilities and 2 lists"):
        generation_row(NOTHING, [1, 2], [-1.0], [[], []], TOKENIZER, "one")


class Articles(HTMLParser):
    """The attributes and headings of a page's rows; every element that opens must close."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[dict[str, str | None]] = []
        self.titles: list[str] = []
        self.feed(document)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "wbr"}:
            self.open.append(tag)
        if tag == "article":
            self.rows.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-2:] == ["article", "h2"]:
            self.titles.append(data)


def test_a_page_holds_every_row_even_without_scripts() -> None:
    rows = [
        rendered_row(RENDERED, TOKENIZER, "<one>"),
        rendered_row(DOCUMENT, TOKENIZER, "two"),
        Row("bare", [Token("x")]),
    ]
    document = rows_page("Rows", "Two of them.", rows)
    read = Articles(document)
    assert read.titles == ["<one>", "two", "bare"]
    assert [row["id"] for row in read.rows] == ["row-1", "row-2", "row-3"]
    # The é that the tokenizer cut into bytes can be searched for; where nothing was cut, the text stands there once.
    assert "é" in (read.rows[0]["data-text"] or "")
    assert "data-text" not in read.rows[1]
    assert document.count("<details>") == 2
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", document)
    # Nothing is hidden but by the script.
    assert "hidden" not in re.sub(r"<(script|style)>.*?</\1>", "", document, flags=re.DOTALL)


def test_a_page_without_rows_says_so() -> None:
    assert "There is no row to show." in rows_page("Rows", Html(""), [])


def test_an_empty_segment_is_an_empty_row() -> None:
    nothing = Rendered(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.uint8))
    row = rendered_row(nothing, TOKENIZER, "nothing")
    assert (row.tokens, row.table, row.meta) == ([], [], {"tokens": "0", "trained": "0"})
    assert len(Articles(rows_page("Rows", "", [row])).rows) == 1
