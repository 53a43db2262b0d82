"""Masked language modelling: hide some tokens of a text, which a model must name (Devlin et al. 2018, arXiv 1810.04805,
section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.batching.loader import DataState
from tutelage.config import fingerprint
from tutelage.records import Example, ExampleGroup
from tutelage.tokenizer import Tokenizer

# Names of the mask token: BERT's, RoBERTa's, ours.
MASK = "<|mask|>"
MASKS = ("[MASK]", "<mask>", MASK)
# Of the chosen tokens, how many become the mask and how many another token; the rest stays.
MASKED, REPLACED = 0.8, 0.1


def mask_token(tokenizer: Tokenizer) -> str | None:
    """The name of a tokenizer's mask token; None where it has none."""
    return next((name for name in MASKS if name in tokenizer.special_tokens), None)


@dataclass(frozen=True)
class Masking:
    """Which tokens of a text become labels.

    share:  of the ordinary tokens of a text; at least one of them is chosen.
    mask:   the id of the mask token.
    tokens: the ids of all ordinary tokens, sorted; no other is chosen, and they replace some at random.
    seed:   sets what is chosen.
    """

    share: float
    mask: int
    tokens: np.ndarray
    seed: int

    def apply(self, groups: Sequence[ExampleGroup], state: DataState) -> list[ExampleGroup]:
        """The groups of a step with masked tokens. `state` is that of the data before the step: each step, so each
        epoch, chooses other tokens, and a resumed run chooses the same."""
        key = int(fingerprint("masking", self.seed, state)[:16], 16)
        random = np.random.Generator(np.random.Philox(key=key))
        return [tuple(self._masked(example.tokens, random) for example in group) for group in groups]

    def _masked(self, tokens: np.ndarray, random: np.random.Generator) -> Example:
        ordinary = np.flatnonzero(np.isin(tokens, self.tokens))
        weights, changed = np.zeros(len(tokens), np.float32), np.array(tokens, np.int32)
        if len(ordinary):
            chosen = random.choice(ordinary, max(1, round(self.share * len(ordinary))), replace=False)
            weights[chosen] = 1
            lot = random.random(len(chosen))
            changed[chosen[lot < MASKED]] = self.mask
            replaced = chosen[(lot >= MASKED) & (lot < MASKED + REPLACED)]
            changed[replaced] = random.choice(self.tokens, len(replaced))
        return Example(changed, weights, np.array(tokens, np.int32))


def make_masking(tokenizer: Tokenizer, share: float, seed: int) -> Masking:
    """The masking of a tokenizer.

    Raises:
        ValueError: it has no mask token.
    """
    name = mask_token(tokenizer)
    if name is None:
        raise ValueError(f"the tokenizer has no mask token ({', '.join(MASKS)}); add one as a special token")
    special = tokenizer.special_tokens
    ordinary = np.setdiff1d(np.arange(tokenizer.vocab_size), list(special.values()))
    return Masking(share, special[name], ordinary, seed)
