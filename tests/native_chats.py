"""What tests of the native template share: conversations, drawn ones too, and their renderings."""

from __future__ import annotations

from hypothesis import strategies as st

from tutelage.chat.render.encoding import TokenTable
from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.native_text import NativeText
from tutelage.chat.render.renderer import Rendered, TrainOn
from tutelage.chat.render.template import TEMPLATE_TOKENS, tools_in_system
from tutelage.chat.render.verify import verify
from tutelage.records import Conversation, Message, Part, Reasoning, Text, ToolCall, ToolResult, message
from tutelage.tokenizer import END_OF_TEXT, TokenizerSettings, train

BASE = train(["Write a greeting", "Good day", "It is the 12th. "] * 8, TokenizerSettings(vocab=300))
TOKENIZER = BASE.extend(TEMPLATE_TOKENS)
RENDERER = NativeRenderer(TOKENIZER)
GREETING = Conversation((message("user", "Write a greeting"), message("assistant", "Good day")), id="greeting")
LONG = Conversation(
    (
        message("system", "Be brief"),
        message("user", "Who is Ada?"),
        Message(
            "assistant",
            (
                Reasoning("look"),
                ToolCall("find", '{"who": "Ada"}'),
                ToolResult("a person"),
                Text("Ada is"),
                Text(" Ada"),
            ),
        ),
        message("user", "And Bo?"),
        Message("assistant", (ToolCall("find", "{}"),)),
        Message("tool", (ToolResult("nobody"),)),
        message("assistant", "Nobody"),
    ),
    id="long",
)

ALPHABET = st.characters(exclude_categories=("Cs",)) | st.sampled_from([*TEMPLATE_TOKENS, END_OF_TEXT, " ", "\n"])
TEXTS = st.lists(ALPHABET, max_size=6).map("".join)
WORDS = TEXTS.filter(str.strip)
PARTS: st.SearchStrategy[Part] = st.one_of(
    TEXTS.map(Text),
    TEXTS.map(Reasoning),
    TEXTS.map(ToolResult),
    st.builds(ToolCall, TEXTS, st.sampled_from(["{}", '{"a": [1, "}"]}', '{ "b" : "<|/call|>" }'])),
)
MESSAGES = st.one_of(
    st.builds(message, st.just("system"), TEXTS),
    st.builds(message, st.just("user"), WORDS),
    st.builds(lambda parts, word: Message("assistant", (*parts, Text(word))), st.lists(PARTS, max_size=3), WORDS),
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    messages: list[Message] = []
    for one in draw(st.lists(MESSAGES, max_size=4)):
        messages.append(one)
        if one.role == "assistant" and draw(st.booleans()):
            messages.append(Message("tool", (ToolResult(draw(TEXTS)),)))
    return Conversation((*messages, message("assistant", draw(WORDS))))


def render(conversation: Conversation, train_on: TrainOn = "assistant") -> Rendered:
    (made,) = RENDERER.render_rows([conversation], train_on, spans=True)
    if isinstance(made, ValueError):
        raise made
    (one,) = made
    return one


def render_prompt(conversation: Conversation, spans: bool = False) -> Rendered:
    (one,) = RENDERER.render_prompts([conversation], spans)
    return one


def check(rendered: Rendered, conversation: Conversation) -> None:
    """The verification of a rendering, with a layout and tokens made anew."""
    text, table = NativeText([tools_in_system(conversation)], "assistant"), TokenTable(TOKENIZER)
    verify(rendered, text.layout(), text.encode(TOKENIZER, table, read_back=True), table, RENDERER.stop_ids)


def tokens(rendered: Rendered) -> list[str]:
    return [TOKENIZER.token_text(token) for token in rendered.ids.tolist()]


def trained(rendered: Rendered) -> list[str]:
    return [token for token, weight in zip(tokens(rendered), rendered.weights.tolist(), strict=True) if weight]
