from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.chat.render.jinja import BEGIN_GENERATED, END_GENERATED, TemplateError
from tutelage.chat.render.outline import (
    Outline,
    read_outline,
    sentinel_parts,
    split_generated,
    structure_key,
    tool_name,
    with_sentinels,
    writes_calls,
)
from tutelage.records import Conversation, Message, Reasoning, Text, ToolCall, ToolResult, message

CONVERSATION = Conversation(
    (
        message("user", "Who?"),
        Message("assistant", (Reasoning("hm"), Text("  "), Text("Ada"), ToolCall("find", "{}"))),
        Message("tool", (ToolResult("a person"),)),
    )
)


def chatml(conversation: Conversation) -> str:
    return "".join(f"<{turn.role}>{turn.text}</>\n" for turn in conversation.messages)


def outline_of(conversation: Conversation) -> Outline:
    return read_outline(chatml(with_sentinels(conversation)), ())


def test_every_text_that_is_not_blank_gets_a_sentinel() -> None:
    texts = [[getattr(part, "text", None) for part in one.content] for one in with_sentinels(CONVERSATION).messages]
    assert texts == [["Qzx0y0xzQ"], ["Qzx1y0xzQ", "  ", "Qzx1y2xzQ", None], ["Qzx2y0xzQ"]]
    assert [list(sentinel_parts(turn)) for turn in CONVERSATION.messages] == [[0], [0, 2], [0]]
    assert with_sentinels(with_sentinels(CONVERSATION)) == with_sentinels(CONVERSATION)


def test_a_structure_is_all_but_the_texts() -> None:
    assert structure_key(CONVERSATION) == structure_key(with_sentinels(CONVERSATION))
    other = Conversation((message("user", "Else"), *CONVERSATION.messages[1:]))
    assert structure_key(other) == structure_key(CONVERSATION)
    silent = Conversation((message("user", " "), *CONVERSATION.messages[1:]))
    called = Conversation((*CONVERSATION.messages, Message("assistant", (ToolCall("find", '{"a": 1}'),))))
    tools = Conversation(CONVERSATION.messages, tools=("{}",))
    assert len({structure_key(one) for one in (CONVERSATION, silent, called, tools)}) == 4


WORDS = st.text("ab \n<>/", min_size=1, max_size=8).filter(str.strip)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3))
def test_a_rendering_is_its_outline_with_the_texts_in_place(exchanges: list[tuple[str, str]]) -> None:
    turns = [one for asked, said in exchanges for one in (message("user", asked), message("assistant", said))]
    conversation = Conversation(tuple(turns))
    outline, text = outline_of(conversation), chatml(conversation)
    starts = outline.match(text, conversation)
    assert starts is not None
    for start, literal in zip(starts, outline.literals, strict=True):
        assert text[start : start + len(literal)] == literal
    ends = [start + len(literal) for start, literal in zip(starts, outline.literals, strict=True)]
    assert [text[end:start] for end, start in zip(ends, starts[1:], strict=False)] == [one.text for one in turns]
    assert outline.match(text + "x", conversation) is None
    assert outline.match("x" + text, conversation) is None


@pytest.mark.parametrize(
    ("role", "said", "written", "matches"),
    [
        ("assistant", " a\n", " a\n", True),
        ("assistant", " a\n", "a", True),
        ("assistant", "\na \n", "a ", True),
        ("assistant", " a\n", "a\n", True),
        ("assistant", " a\n", " a", True),
        ("assistant", "a", "A", False),
        ("assistant", "a b", "a  b", False),
        ("assistant", 'a"', 'a\\"', False),  # what is trained may only be trimmed
        ("user", 'a"', 'a\\"', True),
        ("tool", "a\nb", "a\\nb", True),
        ("user", "a<", "a&lt;", False),
        ("user", "ab", "a", False),
    ],
)
def test_what_a_template_may_do_to_a_text(role: str, said: str, written: str, matches: bool) -> None:
    part = ToolResult if role == "tool" else Text
    conversation = Conversation((Message(role, (part(said),)),))  # type: ignore[arg-type]
    outline = read_outline(f"<{role}>Qzx0y0xzQ</>", ())
    assert (outline.match(f"<{role}>{written}</>", conversation) is not None) == matches


def test_places_have_offsets_and_none_lies_inside_a_text() -> None:
    outline = read_outline("<u>Qzx0y0xzQ</><a>Qzx1y0xzQ</>", ())
    assert outline.slots == ((0, 0), (1, 0))
    assert [outline.offset(place) for place in (0, 3, 12, 15, 18, 30)] == [
        (0, 0),
        (0, 3),
        (1, 0),
        (1, 3),
        (1, 6),
        (2, 3),
    ]
    with pytest.raises(TemplateError, match="it cuts the text of message 0 in two"):
        outline.offset(5)
    assert outline.slots_between(0, 30) == [(0, 0), (1, 0)]
    assert outline.slots_between(4, 18) == []
    assert outline.slots_between(4, 19) == [(1, 0)]


def test_generation_marks_are_removed_and_their_places_returned() -> None:
    b, e = BEGIN_GENERATED, END_GENERATED
    assert split_generated("plain") == ("plain", ())
    assert split_generated(f"a{b}bc{e}d{b}{e}") == ("abcd", ((1, 3), (4, 4)))
    with pytest.raises(TemplateError, match="a character that no text may hold"):
        split_generated(f"a{b}b")


@pytest.mark.parametrize(
    ("text", "says_it"),
    [
        ('find {"who": "Ada", "n": 3, "ok": true, "x": null}', True),
        ("find(who='Ada', n=3, ok=True, x=None)", True),
        ("<find><who>Ada</who><n>3</n><ok>true</ok><x>null</x></find>", True),
        ('find {"n": 3, "ok": true, "x": null}', False),
        ('seek {"who": "Ada", "n": 3, "ok": true, "x": null}', False),
    ],
)
def test_a_call_is_written_with_its_name_and_every_value(text: str, says_it: bool) -> None:
    call = ToolCall("find", '{"who": "Ada", "n": 3, "ok": true, "x": [null]}')
    assert writes_calls(text, [call]) == says_it


def test_the_name_of_a_tool() -> None:
    assert tool_name('{"type": "function", "function": {"name": "f"}}') == "f"
    assert tool_name('{"name": "g"}') == "g"
    assert tool_name('{"function": "odd"}') == ""


def test_a_call_that_is_left_out_is_missed_also_where_its_values_are_parts_of_anothers() -> None:
    """Found with GPT-OSS' template, which writes one call of several, on BFCL's parallel_23: 1 stands in 1000."""
    calls = [ToolCall("value", '{"at": 1000, "rate": 0.05}'), ToolCall("value", '{"at": 1, "rate": 5}')]
    assert not writes_calls(f"value {calls[0].arguments}", calls)
    assert writes_calls(f"value {calls[0].arguments} value {calls[1].arguments}", calls)
