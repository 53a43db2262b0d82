"""Templates written to go wrong: each is refused with its reason, or what it trains on is right all the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import pytest

from tutelage.chat.render.hf import HFRenderer
from tutelage.chat.render.layout import VerificationError
from tutelage.records import Conversation, Message, Reasoning, Text, ToolCall, ToolResult, message

Make = Callable[..., HFRenderer]

MESSAGE = "<|{{ message.role }}|>{{ message.content }}<|end|>"
PROMPT = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
NAMES = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")
ASKED = Conversation(
    (
        message("system", "Obey"),
        message("user", "first ask"),
        message("assistant", "first reply"),
        message("user", "second ask"),
        message("assistant", "second reply"),
    ),
    id="asked",
)
RIGHT = [["first reply<|end|>", "second reply<|end|>"]]
PER_TURN = [["first reply<|end|>"], ["second reply<|end|>"]]


def template(body: str = MESSAGE, before: str = "", after: str = PROMPT, **of_role: str) -> str:
    """A template that writes every message as `body`, those of a role named here otherwise."""
    cases = "".join(f"{{% elif message.role == '{role}' %}}{text}" for role, text in of_role.items())
    loop = f"{{% for message in messages %}}{{% if false %}}{cases}{{% else %}}{body}{{% endif %}}{{% endfor %}}"
    return before + loop + after


def trained(renderer: HFRenderer, conversation: Conversation = ASKED) -> list[list[str]] | str:
    """The trained runs of text of each example, or why the conversation is refused."""
    (made,) = renderer.render_rows([conversation])
    if isinstance(made, ValueError):
        assert isinstance(made, VerificationError), made
        return made.reason
    found = []
    for one in made:
        pairs = zip(one.ids.tolist(), one.weights.tolist(), strict=True)
        runs = groupby(pairs, key=lambda pair: pair[1])
        shown = ["".join(renderer.tokenizer.token_text(token) for token, _ in own) for weight, own in runs if weight]
        found.append(shown)
    return found


def reply(text: str) -> str:
    """How this assistant's turn is written: a whole message with `text` for its content."""
    return f"<|assistant|>{text}<|end|>"


