from __future__ import annotations

from native_chats import TOKENIZER, tokens

from tutelage.chat.render.documents import render_document, render_documents
from tutelage.records import ROLES
from tutelage.tokenizer import END_OF_TEXT, TokenizerSettings, train


def test_documents_are_between_end_of_text_tokens() -> None:
    first, empty = render_documents(["Good day", ""], TOKENIZER)
    assert tokens(first) == [END_OF_TEXT, " Good", " day", END_OF_TEXT]
    assert first.weights.tolist() == [0, 1, 1, 1]
    assert first.roles.tolist() == [ROLES.index("document")] * 4
    assert tokens(empty) == [END_OF_TEXT] * 2
    assert render_document("Good day", TOKENIZER, spans=True).spans.tolist() == [
        [-1, -1, -1, -1],
        [0, 0, 0, 4],
        [0, 0, 4, 8],
        [-1, -1, -1, -1],
    ]


def test_documents_without_such_a_token_are_bare() -> None:
    characters = train(["Good day"], TokenizerSettings(kind="char"), ())
    bare, empty, other = render_documents(["day", "", "Good"], characters)
    assert characters.decode(bare.ids) == "day"
    assert bare.weights.tolist() == [0, 1, 1]
    assert len(empty.ids) == 0
    assert other.weights.tolist() == [0, 1, 1, 1]
