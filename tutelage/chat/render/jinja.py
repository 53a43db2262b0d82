"""A checkpoint's chat template: Jinja source, rendered in a sandbox as transformers renders it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tutelage.chat.render.config import ChatConfig
from tutelage.records import Conversation, Message, Reasoning, Text, ToolCall, ToolResult

# Unicode noncharacters, which no text may hold: they surround what a template marks as generated.
BEGIN_GENERATED, END_GENERATED = "\ufdd0", "\ufdd1"
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class TemplateError(ValueError):
    """A chat template that is broken, or that refuses a conversation."""


class _Generation(Extension):
    """The block `{% generation %} ... {% endgeneration %}`, with which a template marks what the assistant writes."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Any) -> str:
        return f"{BEGIN_GENERATED}{caller()}{END_GENERATED}"


@dataclass(frozen=True)
class JinjaTemplate:
    """A template to render; TemplateError, on first use, where its source is broken."""

    config: ChatConfig

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Any],
        prompt: bool,
        settings: Mapping[str, Any] | None = None,
        compiled: jinja2.Template | None = None,
    ) -> str:
        """The text of a conversation, or, with `prompt`, what generation continues from.

        settings: further variables of the template.
        compiled: the template as another environment compiled it; by default as the plain sandbox does.

        Raises:
            TemplateError: the template refuses the conversation or fails on it; the sentence says which.
        """
        try:
            return (compiled or self._compiled).render(
                messages=messages,
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=prompt,
                **self._tokens,
                **(settings or {}),
            )
        except TemplateError:
            raise
        except Exception as error:  # a template is a program: it can fail in any way
            raise TemplateError(f"the chat template fails on it ({type(error).__name__}: {error})") from error

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names that the template reads and does not set itself."""
        environment = prepare(ImmutableSandboxedEnvironment)
        assert self.config.template is not None
        return frozenset(meta.find_undeclared_variables(environment.parse(self.config.template)))

    @cached_property
    def _tokens(self) -> dict[str, str]:
        tokens = {name: self.config.token(name) for name in _NAMED_TOKENS}
        return {name: token for name, token in tokens.items() if token}

    @cached_property
    def _compiled(self) -> jinja2.Template:
        assert self.config.template is not None
        environment = prepare(ImmutableSandboxedEnvironment)
        try:
            return environment.from_string(self.config.template)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"the chat template is broken in line {error.lineno}: {error.message}") from error


def prepare(kind: type[ImmutableSandboxedEnvironment]) -> ImmutableSandboxedEnvironment:
    """A sandbox of this kind with what chat templates expect."""
    environment = kind(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    # Jinja's own filter escapes for HTML, which no template for chats means.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> str:
    raise TemplateError(f"the chat template refuses it: {message}")


def all_settings(config: ChatConfig, conversation: Conversation) -> Mapping[str, Any]:
    """The variables of the template: those of the model, and over them those of the conversation."""
    own = config.settings.template_settings
    return {**own, **json.loads(conversation.template_settings)} if conversation.template_settings else own


class MessageLayout(NamedTuple):
    """What templates expect in different ways.

    parts:          each text is a list of one part, as for templates that take images too.
    text_arguments: the arguments of calls are JSON text, not an object.
    null_content:   the content of a turn without text is null, not "".
    """

    parts: bool = False
    text_arguments: bool = False
    null_content: bool = False


def template_messages(conversation: Conversation, layout: MessageLayout) -> list[dict[str, Any]]:
    """The messages in OpenAI's layout, as a template expects them.

    TemplateError where a message does not fit that layout, which has one place for reasoning, then one for text, then
    one for calls.
    """
    written: list[dict[str, Any]] = []
    calls: dict[str, str] = {}  # id -> function of the calls of the last assistant turn that have no result yet
    for number, message in enumerate(conversation.messages):
        name = {"name": message.name} if message.name else {}
        if message.role == "assistant":
            written.append(_assistant(message, number, layout) | name)
            calls = {call["id"]: call["function"]["name"] for call in written[-1].get("tool_calls", ())}
        elif message.role == "tool":
            for part in message.content:
                assert isinstance(part, Text | ToolResult)
                result: dict[str, Any] = {"role": "tool", "content": part.text}
                if calls:
                    given = part.call_id if isinstance(part, ToolResult) else ""
                    call_id = given if given in calls else next(iter(calls))
                    result |= {"name": calls.pop(call_id), "tool_call_id": call_id}
                written.append(result)
        else:
            written.append({"role": message.role, "content": message.text} | name)
    if layout.parts:
        return [
            row | {"content": [{"type": "text", "text": row["content"]}] if row["content"] else []} for row in written
        ]
    return written


def _assistant(message: Message, number: int, layout: MessageLayout) -> dict[str, Any]:
    order = [next(place for place, kind in enumerate(_ORDER) if isinstance(part, kind)) for part in message.content]
    if order != sorted(order) or _ORDER.index(ToolResult) in order:
        raise TemplateError(
            f"message {number}: a chat template takes reasoning, then text, then tool calls, and no other order"
        )
    reasoning = "".join(part.text for part in message.content if isinstance(part, Reasoning))
    content = None if layout.null_content and not message.text else message.text
    written: dict[str, Any] = {"role": "assistant", "content": content}
    if reasoning:
        written |= {"reasoning_content": reasoning, "thinking": reasoning}  # two names for it are in use
    calls = [part for part in message.content if isinstance(part, ToolCall)]
    if calls:
        # Where the data has no id, nine letters or digits: what the strictest templates take for one.
        written["tool_calls"] = [
            {
                "id": call.id or f"{number:05d}{place:04d}",
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": call.arguments if layout.text_arguments else json.loads(call.arguments),
                },
            }
            for place, call in enumerate(calls)
        ]
    return written


_ORDER = (Reasoning, Text, ToolCall, ToolResult)