MARKED = "<|assistant|>{% generation %}{{ message.content }}<|end|>{% endgeneration %}"
HARMLESS = {
    "plain": template(),
    "in parts": template("<|{{ message.role }}|>{% for part in message.content %}{{ part.text }}{% endfor %}<|end|>"),
    "marked": template(assistant=MARKED),
    "marks forget the end": template(
        assistant="<|assistant|>{% generation %}{{ message.content }}{% endgeneration %}<|end|>"
    ),
    "marks cover the header": template(
        assistant="{% generation %}<|assistant|>{{ message.content }}<|end|>{% endgeneration %}"
    ),
    "marks cover everything": "{% generation %}" + template(after="") + "{% endgeneration %}" + PROMPT,
    "marks cover the user": template("{% generation %}" + MESSAGE + "{% endgeneration %}"),
    "a date": template(before="Today is {{ strftime_now('%Y-%m-%d') }}."),
    "doubles what the user says": template(user="<|user|>{{ message.content }} {{ message.content }}<|end|>"),
    "a name for nobody": template(before="{{ bos_token }}{% set unused = messages | length %}"),
    "a macro": "{% macro say(m) %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endmacro %}"
    + template("{{ say(message) }}"),
    "an end nobody announced": template().replace("<|end|>", "</s>"),
}
WORDS = "another role's text lies inside the assistant span"
LEFT_OUT, CHANGED = "the template leaves out a text", "the template changes a text"
OTHERWISE = "prompt mismatch: the generation prompt is not a prefix of the rendered conversation"
NOT_MARKED = "the template's generation blocks leave out an answer"
# What a template does, and why it cannot be used, or why it refuses the conversation, or what it trains on.
HARMFUL: dict[str, tuple[str, object]] = {
    "upper-cases the user": (template(user="<|user|>{{ message.content | upper }}<|end|>"), LEFT_OUT),
    "upper-cases some of it": (
        template("<|{{ message.role }}|>{{ message.content | replace('ask', 'ASK') }}<|end|>"),
        CHANGED,
    ),
    "drops system messages": (template(system=""), LEFT_OUT),
    "drops what the user says": (template(user="<|user|><|end|>"), LEFT_OUT),
    "repeats the answer in the next turn": (
        template(
            user="<|user|>{% if not loop.first and messages[loop.index0 - 1].role == 'assistant' %}"
            "You said {{ messages[loop.index0 - 1].content }}. {% endif %}{{ message.content }}<|end|>"
        ),
        "the template writes an answer twice",
    ),
    "writes the answer twice": (
        template(assistant=reply("{{ message.content }} {{ message.content }}")),
        "the template writes an answer twice",
    ),
    "puts the question into the answer": (
        template(assistant=reply("You ask {{ messages[loop.index0 - 1].content }}: {{ message.content }}")),
        WORDS,
    ),
    "ends the answer with the system message": (
        template(assistant=reply("{{ message.content }}{% if loop.index0 > 1 %} {{ messages[0].content }}{% endif %}")),
        WORDS,
    ),
    "swaps the roles": (
        template(user="<|assistant|>{{ message.content }}<|end|>", assistant="<|user|>{{ message.content }}<|end|>"),
        OTHERWISE,
    ),
    "has another header for generation": (
        template(after="{% if add_generation_prompt %}<|tool|>{% endif %}"),
        OTHERWISE,
    ),
    "prompts by what is said": (
        template(
            after="{% if add_generation_prompt %}"
            "{{ '<|tool|>' if 'ask' in messages[-1].content else '<|assistant|>' }}{% endif %}"
        ),
        OTHERWISE,
    ),
    "has no header for generation": (template(after=""), "the generation prompt lacks the assistant header"),
    "writes a second header": (
        template(assistant=reply("<|assistant|>{{ message.content }}")),
        "the generation prompt lacks the assistant header",
    ),
    "writes no end": (
        template(assistant="<|assistant|>{{ message.content }}\n", user="<|user|>{{ message.content }}"),
        "assistant turn has no end-of-turn token",
    ),
    "writes the end only if short": (
        template(
            assistant="<|assistant|>{{ message.content }}{% if message.content | length < 10 %}<|end|>{% endif %}"
        ),
        CHANGED,
    ),
    "ends the last turn alone": (
        template(assistant="<|assistant|>{{ message.content }}{% if loop.last %}<|end|>{% endif %}"),
        PER_TURN,
    ),
    "writes two BOS": (template(before="{{ bos_token }}{{ bos_token }}"), "two BOS tokens open the text"),
    "cuts every answer": (template(assistant=reply("{{ message.content[1:] }}")), LEFT_OUT),
    "cuts long answers": (template(assistant=reply("{{ message.content[:10] }}")), CHANGED),
    "an answer in two halves": (
        template(assistant=reply("{{ message.content[:3] }}-{{ message.content[3:] }}")),
        LEFT_OUT,
    ),
    "marks half of the answer": (
        template(
            assistant="<|assistant|>{{ message.content[:2] }}{% generation %}{{ message.content[2:] }}<|end|>"
            "{% endgeneration %}"
        ),
        NOT_MARKED,
    ),
    "marks only the end": (
        template(assistant="<|assistant|>{{ message.content }}{% generation %}<|end|>{% endgeneration %}"),
        NOT_MARKED,
    ),
    "marks the last answer alone": (
        template(assistant="{% if loop.last %}" + MARKED + "{% else %}" + MESSAGE + "{% endif %}"),
        NOT_MARKED,
    ),
    "looks at the content": (
        template(assistant="<|assistant|>{{ message.content }}{% if 'first' in message.content %}!{% endif %}<|end|>"),
        CHANGED,
    ),
    "raises on questions": (template(user="{{ raise_exception('no questions') }}"), "the template refuses it"),
    "raises on system messages": (template(system="{{ raise_exception('no system') }}"), "the template refuses it"),
    "loops for ever": (template(before="{% for i in range(10 ** 9) %}x{% endfor %}"), "the template refuses it"),
    "calls itself for ever": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "the template refuses it"),
    "reaches for Python": (template(before="{{ ''.__class__.__mro__ }}"), "the template refuses it"),
    "changes the messages": (
        template(before="{% set unused = messages.append(messages[0]) %}"),
        "the template refuses it",
    ),
    "reads a file": (template(before="{% include '/etc/hosts' %}"), "the template refuses it"),
    "divides by zero": (template(before="{{ 1 / 0 }}"), "the template refuses it"),
    "is no template": (template(before="{% if %}"), "the template refuses it"),
    "never closes": ("{% for message in messages %}", "the template refuses it"),
    "says nothing": ("", LEFT_OUT),
    "says the same to all": ("<|user|>Hello<|end|><|assistant|>Hi<|end|>", LEFT_OUT),
}


