"""What a model is trained on, and what it wrote, token by token: an HTML page with keyboard navigation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources

import numpy as np

from tutelage.chat.render.renderer import Rendered
from tutelage.chat.token_view import shifted, spelling, starts, unshifted_roles, visible
from tutelage.html import Html, Token, details, one_token, page, paragraph, table, tag, tokens
from tutelage.records import ROLES
from tutelage.tokenizer import Tokenizer

_KEYS = {
    "← →": "the row before, the next row",
    "k j": "the same, wherever the cursor is",
    "t": "running text or table",
    "/": "search: only rows with these words; Escape shows all again",
    "Tab": "into the text; there ← → walk from token to token",
    "?": "these keys",
}


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """A conversation, a packed segment or a generation to show.

    `header`, `table` and `numeric` are the table of its positions, as for `html.table`. `text` is what a search looks
    through besides what can be seen: the characters that the tokenizer cut into bytes.
    """

    title: str
    tokens: Sequence[Token]
    meta: Mapping[str, str] = field(default_factory=dict)
    header: Sequence[str] = ()
    table: Sequence[Sequence[str | Html]] = ()
    numeric: Sequence[int] = ()
    text: str = ""


def rendered_row(rendered: Rendered, tokenizer: Tokenizer, title: str, meta: Mapping[str, str] | None = None) -> Row:
    """A rendered conversation or document; the meta gains how many tokens it has and how many are trained."""
    labels, weights = shifted(rendered)
    return _trained_row(rendered.ids, labels, weights, rendered.roles, tokenizer, title, meta or {})


def packed_rows(
    ids: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    roles: np.ndarray,
    lengths: Sequence[int],
    tokenizer: Tokenizer,
) -> list[Row]:
    """A row for each segment of a packed row.

    All arrays are [N] and aligned as a Batch's: labels[t], weights[t] and roles[t] are those of the token that
    position t predicts.
    """
    token_roles = unshifted_roles(roles, lengths)
    rows = []
    for number, (start, length) in enumerate(zip(starts(lengths).tolist(), lengths, strict=True), 1):
        at = slice(start, start + length)
        title = f"segment {number} of {len(lengths)}"
        rows.append(_trained_row(ids[at], labels[at], weights[at], token_roles[at], tokenizer, title, {}))
    return rows


def generation_row(
    prompt: Rendered,
    ids: Sequence[int] | np.ndarray,
    logprobs: Sequence[float] | np.ndarray,
    alternatives: Sequence[Sequence[tuple[int, float]]],
    tokenizer: Tokenizer,
    title: str,
    meta: Mapping[str, str] | None = None,
) -> Row:
    """A prompt and what the model wrote after it, shaded by its probability.

    The roles of the prompt are those that its renderer gives; what is written after it has the role of the turn that
    the prompt opens, or is a document where the prompt is one or is empty.

    `logprobs` are the natural logarithms of the probabilities of `ids`, [T]; `alternatives` are, for each of them, the
    likeliest tokens with their probabilities. The meta gains how many tokens were written and their perplexity.

    Raises:
        ValueError: ids, logprobs and alternatives differ in length.
    """
    if not len(ids) == len(logprobs) == len(alternatives):
        counts = f"{len(ids)} ids, {len(logprobs)} log-probabilities and {len(alternatives)} lists of alternatives"
        raise ValueError(f"generation {title!r} has {counts}; give one of each for every token")
    all_ids = [*prompt.ids.tolist(), *map(int, ids)]
    roles = [ROLES[role] for role in prompt.roles.tolist()]
    roles += ["assistant" if roles and roles[-1] != "document" else "document"] * len(ids)
    shown: list[Token] = []
    rows: list[list[str | Html]] = []
    for position, (number, role) in enumerate(zip(all_ids, roles, strict=True)):
        written = position - len(prompt.ids)
        if written < 0:
            facts = [f"position {position}, {role}, id {number}", "prompt"]
            shown.append(_token(number, role, tokenizer, facts))
            rows.append([str(position), one_token(shown[-1]), role, "", ""])
            continue
        # Rounding may leave a logarithm a hair above 0.
        probability = min(1.0, math.exp(logprobs[written]))
        others = [
            f"{_quoted(other, tokenizer)} {share:.1%}" for other, share in alternatives[written] if other != number
        ]
        facts = [f"position {position}, {role}, id {number}", f"probability {probability:.1%}"]
        facts += [f"or {other}" for other in others]
        shown.append(_token(number, role, tokenizer, facts, probability=probability))
        rows.append([str(position), one_token(shown[-1]), role, f"{probability:.1%}", ", ".join(others)])
    totals = {"written": f"{len(ids):,} tokens"}
    if len(ids):
        totals["perplexity"] = f"{math.exp(-float(np.mean(logprobs))):.2f}"
    header = ("position", "token", "role", "probability", "alternatives")
    return Row(title, shown, {**(meta or {}), **totals}, header, rows, (0, 3), tokenizer.decode(all_ids))


def shift_row(
    prompt: Rendered,
    ids: Sequence[int] | np.ndarray,
    shifts: Sequence[str],
    ranks: Sequence[int],
    probabilities: Sequence[float],
    tokenizer: Tokenizer,
    title: str,
) -> Row:
    """A prompt and an answer, whose tokens are marked by their class under a base model; with their rank and their
    probability under it, one each for every token of the answer."""
    shown = [
        _token(number, ROLES[role], tokenizer, ["prompt"])
        for number, role in zip(prompt.ids.tolist(), prompt.roles.tolist(), strict=True)
    ]
    rows: list[list[str | Html]] = []
    for place, (number, shift, rank, probability) in enumerate(
        zip(map(int, ids), shifts, ranks, probabilities, strict=True), 1
    ):
        facts = [f"token {place} of the answer, {shift}", f"rank {rank:,}, probability {probability:.1%}"]
        shown.append(replace(_token(number, "assistant", tokenizer, facts), shift=shift))
        rows.append([str(place), one_token(shown[-1]), shift, f"{rank:,}", f"{probability:.1%}"])
    shifted = sum(shift == "shifted" for shift in shifts)
    header = ("position", "token", "class", "rank", "probability")
    meta = {"tokens": f"{len(rows):,}", "shifted": f"{shifted:,}"}
    text = tokenizer.decode([*prompt.ids.tolist(), *map(int, ids)])
    return Row(title, shown, meta, header, rows, (0, 3, 4), text)


def rows_page(title: str, lead: Html | str, rows: Sequence[Row], before: Sequence[Html] = ()) -> str:
    """A page that shows one row at a time, after the parts `before`; without JavaScript, all below each other.

    The address names the row ("#row-3"). All rows are in the page: meant for hundreds of rows, not for millions.
    """
    keys = tag("dl", *(part for key, what in _KEYS.items() for part in (tag("dt", key), tag("dd", what))))
    body = [
        *before,
        tag("div", attributes={"class": "bar"}),
        *(_article(number, row) for number, row in enumerate(rows, 1)),
        *([] if rows else [paragraph("There is no row to show.")]),
        tag("dialog", tag("h2", "Keys"), keys, tag("button", "close"), attributes={"class": "keys"}),
    ]
    style, script = (
        resources.files(__package__).joinpath(f"token_page.{kind}").read_text("utf-8") for kind in ("css", "js")
    )
    return page(title, body, lead, style=style, script=script)


def _article(number: int, row: Row) -> Html:
    meta = tag("p", " · ".join(f"{name} {value}" for name, value in row.meta.items()), attributes={"class": "note"})
    positions = details("position by position", table(row.header, row.table, row.numeric)) if row.header else None
    attributes = {"class": "row", "id": f"row-{number}"}
    if row.text and row.text != "".join(token.text for token in row.tokens):
        attributes["data-text"] = row.text
    return tag(
        "article",
        tag("h2", row.title),
        meta if row.meta else None,
        tokens(row.tokens),
        positions,
        attributes=attributes,
    )


def _trained_row(
    ids: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    roles: np.ndarray,
    tokenizer: Tokenizer,
    title: str,
    meta: Mapping[str, str],
) -> Row:
    """A segment; labels[t] and weights[t] belong to what position t predicts, roles[t] to token t."""
    shown: list[Token] = []
    rows: list[list[str | Html]] = []
    for position in range(len(ids)):
        number, role = int(ids[position]), ROLES[int(roles[position])]
        token_weight = float(weights[position - 1]) if position else 0.0
        weight, label = float(weights[position]), int(labels[position])
        facts = [f"position {position}, {role}, id {number}"]
        facts.append(f"trained, weight {token_weight:g}" if token_weight else "context only")
        if weight:
            facts.append(f"predicts {_quoted(label, tokenizer)}")
        shown.append(_token(number, role, tokenizer, facts, trained=token_weight != 0))
        target: Html | str = ""
        if weight:
            target_role = ROLES[int(roles[position + 1])] if position + 1 < len(ids) else role
            target = one_token(_token(label, target_role, tokenizer))
        rows.append([str(position), one_token(shown[-1]), role, target, f"{weight:g}"])
    trained = int(np.count_nonzero(weights))
    header = ("position", "token", "role", "predicts", "weight")
    counts = {"tokens": f"{len(ids):,}", "trained": f"{trained:,}"}
    return Row(title, shown, {**meta, **counts}, header, rows, (0, 4), tokenizer.decode(ids))


def _token(
    number: int,
    role: str,
    tokenizer: Tokenizer,
    facts: Sequence[str] = (),
    trained: bool = False,
    probability: float | None = None,
) -> Token:
    special = number in tokenizer.special_tokens.values()
    return Token(spelling(number, tokenizer), role, trained, special, probability, "\n".join(facts))


def _quoted(number: int, tokenizer: Tokenizer) -> str:
    """A token in a sentence: special ones by their name, others in quotes."""
    special = number in tokenizer.special_tokens.values()
    return tokenizer.token_text(number) if special else f"“{visible(spelling(number, tokenizer))}”"
