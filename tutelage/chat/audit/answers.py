"""What one answer shows by itself: refusals, placeholders, cut-off ends, copied prompts, answers that say nothing.

Each check takes an exchange and gives the character of the answer at which it is seen, or -1. All are heuristics over
words, in English and, where marked, Chinese; they are meant to be right when they speak, and not to catch everything.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tutelage.chat.audit.words import holds_any


class Exchange(NamedTuple):
    """What was asked and what was said; `lower` is what was said in lower case."""

    asked: str
    said: str
    lower: str


# Searching for words is many times faster than a pattern; most answers hold none of these.
_REFUSING_WORDS = (
    *("sorry", "apologi", "language model", "as an ai", "an ai", "i can", "unable", "not able", "i won", "i will not"),
    *("inappropriate", "not appropriate", "unethical", "抱歉", "对不起", "不好意思", "作为"),
)
_OPENING = 220  # characters in which a refusal is said
_CANNOT = r"(?:can(?:no|')t|can not|won't|will not|am (?:not able|unable)|'m (?:not able|unable|not allowed))"
_REFUSAL = re.compile(
    # I'm sorry, but I can't ...
    rf"^\W*(?:(?:i'm|i am|i) )?(?:(?:very|so|really|truly) )?(?:sorry|apologi[sz]e)\b[^.!?]{{0,60}}?\bi ?{_CANNOT}\b"
    r"|^\W*(?:i'm|i am) sorry[,.]? (?:but )?i (?:do not|don't) (?:have (?:the ability|access)|understand)"
    r"|^\W*(?:i'm|i am) sorry[,.]? (?:but )?(?:i'm|i am) not sure (?:i|what)\b"
    # As an AI language model, I don't have ...
    r"|\bas an? (?:ai|artificial intelligence|(?:large )?language model|text-based ai|virtual assistant)\b[^.!?]{0,80}?"
    rf"\bi ?(?:{_CANNOT}|do not|don't|am not|have no|lack)\b"
    r"|\bi(?:'m| am) (?:just |only |merely )?an? (?:ai|artificial intelligence|(?:large )?language model)\b[^.!?]{0,60}"
    rf"?\bi ?(?:{_CANNOT}|do not|don't|have no)\b"
    # I cannot assist with that.
    r"|^\W*(?:unfortunately,? )?i (?:can(?:no|')t|can not|won't|will not|am unable to|am not able to) (?:\w+ )?"
    r"(?:assist|help|provide|fulfil|comply|answer|generate|create|produce|engage|support|offer|complete|do that|do this"
    r"|discuss|condone|participate|access|browse|perform|share)\b"
    r"|^\W*i'm (?:unable|not able) to\b"
    r"|^\W*it (?:is|would be) (?:not appropriate|inappropriate|unethical) (?:for me )?to\b"
    r"|^(?:很|非常|真的)?(?:抱歉|对不起|不好意思)[^。！？]{0,12}?我?(?:无法|不能|没有办法|没办法)"
    r"|^[^。！？]{0,12}?作为(?:一个|一名|一款)?[^。！？]{0,12}?(?:语言模型|人工智能|ai|机器人)[^。！？]{0,8}?我"
    r"[^。！？]{0,6}?(?:无法|不能|没有)"
)
_ALLOWED = ("jinja", "template", "placeholder", "handlebars", "mustache", "vue", "angular", "ansible", "helm", "liquid")
_PLACEHOLDER = re.compile(r"\{\{ ?[A-Za-z_]\w*(?:\.\w+)* ?\}\}|\$\{(?:name|author|user|company)\}|<(?:NAME|AUTHOR)>")
_HOLLOW = re.compile(
    r"(?:[.…_*#=~\s]+|-{2,}"
    r"|\W*(?:n/?a|nan|null|todo|tbd|fixme|xxx|#ref!|lorem ipsum.*|no ?output|no ?input)\W*)",
    re.DOTALL,
)
_SHORTEST_COPY = 24  # characters; "hello" answers "hello"
_SHORTEST_PROSE, _SHORTEST_LINE = 40, 8  # characters of an answer, words of its last line
_ENDS = frozenset(".!?…。！？”\"'’`)]}）】」』*_>~|;؟।॥")
# Words after which a sentence must go on; it may end with "for" or "with".
_CONNECTING = frozenset(
    "a an the and or but nor of into onto than whose because although if as their its your our my every between among "
    "during including e.g i.e".split()
)
_ITEM = re.compile(r"\s*(?:[-*+•#>|]|\(?\w{1,3}[.):])")
# Whom a quotation is of, after a dash; how a letter is signed; a list within a line.
_NO_SENTENCE = re.compile(
    r"[-–—~]\s*[A-Z][\w.']*(?: [\w.&']+){0,5}\Z| - "
    r"|\b(?i:sincerely|regards|yours|wishes|respect|love)\b[^.!?]{0,60}\Z"
)
_NOT_PROSE = re.compile(r"[={}<>|\\/@#]")


def refusal(one: Exchange) -> int:
    """An answer that opens with a refusal, or with what the assistant is and therefore cannot do."""
    head = one.lower[:_OPENING].replace("’", "'")
    if not holds_any(head, _REFUSING_WORDS):
        return -1
    found = _REFUSAL.search(head)
    return found.start() if found else -1


def placeholder(one: Exchange) -> int:
    """`{{name}}` and the like, where neither question nor answer is about templates."""
    if "{{" not in one.said and "${" not in one.said and "<NAME>" not in one.said:
        return -1
    asked = one.asked.lower()
    if "{{" in one.asked or "```" in one.said or holds_any(asked, _ALLOWED) or holds_any(one.lower, _ALLOWED):
        return -1
    found = _PLACEHOLDER.search(one.said)
    return found.start() if found else -1


def hollow(one: Exchange) -> int:
    """Dots, "N/A", "TODO": an answer of no words, or of a word that stands for none."""
    return 0 if len(one.said) < 80 and _HOLLOW.fullmatch(one.lower.strip()) else -1


def copied(one: Exchange) -> int:
    """An answer that is its whole prompt, or begins with all of it."""
    asked = one.asked.strip()
    return 0 if len(asked) >= _SHORTEST_COPY and one.said.lstrip().startswith(asked) else -1


def cut_off(one: Exchange) -> int:
    """An answer that ends where no sentence can: on a comma, on a word that must go on, in an open block of code."""
    text = one.said.rstrip()
    if text.count("```") % 2:
        return len(text) - 1
    if len(text) < _SHORTEST_PROSE:
        return -1
    last = text[-1]
    if last in ",，、" or (last in "-–(" and text[-2:-1] == " "):
        return len(text) - 1
    line = text[text.rfind("\n") + 1 :]
    word = line[line.rfind(" ") + 1 :]
    prose = word in _CONNECTING and line.count(" ") >= _SHORTEST_LINE - 1 and not _NOT_PROSE.search(line)
    return len(text) - len(word) if prose else -1


def is_prose(said: str) -> bool:
    """Whether an answer is long enough, and its last line no item of a list or a line of code, for its end to say
    whether it is whole."""
    text = said.rstrip()
    if len(text) < _SHORTEST_PROSE:
        return False
    line = text[text.rfind("\n") + 1 :]
    return line.count(" ") >= _SHORTEST_LINE - 1 and not (
        _ITEM.match(line) or _NOT_PROSE.search(line) or _NO_SENTENCE.search(line)
    )


def ends_with_mark(said: str) -> bool:
    """Whether an answer ends as a finished sentence, quotation or block does."""
    text = said.rstrip()
    return not text or text[-1] in _ENDS or not (text[-1].isalnum() or text[-1] in ":-–")


def ends_with_name(said: str) -> bool:
    """Whether the last word of an answer is a name, a number or a formula: those end headings and letters too."""
    text = said.rstrip()
    word = text[max(text.rfind(" "), text.rfind("\n")) + 1 :]
    return not word.isalpha() or word[0].isupper()
