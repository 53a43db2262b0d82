"""Answers of a model as replies that a method can read, with the reasons why one cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from tutelage.client import Answer, Failure
from tutelage.synth.method import Ask, Drop, Reply

_OPEN, _CLOSE = "<think>", "</think>"


def request_body(ask: Ask, over: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The request of a question, without its model: sampling fields of the method, those of the recipe over them, and a
    seed for each sample number, where something is drawn."""
    sampling = {**ask.sampling, **over}
    if sampling.get("temperature") != 0 and "seed" not in sampling:
        sampling["seed"] = sample_seed(seed, ask.sample)
    return {"messages": list(ask.messages), **sampling}


def sample_seed(seed: int, sample: int) -> int:
    """The seed of a sample: endpoints that honour seeds give equal texts for equal ones."""
    return int.from_bytes(blake2b(f"{seed} {sample}".encode(), digest_size=4).digest()) >> 1


def as_reply(ask: Ask, result: Answer | Failure, model: str, sampling: Mapping[str, Any]) -> Reply:
    """A reply; where it cannot be used, `drop` says why: what is cut off is never read as if it were whole."""
    if isinstance(result, Failure):
        drop = Drop(f"no answer: {result.reason}", result.detail)
        return Reply(ask, "", "", finish="error", model=model, sampling=sampling, drop=drop)
    choice = result.choices[0]
    raw, finish = choice.text, choice.finish_reason or "stop"
    thought = choice.raw.get("message", {}).get("reasoning_content") or ""
    reasoning, text, open_ = _split_reasoning(raw)
    reason = ""
    if finish == "length" or open_:
        reason = "cut off in its reasoning" if open_ else "cut off"
    elif finish == "content_filter":
        reason = "content filter"
    elif not text.strip():
        reason = "empty reply"
    return Reply(
        ask=ask,
        text=text,
        raw=raw,
        reasoning=thought or reasoning,
        finish=finish,
        tokens=(result.prompt_tokens or 0, result.completion_tokens or 0),
        model=model,
        sampling=sampling,
        drop=Drop(reason, raw) if reason else None,
        choice=choice.raw,
    )


def _split_reasoning(raw: str) -> tuple[str, str, bool]:
    """The reasoning of a reply, its text without that, and whether the reasoning has no end. A template may have opened
    it, so that the reply holds only its end."""
    before, mark, rest = raw.partition(_OPEN)
    if mark and not before.strip():
        inside, close, after = rest.partition(_CLOSE)
        return (inside.strip(), after.lstrip(), False) if close else (inside.strip(), "", True)
    inside, close, after = raw.partition(_CLOSE)
    return (inside.strip(), after.lstrip(), False) if close and not mark else ("", raw, False)
