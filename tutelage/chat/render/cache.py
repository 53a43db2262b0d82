"""What a chat template asks about the texts it writes: found by giving it texts that note every question.

Most templates write a text as it stands, or trimmed, and ask little about it (`'</think>' in content`). Such a template
writes all conversations of one shape alike whose texts answer its questions alike, and need not be run for each.

That holds only where no question goes unnoticed. What is done to a watched text comes to a method of it. What would
pass these by (a watched needle of `in`, a watched argument of somebody else's method, a text put together by a filter)
is caught where the environment hands it over; and only those of Jinja's statements are let through of which that is
true. Whatever else a template does, it is not foretold, but run for each conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from tutelage.chat.render.jinja import JinjaTemplate, TemplateError, prepare
from tutelage.chat.render.outline import Slot, holds_marker, put

# A text with markers in it, a method of str, what it was given and what it said.
Question = tuple[str, str, tuple[Any, ...], object]


@dataclass(eq=False)
class Questions:
    """What a template asked about texts.

    foretold: False where it did what no question tells.
    trims:    whether it trimmed a text.
    """

    asked: list[Question] = field(default_factory=list)
    foretold: bool = True
    trims: bool = False

    def answered_alike(self, texts: Mapping[Slot, str]) -> bool:
        """Whether the template hears the same when it asks about these texts, and trims nothing off them."""
        if self.trims and any(text != text.strip() for text in texts.values()):
            return False
        return all(getattr(put(asked, texts), method)(*given) == said for asked, method, given, said in self.asked)


_noted: ContextVar[Questions] = ContextVar("questions of the rendering in progress")


class Watched(str):
    """A text with markers in it that notes what it is asked."""

    def __str__(self) -> str:
        return self

    def __bool__(self) -> bool:
        return True  # the shape says which texts are blank, and no blank one is watched

    def __add__(self, other: object) -> Any:
        return Watched(str.__add__(self, _plain(other))) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: object) -> Any:
        return Watched(str.__add__(_plain(other), self)) if isinstance(other, str) else NotImplemented

    def __getitem__(self, key: Any) -> str:
        if isinstance(key, str):
            raise TypeError("string indices must be integers")  # as with any text, whatever it says
        return _looked(str.__getitem__(self, key))

    def split(self, by: str | None = None, *most: Any) -> list[str]:
        """Itself where it is not to be split by anything that it holds."""
        return _looked(str.split(self, by, *most)) if by is None or by in self else [self]

    def replace(self, old: str, *new: Any) -> str:
        """Itself where it does not hold what is to be replaced."""
        return _looked(str.replace(self, old, *new)) if old in self else self


def _plain(text: str) -> str:
    return str.__str__(text)


def _looked(value: Any) -> Any:
    """Something was found out about a text that no question tells."""
    _noted.get().foretold = False
    return value


def _asking(name: str) -> Callable[..., object]:
    plain = getattr(str, name)

    def asked(self: Watched, *given: Any) -> object:
        said = plain(self, *given)
        if _holds(given):
            return _looked(said)
        _noted.get().asked.append((_plain(self), name, given, said))
        return said

    return asked


def _trimming(name: str) -> Callable[..., str]:
    plain = getattr(str, name)

    def trimmed(self: Watched, characters: str | None = None) -> str:
        if characters and characters.strip():
            return _looked(plain(self, characters))
        _noted.get().trims = True  # then no text has white space at its ends, and only what is added to it is trimmed
        return Watched(plain(self, characters))

    return trimmed


def _looking(name: str) -> Callable[..., Any]:
    plain = getattr(str, name)
    return lambda self, *given, **named: _looked(plain(_plain(self), *given, **named))


_TEXTUAL = {name for name in dir(str) if not name.startswith("_")}
_QUESTIONS = (
    "__contains__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__len__",
    "startswith", "endswith", "find", "rfind", "count", *(name for name in _TEXTUAL if name.startswith("is")),
)  # fmt: skip
_TRIMS = ("strip", "lstrip", "rstrip")
_OWN = ("split", "replace", "format", "format_map")  # written out above, and formats in the environment
_LOOKS = (
    "__format__", "__hash__", "__iter__", "__mod__", "__mul__", "__repr__", "__rmod__", "__rmul__",
    *(_TEXTUAL - {*_QUESTIONS, *_TRIMS, *_OWN}),
)  # fmt: skip
for _names, _made in ((_QUESTIONS, _asking), (_TRIMS, _trimming), (_LOOKS, _looking)):
    for _name in _names:
        setattr(Watched, _name, _made(_name))


def _holds(value: Any) -> bool:
    """Whether a watched text, or what was made of one, stands in a value."""
    if isinstance(value, str):
        return holds_marker(_plain(value))
    if isinstance(value, Mapping):
        return any(_holds(one) for pair in value.items() for one in pair)
    return isinstance(value, list | tuple) and any(map(_holds, value))


# Filters that do nothing to a text but what its own methods note; tests that ask for its type; tests that its methods
# note.
_PASSING = ("trim", "string", "default", "d", "length", "count")
_OF_TYPES = (
    "string", "mapping", "iterable", "sequence", "number", "integer", "float", "boolean", "none", "defined",
    "undefined",
)  # fmt: skip
_COMPARING = ("in", "eq", "equalto", "==", "ne", "!=", "lt", "lessthan", "<", "le", "<=", "gt", "greaterthan", ">",
    "ge", ">=")  # fmt: skip


def _filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def watching(*given: Any, **named: Any) -> Any:
        made = function(*given, **named)
        texts = any(isinstance(one, str) and _holds(one) for one in (*given, *named.values()))
        if (
            (texts and name not in _PASSING)
            or name == "random"
            or (_holds(made) and isinstance(made, str) and type(made) is not Watched)
        ):
            return _looked(made)
        return made

    return watching


def _test(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def watching(*given: Any) -> Any:
        texts = any(isinstance(one, str) and _holds(one) for one in given)
        if texts and name in _OF_TYPES:
            return function("text", *given[1:])
        found = function(*given)
        needle = name == "in" and _holds(given[0]) and isinstance(given[1], str)
        return _looked(found) if texts and (needle or name not in _COMPARING) else found

    return watching


_OF_JINJA = ("_loop_vars", "_block_vars")  # what it hands on for itself


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox that sees every watched text that is handed to what is not its own method."""

    intercepted_binops = frozenset("%")

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        made = super().call(__context, __obj, *args, **kwargs)
        own = [value for name, value in kwargs.items() if name not in _OF_JINJA]
        if not isinstance(__obj, Macro) and __obj is not Namespace and _holds((*args, *own)):
            _looked(None)
        return _watched(made) if isinstance(made, str) else made

    def wrap_str_format(self, value: Any) -> Any:
        wrapped = super().wrap_str_format(value)
        return wrapped if wrapped is None or not _holds(value.__self__) else _looked(wrapped)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        made = super().call_binop(context, operator, left, right)
        return _looked(made) if isinstance(left, str) and _holds((left, right)) else made

    def getitem(self, obj: Any, argument: Any) -> Any:
        found = super().getitem(obj, argument)
        return _looked(found) if _holds(argument) else found