# What these do shows only in some conversations; with the others no renderer can be made.
USABLE = (
    "upper-cases some of it",
    "drops system messages",
    "repeats the answer in the next turn",
    "ends the answer with the system message",
    "prompts by what is said",
    "writes the end only if short",
    "ends the last turn alone",
    "cuts long answers",
    "marks the last answer alone",
    "looks at the content",
    "raises on system messages",
)


@pytest.mark.parametrize("name", HARMLESS)
def test_odd_but_harmless_templates_are_verified(name: str, make: Make) -> None:
    renderer = make(HARMLESS[name], more=NAMES)
    end = "</s>" if name == "an end nobody announced" else "<|end|>"
    assert trained(renderer) == [[f"first reply{end}", f"second reply{end}"]]
    assert [renderer.tokenizer.token_text(token) for token in renderer.stop_ids] == [end]


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_templates_are_refused_or_train_the_right_tokens(name: str, make: Make) -> None:
    text, expected = HARMFUL[name]
    if name not in USABLE:
        with pytest.raises(ValueError, match="this checkpoint's chat template cannot be used: ") as raised:
            make(text, more=NAMES)
        assert isinstance(raised.value.__cause__, VerificationError)
        assert raised.value.__cause__.reason == expected
    else:
        assert trained(make(text, more=NAMES)) == expected


@pytest.mark.parametrize(
    ("way", "said", "written"),
    [
        ("trim", "\n reply ", "reply"),
        ("e", "a < b", None),
        ("e", "a b", "a b"),
        ("tojson", "a b", '"a b"'),  # the quotes are the template's own, as any word it puts before an answer
        ("tojson", 'a "b"', None),
        ("replace('\\n', ' ')", "a\nb", None),
    ],
)
def test_an_answer_may_be_trimmed_and_nothing_else(way: str, said: str, written: str | None, make: Make) -> None:
    text = template("<|{{ message.role }}|>{{ message.content | " + way + " }}<|end|>")
    asked = Conversation((message("user", "ask"), message("assistant", said)))
    found = trained(make(text, more=NAMES), asked)
    assert found == (CHANGED if written is None else [[f"{written}<|end|>"]])


CALL = Message(
    "assistant", (Reasoning("hm"), Text("Look: "), ToolCall("find", '{"who": "Ada", "deep": [1, {"x": null}]}'))
)
TOOL = '{"type": "function", "function": {"name": "find", "description": "Finds <somebody>"}}'
CALLED = Conversation(
    (message("user", "Who"), CALL, Message("tool", (ToolResult("a person"),)), message("assistant", "Ada")),
    tools=(TOOL,),
)
TOOLS = "<|system|>{{ tools | tojson }}<|end|>"
THOUGHT = "<think>{{ message.reasoning_content }}</think>"
WRITTEN = "<call>{{ call.function.name }} {{ call.function.arguments | tojson }}</call>"
CALLS = "{% for call in message.tool_calls %}" + WRITTEN + "{% endfor %}"
SAID = '<think>hm</think>Look: <call>find {"who": "Ada", "deep": [1, {"x": null}]}</call><|end|>'
TOLD = (
    "{% if message.tool_calls %}"
    + reply(THOUGHT + "{{ message.content }}" + CALLS)
    + "{% else %}"
    + MESSAGE
    + "{% endif %}"
)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (TOLD, [[SAID, "Ada<|end|>"]]),
        (TOLD.replace(" {{ call.function.arguments | tojson }}", ""), "the template leaves out a tool call"),
        (TOLD.replace("{{ call.function.name }}", ""), "the template leaves out a tool call"),
        (TOLD.replace(THOUGHT, ""), [[SAID.replace("<think>hm</think>", "<think>\nhm\n</think>\n\n"), "Ada<|end|>"]]),
        (TOLD.replace("{{ message.content }}" + CALLS, CALLS), LEFT_OUT),
        (TOLD.replace("<call>", "<|end|><call>"), "the template leaves out a tool call"),
    ],
)  # fmt: skip
def test_calls_and_reasoning_are_there_or_the_row_is_refused(said: str, expected: object, make: Make) -> None:
    renderer = make(template(assistant=said, before="{% if tools %}" + TOOLS + "{% endif %}"), more=NAMES)
    assert trained(renderer, CALLED) == expected


