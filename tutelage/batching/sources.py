"""Documents and conversations to example groups: tokenised once, kept on disk under a name made of their content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import numpy as np

from tutelage.batching.rendering import chunks, render_all
from tutelage.batching.store import META, Store, write_store
from tutelage.chat.render.hf import Renderer
from tutelage.chat.render.native import Rendered, TrainOn, example, render_documents
from tutelage.chat.render.template import exchanges
from tutelage.config import fingerprint
from tutelage.files import resolve_folder
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Document, Example, ExampleGroup, Message, Split
from tutelage.tokenizer import Tokenizer

TooLong = Literal["error", "drop", "split"]


def falls_in(key: str, share: float) -> bool:
    """Whether what has this name belongs to a share: decided by the name alone, so always alike."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) < share * 2**64


def is_held_out(row: Document | Conversation, share: float) -> bool:
    """Whether a row is kept from training: as its data says, else by its name."""
    return falls_in(row.id, share) if row.split is None else row.split == "held_out"


def document_groups(
    documents: Iterable[Document], tokenizer: Tokenizer, context: int, part: Split, held_out: float, ledger: Ledger
) -> Iterator[ExampleGroup]:
    """Documents as groups of one example each; one longer than the context becomes several.

    A later piece opens with the last token of the piece before, read but not trained there, so that every token but the
    document's first is trained exactly once.
    """
    for rows in chunks(iter(documents)):
        for document, rendered in zip(rows, render_documents([d.text for d in rows], tokenizer), strict=True):
            tokens = len(rendered.ids)
            ledger.read(tokens=tokens)
            if is_held_out(document, held_out) != (part == "held_out"):
                ledger.drop("in the held-out part" if part == "train" else "in the training part", tokens=tokens)
            elif tokens < 2:
                ledger.drop("empty document", tokens=tokens, where=document.id)
            else:
                pieces = _overlapping(example(rendered), context)
                ledger.split(len(pieces), tokens, sum(len(piece.tokens) for piece in pieces))
                yield from ((piece,) for piece in pieces)


def _overlapping(whole: Example, context: int) -> list[Example]:
    if len(whole.tokens) <= context:
        return [whole]
    starts = range(0, len(whole.tokens) - 1, context - 1)
    return [_cut(whole, start, start + context) for start in starts]


def _cut(whole: Example, start: int, stop: int) -> Example:
    streams = {name: column[start:stop] for name, column in whole.streams.items()}
    weights = None if whole.weights is None else whole.weights[start:stop]
    return Example(whole.tokens[start:stop], weights, streams=streams)


def conversation_groups(
    conversations: Iterable[Conversation],
    renderer: Renderer,
    context: int,
    part: Split,
    held_out: float,
    train_on: TrainOn,
    too_long: TooLong,
    max_refused: float,
    ledger: Ledger,
) -> Iterator[ExampleGroup]:
    """Conversations as groups of one example each, every one proven to grade the assistant's own words and ends and
    nothing else. A conversation becomes several where each turn must be trained by itself.

    Raises:
        ValueError: a larger share than `max_refused` cannot be trained on; or one is longer than the context and
            `too_long` is "error" (or "split" and one exchange alone is too long). The sentence names the first.
    """
    rows = refused = 0
    first: ValueError | None = None
    for conversation, made in render_all(conversations, renderer, train_on):
        rows += 1
        if isinstance(made, ValueError):
            if max_refused == 0:
                raise made
            refused, first = refused + 1, first or made
            ledger.read()
            ledger.drop(getattr(made, "reason", "cannot be trained on"), where=str(made))
            continue
        tokens = sum(len(one.ids) for one in made)
        longest = max(len(one.ids) for one in made)
        ledger.read(tokens=tokens)
        if is_held_out(conversation, held_out) != (part == "held_out"):
            ledger.drop("in the held-out part" if part == "train" else "in the training part", tokens=tokens)
        elif longest <= context:
            if len(made) > 1:
                ledger.note("conversations whose turns are trained one by one")
            ledger.split(len(made), tokens, tokens)
            yield from ((example(one),) for one in made)
        elif too_long == "drop":
            ledger.drop(f"longer than the context of {context} tokens", tokens=tokens, where=conversation.id)
        elif too_long == "error":
            raise ValueError(
                f"conversation {conversation.id} has {longest} tokens, but the context holds {context}; set "
                'too_long (--too-long) to "split" to cut it between turns, or to "drop" to leave it out, or '
                "lengthen the context"
            )
        else:
            pieces = split_by_turns(conversation, renderer, context, train_on)
            ledger.split(len(pieces), tokens, sum(len(piece.ids) for piece in pieces))
            yield from ((example(piece),) for piece in pieces)
    if refused > max_refused * rows:
        raise ValueError(
            f"{refused:,} of {rows:,} conversations cannot be trained on, more than max_refused = {max_refused:g} "
            f"allows; the first: {first}"
        )


def split_by_turns(conversation: Conversation, renderer: Renderer, context: int, train_on: TrainOn) -> list[Rendered]:
    """Cut a conversation before user turns into the fewest pieces that fit; a leading system message opens each.

    Raises:
        ValueError: one exchange alone does not fit.
    """
    opening = conversation.messages[:1] if conversation.messages[0].role == "system" else ()

    def render(messages: tuple[Message, ...]) -> list[Rendered]:
        (made,) = renderer.render_rows([replace(conversation, messages=opening + messages)], train_on)
        if isinstance(made, ValueError):
            raise made
        return made

    pieces: list[list[Rendered]] = []
    held: tuple[Message, ...] = ()
    for exchange in exchanges(conversation.messages[len(opening) :]):
        longer = render(held + exchange)
        if held and _longest(longer) <= context:
            held, pieces[-1] = held + exchange, longer
            continue
        held, alone = exchange, longer if not held else render(exchange)
        if _longest(alone) > context:
            raise ValueError(
                f"conversation {conversation.id}: one exchange alone has {_longest(alone)} tokens, but the context "
                f'holds {context}; shorten it, lengthen the context, or set too_long (--too-long) to "drop"'
            )
        pieces.append(alone)
    return [one for piece in pieces for one in piece]


def _longest(made: Sequence[Rendered]) -> int:
    return max(len(one.ids) for one in made)


def open_or_write(folder: Path, identity: Sequence[object], groups: Iterable[ExampleGroup], ledger: Ledger) -> Store:
    """The store of these groups: opened where one of the same identity stands in `folder`, else tokenised and written.

    Raises:
        ValueError: nothing is left to train on; the sentence says where the rows went.
    """
    place = folder / fingerprint(*identity)[:16]
    if (resolve_folder(place) / META).exists():
        return Store(resolve_folder(place))
    return write_store(place, groups, ledger)


def text_bytes(store: Store, tokenizer: Tokenizer) -> np.ndarray:
    """Bytes of text that the trained tokens of each group stand for, int64 [groups]; special tokens stand for none."""
    special = np.array(list(tokenizer.special_tokens.values()), np.int32)
    sizes = np.array([len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)])
    sizes[special] = 0
    bytes_G = np.zeros(len(store), np.int64)
    for index in range(len(store)):
        for segment in store.group(index):
            own = sizes[segment.tokens[1:]]
            if tokenizer.opens_with_space:  # the space put before a text, right after a special token, is not of it
                own = own - (np.isin(segment.tokens[:-1], special) & (own > 0))
            bytes_G[index] += own[np.asarray(segment.weights)[1:] > 0].sum()
    return bytes_G
