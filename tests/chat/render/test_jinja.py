from __future__ import annotations

import pytest

from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.jinja import (
    BEGIN_GENERATED,
    END_GENERATED,
    JinjaTemplate,
    MessageLayout,
    TemplateError,
    template_messages,
)
from tutelage.records import Conversation, Message, Reasoning, Text, ToolCall, ToolResult, message

HELLO = [{"role": "user", "content": "<Hé>"}]


def render(template: str, prompt: bool = False, **tokens: object) -> str:
    return JinjaTemplate(ChatConfig(template, tokens)).render(HELLO, [], prompt)


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("{% for message in messages %}\n  {{ message.content }}\n{% endfor %}\n", "  <Hé>\n"),
        ("{{ messages[0] | tojson }}", '{"role": "user", "content": "<Hé>"}'),
        ("{{ messages[0].content | tojson(ensure_ascii=True) }}", '"<H\\u00e9>"'),
        ("{{ messages[0] | tojson(indent=1, sort_keys=True) }}", '{\n "content": "<Hé>",\n "role": "user"\n}'),
        ("{{ [1, 2] | tojson(separators=(',', ':')) }}", "[1,2]"),
        ("{{ bos_token }}|{{ eos_token }}|{{ pad_token is defined }}", "<s>|</s>|False"),
        ("{{ tools }}{{ documents }}{{ add_generation_prompt }}", "NoneNoneFalse"),
        ("{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "0234"),
        ("{% for i in range(5) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "012"),
        ("a{% generation %}b{% endgeneration %}c", f"a{BEGIN_GENERATED}b{END_GENERATED}c"),
        ("{% for i in [1, 2] %}{% generation %}{{ i }}{% endgeneration %}{% endfor %}",
         f"{BEGIN_GENERATED}1{END_GENERATED}{BEGIN_GENERATED}2{END_GENERATED}"),
        ("{{ strftime_now('%Y')[:2] }}", "20"),
    ],
)  # fmt: skip
def test_a_template_is_rendered_as_transformers_renders_it(template: str, written: str) -> None:
    assert render(template, bos_token="<s>", eos_token={"content": "</s>"}) == written


def test_transformers_agrees_on_white_space_json_and_loops() -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    template = (
        "  {%- for message in messages %}\n    {% if loop.first %}\n\t{{ message | tojson }}  \n    {%- endif %}\n"
        "{{ 'x' if add_generation_prompt }}\n\n  {% endfor %}\n{% set n = namespace(a=1) %}{{ n.a }}\n\n"
    )
    for prompt in (False, True):
        (theirs,), _ = render_jinja_template([HELLO], chat_template=template, add_generation_prompt=prompt)
        assert render(template, prompt) == theirs


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{{ raise_exception('no') }}", "^the chat template refuses it: no$"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.__class__.__base__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ messages[0].update(a=1) }}", "SecurityError"),
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "OverflowError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ nobody.nothing }}", "UndefinedError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("\n{% if %}", "^the chat template is broken in line 2: "),
        ("{% generation %}", "^the chat template is broken in line 1: "),
        ("{% for message in messages %}", "^the chat template is broken in line 1: "),
    ],
)
def test_whatever_a_template_does_is_one_error_that_says_what(template: str, sentence: str) -> None:
    with pytest.raises(TemplateError, match=sentence):
        render(template)


def test_the_messages_are_openais() -> None:
    conversation = Conversation(
        (
            message("system", "s"),
            message("user", "u"),
            Message(
                "assistant",
                (Reasoning("r"), Text("t"), ToolCall("f", '{"a": 1}'), ToolCall("g", "{}")),
            ),
            Message("tool", (ToolResult("1"), ToolResult("2"))),
            message("assistant", ""),
        )
    )
    written = template_messages(conversation, MessageLayout())
    calls = [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]
    ids = ["000020000", "000020001"]
    assert written == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {
            "role": "assistant",
            "content": "t",
            "reasoning_content": "r",
            "thinking": "r",
            "tool_calls": [
                {"id": id_, "type": "function", "function": call} for id_, call in zip(ids, calls, strict=True)
            ],
        },
        {"role": "tool", "content": "1", "name": "f", "tool_call_id": ids[0]},
        {"role": "tool", "content": "2", "name": "g", "tool_call_id": ids[1]},
        {"role": "assistant", "content": ""},
    ]
    in_parts = template_messages(conversation, MessageLayout(parts=True))
    assert [one["content"] for one in in_parts[:2]] == [
        [{"type": "text", "text": "s"}],
        [{"type": "text", "text": "u"}],
    ]
    assert in_parts[-1]["content"] == []


@pytest.mark.parametrize(
    "parts", [(Text("t"), Reasoning("r")), (ToolCall("f", "{}"), Text("t")), (Text("t"), ToolResult("r"))]
)
def test_parts_in_an_order_that_the_layout_cannot_say_are_refused(parts: tuple) -> None:
    conversation = Conversation((message("user", "u"), Message("assistant", parts)))
    with pytest.raises(TemplateError, match="^message 1: a chat template takes reasoning, then text"):
        template_messages(conversation, MessageLayout())