def test_tools_that_a_template_leaves_out_are_missed(make: Make) -> None:
    assert trained(make(template(assistant=TOLD), more=NAMES), CALLED) == "the template leaves out the tools"


def test_a_refusal_shows_the_texts_of_the_row(make: Make) -> None:
    (refusal,) = make(template(assistant=TOLD), more=NAMES).render_rows([CALLED])
    assert isinstance(refusal, VerificationError)
    assert "<|user|>Who<|end|>" in refusal.text
    assert "<|tool|>a person<|end|><|assistant|>Ada<|end|>" in refusal.text


@pytest.mark.parametrize(
    "hidden",
    [
        (message("user", "a <|end|> b"), message("assistant", "c")),
        (message("user", "a"), message("assistant", "c<|end|><|user|>d")),
        (message("user", "a </s>"), message("assistant", "c")),
        (message("user", "a"), Message("assistant", (ToolCall("find", '{"who": "\\u003c|end|>"}'),))),
        (message("user", "a"), Message("assistant", (ToolCall("<|end|>", "{}"),))),
        (message("user", "a"), Message("assistant", (Reasoning("<|user|>"), Text("c")))),
    ],
)
def test_a_special_token_in_a_text_is_refused(hidden: tuple[Message, ...], make: Make) -> None:
    renderer = make(template(assistant=TOLD, before="{% if tools %}" + TOOLS + "{% endif %}"), more=NAMES)
    assert trained(renderer, Conversation(hidden)) == "a special token in a text"
    with pytest.raises(VerificationError, match="holds <|"):
        renderer.render_prompts([Conversation(hidden)])
    described = TOOL.replace("<somebody>", "\\u003c|user|>")
    asked = Conversation((message("user", "a"), message("assistant", "c")), tools=(described,))
    assert trained(renderer, asked) == "a special token in a text"


def test_texts_that_run_together_into_a_special_token_are_refused(make: Make) -> None:
    renderer = make(
        template("<|{{ message.role }}|><{{ message.content }}<|end|>", after=PROMPT.replace("t|>", "t|><")), more=NAMES
    )
    assert trained(renderer) == [["first reply<|end|>", "second reply<|end|>"]]
    run_together = Conversation((message("user", "|user|>"), message("assistant", "reply")))
    assert trained(renderer, run_together) == "verification failed"
    # Generation is given the "<" alone, and resumes from there: so is this taught; but no further turn can follow.
    opening = (message("user", "ask"), message("assistant", "|user|> reply"))
    assert trained(renderer, Conversation(opening)) == [["|user|> reply<|end|>"]]
    assert trained(renderer, Conversation((*opening, *opening))) == "verification failed"


@pytest.mark.parametrize("character", ["\ud800", "\ufdd0", "\ufdd1"])
def test_what_no_text_may_hold_is_refused_alone(character: str, make: Make) -> None:
    renderer = make(template(), more=NAMES)
    bad = Conversation((message("user", f"a{character}"), message("assistant", "c")), id="chats.jsonl:9")
    good, refused = renderer.render_rows([ASKED, bad])
    assert isinstance(good, list)
    assert str(refused).startswith("conversation chats.jsonl:9: a reserved character in a text (message 0 holds U+")


def test_the_end_of_text_right_after_the_end_of_an_answer_is_the_end(make: Make) -> None:
    renderer = make(template(assistant="<|assistant|>{{ message.content }}<|done|></s>\n"), more=(*NAMES, "<|done|>"))
    assert trained(renderer) == [["first reply<|done|></s>", "second reply<|done|></s>"]]
    assert [renderer.tokenizer.token_text(token) for token in renderer.stop_ids] == ["</s>"]


def test_the_prompt_and_the_difference_are_shown_in_the_refusal(make: Make) -> None:
    renderer = make(template(assistant=reply("{{ message.content | replace('first', '1st') }}")), more=NAMES)
    (refused,) = renderer.render_rows([ASKED])
    assert isinstance(refused, VerificationError)
    assert str(refused) == f"conversation asked: {CHANGED} (message 2, assistant: 'first reply')"
    assert refused.text.startswith("<|system|>Obey<|end|><|user|>first ask<|end|><|assistant|>1st reply<|end|>")
