"""Answers in another script than their question, and conversations in a script that few rows have."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from tutelage.chat.audit.check import AuditedFile, Check, Exchange, Hit, flagged
from tutelage.text.language import HEAD, NOT_LATIN, PURE, SCRIPTS, script_of, scripts

# A script is rare below the first share where the most frequent one has the second.
RARE, MAIN = 0.05, 0.8
_TRANSLATING = re.compile(
    r"translat|language|in (?:english|chinese|french|german|spanish|russian|japanese|korean|arabic|hindi|italian|greek)"
    r"|english|chinese|mandarin|french|german|spanish|russian|japanese|korean|arabic|hebrew|hindi|greek|latin|bengali"
    r"|code|python|javascript|html|css|sql|latex|java|c\+\+"
    r"|翻译|译|英文|英语|中文|汉语|法语|法文|德语|西班牙|俄语|日语|日文|韩语|阿拉伯|语言|语法|句子|单词|词|代码|编程|编写|程序|算法|函数|公式|网址|网站",
    re.IGNORECASE,
)


def find_other_script(exchange: Exchange) -> int:
    """An answer in another script than its question, which asks neither for a translation nor for code."""
    return 0 if answers_in_other_script(exchange.question, exchange.answer) else -1


def answers_in_other_script(question: str, answer: str) -> bool:
    """Whether an answer is in another script than its question, which asks neither for a translation nor for code."""
    if not NOT_LATIN.search(answer[:HEAD]) and not NOT_LATIN.search(question[:HEAD]):
        return False
    answer_script, question_script = script_of(answer), script_of(question, PURE)
    if not answer_script or not question_script or answer_script == question_script:
        return False
    if {answer_script, question_script} == {"Han", "Kana"}:
        return False
    if "```" in answer or _TRANSLATING.search(question):
        return False
    return scripts(answer)[question_script] < (1 - PURE) * scripts(answer).total()


def _rare(file: AuditedFile) -> Iterator[Hit]:
    codes = file.scan.features["script"]
    counts = np.bincount(codes, minlength=len(SCRIPTS))
    counts[0] = 0  # undetermined
    if len(codes) and counts.max() >= MAIN * counts.sum():
        rare = [script for script in range(1, len(SCRIPTS)) if 0 < counts[script] < RARE * counts.sum()]
        detail = ", ".join(f"{SCRIPTS[script]} ({counts[script]:,})" for script in rare)
        yield Hit(np.flatnonzero(np.isin(codes, rare)), detail=detail)


OTHER_LANGUAGE = Check(
    "other language",
    "warning",
    "answers in another script than their question",
    "Read some of them; leave them out unless they are translations.",
    flagged("other language"),
    in_answer=find_other_script,
    show_question=True,
)
RARE_LANGUAGE = Check(
    "rare language",
    "warning",
    "conversations in a script that few rows have",
    "Leave them out, or add more of them: so few teach nothing and are noise to the rest.",
    _rare,
)
