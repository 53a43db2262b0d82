"""The render cache: conversations of one structure that need no run of their template.

Most templates write a text as it is, or trimmed, and ask little about it (`'</think>' in content`). Such a template
writes all conversations of one structure alike whose texts give the same answers, so the outline of the first can be
filled with the texts of the others. What it asks is found by rendering the sentinels as traced strings, which record
every predicate that is evaluated on them.

This is right only where no question goes unrecorded. What a template does with a traced string becomes a call of one of
its methods. What would bypass them (a traced string as the needle of `in`, as an argument of another object's method,
or in a text that a filter puts together) is caught where the environment passes it on, and only Jinja statements of
which all this is true are let through. A template that does anything else is run for every conversation.

To switch it off: `HFRenderer(..., cache=False)`, or TUTELAGE_RENDER_CACHE=0 in the environment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from typing import Any
from weakref import WeakKeyDictionary

import jinja2
from jinja2 import nodes
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from tutelage.chat.render.jinja import (
    JinjaTemplate,
    MessageLayout,
    TemplateError,
    all_settings,
    prepare,
    template_messages,
)
from tutelage.chat.render.layout import RenderPlan
from tutelage.chat.render.outline import (
    Slot,
    fill_sentinels,
    holds_sentinel,
    part_texts,
    split_generated,
    with_sentinels,
)
from tutelage.records import Conversation, Message

# A text with sentinels in it, a method of str, its arguments and its result.
Predicate = tuple[str, str, tuple[Any, ...], object]


@dataclass(eq=False)
class RecordedPredicates:
    """What a template asked about texts.

    cacheable: False where it did something that no predicate records.
    trims:     whether it trimmed a text.
    """

    asked: list[Predicate] = field(default_factory=list)
    cacheable: bool = True
    trims: bool = False

    def same_predicates(self, texts: Mapping[Slot, str]) -> bool:
        """Whether the template gets the same answers about these texts, and trims nothing off them."""
        if self.trims and any(text != text.strip() for text in texts.values()):
            return False
        return all(
            getattr(fill_sentinels(text, texts), method)(*arguments) == result
            for text, method, arguments, result in self.asked
        )


@dataclass(eq=False)
class RenderCache:
    """The outlines of a template, by plan, with the predicates under which each holds.

    layout: how the template expects messages.
    """

    jinja: JinjaTemplate
    layout: MessageLayout
    _predicates: WeakKeyDictionary[RenderPlan, RecordedPredicates | None] = field(default_factory=WeakKeyDictionary)

    @cached_property
    def _traced(self) -> TracedTemplate:
        return TracedTemplate(self.jinja)

    def lookup(self, plan: RenderPlan, conversation: Conversation) -> tuple[str, list[int]] | None:
        """The text of a conversation, and where the literals of the plan's outline start in it; None where the template
        must be run, as for the first conversation of every plan, of which many have no second."""
        if plan not in self._predicates:
            self._predicates[plan] = None
            return None
        predicates = self._predicates[plan]
        if predicates is None:
            predicates = self._predicates[plan] = self._record(plan, with_sentinels(conversation))
        if not predicates.cacheable or not predicates.same_predicates(texts := part_texts(conversation)):
            return None
        return plan.outline.fill(texts)

    def _record(self, plan: RenderPlan, sentinels: Conversation) -> RecordedPredicates:
        """All that the template asks while it writes a conversation of this plan and its prompts."""
        predicates = RecordedPredicates()
        tools = [json.loads(tool) for tool in sentinels.tools]
        settings = all_settings(self.jinja.config, sentinels)

        def writes(messages: tuple[Message, ...], prompt: bool, expected: str) -> bool:
            rows = template_messages(replace(sentinels, messages=messages), self.layout)
            return split_generated(self._traced.render(rows, tools, prompt, settings, predicates))[0] == expected

        text = plan.outline.text
        try:
            same = writes(sentinels.messages, False, text) and all(
                writes(sentinels.messages[: turn.message], True, text[: turn.start]) for turn in plan.turns
            )
        except TemplateError:
            same = False
        predicates.cacheable = predicates.cacheable and same
        return predicates


_recording: ContextVar[RecordedPredicates] = ContextVar("predicates of the rendering in progress")


class TracedStr(str):
    """A text with sentinels in it that records what it is asked."""

    def __str__(self) -> str:
        return self

    def __bool__(self) -> bool:
        return True  # the structure says which texts are blank, and no blank one is traced

    def __add__(self, other: object) -> Any:
        return TracedStr(str.__add__(self, _plain(other))) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: object) -> Any:
        return TracedStr(str.__add__(_plain(other), self)) if isinstance(other, str) else NotImplemented

    def __getitem__(self, key: Any) -> str:
        if isinstance(key, str):
            raise TypeError("string indices must be integers")  # as with any text, whatever it says
        return _mark_uncacheable(str.__getitem__(self, key))

    def split(self, by: str | None = None, *most: Any) -> list[str]:
        """Itself where it is not to be split by anything that it holds."""
        return _mark_uncacheable(str.split(self, by, *most)) if by is None or by in self else [self]

    def replace(self, old: str, *new: Any) -> str:
        """Itself where it does not hold what is to be replaced."""
        return _mark_uncacheable(str.replace(self, old, *new)) if old in self else self


def _plain(text: str) -> str:
    return str.__str__(text)


def _mark_uncacheable(value: Any) -> Any:
    """Something about a text was found out that no predicate records; returns the value."""
    _recording.get().cacheable = False
    return value


def _predicate(name: str) -> Callable[..., object]:
    plain = getattr(str, name)

    def predicate(self: TracedStr, *arguments: Any) -> object:
        result = plain(self, *arguments)
        if _holds(arguments):
            return _mark_uncacheable(result)
        _recording.get().asked.append((_plain(self), name, arguments, result))
        return result

    return predicate


def _trim(name: str) -> Callable[..., str]:
    plain = getattr(str, name)

    def trimmed(self: TracedStr, characters: str | None = None) -> str:
        if characters and characters.strip():
            return _mark_uncacheable(plain(self, characters))
        _recording.get().trims = (
            True  # then no text has white space at its ends, and only what is added to it is trimmed
        )
        return TracedStr(plain(self, characters))

    return trimmed


def _uncacheable(name: str) -> Callable[..., Any]:
    plain = getattr(str, name)
    return lambda self, *arguments, **named: _mark_uncacheable(plain(_plain(self), *arguments, **named))


_TEXTUAL = {name for name in dir(str) if not name.startswith("_")}
_PREDICATES = (
    "__contains__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__len__",
    "startswith", "endswith", "find", "rfind", "count", *(name for name in _TEXTUAL if name.startswith("is")),
)  # fmt: skip
_TRIMS = ("strip", "lstrip", "rstrip")
_DEFINED_ABOVE = ("split", "replace", "format", "format_map")  # defined above; formats in the environment
_UNCACHEABLE = (
    "__format__", "__hash__", "__iter__", "__mod__", "__mul__", "__repr__", "__rmod__", "__rmul__",
    *(_TEXTUAL - {*_PREDICATES, *_TRIMS, *_DEFINED_ABOVE}),
)  # fmt: skip
for _names, _made in ((_PREDICATES, _predicate), (_TRIMS, _trim), (_UNCACHEABLE, _uncacheable)):
    for _name in _names:
        setattr(TracedStr, _name, _made(_name))


def _holds(value: Any) -> bool:
    """Whether a value holds a traced string, or a text made of one."""
    if isinstance(value, str):
        return holds_sentinel(_plain(value))
    if isinstance(value, Mapping):
        return any(_holds(item) for pair in value.items() for item in pair)
    return isinstance(value, list | tuple) and any(map(_holds, value))


# Filters that do nothing to a text but what its own methods record; tests of its type; tests that its methods record.
_RECORDED_FILTERS = ("trim", "string", "default", "d", "length", "count")
_TYPE_TESTS = (
    "string", "mapping", "iterable", "sequence", "number", "integer", "float", "boolean", "none", "defined",
    "undefined",
)  # fmt: skip
_RECORDED_TESTS = ("in", "eq", "equalto", "==", "ne", "!=", "lt", "lessthan", "<", "le", "<=", "gt", "greaterthan", ">",
    "ge", ">=")  # fmt: skip


def _filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def traced(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        given = any(isinstance(argument, str) and _holds(argument) for argument in (*arguments, *named.values()))
        loses_trace = isinstance(result, str) and type(result) is not TracedStr and _holds(result)
        if (given and name not in _RECORDED_FILTERS) or name == "random" or loses_trace:
            return _mark_uncacheable(result)
        return result

    return traced


def _test(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def traced(*arguments: Any) -> Any:
        given = any(isinstance(argument, str) and _holds(argument) for argument in arguments)
        if given and name in _TYPE_TESTS:
            return function("text", *arguments[1:])
        result = function(*arguments)
        needle = name == "in" and _holds(arguments[0]) and isinstance(arguments[1], str)
        return _mark_uncacheable(result) if given and (needle or name not in _RECORDED_TESTS) else result

    return traced


_JINJA_INTERNAL = ("_loop_vars", "_block_vars")  # arguments that Jinja adds itself


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox that sees every traced string that is passed to what is not its own method."""

    intercepted_binops = frozenset("%")

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        result = super().call(__context, __obj, *args, **kwargs)
        named = [value for name, value in kwargs.items() if name not in _JINJA_INTERNAL]
        if not isinstance(__obj, Macro) and __obj is not Namespace and _holds((*args, *named)):
            _mark_uncacheable(None)
        return _trace(result) if isinstance(result, str) else result

    def wrap_str_format(self, value: Any) -> Any:
        wrapped = super().wrap_str_format(value)
        return wrapped if wrapped is None or not _holds(value.__self__) else _mark_uncacheable(wrapped)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        result = super().call_binop(context, operator, left, right)
        return _mark_uncacheable(result) if isinstance(left, str) and _holds((left, right)) else result

    def getitem(self, obj: Any, argument: Any) -> Any:
        item = super().getitem(obj, argument)
        return _mark_uncacheable(item) if _holds(argument) else item


