"""The page of `token-shift`: answers with each token's class, and the shares by position."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.chat.token_page import rows_page, shift_row
from tutelage.evaluate.token_shift import SHIFTS, ShiftedAnswer, shift_of
from tutelage.html import Html, section, table
from tutelage.tokenizer import Tokenizer


def shift_page(found: Mapping[str, Any], answers: Sequence[ShiftedAnswer], tokenizer: Tokenizer) -> str:
    """The HTML page of the figures and answers of `evaluate.token_shift`."""
    rows = [
        shift_row(
            answer.prompt,
            answer.ids,
            [shift_of(rank) for rank in answer.rank_T.tolist()],
            answer.rank_T.tolist(),
            [math.exp(value) for value in answer.logprob_T.tolist()],
            tokenizer,
            answer.name or f"answer {number}",
        )
        for number, answer in enumerate(answers, 1)
    ]
    shares = found["shares"]
    lead = (
        f"{found['tokens']:,} tokens of {found['answers']:,} answers of {found['aligned']}, ranked under "
        f"{found['base']}: " + ", ".join(f"{name} {shares[name]['rate']:.1%}" for name in SHIFTS)
    )
    return rows_page("Token shift", lead, rows, [_by_position(found["by_position"])])


def _by_position(by_position: Mapping[str, Any]) -> Html:
    cells = [
        [position, *(f"{shares[name]['rate']:.1%}" for name in SHIFTS)] for position, shares in by_position.items()
    ]
    return section("By position in the answer", table(["token", *SHIFTS], cells, numeric=(1, 2, 3)))
