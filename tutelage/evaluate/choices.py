"""Multiple choice by likelihood: which choice does the model find likeliest after the question?

The scored tokens are those that training would grade: as plain text, what is left of context and choice tokenised
together after the tokens that the context has too; in a chat, the trained tokens of the assistant's answer.

Shapes: T tokens, C choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage.chat import make_renderer
from tutelage.engine.weights_digest import weights_digest
from tutelage.evaluate.choice_items import Asked, ChoiceItem
from tutelage.evaluate.result_cache import ResultCache, cache_key
from tutelage.evaluate.sequence_scores import SequenceScore, score_sequences
from tutelage.evaluate.statistics import Rate, rate
from tutelage.model.hf_model import HFModel
from tutelage.model.hub import Checkpoint
from tutelage.model.transformer import Transformer
from tutelage.progress import track
from tutelage.records import Conversation, Example, Role, message
from tutelage.tokenizer import Tokenizer

CLOSE = 1e-4  # nats between the two best choices; below, rounding decides
TURNS: tuple[Role, Role] = ("user", "assistant")
UNCONDITIONAL = "Answer:"  # the context of a choice without its question, for PMI


@dataclass(frozen=True)
class ChoiceScore:
    """The log-probabilities of an item's choices in nats, [C], and the tokens scored; without the question too where
    asked for; whether a token reaches over the border of context and choice; whether every scored token of each choice
    is the likeliest at its place, None where the model is held by transformers; and the texts that were scored."""

    item: ChoiceItem
    logprob_C: np.ndarray
    tokens_C: np.ndarray
    alone_C: np.ndarray | None = None
    straddles: bool = False
    greedy_C: np.ndarray | None = None
    texts: tuple[str, ...] = ()

    def picks(self) -> dict[str, int]:
        """The choice that each normaliser prefers: by the sum (`acc`), per character, UTF-8 byte or token, or against
        the choice alone (`acc/pmi`)."""
        choices = self.texts or self.item.choices
        scores = {"acc": self.logprob_C}
        if not self.item.beginnings and max(map(len, choices)) > 1:
            scores["acc/char"] = self.logprob_C / np.array([len(text) for text in choices])
            scores["acc/byte"] = self.logprob_C / np.array([len(text.encode()) for text in choices])
            scores["acc/token"] = self.logprob_C / self.tokens_C
        if self.alone_C is not None:
            scores["acc/pmi"] = self.logprob_C - self.alone_C
        return {name: int(values.argmax()) for name, values in scores.items()}


def plain_opening(tokenizer: Tokenizer) -> np.ndarray:
    """The ids before a plain prompt, int32. Scores of published checkpoints are measured with what their tokenizer
    adds, and with nothing where it adds none; models trained here begin as their documents do."""
    return (tokenizer.document_edges if tokenizer.opens_with_space else tokenizer.template_edges)[0]


def plain_sequence(tokenizer: Tokenizer, context: str, continuation: str) -> tuple[Example, bool]:
    """Context and continuation tokenised together, of which the continuation is scored; and whether a token reaches
    over their border. Such a token is scored whole, as far back as both tokenisations are the same."""
    opening = plain_opening(tokenizer)
    alone, ids = tokenizer.encode(context), tokenizer.encode(context + continuation)
    same = min(len(alone), len(ids))
    differs = np.flatnonzero(alone[:same] != ids[:same])
    start = int(differs[0]) if len(differs) else same
    weights = np.zeros(len(opening) + len(ids), np.float32)
    weights[len(opening) + min(start, len(ids) - 1) :] = 1
    return Example(np.concatenate([opening, ids]), weights), start < len(alone)


def chat_sequences(checkpoint: Checkpoint, one: Asked) -> list[Example]:
    """Each choice as the assistant's answer in the checkpoint's own template, after the examples as turns; its end
    token is not scored."""
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    shown = [message(role, text) for pair in one.examples for role, text in zip(TURNS, pair, strict=True)]
    chats = [
        Conversation(
            (*shown, message("user", context.removeprefix(one.opening)), message("assistant", continuation.strip())),
            one.item.id,
        )
        for context, continuation in zip(one.contexts, one.continuations, strict=True)
    ]
    examples = []
    for made in renderer.render_rows(chats, "last_assistant"):
        if isinstance(made, ValueError):
            raise made
        weights = (made[-1].weights > 0).astype(np.float32)
        weights[np.flatnonzero(weights)[-1]] = 0
        examples.append(Example(made[-1].ids, weights))
    return examples


def sequence_scores(
    model: Transformer | HFModel, examples: Sequence[Example], cache: ResultCache | None = None
) -> list[SequenceScore]:
    """The score of each sequence. Equal sequences are scored once; with a cache, those that it holds are not scored."""
    cache, digest = cache or ResultCache(), weights_digest(model)
    keys = [cache_key(digest, one.tokens, np.flatnonzero(np.asarray(one.weights)).tolist()) for one in examples]
    left = {key: one for key, one in zip(keys, examples, strict=True) if key not in cache.values}
    names = list(left)
    with track("choices", len(keys), "choices", start=len(keys) - len(names)) as bar:
        for scores in score_sequences(model, list(left.values())) if left else ():
            for number, score in scores:
                cache.put(names[number], (score.logprob, score.greedy))
            bar.update(len(scores))
    return [SequenceScore(*cache.values[key]) for key in keys]


def score_choices(
    checkpoint: Checkpoint,
    questions: Sequence[Asked],
    chat: bool = False,
    alone: bool = True,
    cache: ResultCache | None = None,
) -> tuple[list[ChoiceScore], list[Asked]]:
    """The score of each question, and those that are longer than the context: none is cut.

    chat:  ask in the checkpoint's chat template; otherwise as plain text.
    alone: score each choice without its question too, for PMI; not in a chat.
    cache: what was scored before.

    Raises:
        ValueError: all choices of all questions are equally likely, which no working model finds; or nothing fits.
    """
    context = checkpoint.model.config.context
    kept, too_long, sequences, straddles = [], [], [], []
    for one in questions:
        if chat:
            examples, over = chat_sequences(checkpoint, one), False
        else:
            pairs = [
                plain_sequence(checkpoint.tokenizer, *two) for two in zip(one.contexts, one.continuations, strict=True)
            ]
            examples, over = [example for example, _ in pairs], any(reaches for _, reaches in pairs)
        if max(len(example.tokens) for example in examples) > context:
            too_long.append(one)
            continue
        kept.append(one)
        sequences.append(examples)
        straddles.append(over)
    if not kept:
        raise ValueError(f"no question fits into the context of {context} tokens; ask fewer examples (--shots)")
    alone = alone and not chat and len(kept[0].continuations) > 1 and not kept[0].item.beginnings
    lone = _lone(checkpoint.tokenizer, kept) if alone else {}
    flat = [example for examples in sequences for example in examples]
    found = sequence_scores(checkpoint.model, [*flat, *lone.values()], cache)
    logprobs = np.array([score.logprob for score in found])
    of_lone = dict(zip(lone, logprobs[len(flat) :], strict=True))
    scores, start = [], 0
    for one, examples, over in zip(kept, sequences, straddles, strict=True):
        tokens_C = np.array([int(example.weights.sum()) for example in examples if example.weights is not None])
        alone_C = np.array([of_lone[text] for text in one.continuations]) if alone else None
        greedy = [score.greedy for score in found[start : start + len(examples)]]
        greedy_C = None if None in greedy else np.array(greedy)
        own = logprobs[start : start + len(examples)]
        texts = tuple(text.strip() for text in one.continuations)
        scores.append(ChoiceScore(one.item, own, tokens_C, alone_C, over, greedy_C, texts))
        start += len(examples)
    if len(kept[0].continuations) > 1 and all(np.ptp(score.logprob_C) == 0 for score in scores):
        raise ValueError(
            f"all choices of all {len(scores)} questions are equally likely: the model or its file is broken"
        )
    return scores, too_long


def _lone(tokenizer: Tokenizer, questions: Sequence[Asked]) -> dict[str, Example]:
    """Each continuation once, after a context that says nothing of its question."""
    texts = dict.fromkeys(text for one in questions for text in one.continuations)
    return {text: plain_sequence(tokenizer, UNCONDITIONAL, text)[0] for text in texts}


def choice_rates(scores: Sequence[ChoiceScore]) -> dict[str, Rate]:
    """The share of questions of which the right choice is the likeliest, by normaliser, with its 95% interval. Of a
    single continuation the share of which every token is the likeliest."""
    if all(len(score.logprob_C) == 1 for score in scores):
        greedy = [bool(score.greedy_C[0]) for score in scores if score.greedy_C is not None]
        return {"acc": rate(sum(greedy), len(greedy))} if greedy else {}
    picks = [score.picks() for score in scores]
    return {
        name: rate(sum(pick[name] == score.item.gold for pick, score in zip(picks, scores, strict=True)), len(scores))
        for name in picks[0]
        if len(scores[0].logprob_C) > 1 and all(name in pick for pick in picks)  # choices of one letter have fewer
    }


def choice_figures(scores: Sequence[ChoiceScore], asked: int) -> dict[str, Any]:
    """What stands beside the rates: questions that did not fit, near ties, questions of which a token reaches over the
    border of context and choice, the log-probability of the right choice per token; and the share that a model which
    always takes the most frequent number would get right. Of single continuations their perplexity instead, each
    counted as a whole."""
    golds = np.bincount([score.item.gold for score in scores])
    sorted_logprobs = [np.sort(score.logprob_C) for score in scores]
    tokens = sum(int(score.tokens_C[score.item.gold]) for score in scores)
    right = sum(float(score.logprob_C[score.item.gold]) for score in scores)
    single = all(len(score.logprob_C) == 1 for score in scores)
    beside = (
        {"perplexity": float(np.exp(-right / len(scores)))}
        if single
        else {"majority": float(golds.max() / len(scores))}
    )
    return {
        "scored": len(scores),
        "too_long": asked - len(scores),
        "near_ties": sum(len(one) > 1 and float(one[-1] - one[-2]) < CLOSE for one in sorted_logprobs),
        "straddling": sum(score.straddles for score in scores),
        "right_nats_per_token": -right / tokens,
        **beside,
    }


def as_rows(scores: Sequence[ChoiceScore]) -> list[Mapping[str, Any]]:
    """One row for each question, with the log-probability of each choice, ready for JSON."""
    return [
        {
            "id": score.item.id,
            "gold": score.item.gold,
            "logprobs": score.logprob_C.tolist(),
            "tokens": score.tokens_C.tolist(),
            "picks": score.picks(),
        }
        for score in scores
    ]
