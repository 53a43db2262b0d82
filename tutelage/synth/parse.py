"""Replies to values, strictly: one JSON value, one marked section, one list. What is not in the form that was asked for
is `Unparsable`; nothing is salvaged, since a salvaged verdict may be a quoted rubric."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from tutelage.synth.method import Unparsable

T = TypeVar("T")
_FENCE = re.compile(r"\s*```[\w-]*\n(.*?)\n?```\s*", re.DOTALL)
_ITEM = re.compile(r"^[ \t]*(?:###[ \t]*)?(\d{1,3})[.)][ \t]+", re.MULTILINE)
_SCORE = re.compile(r"score: *(\d+(?:\.\d+)?)(?: */ *(\d+))?\.?", re.IGNORECASE)
_VERDICT = re.compile(r"\[\[ *(\w+) *\]\]\.?")
_FIELD = re.compile(r"\{\{ *(\w+) *\}\}")


def fill(template: str, values: Mapping[str, object]) -> str:
    """A template with each `{{ name }}` replaced. Braces in values and elsewhere in the template stay as they are.

    Raises:
        ValueError: the template names a value that is not there.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ValueError(f"the template names {{{{ {match[1]} }}}}, and there are only {', '.join(values)}")
        return str(values[match[1]])

    return _FIELD.sub(value, template)


def without_fence(text: str) -> str:
    """A text without the one code fence around all of it, if there is one."""
    match = _FENCE.fullmatch(text)
    return (match[1] if match and "```" not in match[1] else text).strip()


def json_value(text: str, kind: type[T]) -> T:
    """The JSON value that a reply is, but for a fence around it."""
    try:
        return msgspec.json.decode(without_fence(text).encode(), type=kind)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Unparsable(f"it must be one JSON value ({error})", text) from None


def section(text: str, name: str) -> str:
    """What is between <name> and </name>, which must both be there exactly once, and hold something."""
    before, opening, rest = text.partition(f"<{name}>")
    inside, closing, after = rest.partition(f"</{name}>")
    if not opening or not closing or f"<{name}>" in rest or f"</{name}>" in before + after or not inside.strip():
        raise Unparsable(f"it must have one <{name}>...</{name}> with a text in it", text)
    return inside.strip()


def labelled(text: str, labels: Sequence[str]) -> list[str]:
    """The texts after labels such as "Question:", each at the beginning of a line, once, in this order."""
    pattern = "".join(rf"(?:\A|\n)[ \t]*{re.escape(label)}:(.*?)" for label in labels)
    match = re.fullmatch(rf"\s*{pattern}\s*", text, re.DOTALL)
    counts = [len(re.findall(rf"^[ \t]*{re.escape(label)}:", text, re.MULTILINE)) for label in labels]
    if match is None or any(count != 1 for count in counts) or not all(part.strip() for part in match.groups()):
        raise Unparsable(f"it must have these labels once each, in this order: {', '.join(labels)}", text)
    return [part.strip() for part in match.groups()]


def numbered(text: str, first: int = 1) -> list[str]:
    """The items of a numbered list, in order; those after a gap in the numbers are not of the list."""
    starts = list(_ITEM.finditer(text))
    items: list[str] = []
    ends = [*(match.start() for match in starts[1:]), len(text)]
    for match, end in zip(starts, ends, strict=False):  # without a start there is an end too
        if int(match[1]) == first + len(items):
            items.append(text[match.end() : end].strip())
        elif items:  # a number inside an item, at the beginning of a line
            items[-1] = f"{items[-1]}\n{text[match.start() : end].strip()}"
    if not items:
        raise Unparsable(f"it must be a numbered list that begins with {first}.", text)
    return items


def score(text: str, low: float, high: float) -> float:
    """The number in the last line, which is "Score: N" with N on the scale from `low` to `high`. "Score: N/high" is one
    too."""
    last = text.strip().rpartition("\n")[2].strip().strip("*").strip()
    match = _SCORE.fullmatch(last)
    if match is None or (match[2] is not None and float(match[2]) != high) or not low <= float(match[1]) <= high:
        raise Unparsable(f'it must end with one line "Score: N", N from {low:g} to {high:g}', text)
    return float(match[1])


def verdict(text: str, choices: Sequence[str]) -> str:
    """The choice in the last line, which is [[choice]]."""
    match = _VERDICT.fullmatch(text.strip().rpartition("\n")[2].strip())
    if match is None or match[1] not in choices:
        raise Unparsable(f"it must end with one line, one of {', '.join(f'[[{choice}]]' for choice in choices)}", text)
    return match[1]
