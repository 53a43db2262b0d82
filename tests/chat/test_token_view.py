from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from rich.console import Console, RenderableType

from tutelage.chat.render.documents import render_document
from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.renderer import Rendered
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.chat.token_view import packed_table, packed_text_view, token_table, token_text_view
from tutelage.records import Conversation, message
from tutelage.tokenizer import TokenizerSettings, train

TOKENIZER = train(["Write a greeting", "Good day"] * 8, TokenizerSettings(vocab=290)).extend(TEMPLATE_TOKENS)
((RENDERED,),) = NativeRenderer(TOKENIZER).render_rows(
    [Conversation((message("user", "Write\n[b]é"), message("assistant", "Good day é\x07")))]
)
DOCUMENT = render_document("Good day", TOKENIZER)


def plain(renderable: RenderableType, width: int = 100) -> str:
    """What a terminal without colour shows."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def rows(table: RenderableType) -> list[list[str]]:
    lines = [line.strip("│").split("│") for line in plain(table).splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line] for line in lines]


def packed(*segments: Rendered) -> tuple[np.ndarray, ...]:
    """Tokens, and labels, weights and roles shifted by one within each segment, as a Batch holds them."""
    tokens = np.concatenate([one.ids for one in segments])
    shifted = [
        np.concatenate([np.append(array(one)[1:], array(one).dtype.type(0)) for one in segments])
        for array in (lambda one: one.ids, lambda one: one.weights, lambda one: one.roles)
    ]
    return tokens, *shifted


def test_a_token_longer_than_its_column_is_not_cut_off() -> None:
    named = TOKENIZER.extend(["<|a_token_whose_name_is_longer_than_any_column|>"])
    long = max(named.special_tokens.values())
    ids = np.array([long, long], np.int32)
    table = token_table(replace(DOCUMENT, ids=ids, weights=np.ones(2, np.float32), roles=DOCUMENT.roles[:2]), named)
    shown = plain(table, width=60)
    assert "…" not in shown
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if line[:1] == "│"]
    assert "".join(cell[1] for cell in cells) == "<|a_token_whose_name_is_longer_than_any_column|>" * 2


def test_the_table_shows_what_each_position_is_trained_to_predict() -> None:
    assert rows(token_table(RENDERED, TOKENIZER)) == [
        ["0", "<|user|>", "user", "", "0"],
        ["1", "·Write", "user", "", "0"],
        ["2", "⏎", "user", "", "0"],
        ["3", "[", "user", "", "0"],
        ["4", "b", "user", "", "0"],
        ["5", "]", "user", "", "0"],
        ["6", "\\xc3", "user", "", "0"],
        ["7", "\\xa9", "user", "", "0"],
        ["8", "<|end|>", "user", "", "0"],
        ["9", "<|assistant|>", "assistant", "·Good", "1"],
        ["10", "·Good", "assistant", "·day", "1"],
        ["11", "·day", "assistant", "·", "1"],
        ["12", "·", "assistant", "\\xc3", "1"],
        ["13", "\\xc3", "assistant", "\\xa9", "1"],
        ["14", "\\xa9", "assistant", "\\x07", "1"],
        ["15", "\\x07", "assistant", "<|end|>", "1"],
        ["16", "<|end|>", "assistant", "", "0"],
    ]


def test_the_text_marks_what_is_trained_without_colour_too() -> None:
    view = token_text_view(RENDERED, TOKENIZER)
    assert view.plain == "<|user|>·Write⏎\n[b]é<|end|><|assistant|>⟦·Good·day·é\\x07<|end|>⟧"
    styles = {view.plain[span.start : span.end]: str(span.style) for span in view.spans}
    assert styles["·Good·day·é\\x07"] == "green bold underline"
    assert styles["<|assistant|>"] == "green reverse"
    assert styles["·Write⏎\n[b]é"] == "cyan"


def test_segments_of_a_packed_row_are_separated_by_rules() -> None:
    lengths = (len(DOCUMENT.ids), len(RENDERED.ids))
    tokens, labels, weights, roles = packed(DOCUMENT, RENDERED)
    table = packed_table(tokens, labels, weights, roles, lengths, TOKENIZER)
    assert rows(table) == rows(token_table(DOCUMENT, TOKENIZER)) + rows(token_table(RENDERED, TOKENIZER))
    assert plain(table).splitlines()[3 + lengths[0]].startswith("├──")
    view = packed_text_view(tokens, weights, roles, lengths, TOKENIZER)
    first, rule, *others = view.plain.split("\n")
    assert first == token_text_view(DOCUMENT, TOKENIZER).plain == "<|endoftext|>⟦·Good·day<|endoftext|>⟧"
    assert "segment 2" in rule
    assert "\n".join(others) == token_text_view(RENDERED, TOKENIZER).plain


def test_the_text_keeps_a_space_where_the_weight_changes_inside_a_text() -> None:
    later_piece = Rendered(DOCUMENT.ids[1:], np.array([0, 1, 1], np.float32), DOCUMENT.roles[1:])
    assert token_text_view(later_piece, TOKENIZER).plain == "·Good⟦·day<|endoftext|>⟧"


def test_nothing_is_drawn_for_nothing() -> None:
    nothing = Rendered(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.uint8))
    assert rows(token_table(nothing, TOKENIZER)) == []
    assert token_text_view(nothing, TOKENIZER).plain == ""
