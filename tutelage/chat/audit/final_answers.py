"""The final answer of a reply, in a form that can be compared with other replies to the same prompt.

Two replies in different words do not contradict each other; only final answers are compared. A final answer is a marked
result ("#### 72", "\\boxed{72}", "the answer is 72"), a yes or no at the start, a reply of a few words to a prompt that
does not invite invention, or a refusal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from tutelage.scoring.extract import comparable

REFUSED = "\0refused"
_BOXED = re.compile(r"\\boxed\{([^{}\n]{1,60})\}")
_ANSWER_IS = re.compile(r"\banswer is:?\s+([^\s.,;]{1,30}(?: [^\s.,;]{1,20}){0,2})[.\s]*\Z", re.IGNORECASE)
_PROMPT_TAIL = 400  # characters of a prompt in which the task is stated
_ANSWER_TAIL = 100  # characters in which an answer says that "the answer is ..."
_YES_OR_NO = re.compile(r"\s*(yes|no|true|false)\b\s*(?:[.,;:!]|\Z|\n)", re.IGNORECASE)
_SHORT_WORDS, _SHORT_CHARS = 4, 40
# An open-ended prompt has many right answers.
_OPEN_ENDED = re.compile(
    r"\b(?:write|generate|create|compose|suggest|name|give|list|invent|imagine|make|come up|provide|think of|pick"
    r"|choose|random|example|synonym|antonym|rhym|title|headline|slogan|caption|story|poem|joke|idea|recommend|favou?rite"
    r"|complete|continue|fill|paraphrase|rewrite|rephrase|edit|improve|describe|tell me|adjective|hello|hi|hey|thanks"
    r"|how are you|what do you think|would you|could you|can you|your name|call you|who are you"
    r"|probabl|likely|might|may)\w*\b"
    r"|写|生成|创作|建议|推荐|举|给出|列|想|例|取名|你好|谢",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class AnswerIndex:
    """The final answers of a file, by hash. For each of K answers: its conversation, int64[K]; a hash of all that
    precedes it, int64[K]; and a hash of its final answer, int64[K], 0 where there is none."""

    rows: np.ndarray
    contexts: np.ndarray
    answers: np.ndarray


def final_answer(answer: str, question: str = "") -> str:
    """The final answer in a comparable form; "" where there is none. A few words count unless the question is
    open-ended."""
    if result := _marked_result(answer):
        return comparable(result)
    short = len(answer) <= _SHORT_CHARS and answer.count(" ") < _SHORT_WORDS and "\n" not in answer.strip()
    if short and not answer.rstrip().endswith(("?", "？")):
        return "" if _OPEN_ENDED.search(question[-_PROMPT_TAIL:]) else comparable(answer)
    match = _YES_OR_NO.match(answer)
    return comparable(match[1]) if match else ""


def _marked_result(answer: str) -> str:
    """The result that an answer marks as such, the last of several; "" where there is none."""
    # "####" with a line break after it is a heading.
    if (at := answer.rfind("####")) >= 0 and "\n" not in (marked := answer[at:].strip("# \n")):
        return marked[:60]
    if (at := answer.rfind("\\boxed{")) >= 0:
        match = _BOXED.match(answer, at)
        return match[1] if match else ""
    tail = answer[-_ANSWER_TAIL:]
    match = _ANSWER_IS.search(tail) if "nswer is" in tail else None
    return match[1] if match else ""
