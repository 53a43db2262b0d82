"""What a checkpoint's chat template writes, found by running it: texts, prompts, and what it has a place for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from tutelage.chat.render.adapt import (
    NAMES_LOST,
    OWN_IDS,
    REASONING_AS_TEXT,
    SETTINGS_LOST,
    SYSTEM_FOLDED,
    has_ids,
    has_reasoning,
    is_plain,
    reasoning_as_text,
    system_folded,
    without_ids,
)
from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.jinja import JinjaTemplate, MessageLayout, TemplateError, all_settings, template_messages
from tutelage.chat.render.last_answer import EMPTY_THOUGHT, continued, ended
from tutelage.chat.render.layout import VerificationError
from tutelage.chat.render.outline import read_outline, sentinel_end, sentinel_parts, split_generated, with_sentinels
from tutelage.records import Conversation, Message, Reasoning, Text, ToolCall, message, trained_turns

QUESTION = message("user", "word")
_FUNCTION = '{"name": "wordcall", "description": "word", "parameters": {"type": "object", "properties": {}}}'
_TOOL = f'{{"type": "function", "function": {_FUNCTION}}}'
CALLED = "wordcall"
# An assistant turn in each of the forms that may end in a token of its own.
TURN_FORMS = (
    Conversation((QUESTION, message("assistant", "word"))),
    Conversation((QUESTION, Message("assistant", (Reasoning("word"), Text("word"))))),
    Conversation((QUESTION, Message("assistant", (ToolCall(CALLED, "{}"),))), tools=(_TOOL,)),
)


@dataclass(frozen=True, eq=False)
class TemplateText:
    """A template as a function from conversations to texts.

    specials: the tokenizer's special tokens and their ids.
    """

    config: ChatConfig
    specials: Mapping[str, int]

    @cached_property
    def jinja(self) -> JinjaTemplate:
        return JinjaTemplate(self.config)

    @cached_property
    def eos(self) -> str:
        return self.config.token("eos_token")

    @cached_property
    def end_names(self) -> re.Pattern[str]:
        """The tokens that may end a turn: the special ones and the checkpoint's end of text."""
        return any_of([*self.specials, *filter(None, [self.eos])])

    def render(self, conversation: Conversation, prompt: bool = False) -> str:
        """The text of a conversation, or of the prompt for its next answer; with marks around generated text."""
        return self._render(conversation, prompt, self.layout)

    def _render(self, conversation: Conversation, prompt: bool, layout: MessageLayout) -> str:
        tools = [json.loads(tool) for tool in conversation.tools]
        settings = all_settings(self.config, conversation)
        return self.jinja.render(template_messages(conversation, layout), tools, prompt, settings)

    def text(self, conversation: Conversation, prompt: bool = False) -> tuple[str, tuple[tuple[int, int], ...]]:
        """What the template writes, with the last answer as a model writes it (last_answer.py); and which of it its
        generation blocks cover."""
        text, generated = self._raw_text(conversation, prompt)
        if not prompt and conversation.messages[-1:] and conversation.messages[-1].role == "assistant":
            text = (self._continued(conversation, text) if self.opens_thought else None) or text
            text = (self._ended(conversation, text) if self._lacks_end else None) or text
        return text, generated

    def _raw_text(self, conversation: Conversation, prompt: bool) -> tuple[str, tuple[tuple[int, int], ...]]:
        try:
            text, generated = split_generated(self.render(conversation, prompt))
        except TemplateError as error:
            raise VerificationError("the template refuses it", str(error)) from error
        bos = self.config.token("bos_token")
        if bos and text.startswith(bos + bos):
            raise VerificationError("two BOS tokens open the text", f"it begins with {bos} twice", text)
        return text, generated

    def _continued(self, conversation: Conversation, text: str) -> str | None:
        before = replace(conversation, messages=conversation.messages[:-1])
        prompt, _ = self._raw_text(before, prompt=True)
        if text.startswith(prompt):
            return None
        reasoning = (part.text for part in conversation.messages[-1].content if isinstance(part, Reasoning))
        return continued(prompt, text, "".join(reasoning))

    def _ended(self, conversation: Conversation, text: str) -> str | None:
        followed = replace(conversation, messages=(*conversation.messages, QUESTION))
        return ended(text, self._raw_text(followed, prompt=False)[0], self._declared_ends)

    @cached_property
    def opens_thought(self) -> bool:
        """Whether the prompt opens a thought that the template does not write in answers."""
        return self._rewrites(self._continued)

    @cached_property
    def _lacks_end(self) -> bool:
        """Whether only the header of the next turn ends an answer."""
        return self._rewrites(self._ended)

    @cached_property
    def _declared_ends(self) -> re.Pattern[str]:
        """The tokens at which the checkpoint's own settings stop generation."""
        declared = self.config.generation_config.get("eos_token_id")
        ids = declared if isinstance(declared, list) else [declared]
        return any_of([name for name, token in self.specials.items() if token in ids])

    def _rewrites(self, rewrite: Callable[[Conversation, str], str | None]) -> bool:
        answered = with_sentinels(TURN_FORMS[0])
        try:
            text, generated = self._raw_text(answered, prompt=False)
            ends = rewrite == self._ended and self.end_names.search(text, sentinel_end(text, 1))
            return not generated and not ends and rewrite(answered, text) is not None
        except VerificationError:
            return False

    def adapted(self, conversation: Conversation) -> tuple[Conversation, tuple[str, ...]]:
        """The conversation as the template has a place for it, and notes of what was changed or is not written."""
        notes: list[str] = []
        if not self._adapts_all and is_plain(conversation):
            return conversation, ()
        if has_reasoning(conversation) and not self._writes_reasoning(conversation):
            conversation = reasoning_as_text(conversation)
            notes.append(REASONING_AS_TEXT)
        opens_with_system = bool(conversation.messages) and conversation.messages[0].role == "system"
        if self.config.settings.fold_system and opens_with_system and not self._takes_system:
            conversation = system_folded(conversation)
            notes.append(SYSTEM_FOLDED)
        if has_ids(conversation) and self._refuses(conversation) and not self._refuses(without_ids(conversation)):
            conversation = without_ids(conversation)
            notes.append(OWN_IDS)
        if any(turn.name for turn in conversation.messages) and not self._writes_names(conversation):
            notes.append(NAMES_LOST)
        if conversation.template_settings:
            unread = json.loads(conversation.template_settings).keys() - self.jinja.variables
            notes += [SETTINGS_LOST] if unread else []
        if self.opens_thought and not all(
            any(isinstance(part, Reasoning) for part in conversation.messages[number].content)
            for number in trained_turns(conversation)
        ):
            notes.append(EMPTY_THOUGHT)
        return conversation, tuple(notes)

    @cached_property
    def _adapts_all(self) -> bool:
        """Whether conversations of plain texts may need a change too."""
        return self.opens_thought or (self.config.settings.fold_system and not self._takes_system)

    def _writes_reasoning(self, conversation: Conversation) -> bool:
        """Whether the template writes the reasoning of every trained turn, each as the last of its conversation."""
        if self._takes_reasoning:
            return True
        turns = conversation.messages
        return all(
            self._writes(replace(conversation, messages=turns[: number + 1]), number)
            for number in trained_turns(conversation)
            if any(isinstance(part, Reasoning) for part in turns[number].content)
        )

    @cached_property
    def _takes_reasoning(self) -> bool:
        return self._writes(TURN_FORMS[1], 1)

    @cached_property
    def _takes_system(self) -> bool:
        return self._writes(Conversation((message("system", "word"), QUESTION, message("assistant", "word"))), 0)

    def _writes(self, conversation: Conversation, number: int) -> bool:
        """Whether the template writes every text of a message."""
        sentinels = with_sentinels(conversation)
        expected = {(number, place) for place in sentinel_parts(sentinels.messages[number])}
        try:
            return expected.issubset(read_outline(*self.text(sentinels)).slots)
        except VerificationError:
            return False

    def _writes_names(self, conversation: Conversation) -> bool:
        try:
            text = self.render(with_sentinels(conversation))
        except TemplateError:
            return True  # refused as a whole
        return all(turn.name in text for turn in conversation.messages)

    def _refuses(self, conversation: Conversation) -> bool:
        try:
            self.render(conversation)
        except TemplateError:
            return True
        return False

    @cached_property
    def prompt_suffix(self) -> str:
        """What the template adds to a conversation as the prompt for an answer; "" where it never adds anything."""
        asked = Conversation((QUESTION,))
        try:
            rendered, prompt = self.text(asked)[0], self.text(asked, prompt=True)[0]
        except VerificationError:
            return ""
        return prompt[common_prefix(rendered, prompt) :]

    @cached_property
    def layout(self) -> MessageLayout:
        """How the template expects messages: the first layout in which it writes a question, and a call."""
        asked = with_sentinels(Conversation((QUESTION,)))
        try:
            parts = sentinel_end(self._render(asked, prompt=False, layout=MessageLayout()), 0) < 0
        except TemplateError:
            parts = True
        layouts = [MessageLayout(parts, *others) for others in ((False, False), (True, False), (True, True))]
        return next((layout for layout in layouts if self._writes_call(layout)), layouts[0])

    def _writes_call(self, layout: MessageLayout) -> bool:
        try:
            return CALLED in self._render(TURN_FORMS[2], prompt=False, layout=layout)
        except TemplateError:
            return False


def any_of(names: Collection[str]) -> re.Pattern[str]:
    """A pattern that matches any of these names, the longest first."""
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) if names else r"(?!)")


def common_prefix(first: str, second: str) -> int:
    """The length of the beginning that two texts share."""
    if second.startswith(first):
        return len(first)
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[:middle] == second[:middle] else (low, middle - 1)
    return low
