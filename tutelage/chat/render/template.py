"""The native chat template, as data: what its special tokens mean, and which conversations it can write.

A turn is its role's token, its parts, and `<|end|>`, with nothing between turns and nothing before the first:

    <|user|>What is 2 + 3?<|end|><|assistant|><|think|>2 + 3 = 5<|/think|>It is 5.<|end|>
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

import msgspec

from tutelage.records import Conversation, Message, Part, Reasoning, Text, ToolCall, ToolResult

END = "<|end|>"
HEADERS = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>", "tool": "<|tool|>"}
DELIMITERS: dict[type[Part], tuple[str, str]] = {
    Reasoning: ("<|think|>", "<|/think|>"),
    ToolCall: ("<|call|>", "<|/call|>"),
    ToolResult: ("<|result|>", "<|/result|>"),
}
# The order gives the ids in an extended vocabulary: what every conversation needs comes first.
TEMPLATE_TOKENS: tuple[str, ...] = (
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|system|>",
    "<|tool|>",
    "<|think|>",
    "<|/think|>",
    "<|call|>",
    "<|/call|>",
    "<|result|>",
    "<|/result|>",
)
# The same in Jinja, for other programs: saved with a model, and rendered by them as it is here.
NATIVE_JINJA = """\
{%- for message in messages -%}
{%- set named = namespace(system=false) -%}
{%- if loop.first and tools -%}
<|system|>
{%- if message.role == "system" and message.content -%}{{- message.content + "\n\n" -}}{%- endif -%}
{{- "You can call these functions:" -}}
{%- for tool in tools -%}{{- "\n" + (tool | tojson) -}}{%- endfor -%}
<|end|>
{%- set named.system = message.role == "system" -%}
{%- endif -%}
{%- if not named.system -%}
{{- "<|" + message.role + "|>" -}}
{%- if message.role == "tool" -%}
{{- "<|result|>" + message.content + "<|/result|>" -}}
{%- else -%}
{%- if message.reasoning_content -%}{{- "<|think|>" + message.reasoning_content + "<|/think|>" -}}{%- endif -%}
{{- message.content or "" -}}
{%- for call in message.tool_calls or [] -%}
{{- '<|call|>{"name": ' + (call.function.name | tojson) + ', "arguments": ' -}}
{{- call.function.arguments if call.function.arguments is string else (call.function.arguments | tojson) -}}
{{- "}<|/call|>" -}}
{%- endfor -%}
{%- endif -%}
{{- "<|end|>" -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<|assistant|>" -}}{%- endif -%}
"""
_PARTS_OF_ROLE: dict[str, tuple[type[Part], ...]] = {
    "system": (Text,),
    "user": (Text,),
    "assistant": (Text, Reasoning, ToolCall, ToolResult),
    "tool": (Text, ToolResult),
}
_CALL = re.compile(r'\{"name": ("(?:[^"\\]|\\.)*"), "arguments": (\{.*\})\}', re.DOTALL)


def part_text(part: Part) -> str:
    """The characters of a part between its delimiters; a tool call's are `{"name": ..., "arguments": {...}}`."""
    if isinstance(part, ToolCall):
        return f'{{"name": {msgspec.json.encode(part.name).decode()}, "arguments": {part.arguments}}}'
    return part.text


def parse_call(text: str) -> ToolCall | None:
    """The tool call that a text is, or None; the arguments keep every character."""
    exact = _CALL.fullmatch(text)
    try:
        if exact:
            call = ToolCall(msgspec.json.decode(exact[1], type=str), exact[2])
            return call if _is_object(call.arguments) else None
        written = msgspec.json.decode(text, type=_Call)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    arguments = bytes(written.arguments).decode()
    return ToolCall(written.name, arguments) if _is_object(arguments) else None


def tools_in_system(conversation: Conversation) -> Conversation:
    """The conversation with its tools in the system message, because the native template has no other place for them.
    They are written as NATIVE_JINJA writes them, whatever their white space was."""
    if not conversation.tools:
        return conversation
    first, *rest = conversation.messages
    text = first.text if first.role == "system" else ""
    written = (json.dumps(json.loads(tool), ensure_ascii=False) for tool in conversation.tools)
    listed = "\n".join(["You can call these functions:", *written])
    system = Message("system", (Text(f"{text}\n\n{listed}" if text else listed),))
    messages = rest if first.role == "system" else conversation.messages
    return replace(conversation, messages=(system, *messages), tools=())


def check(conversation: Conversation) -> None:
    """ValueError if the template cannot write this conversation. `check_answers` is for training only."""
    before: str | None = None
    for position, message in enumerate(conversation.messages):
        if message.role not in HEADERS:
            raise _refusal(conversation, position, f"unknown role {message.role!r}; use one of {', '.join(HEADERS)}")
        for part in message.content:
            if not isinstance(part, _PARTS_OF_ROLE[message.role]):
                kind = type(part).__name__
                raise _refusal(conversation, position, f"{kind} is not allowed in a {message.role} message; move it")
            if isinstance(part, ToolCall) and not _is_object(part.arguments):
                problem = f"the arguments of the call to {part.name!r} are not a JSON object: {part.arguments[:80]!r}"
                raise _refusal(conversation, position, f"{problem}; correct them")
        if message.role == "user" and not _says_something(message):
            raise _refusal(conversation, position, "a user message without content; remove or fill it")
        if message.role == "tool" and before not in ("assistant", "tool"):
            raise _refusal(conversation, position, "a tool message must follow an assistant's; move or remove it")
        before = message.role


def check_answers(conversation: Conversation) -> None:
    """ValueError if an assistant message answers nothing, which would teach the model to stop at once."""
    for position, message in enumerate(conversation.messages):
        if message.role == "assistant" and not _says_something(message):
            raise _refusal(conversation, position, "the assistant answers nothing; remove the turn or fill it")


def check_marks(conversation: Conversation, train_on: str) -> None:
    """ValueError where every token is to be trained, but the data marks an answer as not to be learned."""
    if train_on == "all_tokens":
        for position, message in enumerate(conversation.messages):
            if not message.trained:
                problem = 'marked as not to be learned, which train_on = "all_tokens" cannot keep; choose another'
                raise _refusal(conversation, position, problem)


def exchanges(messages: tuple[Message, ...]) -> list[tuple[Message, ...]]:
    """The messages cut before each user turn that follows an answer and is answered itself."""
    parts, start = [], 0
    for place, message in enumerate(messages):
        answered = any(earlier.role == "assistant" for earlier in messages[start:place])
        if message.role == "user" and answered and any(later.role == "assistant" for later in messages[place:]):
            parts.append(messages[start:place])
            start = place
    return [*parts, messages[start:]]


def conversation_name(conversation: Conversation) -> str:
    """The name of a conversation in errors: its id, where it has one."""
    return f"conversation {conversation.id}" if conversation.id else "conversation without id"


def _says_something(message: Message) -> bool:
    # Reasoning alone, or a tool result, which the assistant did not write, answers nobody.
    return any(isinstance(part, ToolCall) or (isinstance(part, Text) and part.text.strip()) for part in message.content)


def _refusal(conversation: Conversation, position: int, problem: str) -> ValueError:
    return ValueError(f"{conversation_name(conversation)}, message {position}: {problem}")


class _Call(msgspec.Struct):
    name: str
    arguments: msgspec.Raw


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return False