class _AsCalls(NodeTransformer):
    """Writes `in` as the test of that name, and `~` as a sum, because neither calls a method of its right operand."""

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        if len(node.ops) != 1 or node.ops[0].op not in ("in", "notin"):
            return node
        test = nodes.Test(node.expr, "in", [node.ops[0].expr], [], None, None, lineno=node.lineno)
        return test if node.ops[0].op == "in" else nodes.Not(test, lineno=node.lineno)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        texts = [nodes.Filter(item, "string", [], [], None, None, lineno=node.lineno) for item in node.nodes]
        total: nodes.Expr = texts[0]
        for text in texts[1:]:
            total = nodes.Add(total, text, lineno=node.lineno)
        return total


# All that is known to call methods or to pass through the environment. Not among these: what captures output.
_UNDERSTOOD = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Macro, nodes.CallBlock, nodes.With,
    nodes.Assign, nodes.Scope, nodes.Name, nodes.NSRef, nodes.Const, nodes.Tuple, nodes.List, nodes.Dict, nodes.Pair,
    nodes.Keyword, nodes.CondExpr, nodes.Filter, nodes.Test, nodes.Call, nodes.Getitem, nodes.Getattr, nodes.Slice,
    nodes.Not, nodes.And, nodes.Or, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow,
    nodes.Neg, nodes.Pos, nodes.Compare, nodes.Operand, nodes.ExtensionAttribute, nodes.Continue, nodes.Break,
)  # fmt: skip


