"""What a tool returns, as text that the model can read: valid, without control tokens, of bounded length."""

from __future__ import annotations

import msgspec

from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.renderer import Renderer
from tutelage.tokenizer import EncodingError, Tokenizer

MAX_CHARACTERS = 100_000  # no more is looked at
NOTHING = "(The tool returned nothing.)"


def as_text(value: object) -> str:
    """A value that a tool returned, as valid text of at most MAX_CHARACTERS."""
    if isinstance(value, bytes | bytearray):
        text = bytes(value[: 4 * MAX_CHARACTERS]).decode("utf-8", "replace")
    elif isinstance(value, str):
        text = value
    else:
        try:
            text = msgspec.json.encode(value).decode()
        except (TypeError, ValueError, OverflowError, RecursionError):
            text = str(value)
    return text[:MAX_CHARACTERS].encode("utf-8", "replace").decode()  # a lone surrogate is no character


def fit_result(text: str, renderer: Renderer, max_tokens: int) -> tuple[str, bool]:
    """The text as it is shown to the model, and whether it was cut to `max_tokens`, which it then says.

    Renderers of published templates refuse a text that holds the name of a special token; there it is written with a
    space inside. Tutelage's own encodes every text by itself, so that no text becomes one.
    """
    tokenizer = renderer.tokenizer
    whole = len(text) >= MAX_CHARACTERS
    if not isinstance(renderer, NativeRenderer):
        text = _without_special_tokens(text, tokenizer)
    text = _encodable(text, tokenizer)
    ids = tokenizer.encode(text)
    if not whole and len(ids) <= max_tokens:
        return text or NOTHING, False
    shown = tokenizer.decode(ids[:max_tokens]).rstrip("\N{REPLACEMENT CHARACTER}")
    size = f"more than {MAX_CHARACTERS} characters" if whole else f"{len(ids)} tokens"
    return _encodable(
        f"{shown}\n(Cut here: the result has {size}, of which {max_tokens} tokens are shown.)", tokenizer
    ), True


def _without_special_tokens(text: str, tokenizer: Tokenizer) -> str:
    for name in tokenizer.special_tokens:
        if len(name) > 1:
            text = text.replace(name, f"{name[0]} {name[1:]}")
    return text


def _encodable(text: str, tokenizer: Tokenizer) -> str:
    """The text without characters that the tokenizer has no token for: it may know characters only."""
    try:
        tokenizer.encode(text)
    except EncodingError:
        known = {character: _is_known(character, tokenizer) for character in set(text)}
        text = "".join(character for character in text if known[character])
    return text


def _is_known(character: str, tokenizer: Tokenizer) -> bool:
    try:
        return bool(len(tokenizer.encode(character)))
    except EncodingError:
        return False
