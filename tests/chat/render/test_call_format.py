"""Generated calls are read back in the format of the template that wrote them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.chat.render.call_format import ARGUMENTS, NAMES, CallFormat, learn_call_format
from tutelage.records import ToolCall

FIRST, SECOND = NAMES
FORMATS = {
    "hermes": (
        f'<tool_call>\n{{"name": "{FIRST}", "arguments": {ARGUMENTS}}}\n</tool_call>',
        f'<tool_call>\n{{"name": "{FIRST}", "arguments": {ARGUMENTS}}}\n</tool_call>\n'
        f'<tool_call>\n{{"name": "{SECOND}", "arguments": {ARGUMENTS}}}\n</tool_call>',
    ),
    "llama": (f'{{"name": "{FIRST}", "parameters": {ARGUMENTS}}}', ""),
    "mistral": (
        f'[TOOL_CALLS] [{{"name": "{FIRST}", "arguments": {ARGUMENTS}}}]',
        f'[TOOL_CALLS] [{{"name": "{FIRST}", "arguments": {ARGUMENTS}}}, '
        f'{{"name": "{SECOND}", "arguments": {ARGUMENTS}}}]',
    ),
    "functions": (f"<|call|>{FIRST}<|message|>{ARGUMENTS}", ""),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_learned_and_reads_its_own_calls(name: str) -> None:
    learned = learn_call_format(*FORMATS[name])
    assert learned is not None
    one, two = FORMATS[name]
    assert learned.parse(one) == ("", [ToolCall(FIRST, ARGUMENTS)], "")
    assert learned.parse(f"Let me see. {one}") == ("Let me see.", [ToolCall(FIRST, ARGUMENTS)], "")
    if two:
        parsed = learned.parse(two)
        assert parsed is not None
        assert [call.name for call in parsed[1]] == [FIRST, SECOND]
    assert learned.parse(one[: -len(learned.closing) - 4]) is None, "cut off"
    assert learned.parse("No call at all.") is None


NOT_LEARNED = (
    f"<function={FIRST}><parameter=zqkey>zqvalue</parameter>",
    f"{ARGUMENTS} for {FIRST}",
    f"call0zqid {FIRST} {ARGUMENTS}",
    "",
)


@pytest.mark.parametrize("turn", NOT_LEARNED)
def test_a_format_that_cannot_be_read_back_is_not_learned(turn: str) -> None:
    assert learn_call_format(turn, "") is None


LEAVES = st.none() | st.booleans() | st.integers() | st.text()
VALUES = st.recursive(LEAVES, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=8)


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.sampled_from(sorted(FORMATS)))
def test_arguments_keep_every_character(arguments: dict[str, object], name: str) -> None:
    learned = learn_call_format(*FORMATS[name])
    assert isinstance(learned, CallFormat)
    written = json.dumps(arguments, ensure_ascii=False)
    parsed = learned.parse(f"{learned.opening}{FIRST}{learned.middle}{written}{learned.closing}")
    assert parsed is not None
    assert parsed[1] == [ToolCall(FIRST, written)]
