"""The script of a text and, where py3langid is installed, its language."""

from __future__ import annotations

import importlib.util
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from functools import cache

TOO_SHORT = "too short to tell"
_MIN_CHARS = 30  # of a text whose language is identified
HEAD = 120  # characters of a text that are inspected
_MIN_LETTERS = 16  # a Chinese sentence may have as few
PURE = 0.95  # of the letters: a text of one script, but for a name

# The first code point of each script's block; gaps between scripts are "other".
_BLOCKS: tuple[tuple[int, str], ...] = (
    (0x0000, "Latin"),
    (0x0370, "Greek"),
    (0x0400, "Cyrillic"),
    (0x0530, "Armenian"),
    (0x0590, "Hebrew"),
    (0x0600, "Arabic"),
    (0x0700, "other"),
    (0x0750, "Arabic"),
    (0x0780, "other"),
    (0x0900, "Devanagari"),
    (0x0980, "Bengali"),
    (0x0A00, "other"),
    (0x0B80, "Tamil"),
    (0x0C00, "other"),
    (0x0E00, "Thai"),
    (0x0E80, "other"),
    (0x10A0, "Georgian"),
    (0x1100, "Hangul"),
    (0x1200, "other"),
    (0x1E00, "Latin"),
    (0x1F00, "Greek"),
    (0x2000, "other"),
    (0x2C60, "Latin"),
    (0x2C80, "other"),
    (0x3040, "Kana"),
    (0x3100, "other"),
    (0x3400, "Han"),
    (0xA000, "other"),
    (0xA720, "Latin"),
    (0xA800, "other"),
    (0xAC00, "Hangul"),
    (0xD7B0, "other"),
    (0xF900, "Han"),
    (0xFB00, "Latin"),
    (0xFB1D, "Hebrew"),
    (0xFB50, "Arabic"),
    (0xFE00, "other"),
    (0xFE70, "Arabic"),
    (0xFF00, "Latin"),
    (0xFF66, "Kana"),
    (0xFFA0, "other"),
    (0x20000, "Han"),
    (0x33480, "other"),
)
_BEGINS = [begin for begin, _ in _BLOCKS]
SCRIPTS = ("", *dict.fromkeys(name for _, name in _BLOCKS))
_NOT_LATIN = re.compile(
    "[\u0370-\u1dff\u1f00-\u1fff\u2c80-\ua71f\ua800-\ufaff\ufb1d-\ufeff\uff66-\uff9f\U00020000-\U0003347f]"
)
_TRANSLATING = re.compile(
    r"translat|language|in (?:english|chinese|french|german|spanish|russian|japanese|korean|arabic|hindi|italian|greek)"
    r"|english|chinese|mandarin|french|german|spanish|russian|japanese|korean|arabic|hebrew|hindi|greek|latin|bengali"
    r"|code|python|javascript|html|css|sql|latex|java|c\+\+"
    r"|翻译|译|英文|英语|中文|汉语|法语|法文|德语|西班牙|俄语|日语|日文|韩语|阿拉伯|语言|语法|句子|单词|词|代码|编程|编写|程序|算法|函数|公式|网址|网站",
    re.IGNORECASE,
)


def scripts(text: str) -> Counter[str]:
    """The letters at the beginning of a text by script; Han among Kana is Japanese, and counts as Kana."""
    head = text[:HEAD]
    if not _NOT_LATIN.search(head):
        return Counter(Latin=sum(map(str.isalpha, head)))
    counts = Counter(map(_script, head))
    counts.pop("", None)
    if counts["Kana"] > 0.1 * counts.total():
        counts["Kana"] += counts.pop("Han", 0)
    return counts


@cache
def _script(character: str) -> str:
    """The script of a letter; "" for any other character."""
    return _BLOCKS[bisect_right(_BEGINS, ord(character)) - 1][1] if character.isalpha() else ""


def script_of(text: str, share: float = 0.5) -> str:
    """The script of more than this share of the letters at the beginning of a text; "" where there is none, or where
    there are too few letters."""
    if len(text) < _MIN_LETTERS:
        return ""
    counts = scripts(text)
    main, count = counts.most_common(1)[0] if counts else ("", 0)
    return main if count > share * counts.total() and count >= _MIN_LETTERS and main != "other" else ""


def answers_in_other_script(question: str, answer: str) -> bool:
    """Whether an answer is in another script than its question, which asks neither for a translation nor for code."""
    if not _NOT_LATIN.search(answer[:HEAD]) and not _NOT_LATIN.search(question[:HEAD]):
        return False
    answer_script, question_script = script_of(answer), script_of(question, PURE)
    if not answer_script or not question_script or answer_script == question_script:
        return False
    if {answer_script, question_script} == {"Han", "Kana"}:
        return False
    if "```" in answer or _TRANSLATING.search(question):
        return False
    return scripts(answer)[question_script] < (1 - PURE) * scripts(answer).total()


def languages(texts: Sequence[str]) -> tuple[dict[str, float], str]:
    """The share of each language among texts, most frequent first, and what detected them: py3langid where it is
    installed, else the script alone."""
    if importlib.util.find_spec("py3langid"):
        import py3langid  # type: ignore[import-not-found, import-untyped, unused-ignore]

        names = [py3langid.classify(text)[0] if len(text) >= _MIN_CHARS else "" for text in texts]
        detected_by = "py3langid"
    else:
        names, detected_by = [script_of(text) for text in texts], "script"
    counts = Counter(name or TOO_SHORT for name in names)
    return {name: count / len(texts) for name, count in counts.most_common()}, detected_by
