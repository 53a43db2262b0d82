"""A checkpoint's chat template: what it writes, and which of it is verified to be the assistant's.

For each structure of conversations the template is rendered once with sentinels for texts, with the prompts before its
answers, and once with each turn as the last. From these comes a `RenderPlan`: what is trained of such conversations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from tutelage.chat.render.cache import RenderCache
from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.end_token import TurnEnd, find_end_token
from tutelage.chat.render.hf_text import TURN_FORMS, TemplateText, any_of, common_prefix
from tutelage.chat.render.layout import (
    HistoryDependentTemplate,
    Layout,
    RenderPlan,
    Turn,
    VerificationError,
    layout_of,
    plan_of,
)
from tutelage.chat.render.outline import (
    Outline,
    StructureKey,
    read_outline,
    sentinel_end,
    sentinel_parts,
    structure_key,
    tool_name,
    with_sentinels,
    writes_calls,
)
from tutelage.records import ROLES, Conversation, Message, Text, ToolCall, trained_turns

_MAX_PLANS = 4096
# Half of a pair that makes one character, and the marks around generated text: no text holds them.
_RESERVED = re.compile("[\ud800-\udfff\ufdd0\ufdd1]")
_HISTORY = "earlier turns depend on later ones"
_LEFT_OUT = "the template leaves out a text"
_NO_TOOLS = "the template leaves out the tools"
_PROMPT = "prompt mismatch: the generation prompt is not a prefix of the rendered conversation"


@dataclass(eq=False)
class HFTemplate:
    """A template and what has been learned of it.

    specials: the tokenizer's special tokens and their ids.
    cached:         whether conversations may be rendered from the cache (cache.py).
    """

    config: ChatConfig
    specials: Mapping[str, int]
    cached: bool = True
    _plans: dict[tuple[StructureKey, bool], RenderPlan | VerificationError] = field(default_factory=dict)
    _prompt_plans: dict[StructureKey, RenderPlan] = field(default_factory=dict)

    @cached_property
    def source(self) -> TemplateText:
        return TemplateText(self.config, self.specials)

    @cached_property
    def _cache(self) -> RenderCache:
        return RenderCache(self.source.jinja, self.source.layout)

    @cached_property
    def _special_names(self) -> re.Pattern[str]:
        return any_of(self.specials)

    # Layouts

    def layout(self, conversation: Conversation, last: bool) -> tuple[Layout, bool]:
        """The text of a conversation with its answers trained, or only its last one; and whether the cache was hit.

        Raises:
            HistoryDependentTemplate: earlier answers are written differently than if they were the last; with `last`
                each can still be trained by itself.
            VerificationError: nothing of it can be trained with this template.
        """
        self._check_texts(conversation)
        plan = self.plan(conversation, last)
        hit = self._cache.lookup(plan, conversation) if self.cached else None
        text, starts = hit or self._run(plan, conversation, last)
        return layout_of(text, plan, starts), hit is not None

    def _run(self, plan: RenderPlan, conversation: Conversation, last: bool) -> tuple[str, list[int]]:
        """The text that the template writes, and where the literals of the plan's outline start in it. The prompts are
        rendered too, and must precede their answers."""
        text, _ = self.source.text(conversation)
        starts = plan.outline.match(text, conversation)
        if starts is None:
            detail = _first_change(plan.outline, text, conversation)
            raise VerificationError("the template changes a text", detail, text)
        for turn, (_, (literal, offset), _) in zip(plan.turns, plan.turn_offsets.tolist(), strict=True):
            before = replace(conversation, messages=conversation.messages[: turn.message])
            if self.source.text(before, prompt=True)[0] != text[: starts[literal] + offset]:
                raise _prompt_mismatch(turn.message, last, text)
        return text, starts

    def prompt_layout(self, conversation: Conversation) -> Layout:
        """What generation continues from. Nothing in it is trained."""
        self._check_texts(conversation)
        text, _ = self.source.text(conversation, prompt=True)
        plan = self._prompt_plan(conversation)
        starts = plan.outline.match(text, conversation)
        if starts is None:  # nothing of it is trained, so it need not be verified: it is one segment
            segments_S4 = np.array([[ROLES.index("user"), 0, -1, -1]], np.int32)
            plan, starts = replace(plan, segment_offsets=np.zeros((1, 2), np.int64), segments_S4=segments_S4), [0]
        return layout_of(text, plan, starts)

    def _check_texts(self, conversation: Conversation) -> None:
        """VerificationError where a text holds a special token, which the tokenizer could not tell from the template's
        own, or a reserved character."""
        for number, turn in enumerate(conversation.messages):
            for part in turn.content:
                if isinstance(part, ToolCall):
                    self._check_text(f"message {number}", part.name)
                    self._check_text(f"message {number}", _unescaped(part.arguments))
                else:
                    self._check_text(f"message {number}", part.text)
        for tool in conversation.tools:
            self._check_text("a tool's description", _unescaped(tool))

    def _check_text(self, where: str, text: str) -> None:
        if token := self.source.end_names.search(text):
            raise VerificationError("a special token in a text", f"{where} holds {token[0]}; remove it")
        if not text.isascii() and (character := _RESERVED.search(text)):
            code = f"U+{ord(character[0]):04X}"
            raise VerificationError("a reserved character in a text", f"{where} holds {code}; remove it")

    # Plans

    def plan(self, conversation: Conversation, last: bool) -> RenderPlan:
        """The plan for the structure of a conversation; worked out once for each structure."""
        key = (structure_key(conversation), last)
        plan = self._plans.get(key)
        if plan is None:
            try:
                plan = self._make_plan(with_sentinels(conversation), last)
            except VerificationError as error:
                plan = error
            if len(self._plans) < _MAX_PLANS:
                self._plans[key] = plan
        if isinstance(plan, VerificationError):
            raise plan
        return plan

    def _make_plan(self, sentinels: Conversation, last: bool) -> RenderPlan:
        outline = read_outline(*self.source.text(sentinels))
        answers = trained_turns(sentinels)
        if last:
            if answers[-1:] != [len(sentinels.messages) - 1]:
                raise VerificationError("the conversation does not end with an assistant message")
            answers = answers[-1:]
        self._check_nothing_left_out(sentinels, outline, answers)
        ends = self._message_ends(sentinels, outline.text)
        turns = [self._turn(sentinels, outline, number, ends, last) for number in answers]
        return plan_of(outline, sentinels, ends, turns, self._count_specials(outline.text))

    def _prompt_plan(self, conversation: Conversation) -> RenderPlan:
        key = structure_key(conversation)
        plan = self._prompt_plans.get(key)
        if plan is None:
            sentinels = with_sentinels(conversation)
            outline = read_outline(*self.source.text(sentinels, prompt=True))
            opened = replace(sentinels, messages=(*sentinels.messages, Message("assistant", ())))
            ends = (*self._message_ends(opened, outline.text)[:-1], len(outline.text))
            plan = plan_of(outline, opened, ends, (), self._count_specials(outline.text))
            if len(self._prompt_plans) < _MAX_PLANS:
                self._prompt_plans[key] = plan
        return plan

    def _count_specials(self, text: str) -> int:
        return sum(1 for _ in self._special_names.finditer(text))

    def _turn(
        self, sentinels: Conversation, outline: Outline, number: int, message_ends: tuple[int, ...], last: bool
    ) -> Turn:
        """A trained turn: from the end of its generation prompt to the end of its end token."""
        before = replace(sentinels, messages=sentinels.messages[:number])
        prompt, _ = self.source.text(before, prompt=True)
        if not outline.text.startswith(prompt):
            raise _prompt_mismatch(number, last, outline.text)
        alone = replace(sentinels, messages=sentinels.messages[: number + 1])
        as_last = read_outline(*self.source.text(alone)) if number + 1 < len(sentinels.messages) else outline
        end_token, rule = self._end(alone.messages[number], as_last, number, len(prompt))
        stop = end_token.end()
        if as_last.text[:stop] != outline.text[:stop]:
            raise HistoryDependentTemplate(_HISTORY, f"message {number}", outline.text)
        self._check_turn(sentinels.messages[number], number, outline, len(prompt), stop)
        header = min(message_ends[number - 1], len(prompt)) if number else 0
        return Turn(number, header, len(prompt), stop, end_token[0], rule)

    def _check_turn(self, turn: Message, number: int, outline: Outline, start: int, stop: int) -> None:
        """VerificationError unless the trained text of a turn holds no other role's text, no header, and all calls."""
        where, text = f"message {number}", outline.text
        slots = outline.slots_between(start, stop)
        if any(message != number for message, _ in slots):
            raise VerificationError("another role's text lies inside the assistant span", where, text)
        assert [place for _, place in sorted(slots)] == list(sentinel_parts(turn)), "each once: checked before"
        if not writes_calls(text[start:stop], [part for part in turn.content if isinstance(part, ToolCall)]):
            raise VerificationError("the template leaves out a tool call", where, text)
        opening = read_outline(text[start:stop], ()).literals[0]
        begins_with_text = isinstance(turn.content[0], Text) and turn.content[0].text.strip()
        # The header must be in the prompt: where a prompt never adds anything, what precedes the text is a header.
        if (
            text.startswith(self.source.prompt_suffix, start)
            if self.source.prompt_suffix
            else begins_with_text and opening.strip()
        ):
            raise VerificationError("the generation prompt lacks the assistant header", f"{where}: {opening!r}", text)
        if outline.generated:
            covered = [(max(a, start), min(z, stop)) for a, z in outline.generated if a < stop and z > start]
            within = [slot for a, z in covered for slot in outline.slots_between(a, z)]
            if sorted(within) != sorted(slots) or not covered:
                raise VerificationError("the template's generation blocks leave out an answer", where, text)

    # The end of a turn

    def turn_ends(self) -> tuple[str, ...]:
        """The tokens that end an assistant turn: after text, after reasoning and text, and after a call, as far as the
        template takes these. VerificationError where it takes none of them."""
        ends: dict[str, None] = {}
        problems = []
        for conversation in TURN_FORMS:
            try:
                ends |= {turn.end_token: None for turn in self.plan(conversation, last=True).turns}
            except VerificationError as error:
                problems.append(error)
        if not ends:
            raise problems[0]
        return tuple(ends)

    def _end(self, turn: Message, outline: Outline, number: int, start: int) -> tuple[re.Match[str], str]:
        """The token that ends the last turn of an outline, and the rule that found it (end_token.py)."""
        slots = [at for at, (message, _) in enumerate(outline.slots) if message == number]
        after_text = outline.starts[slots[-1] + 1] if slots else start
        calls = any(isinstance(part, ToolCall) for part in turn.content)
        tokens = list(self.source.end_names.finditer(outline.text, max(after_text, start)))
        end = find_end_token(TurnEnd(tokens, calls, self._plain_end if calls else "", self.source.eos))
        if end is None:
            raise VerificationError("assistant turn has no end-of-turn token", f"message {number}", outline.text)
        return end

    @cached_property
    def _plain_end(self) -> str:
        """The token that ends an answer of text alone; "" where there is none."""
        try:
            return self.plan(TURN_FORMS[0], last=True).turns[-1].end_token
        except VerificationError:
            return ""

    def _message_ends(self, sentinels: Conversation, text: str) -> tuple[int, ...]:
        """Where each message ends in the rendering with sentinels: as far as what comes after does not change it."""
        ends: list[int] = []
        for number in range(len(sentinels.messages) - 1):
            before = ends[-1] if ends else 0
            least = sentinel_end(text, number)
            try:
                alone, _ = self.source.text(replace(sentinels, messages=sentinels.messages[: number + 1]))
            except VerificationError:  # some templates refuse a conversation that is not complete
                alone = ""
            ends.append(max(before, least, common_prefix(alone, text)))
        return (*ends, len(text))

    def _check_nothing_left_out(self, sentinels: Conversation, outline: Outline, answers: Sequence[int]) -> None:
        """VerificationError where a text is missing that is trained, or that the answers depend on."""
        written = set(outline.slots)
        for number, turn in enumerate(sentinels.messages):
            for place in sentinel_parts(turn):
                part = turn.content[place]
                # Many templates drop the reasoning of earlier turns on purpose.
                needed = number in answers or isinstance(part, Text) or turn.role != "assistant"
                if (number, place) in written or not needed:
                    continue
                kind = type(part).__name__.lower()
                if number in answers[:-1] and kind == "reasoning":
                    raise HistoryDependentTemplate(_HISTORY, f"message {number} loses its reasoning")
                raise VerificationError(_LEFT_OUT, f"message {number}, {turn.role}: its {kind}", outline.text)
        trained = [slot for slot in outline.slots if slot[0] in answers]
        if len(trained) != len(set(trained)):
            raise VerificationError("the template writes an answer twice", "", outline.text)
        if sentinels.tools and self._same_without_tools(sentinels, outline.text):
            raise VerificationError(_NO_TOOLS, "", outline.text)
        if not all(tool_name(tool) in outline.text for tool in sentinels.tools):
            raise VerificationError(_NO_TOOLS, "", outline.text)

    def _same_without_tools(self, sentinels: Conversation, text: str) -> bool:
        try:
            return self.source.text(replace(sentinels, tools=()))[0] == text
        except VerificationError:
            return False


def _prompt_mismatch(number: int, last: bool, text: str) -> VerificationError:
    if not last:
        return HistoryDependentTemplate(_HISTORY, f"before message {number}", text)
    return VerificationError(_PROMPT, f"message {number}", text)


def _unescaped(json_text: str) -> str:
    """A JSON text as templates write it, in which no character hides behind an escape."""
    return json.dumps(json.loads(json_text), ensure_ascii=False) if "\\u" in json_text else json_text


def _first_change(outline: Outline, text: str, conversation: Conversation) -> str:
    """The first message whose text is not written as it is, for a person."""
    position = 0
    for (number, place), literal in zip(outline.slots, outline.literals, strict=False):
        part = conversation.messages[number].content[place]
        assert not isinstance(part, ToolCall)
        start = text.find(literal, position)
        position = start + len(literal) if start >= 0 else position
        beginning = part.text.strip()[:200]
        if beginning not in text[position : position + 1000]:
            return f"message {number}, {conversation.messages[number].role}: {beginning[:60]!r}"
    return ""
