"""What a model is trained on, token by token, in the terminal.

Nothing depends on colour: in the table a position without loss has no label; in the text trained tokens are between
⟦ and ⟧.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from rich.table import Table
from rich.text import Text

from tutelage.chat.render.renderer import Explanation, Rendered
from tutelage.records import ROLES
from tutelage.tokenizer import Tokenizer

_COLOURS = {"document": "white", "system": "magenta", "user": "cyan", "assistant": "green", "tool": "yellow"}
_VISIBLE = str.maketrans({" ": "·", "\n": "⏎", "\r": "␍", "\t": "⇥"})


def token_table(rendered: Rendered, tokenizer: Tokenizer) -> Table:
    """A row a token: position, token, role, the label this position is trained to predict, and the label's weight."""
    labels, weights = shifted(rendered)
    return _table(rendered.ids, labels, weights, rendered.roles, (len(rendered.ids),), tokenizer)


def token_text_view(rendered: Rendered, tokenizer: Tokenizer) -> Text:
    """The running text, coloured by role; trained tokens are bold, underlined and between ⟦ and ⟧."""
    _, weights = shifted(rendered)
    return _running_text(rendered.ids, weights, rendered.roles, (len(rendered.ids),), tokenizer)


def packed_table(
    tokens: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    roles: np.ndarray,
    lengths: Sequence[int],
    tokenizer: Tokenizer,
) -> Table:
    """`token_table` of a packed row, with a rule between segments.

    All arrays are [N] and aligned as a Batch's: labels[t], weights[t] and roles[t] are those of the token that
    position t predicts.
    """
    return _table(tokens, labels, weights, unshifted_roles(roles, lengths), lengths, tokenizer)


def packed_text_view(
    tokens: np.ndarray,
    weights: np.ndarray,
    roles: np.ndarray,
    lengths: Sequence[int],
    tokenizer: Tokenizer,
) -> Text:
    """`token_text_view` of a packed row, with a rule between segments; arrays as for `packed_table`."""
    return _running_text(tokens, weights, unshifted_roles(roles, lengths), lengths, tokenizer)


def shifted(rendered: Rendered) -> tuple[np.ndarray, np.ndarray]:
    """What each position predicts, and its weight: the arrays that a Batch holds for this one segment."""
    return np.roll(rendered.ids, -1), np.append(rendered.weights[1:], np.float32(0))[: len(rendered.ids)]


def unshifted_roles(roles: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """The role of each token, from the roles of the tokens that come next, as a Batch holds them."""
    roles = np.asarray(roles)
    unshifted = np.roll(roles, 1)
    # No position predicts a segment's first token. It is a header or opens a document, so it has the next one's role.
    first = starts(lengths)
    unshifted[first] = roles[first]
    return unshifted


def starts(lengths: Sequence[int]) -> np.ndarray:
    """Where each segment begins, int64[S]."""
    return np.cumsum([0, *lengths[:-1]], dtype=np.int64)


def explanation_view(name: str, explanation: Explanation) -> Text:
    """How a conversation is rendered, as lines: the renderer, each trained turn, the outline, or the refusal."""
    cache = {None: "", True: ", render-cache hit", False: ", template run"}[explanation.cache_hit]
    view = Text(f"{name}: {explanation.renderer} renderer{cache}\n")
    for turn in explanation.turns:
        view.append(f"  message {turn.message}: trained after the generation prompt {visible(turn.prompt)}\n")
        view.append(f"    up to the end token {turn.end_token}: {turn.end_rule}\n")
    if explanation.outline:
        view.append("  outline, with {message.part} in place of the texts:\n")
        lines = visible(explanation.outline, keep_lines=True).split("\n")
        view.append("".join(f"    {line}\n" for line in lines if line), "dim")
    for note in explanation.notes:
        view.append(f"  noted: {note}\n", "yellow")
    if explanation.refused:
        view.append(f"  refused: {explanation.refused}\n", "bold red")
    return view


def _table(
    tokens: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    roles: np.ndarray,
    lengths: Sequence[int],
    tokenizer: Tokenizer,
) -> Table:
    table = Table("position", "token", "role", "label", "weight")
    table.columns[0].justify = table.columns[4].justify = "right"
    table.columns[1].overflow = table.columns[3].overflow = "fold"  # a token may be as long as a line
    specials = set(tokenizer.special_tokens.values())
    for start, length in zip(starts(lengths).tolist(), lengths, strict=True):
        for position in range(start, start + length):
            role = ROLES[int(roles[position])]
            weight = float(weights[position])
            trained = weight != 0
            table.add_row(
                str(position - start),
                _token(int(tokens[position]), specials, tokenizer, _COLOURS[role]),
                Text(role, _COLOURS[role]),
                _token(int(labels[position]), specials, tokenizer, "bold") if trained else Text(""),
                Text(f"{weight:g}", "bold" if trained else "dim"),
                end_section=position == start + length - 1,
            )
    return table


def _token(token: int, specials: set[int], tokenizer: Tokenizer, style: str) -> Text:
    if token in specials:
        return Text(tokenizer.token_text(token), f"{style} reverse")
    return Text(visible(spelling(token, tokenizer)), style)


def spelling(token: int, tokenizer: Tokenizer) -> str:
    """The text of one token; the bytes, as "\\xc3", where it is only part of a character."""
    try:
        return tokenizer.token_bytes(token).decode()
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in tokenizer.token_bytes(token))


def _running_text(
    tokens: np.ndarray, weights: np.ndarray, roles: np.ndarray, lengths: Sequence[int], tokenizer: Tokenizer
) -> Text:
    tokens, weights, roles = np.asarray(tokens), np.asarray(weights), np.asarray(roles)
    # weights[t] is the weight on predicting token t + 1; a segment's last one is 0, so the roll brings nothing across.
    trained = np.roll(weights, 1) != 0
    special = np.isin(tokens, list(tokenizer.special_tokens.values()))
    view = Text()
    for number, (start, length) in enumerate(zip(starts(lengths).tolist(), lengths, strict=True)):
        if number:
            view.append(f"\n{'─' * 20} segment {number + 1} {'─' * 20}\n", "dim")
        # Tokens of one style are decoded together, so that a character cut in two by the tokenizer is shown as one; by
        # their bytes, because decoding would drop a space from every run that begins with one.
        styles = np.stack([trained, roles, special], axis=1)[start : start + length].astype(np.int64)
        cuts = [0, *(np.flatnonzero((styles[1:] != styles[:-1]).any(axis=1)) + 1).tolist(), length]
        open_mark = False
        for first, last in pairwise(cuts):
            if first == last:
                continue
            is_trained, role, is_special = styles[first].tolist()
            if is_trained != open_mark:
                view.append("⟦" if is_trained else "⟧", "dim")
                open_mark = bool(is_trained)
            style = _COLOURS[ROLES[role]] + " bold underline" * is_trained + " reverse" * is_special
            spelled = b"".join(map(tokenizer.token_bytes, tokens[start + first : start + last].tolist()))
            view.append(visible(spelled.decode("utf-8", "replace"), keep_lines=True), style)
        if open_mark:
            view.append("⟧", "dim")
    return view


def visible(text: str, keep_lines: bool = False) -> str:
    """Text with a sign for every character that cannot be seen; `keep_lines` breaks the line after each line end."""
    shown = text.translate(_VISIBLE)
    shown = "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in shown)
    return shown.replace("⏎", "⏎\n") if keep_lines else shown
