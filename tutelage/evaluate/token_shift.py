"""How much alignment moves a model: along the aligned model's own answer, where would the base model have written
another token?

The rank of each token of a greedy answer under the base model: 1 is unshifted, 2 or 3 marginal, above 3 shifted (Lin et
al. 2023, "The unlocking spell on base LLMs", arXiv 2312.01552, section 2). Shifted tokens are mostly of style and grow
rarer along the answer.

Shapes: T tokens of an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tutelage.chat import make_renderer
from tutelage.chat.render.renderer import Rendered
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.statistics import share_of_sums
from tutelage.evaluate.token_scores import token_scores
from tutelage.model.hub import Checkpoint
from tutelage.progress import track
from tutelage.records import Conversation

Shift = Literal["unshifted", "marginal", "shifted"]
SHIFTS: tuple[Shift, ...] = ("unshifted", "marginal", "shifted")
MARGINAL = 3  # the last rank that is marginal
POSITIONS = ((0, 1), (1, 5), (5, 10), (10, 20), (20, 50), (50, 100), (100, 1000))  # tokens of an answer, from 0
_TOKENS_SHOWN = 20


@dataclass(frozen=True, eq=False)
class ShiftedAnswer:
    """An answer of the aligned model, without its end token.

    prompt: what the aligned model read.
    ids:    int64 [T].
    rank_T, logprob_T: of each token under the base model, in nats.
    """

    name: str
    prompt: Rendered
    ids: np.ndarray
    rank_T: np.ndarray
    logprob_T: np.ndarray


def shift_of(rank: int) -> Shift:
    """The class of a token by its rank under the base model."""
    return "unshifted" if rank == 1 else "marginal" if rank <= MARGINAL else "shifted"


def token_shift(
    aligned: Checkpoint, base: Checkpoint, prompts: Sequence[Conversation], settings: SamplingSettings
) -> tuple[list[ShiftedAnswer], bool]:
    """The aligned model's greedy answers and their ranks under the base model; and whether the base read the same
    prompt. Where it lacks tokens of the chat template, it reads the user's text and a line break instead. Empty answers
    are left out.

    Raises:
        ValueError: the two have different tokens, or no answer has a token.
    """
    renderer = make_renderer(aligned.tokenizer, aligned.chat_config)
    rendered = renderer.render_prompts(prompts)
    with track("answers", len(prompts), "answers") as bar:
        ids = [one.ids for one in rendered]
        answers = generate(aligned.model, ids, renderer.stop_ids, settings, done=bar.update)
    vocab, context = base.model.config.vocab, base.model.config.context
    answers_T = [np.array(answer.content, np.int64) for answer in answers]
    kept = [place for place, ids_T in enumerate(answers_T) if len(ids_T) and ids_T.max() < vocab]
    _check_tokenizers(aligned, base, [answers_T[place] for place in kept])
    same = all(int(rendered[place].ids.max()) < vocab for place in kept)
    heads = {place: rendered[place].ids if same else _plain(base, prompts[place]) for place in kept}
    kept = [place for place in kept if len(heads[place]) < context]
    if not kept:
        raise ValueError("no answer of the aligned model has a token that the base model knows, in its context")
    sequences = [np.concatenate([heads[place], answers_T[place]])[:context] for place in kept]
    scores = token_scores(base.model, sequences, [len(heads[place]) for place in kept], "base model")
    found = [
        ShiftedAnswer(prompts[place].id, rendered[place], answers_T[place][: len(of.rank_T)], of.rank_T, of.logprob_T)
        for place, of in zip(kept, scores, strict=True)
    ]
    return found, same


def _plain(base: Checkpoint, prompt: Conversation) -> np.ndarray:
    """The conversation as plain text, as the base model's tokenizer cuts it."""
    text = "\n".join(one.text for one in prompt.messages)
    return np.concatenate([base.tokenizer.document_edges[0], base.tokenizer.encode(f"{text}\n")])


def _check_tokenizers(aligned: Checkpoint, base: Checkpoint, answers: Sequence[np.ndarray]) -> None:
    for token in sorted({token for answer in answers for token in answer.tolist()}):
        if aligned.tokenizer.token_text(token) != base.tokenizer.token_text(token):
            raise ValueError(
                f"token {token} is {aligned.tokenizer.token_text(token)!r} in one model and "
                f"{base.tokenizer.token_text(token)!r} in the other, so that ranks cannot be compared; give "
                "the base model that the other was trained from"
            )


def shift_figures(answers: Sequence[ShiftedAnswer], aligned: Checkpoint) -> dict[str, Any]:
    """The share of each class, over all tokens and by position, with 95% intervals from a bootstrap over answers; and
    the most frequent shifted tokens."""
    shifted = Counter(
        aligned.tokenizer.decode([token])
        for answer in answers
        for token, rank in zip(answer.ids.tolist(), answer.rank_T.tolist(), strict=True)
        if rank > MARGINAL
    )
    by_position = {
        _position_name(begin, end): shares
        for begin, end in POSITIONS
        if (shares := _shares([answer.rank_T[begin:end] for answer in answers])) is not None
    }
    return {
        "answers": len(answers),
        "tokens": int(sum(len(answer.ids) for answer in answers)),
        "shares": _shares([answer.rank_T for answer in answers]),
        "by_position": by_position,
        "shifted_tokens": [{"token": token, "count": count} for token, count in shifted.most_common(_TOKENS_SHOWN)],
    }


def _position_name(begin: int, end: int) -> str:
    return str(begin + 1) if end == begin + 1 else f"{begin + 1}-{end}"


def _shares(ranks: Sequence[np.ndarray]) -> dict[str, Any] | None:
    """The share of each class with its interval; None where there is no token."""
    ranks = [rank_T for rank_T in ranks if len(rank_T)]
    if not ranks:
        return None
    totals = np.array([len(rank_T) for rank_T in ranks])
    classes = {
        "unshifted": np.array([(rank_T == 1).sum() for rank_T in ranks]),
        "marginal": np.array([((rank_T > 1) & (rank_T <= MARGINAL)).sum() for rank_T in ranks]),
        "shifted": np.array([(rank_T > MARGINAL).sum() for rank_T in ranks]),
    }
    return {name: asdict(share_of_sums(hits, totals)) for name, hits in classes.items()}


def shift_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures as lines for the terminal."""
    yield f"{found['answers']:,} answers, {found['tokens']:,} tokens"
    for name in SHIFTS:
        of = found["shares"][name]
        yield f"{name}: {of['rate']:.1%} ({of['low']:.1%} to {of['high']:.1%})"
    for position, shares in found["by_position"].items():
        listed = ", ".join(f"{name} {shares[name]['rate']:.1%}" for name in SHIFTS)
        yield f"    token {position}: {listed}"
    if found["shifted_tokens"]:
        tokens = ", ".join(f"{of['token']!r} {of['count']:,}" for of in found["shifted_tokens"][:10])
        yield f"most often shifted: {tokens}"
