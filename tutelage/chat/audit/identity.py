"""Who the assistant says it is: its name and its maker, where an answer says so in the first person."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from tutelage.chat.audit.words import holds_any

# What an answer must hold for the patterns to be tried at all.
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
_MAKER = re.compile(
    rf"(?:{_I}|\bI was|\bI have been|\bI['’]ve been|\b[Mm]y (?:creators?|developers?) (?:are|is)"
    r"|\b[Aa]s an? (?:AI|artificial|language|large|virtual|digital))"
    r"[^.!?\n]{0,80}?\b(?:(?:developed|created|trained|made|built|designed|programmed)(?:,? (?:and|or) \w+)?) by "
    r"(?:(?:the |a )?(?:researchers?|team|engineers?|developers?|people)(?: of \w+)?(?: at| from| of| called)? )?"
    rf"(?:the )?({_WORD}(?: (?:of |and )?{_WORD}){{0,4}})(?: \(({_WORD})\))?"
    r"|我[^。！？\n]{0,24}?由\s?([A-Za-z][\w ]{1,20}|[\u4e00-\u9fff]{2,10}?)"
    r"\s?(?:公司|团队)?(?:开发|训练|创造|研发|打造)"
)


def claims(said: str, lower: str) -> Iterator[tuple[str, str]]:
    """What an answer says of who speaks: ("name", "chatgpt"), ("maker", "openai"); in lower case."""
    if not holds_any(lower, _SELF) or not holds_any(lower, _SOMETHING):
        return
    for found in _NAME.finditer(said):
        name = next(filter(None, found.groups()))
        if name not in ("AI", "I", "The", "An"):
            yield "name", _plain(name)
    for found in _MAKER.finditer(said):
        yield "maker", _plain(next(filter(None, found.groups())))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


class Identities:
    """All that the answers of a file say of who speaks, with the conversations that say it."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[int]] = defaultdict(list)

    def add(self, row: int, found: Iterable[tuple[str, str]]) -> None:
        """Notes what one answer of a conversation says."""
        for claim in found:
            if not self.rows[claim] or self.rows[claim][-1] != row:
                self.rows[claim].append(row)

    def disagreeing(self) -> tuple[list[int], str]:
        """The conversations that name another assistant, or another maker, than most do, and what is said how often;
        none where all agree."""
        told: list[str] = []
        rows: set[int] = set()
        for what in ("name", "maker"):
            counts = Counter({value: len(found) for (kind, value), found in self.rows.items() if kind == what})
            if not counts:
                continue
            main = counts.most_common(1)[0][0]
            others = [value for value in counts if not _same(value, main)]
            if others:
                told.append(f"{what}s: " + ", ".join(f"{value} ({count:,})" for value, count in counts.most_common(6)))
                rows.update(row for value in others for row in self.rows[what, value])
        return sorted(rows), "; ".join(told)


def _same(one: str, other: str) -> bool:
    """Whether two names are one: equal, one a part of the other, or one the initials of the other."""
    if one in other or other in one:
        return True
    initials = ["".join(word[0] for word in name.split()) for name in (one, other)]
    return one == initials[1] or other == initials[0]
