from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.chat.render.jinja import BEGIN_GENERATED, END_GENERATED, TemplateError
from tutelage.chat.render.outline import (
    Skeleton,
    marked,
    read_skeleton,
    says,
    shape,
    tool_name,
    without_marks,
    writes_call,
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
    return "".join(f"<{one.role}>{one.text}</>\n" for one in conversation.messages)


def skeleton_of(conversation: Conversation) -> Skeleton:
    return read_skeleton(chatml(marked(conversation)), ())


def test_every_text_that_says_something_gets_a_marker() -> None:
    texts = [[getattr(part, "text", None) for part in one.content] for one in marked(CONVERSATION).messages]
    assert texts == [["Qzx0y0xzQ"], ["Qzx1y0xzQ", "  ", "Qzx1y2xzQ", None], ["Qzx2y0xzQ"]]
    assert [list(says(one)) for one in CONVERSATION.messages] == [[0], [0, 2], [0]]
    assert marked(marked(CONVERSATION)) == marked(CONVERSATION)


def test_a_shape_is_all_but_the_texts() -> None:
    assert shape(CONVERSATION) == shape(marked(CONVERSATION))
    other = Conversation((message("user", "Else"), *CONVERSATION.messages[1:]))
    assert shape(other) == shape(CONVERSATION)
    silent = Conversation((message("user", " "), *CONVERSATION.messages[1:]))
    called = Conversation((*CONVERSATION.messages, Message("assistant", (ToolCall("find", '{"a": 1}'),))))
    tools = Conversation(CONVERSATION.messages, tools=("{}",))
    assert len({shape(one) for one in (CONVERSATION, silent, called, tools)}) == 4


WORDS = st.text("ab \n<>/", min_size=1, max_size=8).filter(str.strip)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3))
def test_a_rendering_is_its_skeleton_with_the_texts_in_place(exchanges: list[tuple[str, str]]) -> None:
    turns = [one for asked, said in exchanges for one in (message("user", asked), message("assistant", said))]
    conversation = Conversation(tuple(turns))
    skeleton, text = skeleton_of(conversation), chatml(conversation)
    starts = skeleton.match(text, conversation)
    assert starts is not None
    for start, literal in zip(starts, skeleton.literals, strict=True):
        assert text[start : start + len(literal)] == literal
    ends = [start + len(literal) for start, literal in zip(starts, skeleton.literals, strict=True)]
    assert [text[end:start] for end, start in zip(ends, starts[1:], strict=False)] == [one.text for one in turns]
    assert skeleton.match(text + "x", conversation) is None
    assert skeleton.match("x" + text, conversation) is None


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
    skeleton = read_skeleton(f"<{role}>Qzx0y0xzQ</>", ())
    assert (skeleton.match(f"<{role}>{written}</>", conversation) is not None) == matches


def test_places_are_anchored_and_none_lies_inside_a_text() -> None:
    skeleton = read_skeleton("<u>Qzx0y0xzQ</><a>Qzx1y0xzQ</>", ())
    assert skeleton.slots == ((0, 0), (1, 0))
    assert [skeleton.anchor(place) for place in (0, 3, 12, 15, 18, 30)] == [
        (0, 0),
        (0, 3),
        (1, 0),
        (1, 3),
        (1, 6),
        (2, 3),
    ]
    with pytest.raises(TemplateError, match="it cuts the text of message 0 in two"):
        skeleton.anchor(5)
    assert skeleton.slots_between(0, 30) == [(0, 0), (1, 0)]
    assert skeleton.slots_between(4, 18) == []
    assert skeleton.slots_between(4, 19) == [(1, 0)]


def test_marks_are_taken_out_and_said_where() -> None:
    b, e = BEGIN_GENERATED, END_GENERATED
    assert without_marks("plain") == ("plain", ())
    assert without_marks(f"a{b}bc{e}d{b}{e}") == ("abcd", ((1, 3), (4, 4)))
    with pytest.raises(TemplateError, match="a character that no text may hold"):
        without_marks(f"a{b}b")


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
    assert writes_call(text, call) == says_it


def test_the_name_of_a_tool() -> None:
    assert tool_name('{"type": "function", "function": {"name": "f"}}') == "f"
    assert tool_name('{"name": "g"}') == "g"
    assert tool_name('{"function": "odd"}') == ""
