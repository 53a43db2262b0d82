"""What an answer decides, so that two answers to one prompt can be told to contradict each other.

Two answers that differ in wording do not contradict: only what they settle is compared. That is a marked result
("#### 72", "\\boxed{72}", "the answer is 72"), a yes or no that opens the answer, an answer of a few words to what is
not an invitation to make something up, or the refusal to answer what another row answers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

REFUSED = "\0refused"
_MOST = np.iinfo(np.int64).max
_BOXED = re.compile(r"\\boxed\{([^{}\n]{1,60})\}")
_ANSWER_IS = re.compile(r"\banswer is:?\s+([^\s.,;]{1,30}(?: [^\s.,;]{1,20}){0,2})[.\s]*\Z", re.IGNORECASE)
_TAIL_ASKED = 400  # characters of a prompt in which it says what to do
_TAIL = 100  # characters in which an answer says that "the answer is ..."
_YES_OR_NO = re.compile(r"\s*(yes|no|true|false)\b\s*(?:[.,;:!]|\Z|\n)", re.IGNORECASE)
_FEW_WORDS, _FEW_CHARACTERS = 4, 40
# What asks to make something up has many right answers.
_OPEN = re.compile(
    r"\b(?:write|generate|create|compose|suggest|name|give|list|invent|imagine|make|come up|provide|think of|pick"
    r"|choose|random|example|synonym|antonym|rhym|title|headline|slogan|caption|story|poem|joke|idea|recommend|favou?rite"
    r"|complete|continue|fill|paraphrase|rewrite|rephrase|edit|improve|describe|tell me|adjective|hello|hi|hey|thanks"
    r"|how are you|what do you think|would you|could you|can you|your name|call you|who are you"
    r"|probabl|likely|might|may)\w*\b"
    r"|写|生成|创作|建议|推荐|举|给出|列|想|例|取名|你好|谢",
    re.IGNORECASE,
)
_EDGES = " \t\n.,;:!?\"'“”‘’()[]。，！？"


def claim(said: str, asked: str = "") -> str:
    """What an answer decides, in a form to compare; "" where it decides nothing that can be told, as a few words do
    where what was `asked` invites to make something up."""
    if result := _result(said):
        return _plain(result)
    few = len(said) <= _FEW_CHARACTERS and said.count(" ") < _FEW_WORDS and "\n" not in said.strip()
    if few and not said.rstrip().endswith(("?", "？")):
        return "" if _OPEN.search(asked[-_TAIL_ASKED:]) else _plain(said)
    found = _YES_OR_NO.match(said)
    return _plain(found[1]) if found else ""


def _result(said: str) -> str:
    """The result that an answer marks as such, the last where there are several; "" where there is none."""
    if (at := said.rfind("####")) >= 0 and "\n" not in (marked := said[at:].strip("# \n")):  # else it is a heading
        return marked[:60]
    if (at := said.rfind("\\boxed{")) >= 0:
        found = _BOXED.match(said, at)
        return found[1] if found else ""
    tail = said[-_TAIL:]
    found = _ANSWER_IS.search(tail) if "nswer is" in tail else None
    return found[1] if found else ""


def _plain(text: str) -> str:
    text = text.strip(_EDGES).lower().removeprefix("the ").removeprefix("a ").strip(_EDGES)
    number = text.replace(",", "").lstrip("$£€")
    try:
        return repr(float(number))
    except ValueError:
        return text


def contradict(one: str, other: str) -> bool:
    """Whether two claims cannot both be right: they differ, and neither says the other at more length."""
    if one == other:
        return False
    if REFUSED in (one, other):
        return True
    if not one or not other:
        return False
    shorter, longer = sorted((one, other), key=len)
    return re.search(rf"(?<!\w){re.escape(shorter)}(?!\w)", longer) is None or {one, other} <= {"yes", "no"}


@dataclass(frozen=True, eq=False)
class Decided:
    """What answers decide: of each of K answers its conversation, int64[K], a hash of all that stands before it,
    int64[K], and a hash of its claim, int64[K], 0 for an empty one."""

    rows: np.ndarray
    contexts: np.ndarray
    claims: np.ndarray


def candidates(decided: Decided) -> dict[int, list[int]]:
    """The answers that stand after the same words and do not all decide the same: their places by context."""
    order = np.argsort(decided.contexts, kind="stable")
    contexts, decisions = decided.contexts[order], decided.claims[order]
    begins = np.flatnonzero(np.concatenate([[True], contexts[1:] != contexts[:-1]]))[: len(order)]
    if not len(order):
        return {}
    # An answer that decides nothing speaks against a refusal only.
    silent = decisions == 0
    least = np.minimum.reduceat(np.where(silent, _MOST, decisions), begins)
    most = np.maximum.reduceat(np.where(silent, -_MOST, decisions), begins)
    refused = np.logical_or.reduceat(decisions == hash(REFUSED), begins)
    mixed = refused & np.logical_or.reduceat(silent, begins)
    ends = np.append(begins[1:], len(order))
    found = np.flatnonzero((least < most) | mixed)
    return {int(contexts[begins[i]]): order[begins[i] : ends[i]].tolist() for i in found}


def contradicting(groups: Iterable[list[int]], claim_of: Callable[[int], str]) -> list[list[int]]:
    """Of groups of answers to one prompt those in which two contradict, without the answers that contradict none."""
    found = []
    for group in groups:
        by_claim: dict[str, list[int]] = defaultdict(list)
        for place in group:
            by_claim[claim_of(place)].append(place)
        told = list(by_claim)
        fighting = [one for one in told if any(contradict(one, other) for other in told)]
        if fighting:
            found.append(sorted(place for one in fighting for place in by_claim[one]))
    return found