class _ByCalls(NodeTransformer):
    """Writes `in` as the test of that name, and `~` as a sum, for neither comes to a method of what stands at its
    right."""

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        if len(node.ops) != 1 or node.ops[0].op not in ("in", "notin"):
            return node
        test = nodes.Test(node.expr, "in", [node.ops[0].expr], [], None, None, lineno=node.lineno)
        return test if node.ops[0].op == "in" else nodes.Not(test, lineno=node.lineno)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        texts = [nodes.Filter(one, "string", [], [], None, None, lineno=node.lineno) for one in node.nodes]
        whole: nodes.Expr = texts[0]
        for text in texts[1:]:
            whole = nodes.Add(whole, text, lineno=node.lineno)
        return whole


# All that is known to come to methods or through the environment. Not among these: what captures what is written.
_UNDERSTOOD = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Macro, nodes.CallBlock, nodes.With,
    nodes.Assign, nodes.Scope, nodes.Name, nodes.NSRef, nodes.Const, nodes.Tuple, nodes.List, nodes.Dict, nodes.Pair,
    nodes.Keyword, nodes.CondExpr, nodes.Filter, nodes.Test, nodes.Call, nodes.Getitem, nodes.Getattr, nodes.Slice,
    nodes.Not, nodes.And, nodes.Or, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow,
    nodes.Neg, nodes.Pos, nodes.Compare, nodes.Operand, nodes.ExtensionAttribute, nodes.Continue, nodes.Break,
)  # fmt: skip


def _understood(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Compare) and any(one.op in ("in", "notin") for one in node.ops):
        return False  # one of a chain
    return type(node) in _UNDERSTOOD and all(map(_understood, node.iter_child_nodes()))


@dataclass(frozen=True)
class TracedTemplate:
    """A template that can be rendered with watched texts."""

    jinja: JinjaTemplate

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], prompt: bool, questions: Questions
    ) -> str:
        """What the template writes of messages in which markers stand for the texts; what it asks about these is added
        to the questions.

        Raises:
            TemplateError: as `JinjaTemplate.render`.
        """
        token = _noted.set(questions)
        try:
            if self._compiled is None:
                return _looked(self.jinja.render(messages, tools, prompt))
            return self.jinja.render(_watched(messages), tools, prompt, self._compiled)
        finally:
            _noted.reset(token)

    @cached_property
    def _compiled(self) -> jinja2.Template | None:
        environment = prepare(_Environment)
        environment.filters = {name: _filter(name, function) for name, function in environment.filters.items()}
        tests: dict[str, Any] = environment.tests
        environment.tests = {name: _test(name, function) for name, function in tests.items()}
        try:
            tree = _ByCalls().visit(environment.parse(self.jinja.source.template or ""))
            if not _understood(tree):
                return None
            code = environment.compile(tree.set_environment(environment))
        except jinja2.TemplateError as error:
            raise TemplateError(f"the chat template is broken: {error}") from error
        return jinja2.Template.from_code(environment, code, environment.make_globals(None))


def _watched(value: Any) -> Any:
    """A value with every text in it watched that a marker stands in."""
    if isinstance(value, str):
        return Watched(value) if holds_marker(_plain(value)) else value
    if isinstance(value, Mapping):
        return {name: _watched(one) for name, one in value.items()}
    return [_watched(one) for one in value] if isinstance(value, list) else value