def _understood(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Compare) and any(operand.op in ("in", "notin") for operand in node.ops):
        return False  # in a chain of comparisons
    return type(node) in _UNDERSTOOD and all(map(_understood, node.iter_child_nodes()))


@dataclass(frozen=True)
class TracedTemplate:
    """A template that can be rendered with traced strings."""

    jinja: JinjaTemplate

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Any],
        prompt: bool,
        settings: Mapping[str, Any],
        predicates: RecordedPredicates,
    ) -> str:
        """What the template writes of messages with sentinels for texts; what it asks about these is added to
        `predicates`.

        Raises:
            TemplateError: as `JinjaTemplate.render`.
        """
        token = _recording.set(predicates)
        try:
            if self._compiled is None:
                return _mark_uncacheable(self.jinja.render(messages, tools, prompt, settings))
            return self.jinja.render(_trace(messages), tools, prompt, settings, self._compiled)
        finally:
            _recording.reset(token)

    @cached_property
    def _compiled(self) -> jinja2.Template | None:
        environment = prepare(_Environment)
        environment.filters = {name: _filter(name, function) for name, function in environment.filters.items()}
        tests: dict[str, Any] = environment.tests
        environment.tests = {name: _test(name, function) for name, function in tests.items()}
        try:
            tree = _AsCalls().visit(environment.parse(self.jinja.config.template or ""))
            if not _understood(tree):
                return None
            code = environment.compile(tree.set_environment(environment))
        except jinja2.TemplateError as error:
            raise TemplateError(f"the chat template is broken: {error}") from error
        return jinja2.Template.from_code(environment, code, environment.make_globals(None))


def _trace(value: Any) -> Any:
    """A value with every text in it that holds a sentinel traced."""
    if isinstance(value, str):
        return TracedStr(value) if holds_sentinel(_plain(value)) else value
    if isinstance(value, Mapping):
        return {name: _trace(item) for name, item in value.items()}
    return [_trace(item) for item in value] if isinstance(value, list) else value
