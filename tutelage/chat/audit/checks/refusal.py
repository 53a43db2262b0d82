"""Answers that refuse."""

from __future__ import annotations

import re

from tutelage.chat.audit.check import Check, Exchange, flagged
from tutelage.text.contains import contains_any

# Searching for words is many times faster than a pattern; most answers contain none of these.
_REFUSING_WORDS = (
    *("sorry", "apologi", "language model", "chatbot", "as an ai", "an ai", "i can", "unable", "not able", "i won"),
    *("i will not", "appropriate", "unethical", "not within my", "抱歉", "对不起", "不好意思", "作为"),
)
_HEAD = 220  # characters of an answer in which a refusal is expected
_CANNOT = r"(?:can(?:no|')t|can not|won't|will not|am (?:not able|unable)|'m (?:not able|unable|not allowed))"
# What people cannot do who are sorry for somebody, or who write a letter: "I can't imagine how hard this is".
_HUMAN = (
    r"(?! (?:even |really |begin to |possibly )*(?:imagine|wait|believe|thank|come|attend|make it|stay|stop"
    r"|be (?:there|late)|bring myself|help (?:but|feeling|thinking|wondering|laughing|smiling))\b)"
)
_OUT_OF_PLACE = r"not (?:appropriate|ethical|within my)|inappropriate|unethical"
_REFUSAL = re.compile(
    # I'm sorry, but I can't ...
    r"^\W*(?:(?:i'm|i am|i) )?(?:(?:very|so|really|truly) )?(?:sorry|apologi[sz]e)\b[^.!?]{0,60}?\b"
    rf"(?:i ?{_CANNOT}\b{_HUMAN}|it(?:'s| is| would be) (?:{_OUT_OF_PLACE})\b)"
    r"|^\W*(?:i'm|i am) sorry[,.]? (?:but )?i (?:do not|don't) (?:have (?:the ability|access)|understand)"
    r"|^\W*(?:i'm|i am) sorry[,.]? (?:but )?(?:i'm|i am) not sure (?:i|what)\b"
    # As an AI language model, I don't have ...
    r"|\bas an? (?:[\w-]+ )?(?:ai|artificial intelligence|(?:large )?language model|virtual assistant|chat ?bot)\b"
    r"[^.!?]{0,80}?"
    rf"\bi ?(?:{_CANNOT}|do not|don't|am not|have no|lack)\b"
    r"|\bi(?:'m| am) (?:just |only |merely )?an? (?:ai|artificial intelligence|(?:large )?language model)\b[^.!?]{0,60}"
    rf"?\b(?:i ?(?:{_CANNOT}|do not|don't|have no)\b|it's (?:{_OUT_OF_PLACE})\b)"
    # I cannot assist with that.
    r"|^\W*(?:unfortunately,? )?i (?:can(?:no|')t|can not|won't|will not|am unable to|am not able to)"
    rf"{_HUMAN} (?:\w+ )?(?:assist|help|provide|fulfill?|comply|suggest|encourage|recommend|endorse|promote|answer"
    r"|generate|create|produce|engage|support|offer|complete|do that|do this|discuss|condone|participate|access|browse"
    r"|perform|share)\b"
    r"|^\W*i'm (?:unable|not able) to\b"
    rf"|^\W*it(?:'s| is| would be) (?:{_OUT_OF_PLACE}) (?:for me )?(?:to|or)\b"
    r"|^\W*i (?:do not|don't) think it(?:'s| is) (?:appropriate|ethical) (?:to|or)\b"
    r"|^(?:很|非常|真的)?(?:抱歉|对不起|不好意思)[^。！？]{0,12}?我?(?:无法|不能|没有办法|没办法)"
    r"|^[^。！？]{0,12}?作为(?:一个|一名|一款)?[^。！？]{0,12}?(?:语言模型|人工智能|ai|机器人)[^。！？]{0,8}?我"
    r"[^。！？]{0,6}?(?:无法|不能|没有)"
)


def find_refusal(exchange: Exchange) -> int:
    """An answer that opens with a refusal, or with what the assistant is and therefore cannot do."""
    head = exchange.lower[:_HEAD].replace("’", "'")
    if not contains_any(head, _REFUSING_WORDS):
        return -1
    match = _REFUSAL.search(head)
    return match.start() if match else -1


REFUSAL = Check(
    "refusal",
    "warning",
    "answers that refuse",
    "Keep only the refusals you want: a model that sees many of them refuses what it could do.",
    flagged("refusal"),
    in_answer=find_refusal,
)
