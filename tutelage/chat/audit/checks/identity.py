"""Answers that disagree on the assistant's name or maker."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from tutelage.chat.audit.check import AuditedFile, Check, Exchange, Hit
from tutelage.text.contains import contains_any

# So many conversations must give the most frequent own name.
MIN_MAIN = 2
# The patterns are tried only on answers that contain a word of each.
_SELF = ("i am", "i'm", "i’m", "my name", "call me", "called", "by ", "我是", "我叫", "由")
_SOMETHING = (
    *" ai | ai,| ai.|an ai|assistant|language model|chatbot|developed by|created by|trained by|made by".split("|"),
    *"gpt claude bard gemini llama alpaca vicuna qwen mistral copilot deepseek 助手 模型 机器人 开发 训练".split(),
)
_KNOWN = (
    r"ChatGPT|GPT-?[2345](?:\.\d|o)?|InstructGPT|Claude|Bard|Gemini|LLaMA|Llama|Alpaca|Vicuna|Koala|Dolly|Qwen|"
    r"Open ?Assistant|Bing|Copilot|Mistral|Mixtral|DeepSeek|Grok|Baichuan|ChatGLM|InternLM|Falcon|StableLM|Guanaco|Tulu"
)
_I = r"(?:\bI am|\bI['’]m|\b[Mm]y name is|\b[Yy]ou (?:can|may) call me|\bcall me|\b[Pp]eople call me)"
_WORD = r"[A-Z][\w&-]*"
_BEING = (
    r"(?:an? )?(?:[\w-]+ ){0,3}?(?:AI\b|A\.I\.|artificial intelligence|(?:large )?language model|chatbot|chat bot|"
    r"virtual assistant|digital assistant)"
)
_NAME = re.compile(
    rf"{_I} ({_KNOWN})\b"
    rf"|{_I} ({_WORD}(?: {_WORD}){{0,2}}),? (?:and I(?: am|['’]m) )?{_BEING}"
    rf"|{_I}[^.!?\n]{{0,40}}"
    rf"\b(?:AI|language model|assistant|chatbot),? (?:called|named|known as) ({_WORD}(?: {_WORD}){{0,2}})"
    r"|我(?:是|叫|的名字是|的名字叫)(?:一个)?(?:叫)?[“\"]?([A-Za-z][\w -]{1,20}|[\u4e00-\u9fff]{2,6})[”\"]?[，,]"
    r"(?:一个|一名|一款|是)?[^。！？\n]{0,16}?(?:助手|语言模型|人工智能|机器人)"
)
# Names count without such a word where the question asks for them.
_MAX_QUESTION, _HEAD = 160, 300  # characters
_ASKS_NAME = re.compile(
    r"\bwho (?:are|r) (?:you|u)\b|\byour name\b|\byou called\b|\bintroduce yourself\b|\bi call you\b"
    r"|\bwho am i (?:talking|speaking|chatting|writing)\b|\bwhat are you\b|你是谁|你叫什么|你的名字",
    re.IGNORECASE,
)
_OWN_NAME = re.compile(
    rf"{_I} ({_WORD}(?: {_WORD}){{0,2}})(?=[.,!?;:\n]|\s*[-–—]|\Z| (?:and|the|an?|your|from|here)\b)"
    r"|(?:我是|我叫|我的名字是|我的名字叫)([\u4e00-\u9fffA-Za-z]{2,8})(?=[，。！,])"
)
_MAKER = re.compile(
    rf"(?:{_I}|\bI was|\bI have been|\bI['’]ve been|\b[Mm]y (?:creators?|developers?) (?:are|is)"
    r"|\b[Aa]s an? (?:AI|artificial|language|large|virtual|digital))"
    r"[^.!?\n]{0,80}?\b(?:(?:developed|created|trained|made|built|designed|programmed)(?:,? (?:and|or) \w+)?) by "
    r"(?:(?:the |a )?(?:researchers?|team|engineers?|developers?|people)(?: of \w+)?(?: at| from| of| called)? )?"
    rf"(?:the )?({_WORD}(?: (?:of |and )?{_WORD}){{0,4}})(?: \(({_WORD})\))?"
    r"|我[^。！？\n]{0,24}?由\s?([A-Za-z][\w ]{1,20}|[\u4e00-\u9fff]{2,10}?)"
    r"\s?(?:公司|团队)?(?:开发|训练|创造|研发|打造)"
)

_MACHINES = ("bot", "language model", "assistant", "computer program", "artificial intelligence", " ai", "a.i.")
_A_MACHINE = (
    r" an? (?:[\w-]+ ){0,2}?(?:AI(?: (?:(?:language )?model|assistant|chatbot|program|system))?|A\.I\.|artificial "
    r"intelligence(?: (?:language )?model)?|language model|chat ?bot|computer program|(?:virtual|digital) assistant)"
)
_MACHINE = re.compile(
    # Not "I am a chatbot developer": what follows must not make the noun a part of another.
    rf"\bI(?: am|['’]m)(?: also| only| just| merely| simply| actually)?{_A_MACHINE}(?:(?=[.,!?;:)\n]|\s*[-–—]|\W*\Z)|"
    r" (?:and|but|so|I|that|which|who|with|without|here|designed|trained|built|made|created|developed|programmed)\b)"
    rf"|\b[Aa]s{_A_MACHINE}\b[^.!?\n]{{0,60}}?,? (?:I|my)\b"
)


def identity_claims(exchange: Exchange) -> Iterator[tuple[str, str]]:
    """What an answer says of the assistant in the first person, in lower case: ("name", "chatgpt"), ("maker",
    "openai"). A name that nothing else marks as an assistant's counts as ("own name", "juniper") where the question
    asks for it."""
    if not contains_any(exchange.lower, _SELF):
        return
    names = set()
    if contains_any(exchange.lower, _SOMETHING):
        for match in _NAME.finditer(exchange.answer):
            name = next(filter(None, match.groups()))
            if name not in ("AI", "I", "The", "An"):
                names.add(_normalised(name))
                yield "name", _normalised(name)
        for match in _MAKER.finditer(exchange.answer):
            yield "maker", _normalised(next(filter(None, match.groups())))
    if not names:
        yield from (("own name", name) for name in own_names(exchange.question, exchange.answer))


def machine_claim(exchange: Exchange) -> str:
    """Where an answer says that its author is a machine, without a name: "I'm a chatbot"; "" if it does not. The
    audit leaves these: they contradict no other answer."""
    if not contains_any(exchange.lower, _MACHINES):
        return ""
    match = _MACHINE.search(exchange.answer)
    return match.group() if match else ""


def own_names(question: str, answer: str) -> set[str]:
    """The names that an answer gives itself, in lower case, where the question asks who answers."""
    if len(question) > _MAX_QUESTION or not _ASKS_NAME.search(question):
        return set()
    return {_normalised(next(filter(None, match.groups()))) for match in _OWN_NAME.finditer(answer[:_HEAD])}


def _normalised(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def disagreeing(identities: Mapping[tuple[str, str], list[int]]) -> tuple[list[int], str]:
    """The conversations that name another assistant, or another maker, than most do, and how often each is named; none
    where all agree. `identities` holds the conversations of each claim.

    Own names count where one name is at least half of all, in several conversations or beside the name of a known
    assistant: not in role play."""
    details: list[str] = []
    rows: set[int] = set()
    names = _claims(identities, "name")
    every_name = _merged(_claims(identities, "own name"), names)
    counts = sorted(map(len, every_name.values()))
    if counts and (names or counts[-1] >= MIN_MAIN) and 2 * counts[-1] >= sum(counts):
        names = every_name
    for kind, claims in (("name", names), ("maker", _claims(identities, "maker"))):
        if not claims:
            continue
        counted = Counter({name: len(found) for name, found in claims.items()})
        main = counted.most_common(1)[0][0]
        others = [name for name in claims if not _same(name, main)]
        if others:
            details.append(f"{kind}s: " + ", ".join(f"{name} ({count:,})" for name, count in counted.most_common(6)))
            rows.update(row for name in others for row in claims[name])
    return sorted(rows), "; ".join(details)


def _claims(identities: Mapping[tuple[str, str], list[int]], kind: str) -> dict[str, set[int]]:
    return {name: set(rows) for (claimed, name), rows in identities.items() if claimed == kind}


def _merged(first: Mapping[str, set[int]], second: Mapping[str, set[int]]) -> dict[str, set[int]]:
    return {name: first.get(name, set()) | second.get(name, set()) for name in [*first, *second]}


def _same(first: str, second: str) -> bool:
    """Whether two names are one: equal, one a part of the other, or one the initials of the other."""
    if first in second or second in first:
        return True
    initials = ["".join(word[0] for word in name.split()) for name in (first, second)]
    return first == initials[1] or second == initials[0]


def find(file: AuditedFile) -> Iterator[Hit]:
    """The conversations that disagree with most."""
    rows, detail = disagreeing(file.scan.notes.identities)
    yield Hit(np.array(rows, np.int64), detail=detail)


IDENTITY = Check(
    "identity",
    "warning",
    "answers that disagree on who the assistant is",
    "Let all answers name one assistant and one maker, or none.",
    find,
)
