"""A checkpoint's own template, taken over by verification.

What it writes is trained on only where it is proven that the trained tokens are the assistant's own parts and the end
of its turns, after the very tokens that generation is given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from tutelage.chat.render.cache import Questions, TracedTemplate
from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.jinja import JinjaTemplate, TemplateError, template_messages
from tutelage.chat.render.layout import (
    HistoryDependentTemplate,
    Layout,
    Plan,
    Turn,
    VerificationError,
    layout_of,
    plan_of,
)
from tutelage.chat.render.outline import (
    Shape,
    Skeleton,
    marked,
    read_skeleton,
    says,
    shape,
    texts_of,
    tool_name,
    without_marks,
    writes_call,
)
from tutelage.records import ROLES, Conversation, Message, Reasoning, Text, ToolCall, message

_SHAPES_KEPT = 4096
# Half of a pair that makes one character, and the marks around generated text: no text holds them.
_FORBIDDEN = re.compile("[\ud800-\udfff\ufdd0\ufdd1]")
_ASKED = message("user", "word")
_FUNCTION = '{"name": "word", "description": "word", "parameters": {"type": "object", "properties": {}}}'
_TOOL = f'{{"type": "function", "function": {_FUNCTION}}}'
# A turn of the assistant in each of the forms that may end in a token of its own.
_TURNS = (
    Conversation((_ASKED, message("assistant", "word"))),
    Conversation((_ASKED, Message("assistant", (Reasoning("word"), Text("word"))))),
    Conversation((_ASKED, Message("assistant", (ToolCall("word", "{}"),))), tools=(_TOOL,)),
)


@dataclass(eq=False)
class HFTemplate:
    """A template and what has been learned of it; `special_names` are the tokenizer's special tokens."""

    source: ChatConfig
    special_names: frozenset[str]
    _plans: dict[tuple[Shape, bool], Plan | VerificationError] = field(default_factory=dict)
    _prompt_plans: dict[Shape, Plan] = field(default_factory=dict)
    _questions: WeakKeyDictionary[Plan, Questions | None] = field(default_factory=WeakKeyDictionary)

    @cached_property
    def jinja(self) -> JinjaTemplate:
        return JinjaTemplate(self.source)

    @cached_property
    def _watched(self) -> TracedTemplate:
        return TracedTemplate(self.jinja)

    @cached_property
    def _eos(self) -> str:
        return self.source.token("eos_token")

    @cached_property
    def _ends(self) -> re.Pattern[str]:
        """The tokens that may end a turn: the special ones and the checkpoint's end of text."""
        return _any_of(self.special_names | ({self._eos} if self._eos else set()))

    @cached_property
    def _specials(self) -> re.Pattern[str]:
        return _any_of(self.special_names)

    def render(self, conversation: Conversation, prompt: bool = False) -> str:
        """The text of a conversation, or of the prompt for its next answer; with marks around generated text."""
        return self._render(conversation, prompt, self._content_as_parts)

    def _render(self, conversation: Conversation, prompt: bool, as_parts: bool) -> str:
        tools = [json.loads(tool) for tool in conversation.tools]
        return self.jinja.render(template_messages(conversation, as_parts), tools, prompt)

    def _text(self, conversation: Conversation, prompt: bool = False) -> tuple[str, tuple[tuple[int, int], ...]]:
        """What the template writes, and where it says that the assistant wrote it."""
        try:
            text, generated = without_marks(self.render(conversation, prompt))
        except TemplateError as error:
            raise VerificationError("the template refuses it", str(error)) from error
        opening = self.source.token("bos_token")
        if opening and text.startswith(opening + opening):
            raise VerificationError("two tokens open the text", f"it begins with {opening} twice", text)
        return text, generated

    def lay_out_prompt(self, conversation: Conversation) -> Layout:
        """What generation continues from. Nothing in it is graded."""
        self.refuse_texts(conversation)
        text, _ = self._text(conversation, prompt=True)
        plan = self._prompt_plan(conversation)
        starts = plan.skeleton.match(text, conversation)
        if starts is None:  # it need not be proven, only shown: all of it in one stretch
            whole = np.array([[ROLES.index("user"), 0, -1, -1]], np.int32)
            plan, starts = replace(plan, cuts_C2=np.zeros((1, 2), np.int64), kinds_C4=whole), [0]
        return layout_of(text, plan, starts)

    def _prompt_plan(self, conversation: Conversation) -> Plan:
        key = shape(conversation)
        plan = self._prompt_plans.get(key)
        if plan is None:
            markers = marked(conversation)
            skeleton = read_skeleton(*self._text(markers, prompt=True))
            opened = replace(markers, messages=(*markers.messages, Message("assistant", ())))
            ends = (*self._message_ends(opened, skeleton.text)[:-1], len(skeleton.text))
            plan = plan_of(skeleton, opened, ends, (), self._specials)
            if len(self._prompt_plans) < _SHAPES_KEPT:
                self._prompt_plans[key] = plan
        return plan

    def turn_ends(self) -> tuple[str, ...]:
        """The tokens that end a turn of the assistant: after words, after reasoning and words, and after a call, as far
        as the template can say these. VerificationError where it can say none of them."""
        ends: dict[str, None] = {}
        problems = []
        for conversation in _TURNS:
            try:
                ends |= {turn.end_token: None for turn in self.plan(conversation, last=True).turns}
            except VerificationError as error:
                problems.append(error)
        if not ends:
            raise problems[0]
        return tuple(ends)

    def refuse_texts(self, conversation: Conversation) -> None:
        """VerificationError where a text holds a special token, which the tokenizer could not tell from the template's
        own, or a character that stands for none."""
        for number, one in enumerate(conversation.messages):
            for part in one.content:
                if isinstance(part, ToolCall):
                    self._refuse_text(f"message {number}", part.name)
                    self._refuse_text(f"message {number}", _unescaped(part.arguments))
                else:
                    self._refuse_text(f"message {number}", part.text)
        for tool in conversation.tools:
            self._refuse_text("a tool's description", _unescaped(tool))

    def _refuse_text(self, where: str, text: str) -> None:
        if found := self._ends.search(text):
            raise VerificationError("a special token in a text", f"{where} holds {found[0]}; remove it")
        if not text.isascii() and (found := _FORBIDDEN.search(text)):
            code = f"U+{ord(found[0]):04X}"
            raise VerificationError("a character that no text may hold", f"{where} holds {code}; remove it")

    def lay_out(self, conversation: Conversation, last: bool) -> Layout:
        """The text of a conversation with its answers graded, or only its last one, each proven.

        Raises:
            HistoryDependentTemplate: earlier answers are written otherwise than they would be if they were the last;
                with `last` each can still be trained by itself.
            VerificationError: nothing of it can be trained on with this template.
        """
        self.refuse_texts(conversation)
        plan = self.plan(conversation, last)
        text, starts = self._foretold(plan, conversation) or self._rendered(plan, conversation, last)
        return layout_of(text, plan, starts)

    def _rendered(self, plan: Plan, conversation: Conversation, last: bool) -> tuple[str, list[int]]:
        """The text that the template writes, and where the plan's literals start in it; the prompts are rendered too,
        and stand before their answers."""
        text, _ = self._text(conversation)
        starts = plan.skeleton.match(text, conversation)
        if starts is None:
            raise VerificationError("the template changes a text", _difference(plan.skeleton, text, conversation), text)
        for turn, (_, (literal, offset), _) in zip(plan.turns, plan.turns_K32.tolist(), strict=True):
            before = replace(conversation, messages=conversation.messages[: turn.message])
            if self._text(before, prompt=True)[0] != text[: starts[literal] + offset]:
                raise self._not_the_prompt(turn.message, last, text)
        return text, starts

    def _foretold(self, plan: Plan, conversation: Conversation) -> tuple[str, list[int]] | None:
        """What `_rendered` would give, told without running the template; None where it cannot be, and for the first
        conversation of a plan."""
        if plan not in self._questions:
            self._questions[plan] = None
            return None
        questions = self._questions[plan]
        if questions is None:
            questions = self._questions[plan] = self._ask(plan, marked(conversation))
        if not questions.foretold or not questions.answered_alike(texts := texts_of(conversation)):
            return None
        return plan.skeleton.fill(texts)

    def _ask(self, plan: Plan, markers: Conversation) -> Questions:
        """All that the template asks while it writes a conversation of this plan and its prompts."""
        questions = Questions()
        tools = [json.loads(tool) for tool in markers.tools]
        messages = template_messages(markers, self._content_as_parts)
        try:
            whole = self._watched.render(messages, tools, False, questions)
            alike = without_marks(whole)[0] == plan.skeleton.text
            for turn in plan.turns:
                before = template_messages(
                    replace(markers, messages=markers.messages[: turn.message]), self._content_as_parts
                )
                prompt = self._watched.render(before, tools, True, questions)
                alike = alike and without_marks(prompt)[0] == plan.skeleton.text[: turn.start]
        except TemplateError:
            alike = False
        questions.foretold = questions.foretold and alike
        return questions

    def plan(self, conversation: Conversation, last: bool) -> Plan:
        """The plan for the shape of a conversation; worked out once a shape."""
        key = (shape(conversation), last)
        plan = self._plans.get(key)
        if plan is None:
            try:
                plan = self._plan(marked(conversation), last)
            except VerificationError as error:
                plan = error
            if len(self._plans) < _SHAPES_KEPT:
                self._plans[key] = plan
        if isinstance(plan, VerificationError):
            raise plan
        return plan

    def _plan(self, markers: Conversation, last: bool) -> Plan:
        skeleton = read_skeleton(*self._text(markers))
        answers = [n for n, one in enumerate(markers.messages) if one.role == "assistant"]
        if last:
            if answers[-1:] != [len(markers.messages) - 1]:
                raise VerificationError("no answer at its end")
            answers = answers[-1:]
        self._refuse_left_out(markers, skeleton, answers)
        ends = self._message_ends(markers, skeleton.text)
        turns = [self._turn(markers, skeleton, number, ends, last) for number in answers]
        return plan_of(skeleton, markers, ends, turns, self._specials)

    def _turn(
        self, markers: Conversation, skeleton: Skeleton, number: int, message_ends: tuple[int, ...], last: bool
    ) -> Turn:
        before = replace(markers, messages=markers.messages[:number])
        prompt, _ = self._text(before, prompt=True)
        if not skeleton.text.startswith(prompt):
            raise self._not_the_prompt(number, last, skeleton.text)
        alone = replace(markers, messages=markers.messages[: number + 1])
        as_last = read_skeleton(*self._text(alone)) if number + 1 < len(markers.messages) else skeleton
        stop, end_token = self._end(alone, as_last, number, len(prompt))
        if as_last.text[:stop] != skeleton.text[:stop]:
            raise HistoryDependentTemplate("earlier turns are rewritten", f"message {number}", skeleton.text)
        self._refuse_other_words(markers.messages[number], number, skeleton, len(prompt), stop)
        header = min(message_ends[number - 1], len(prompt)) if number else 0
        return Turn(number, end_token, header, len(prompt), stop)

    def _refuse_other_words(self, one: Message, number: int, skeleton: Skeleton, start: int, stop: int) -> None:
        """VerificationError unless what is graded of a turn holds nobody else's words, no header, and all its calls."""
        where, text = f"message {number}", skeleton.text
        slots = skeleton.slots_between(start, stop)
        if any(message != number for message, _ in slots):
            raise VerificationError("the template writes other people's words into an answer", where, text)
        assert [place for _, place in sorted(slots)] == list(says(one)), "all of it, once: made sure of before"
        if any(isinstance(part, ToolCall) and not writes_call(text[start:stop], part) for part in one.content):
            raise VerificationError("the template leaves out a tool call", where, text)
        words = text[start:stop].partition(f"Qzx{number}y")[0]
        wordy = isinstance(one.content[0], Text) and one.content[0].text.strip()
        if text.startswith(self._opener, start) if self._opener else wordy and words.strip():
            raise VerificationError("generation is prompted without the header of a turn", f"{where}: {words!r}", text)
        if skeleton.generated:
            marked_ = [(max(a, start), min(b, stop)) for a, b in skeleton.generated if a < stop and b > start]
            within = [slot for a, b in marked_ for slot in skeleton.slots_between(a, b)]
            if sorted(within) != sorted(slots) or not marked_:
                raise VerificationError("the template marks an answer as not generated", where, text)

    def _end(self, markers: Conversation, skeleton: Skeleton, number: int, start: int) -> tuple[int, str]:
        """Where the token ends that ends the last turn, and its name: the first that may end one after its last text,
        or the end of text where that follows at once; after a tool call the last one, for calls have delimiters of
        their own."""
        own = [at for at, slot in enumerate(skeleton.slots) if slot[0] == number]
        after = skeleton.starts[own[-1] + 1] if own else start
        found = list(self._ends.finditer(skeleton.text, max(after, start)))
        if not found:
            raise VerificationError("a turn that no token ends", f"message {number}", skeleton.text)
        calls = any(isinstance(part, ToolCall) for part in markers.messages[number].content)
        end = found[0]
        if calls:
            end = next((one for one in found if one[0] == self._plain_end), found[-1])
        elif len(found) > 1 and found[1].start() == end.end() and found[1][0] == self._eos:
            end = found[1]
        return end.end(), end[0]

    @cached_property
    def _opener(self) -> str:
        """What the template adds to the prompt for an answer; "" where it never adds anything."""
        asked = Conversation((_ASKED,))
        try:
            told, prompt = self._text(asked)[0], self._text(asked, prompt=True)[0]
        except VerificationError:
            return ""
        return prompt[_common(told, prompt) :]

    @cached_property
    def _plain_end(self) -> str:
        """The token that ends an answer of words; "" where that cannot be said."""
        try:
            return self.plan(_TURNS[0], last=True).turns[-1].end_token
        except VerificationError:
            return ""

    @cached_property
    def _content_as_parts(self) -> bool:
        """Whether messages must hold their text as a list of parts: so with templates that know pictures too."""
        asked = marked(Conversation((message("user", "word"),)))
        try:
            return "Qzx0y0xzQ" not in self._render(asked, prompt=False, as_parts=False)
        except TemplateError:
            return True

    def _message_ends(self, markers: Conversation, text: str) -> tuple[int, ...]:
        """Where each message ends in the rendering with markers: as far as what comes after does not change it."""
        ends: list[int] = []
        for number in range(len(markers.messages) - 1):
            own = f"Qzx{number}y"
            least = text.rfind(own)
            least = text.find("xzQ", least) + 3 if least >= 0 else (ends[-1] if ends else 0)
            try:
                alone, _ = self._text(replace(markers, messages=markers.messages[: number + 1]))
            except VerificationError:  # some templates refuse a conversation that is not whole
                alone = ""
            ends.append(max(least, _common(alone, text), ends[-1] if ends else 0))
        return (*ends, len(text))

    def _refuse_left_out(self, markers: Conversation, skeleton: Skeleton, answers: Sequence[int]) -> None:
        """VerificationError where a text is missing that is trained on, or that the answers hang on."""
        written = set(skeleton.slots)
        for number, one in enumerate(markers.messages):
            for part in says(one):
                missing = (number, part) not in written
                # What the assistant thought in earlier turns is dropped on purpose by many templates.
                needed = number in answers or isinstance(one.content[part], Text) or one.role != "assistant"
                if missing and needed:
                    kind = type(one.content[part]).__name__.lower()
                    if number in answers and number != answers[-1] and kind == "reasoning":
                        raise HistoryDependentTemplate(
                            "earlier turns are rewritten", f"message {number} loses its reasoning"
                        )
                    detail = f"message {number}, {one.role}: its {kind}"
                    raise VerificationError("the template leaves out a text", detail, skeleton.text)
        trained = [slot for slot in skeleton.slots if slot[0] in answers]
        if len(trained) != len(set(trained)):
            raise VerificationError("the template writes an answer twice", "", skeleton.text)
        if markers.tools and self._same_without_tools(markers, skeleton.text):
            raise VerificationError("the template leaves out the tools", "", skeleton.text)
        if not all(tool_name(tool) in skeleton.text for tool in markers.tools):
            raise VerificationError("the template leaves out the tools", "", skeleton.text)

    def _same_without_tools(self, markers: Conversation, text: str) -> bool:
        try:
            return self._text(replace(markers, tools=()))[0] == text
        except VerificationError:
            return False

    @staticmethod
    def _not_the_prompt(number: int, last: bool, text: str) -> VerificationError:
        if not last:
            return HistoryDependentTemplate("earlier turns are rewritten", f"before message {number}", text)
        return VerificationError(
            "generation is prompted otherwise", f"the prompt for message {number} is not what stands before it", text
        )


def _any_of(names: Collection[str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) if names else r"(?!)")


def _unescaped(json_text: str) -> str:
    """A JSON text as templates write it, in which no character hides behind an escape."""
    return json.dumps(json.loads(json_text), ensure_ascii=False) if "\\u" in json_text else json_text


def _common(one: str, other: str) -> int:
    """The length of the beginning that two texts share."""
    if other.startswith(one):
        return len(one)
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _difference(skeleton: Skeleton, text: str, conversation: Conversation) -> str:
    """Which message's text is not written as it stands, for a person."""
    position = 0
    for (number, part), literal in zip(skeleton.slots, skeleton.literals, strict=False):
        written = conversation.messages[number].content[part]
        assert not isinstance(written, ToolCall)
        found = text.find(literal, position)
        position = found + len(literal) if found >= 0 else position
        beginning = written.text.strip()[:200]
        if beginning not in text[position : position + 1000]:
            return f"message {number}, {conversation.messages[number].role}: {beginning[:60]!r}"
    return ""
