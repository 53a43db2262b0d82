"""Does a model repeat its training text? Extraction by prefix length, and the exposure of planted canaries.

A text is extracted where greedy decoding after its prefix gives its suffix exactly (Carlini et al. 2022, arXiv
2202.07646; partial matches do not count). The suffix is the same for all prefix lengths. Greedy decoding gives it if
and only if each of its tokens is the likeliest after those before, so that one forward pass tells.

A canary is a text that was planted a known number of times. Its exposure is log2(texts that were not planted + 1) less
log2 of the rank of its loss among them (Carlini et al. 2019, arXiv 1802.08232, section 4.2).

Shapes: P prefix lengths, N texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tutelage.evaluate.statistics import rate
from tutelage.evaluate.token_scores import token_scores
from tutelage.model.hub import Checkpoint

PREFIXES, SUFFIX = (5, 10, 25, 50), 25  # tokens


@dataclass(frozen=True)
class MemorisedText:
    """A text that may be memorised. `count` is how often the training text has it, where that is known."""

    id: str
    text: str
    count: int | None = None


@dataclass(frozen=True)
class Extraction:
    """A text with the prefix lengths after which its suffix is extracted, the loss of the suffix after the longest
    prefix in nats per token, and the suffix as text."""

    id: str
    count: int | None
    extracted: dict[int, bool]
    nats_per_token: float
    suffix: str


def extract(
    checkpoint: Checkpoint, texts: Sequence[MemorisedText], prefixes: Sequence[int] = PREFIXES, suffix: int = SUFFIX
) -> tuple[list[Extraction], int]:
    """Each text that is long enough, and how many are too short: the longest prefix and the suffix must fit, after what
    opens a document.

    Raises:
        ValueError: no text is long enough, or prefix and suffix do not fit into the context.
    """
    longest, opening = max(prefixes), checkpoint.tokenizer.document_edges[0]
    needed = longest + suffix
    if len(opening) + needed > checkpoint.model.config.context:
        raise ValueError(
            f"prefix and suffix have {needed:,} tokens, but the context only {checkpoint.model.config.context:,}; give "
            "smaller --prefixes and --suffix"
        )
    ids = checkpoint.tokenizer.encode_batch([text.text for text in texts])
    long = [place for place, one in enumerate(ids) if len(one) >= needed]
    if not long:
        raise ValueError(
            f"no text has the {needed:,} tokens of the longest prefix and the suffix; give smaller --prefixes, --suffix"
        )
    windows = {
        length: [np.concatenate([opening, ids[place][longest - length : needed]]) for place in long]
        for length in sorted(prefixes)
    }
    sequences = [window for of_length in windows.values() for window in of_length]
    starts = [len(window) - suffix for window in sequences]
    scores = token_scores(checkpoint.model, sequences, starts)
    by_length = {length: scores[number * len(long) : (number + 1) * len(long)] for number, length in enumerate(windows)}
    found = []
    for number, place in enumerate(long):
        extracted = {length: bool((of[number].rank_T == 1).all()) for length, of in by_length.items()}
        nats = -float(by_length[longest][number].logprob_T.mean())
        shown = checkpoint.tokenizer.decode(ids[place][longest:needed])
        found.append(Extraction(texts[place].id, texts[place].count, extracted, nats, shown))
    return found, len(texts) - len(long)


def memorisation(found: Sequence[Extraction], too_short: int) -> dict[str, Any]:
    """The share of extracted texts by prefix length; by count where counts are known, with the mean exposure of each
    count over those that were not planted."""
    prefixes = sorted(found[0].extracted)
    result: dict[str, Any] = {
        "texts": len(found),
        "too_short": too_short,
        "by_prefix": {length: asdict(_rate(found, length)) for length in prefixes},
        "nats_per_token": float(np.mean([one.nats_per_token for one in found])),
        "extracted": [{"id": one.id, "suffix": one.suffix} for one in found if one.extracted[prefixes[-1]]],
    }
    if all(one.count is not None for one in found):
        counts = sorted({one.count for one in found if one.count is not None})
        controls = np.sort([one.nats_per_token for one in found if one.count == 0])
        result["by_count"] = {
            count: _of_count([one for one in found if one.count == count], prefixes[-1], controls) for count in counts
        }
    return result


def _of_count(found: Sequence[Extraction], prefix: int, controls: np.ndarray) -> dict[str, Any]:
    of_count: dict[str, Any] = {**asdict(_rate(found, prefix))}
    of_count["nats_per_token"] = float(np.mean([one.nats_per_token for one in found]))
    if len(controls) and found[0].count:
        of_count["exposure"] = float(np.mean([exposure(one.nats_per_token, controls) for one in found]))
        of_count["most_exposure"] = math.log2(len(controls) + 1)
    return of_count


def exposure(loss: float, controls: np.ndarray) -> float:
    """How far a planted text stands out among texts of the same kind that were not planted; `controls` are the losses
    of those, sorted."""
    rank = 1 + int(np.searchsorted(controls, loss))
    return math.log2(len(controls) + 1) - math.log2(rank)


def _rate(found: Sequence[Extraction], prefix: int) -> Any:
    return rate(sum(one.extracted[prefix] for one in found), len(found))


def unlearning(before: Sequence[Extraction], after: Sequence[Extraction], ratios: Mapping[str, Any]) -> dict[str, Any]:
    """What a model that was made to forget still holds: texts that the model before gave away and this one does not,
    and how many of those a short prompt still gets out of it (Schwarzschild et al. 2024, arXiv 2404.15146, section 5).

    ratios: by id the compression of the later model, where it was searched for.
    """
    longest = max(before[0].extracted)
    was = {one.id for one in before if one.extracted[longest]}
    now = {one.id for one in after if one.extracted[longest]}
    silent = sorted(was - now)
    tried = [name for name in silent if name in ratios]
    held = [name for name in tried if ratios[name]["ratio"] is not None and ratios[name]["ratio"] > 1]
    return {"before": len(was), "after": len(now), "no_longer": silent, "searched": len(tried), "still_held": held}
