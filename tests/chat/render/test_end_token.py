from __future__ import annotations

import re

import pytest

from tutelage.chat.render.end_token import RULES, TurnEnd, find_end_token

SPECIAL = re.compile(r"<\|[a-z_]+\|>|</s>|</tool_call>")


@pytest.mark.parametrize(
    ("after", "calls", "plain_end", "expected", "rule"),
    [
        ("<|im_end|>\n<|im_start|>", False, "", "<|im_end|>", 3),  # ChatML, Qwen
        ("<|eot_id|>", False, "", "<|eot_id|>", 3),  # Llama 3
        ("<|done|></s>\n", False, "", "</s>", 2),
        ("<|done|>\n</s>", False, "", "<|done|>", 3),  # the end of text does not follow at once
        ("</tool_call><|im_end|>\n", True, "<|im_end|>", "<|im_end|>", 0),  # Qwen 3
        ("<|message|>{}<|call|>", True, "<|return|>", "<|call|>", 1),  # gpt-oss
    ],
)
def test_the_first_rule_that_applies_finds_the_end_token(
    after: str, calls: bool, plain_end: str, expected: str, rule: int
) -> None:
    found = find_end_token(TurnEnd(list(SPECIAL.finditer(after)), calls, plain_end, "</s>"))
    assert found is not None
    assert (found[0][0], found[1]) == (expected, RULES[rule][0])


def test_a_turn_without_a_special_token_has_no_end() -> None:
    assert find_end_token(TurnEnd([], False, "", "</s>")) is None
