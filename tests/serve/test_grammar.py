"""Grammars, walked at random: whatever tokens are drawn from those that are allowed, the answer has the form."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.serve.errors import ApiError
from tutelage.serve.grammar import Grammar, GrammarCompiler
from tutelage.tokenizer import END_OF_TEXT, Tokenizer, TokenizerSettings, train

pytest.importorskip("llguidance")
TOKENIZER = train(['<tool_call>\n{"name": "look", "arguments": {}}'] * 9, TokenizerSettings(vocab=300), (END_OF_TEXT,))
NATIVE = TOKENIZER.extend(TEMPLATE_TOKENS)
CITY = {"type": "string", "enum": ["Oslo", 'a "é"']}
SCHEMA = {"type": "object", "properties": {"city": CITY}, "required": ["city"], "additionalProperties": False}
TOOL = json.dumps({"type": "function", "function": {"name": 'lo"ok', "parameters": SCHEMA}})


def compiler(tokenizer: Tokenizer) -> GrammarCompiler:
    return GrammarCompiler(tokenizer, frozenset({tokenizer.special(END_OF_TEXT)}))


def walk(grammar: Grammar, tokenizer: Tokenizer, seed: int) -> str:
    """The text of an answer whose tokens are drawn at random."""
    draw, tokens = random.Random(seed), list[int]()
    while not tokens or tokens[-1] != tokenizer.special(END_OF_TEXT):
        tokens.append(draw.choice(grammar.allowed(tokens).nonzero()[0].tolist()))
        assert len(tokens) < 1000
    return b"".join(map(tokenizer.token_bytes, tokens[:-1])).decode()


@pytest.mark.parametrize(
    ("tokenizer", "opening", "closing", "space"),
    [(NATIVE, "<|call|>", "<|/call|>", ""), (TOKENIZER, "<tool_call>", "</tool_call>", "\n")],
    ids=["markers are tokens", "markers are text"],
)
def test_a_forced_call_is_one_call(tokenizer: Tokenizer, opening: str, closing: str, space: str) -> None:
    grammar = compiler(tokenizer).compile_call([TOOL], opening, closing, space)
    form = re.compile(
        rf'{re.escape(opening)}\n?\{{"name": ("lo\\"ok"), "arguments": (.*)\}}\n?{re.escape(closing)}', re.DOTALL
    )
    for seed in range(20):
        found = form.fullmatch(walk(grammar.copy(), tokenizer, seed))
        assert found
        assert json.loads(found[1]) == 'lo"ok'
        assert json.loads(found[2])["city"] in CITY["enum"]


def test_white_space_is_limited() -> None:
    """A random walk would otherwise stay in it."""
    form: Any = {"type": "json_schema", "json_schema": {"schema": {"type": "array", "items": SCHEMA, "maxItems": 3}}}
    grammar = compiler(TOKENIZER).compile(form)
    assert grammar is not None
    texts = [walk(grammar.copy(), TOKENIZER, seed) for seed in range(20)]
    assert all(len(json.loads(text)) <= 3 for text in texts)
    assert not any(re.search(r"\s{26}|\t|\r", text) for text in texts)


@pytest.mark.parametrize(
    "form",
    [
        {"type": "yaml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"schema": {"$ref": "#/nowhere"}}},
        {"type": "json_schema", "json_schema": {"schema": {"description": "a" * 100_001}}},
    ],
)
def test_what_is_no_schema_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        compiler(TOKENIZER).compile(form)
    assert (caught.value.status, caught.value.param) == (400, "response_format")
