"""Answers that a program checks against the gold answer of their prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from tutelage.chat.audit.check import Exchange
from tutelage.chat.audit.checks.refusal import find_refusal
from tutelage.scoring import Verifier, make_verifier
from tutelage.synth.method import Drop, Row

VerifierName = str | dict[str, Any]  # its name, "package.module:function", or a table with its kind and options


def check_answer(name: VerifierName | None, row: Row, answer: str) -> Mapping[str, str]:
    """The verdict on a right answer, for its lineage; none without a verifier.

    Raises:
        Drop: the answer is not right, or the row has no gold answer.
    """
    if name is None:
        return {}
    outcome = outcome_of(name, row, answer)
    if outcome != "right":
        raise Drop("refusal" if refuses(answer) else outcome, answer)
    return {"verifier": outcome}


def outcome_of(name: VerifierName, row: Row, answer: str) -> str:
    """What a verifier finds: "right", "wrong", "unparsable" ...; Drop where the row has no gold answer."""
    if row.get("gold") is None:
        raise Drop("no gold answer", answer)
    gold = row["gold"]
    return _verifier(json.dumps(name))(answer, tuple(gold) if isinstance(gold, list) else gold).outcome


def refuses(text: str) -> bool:
    """Whether a text refuses, as the audit finds it."""
    return find_refusal(Exchange("", text, text.lower())) >= 0


@cache
def _verifier(name: str) -> Verifier:
    return make_verifier(json.loads(name))
