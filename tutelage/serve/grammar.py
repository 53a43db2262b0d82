"""Answers that a JSON schema or a function to call constrains: which tokens may come next, by the library llguidance
(extra `serve`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from tutelage.serve.errors import ApiError
from tutelage.tokenizer import Tokenizer

PARAM = "response_format"
MAX_SCHEMA_BYTES = 100_000
# Between values a space, or a line break with its indentation: small models fall into endless white space.
SPACE = r" ?|\n {0,24}"


class _Vocabulary:
    """A tokenizer as llguidance wants it: the bytes of each token, and a function from bytes to ids, of which it only
    asks that they spell the bytes: the longest token first."""

    def __init__(self, tokenizer: Tokenizer, stop_ids: Sequence[int]) -> None:
        self.eos_token_id, self.bos_token_id = stop_ids[0], None
        self.special_token_ids = list(tokenizer.special_tokens.values())
        self.tokens = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
        special = set(self.special_token_ids)
        self.ids = {spelled: token for token, spelled in enumerate(self.tokens) if token not in special}
        self.longest = max(map(len, self.ids), default=1)

    def __call__(self, text: bytes | str) -> list[int]:
        rest, ids = text.encode() if isinstance(text, str) else bytes(text), []
        while rest:
            size = next((size for size in range(min(self.longest, len(rest)), 0, -1) if rest[:size] in self.ids), 0)
            ids += [self.ids[rest[:size]]] if size else []
            rest = rest[size or 1 :]
        return ids


class GrammarCompiler:
    """Schemas to grammars for one tokenizer; `stop_ids` end an answer that is complete."""

    def __init__(self, tokenizer: Tokenizer, stop_ids: frozenset[int]) -> None:
        try:
            import llguidance
        except ImportError:
            raise ApiError(
                400, "this server has no grammar library; install it with: pip install 'tutelage[serve]'", PARAM
            ) from None
        ends = sorted(stop_ids)
        self.library, self.opens_with_space = llguidance, tokenizer.opens_with_space
        self.special = tokenizer.special_tokens
        wrapped = llguidance.TokenizerWrapper(_Vocabulary(tokenizer, ends))
        self.tokenizer = llguidance.LLTokenizer(wrapped, eos_token=ends)

    def compile(self, response_format: dict[str, Any]) -> Grammar | None:
        """The grammar of a `response_format`; None for plain text.

        Raises:
            ApiError: 400, for a format that does not exist or a schema that llguidance does not support.
        """
        kind = response_format.get("type")
        if kind == "text":
            return None
        schema: Any = {"type": "object"}
        if kind == "json_schema":
            named = response_format.get("json_schema")
            schema = named.get("schema") if isinstance(named, dict) else None
            if not isinstance(schema, dict | bool):
                raise ApiError(400, "json_schema.schema must be a JSON schema", PARAM)
        elif kind != "json_object":
            raise ApiError(400, f"type {str(kind)[:40]!r} is not text, json_object or json_schema", PARAM)
        text = _encoded(schema)
        if len(text) > MAX_SCHEMA_BYTES:
            raise ApiError(400, f"the schema has {len(text)} bytes; at most {MAX_SCHEMA_BYTES}", PARAM)
        # Answers of a tokenizer that prepends a space begin with one, which is not part of their text.
        space = '" "? ' if self.opens_with_space else ""
        return self._grammar([f"start: {space}json", f"json: %json {text}"], PARAM)

    def compile_call(self, tools: Sequence[str], opening: str, closing: str, space: str) -> Grammar:
        """The grammar of an answer that is one call of one of these functions.

        tools:   each as JSON text in OpenAI's format.
        opening, closing: the markers of a call.
        space:   what may stand between a marker and the call.

        Raises:
            ApiError: 400, for parameters that llguidance does not support.
        """
        gap = f"{_literal(space)}? " if space else ""
        kinds = " | ".join(f"call{number}" for number in range(len(tools)))
        lines = [f"start: {self._marker(opening)} {gap}call {gap}{self._marker(closing)}", f"call: {kinds}"]
        for number, tool in enumerate(tools):
            function = msgspec.json.decode(tool)["function"]
            head = f'{{"name": {_literal(function["name"])}, "arguments": '
            schema = function.get("parameters") or {"type": "object"}
            lines += [f'call{number}: {_literal(head)} arguments{number} "}}"']
            lines += [f"arguments{number}: %json {_encoded(schema)}"]
        return self._grammar(lines, "tools")

    def _marker(self, text: str) -> str:
        special = self.special.get(text)
        return _literal(text) if special is None else f"<[{special}]>"

    def _grammar(self, lines: Sequence[str], param: str) -> Grammar:
        """A grammar in llguidance's form of Lark."""
        matcher = self.library.LLMatcher
        grammar = matcher.grammar_from_lark("\n".join(lines))
        if problem := matcher.validate_grammar(grammar, self.tokenizer):
            raise ApiError(400, f"the schema cannot be used: {problem}", param)
        return Grammar(matcher(self.tokenizer, grammar), self.tokenizer)


def _encoded(schema: Any) -> str:
    """A schema as JSON, with limits on the white space between values."""
    limited = {"x-guidance": {"whitespace_pattern": SPACE}} | schema if isinstance(schema, dict) else schema
    return msgspec.json.encode(limited).decode()


def _literal(text: str) -> str:
    return msgspec.json.encode(text).decode()


class Grammar:
    """One answer on its way through a grammar."""

    def __init__(self, matcher: Any, tokenizer: Any) -> None:
        self.matcher, self.tokenizer, self.read = matcher, tokenizer, 0

    def copy(self) -> Grammar:
        """The same grammar at its beginning, for another answer."""
        return Grammar(self.matcher.deep_copy(), self.tokenizer)

    def allowed(self, tokens: Sequence[int]) -> np.ndarray:
        """Which tokens may follow the answer so far, bool [vocabulary]; only stop tokens where the grammar has ended or
        no other token continues it. Each call must extend the answer of the call before."""
        for token in tokens[self.read :]:
            self.matcher.consume_token(token)
        self.read = len(tokens)
        size = self.tokenizer.vocab_size
        words = np.zeros(-(-size // 32), np.int32)
        if not (self.matcher.is_stopped() or self.matcher.is_error()):
            self.matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        allowed = np.unpackbits(words.view(np.uint8), bitorder="little")[:size].astype(bool)
        if not allowed.any():
            allowed[self.tokenizer.eos_tokens] = True
        return allowed
