"""Function calls against gold calls, by the rules of the Berkeley Function-Calling Leaderboard's AST checker (Patil et
al. 2023, arXiv 2305.15334; its rules of 2024).

A gold call names a function and, for each parameter, a list of right values; "" among them means that it may be left
out. Functions are described as JSON schemas, where "dict", "tuple", "float" and "any" are types too.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

CallOutcome = Literal["right", "wrong", "broken", "abstained"]
Kind = Literal["simple", "multiple", "parallel", "irrelevance"]
GoldCall = Mapping[str, Mapping[str, Sequence[Any]]]

_TYPES: dict[str, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "number": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "object": dict,
    "any": str,
}
_IGNORED = re.compile(r"[ \,\.\/\-\_\*\^]")
_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
_BEGINS_AS_CALL = re.compile(r"[\[{]|[\w.]+\(")


@dataclass(frozen=True)
class MadeCall:
    """A call that a model made."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class CallScore:
    """The outcome of an answer, and why it is not right."""

    outcome: CallOutcome
    reason: str = ""


def read_made_calls(text: str, strict: bool = False) -> list[MadeCall] | None:
    """The calls in an answer: JSON objects with a name and arguments, each between <tool_call> tags or alone, or Python
    calls with keyword arguments. [] where it makes none; None where a call does not parse.

    strict: JSON between tags must be JSON; otherwise a Python literal, as with True and single quotes, is read too.
    """
    text = text.strip()
    if tagged := _TAGGED.findall(text):
        calls = [_json_call(one, strict) for one in tagged]
        return None if None in calls else [call for call in calls if call is not None]
    if (listed := _json_calls(text)) is not None:
        return listed
    if (python := _python_calls(text)) is not None:
        return python
    return None if _BEGINS_AS_CALL.match(text) else []


def _json_calls(text: str) -> list[MadeCall] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    calls = [_as_call(one) for one in (value if isinstance(value, list) else [value])]
    return None if None in calls else [call for call in calls if call is not None]


def _json_call(text: str, strict: bool) -> MadeCall | None:
    try:
        return _as_call(json.loads(text))
    except (ValueError, RecursionError):
        if strict:
            return None
    try:
        return _as_call(ast.literal_eval(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _as_call(value: object) -> MadeCall | None:
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    return MadeCall(value["name"], arguments) if isinstance(arguments, Mapping) else None


def _python_calls(text: str) -> list[MadeCall] | None:
    """`[f(a=1), g.h(b="x")]`, with or without the brackets. Only literals are read, nothing runs."""
    text = text.removeprefix("[").removesuffix("]") if text.startswith("[") else text
    try:
        tree = ast.parse(f"[{text}]", mode="eval").body
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    calls = []
    for node in tree.elts if isinstance(tree, ast.List) else ():
        if not isinstance(node, ast.Call) or node.args or not isinstance(node.func, ast.Name | ast.Attribute):
            return None
        try:
            arguments = {word.arg: _literal(word.value) for word in node.keywords if word.arg is not None}
        except (ValueError, TypeError):
            return None
        calls.append(MadeCall(ast.unparse(node.func), arguments))
    return calls or None


def _literal(node: ast.expr) -> Any:
    """The value of a literal; a variable is its name."""
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def score_calls(
    made: Sequence[MadeCall] | None, gold: Sequence[GoldCall], functions: Sequence[Mapping[str, Any]], kind: Kind
) -> CallScore:
    """The outcome of the calls of an answer, None if they did not parse. An answer without a call is right only where
    no function fits ("irrelevance"); a call that does not parse is broken, never an abstention."""
    if made is None:
        return CallScore("broken", "a call does not parse")
    if kind == "irrelevance":
        return CallScore("wrong", "no function fits the question") if made else CallScore("right")
    if not made:
        return CallScore("abstained", "no call")
    if len(made) != len(gold):
        return CallScore("wrong", f"{len(made)} calls, {len(gold)} expected")
    left = list(made)
    for one in gold:
        reasons = [fault(call, one, functions) for call in left]
        if "" not in reasons:
            return CallScore("wrong", reasons[0])
        left.pop(reasons.index(""))
    return CallScore("right")


def fault(call: MadeCall, gold: GoldCall, functions: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with a call; "" if it is the gold call."""
    ((name, golds),) = gold.items()
    if call.name not in (name, name.replace(".", "_")):
        return f"it calls '{call.name}', not '{name}'"
    function = next((one for one in functions if one["name"] == name), None)
    if function is None:
        raise ValueError(f"the gold call '{name}' is of no function offered")
    schema = function["parameters"]
    for parameter in schema.get("required", ()):
        if parameter not in call.arguments:
            return f"the required '{parameter}' is missing"
    for parameter, value in call.arguments.items():
        if parameter not in schema["properties"] or parameter not in golds:
            return f"there is no parameter '{parameter}'"
        if reason := _value_fault(value, golds[parameter], schema["properties"][parameter]):
            return f"'{parameter}': {reason}"
    for parameter, values in golds.items():
        if parameter not in call.arguments and "" not in values:
            return f"'{parameter}' is missing"
    return ""


def _value_fault(value: Any, golds: Sequence[Any], schema: Mapping[str, Any]) -> str:
    """Why a value is none of the right ones; "" if it is one."""
    said = schema["type"]
    expected = _TYPES[said]
    if said in ("float", "number") and type(value) is int:
        value = float(value)
    if said == "tuple" and type(value) is tuple:
        value = list(value)
    of_golds = _type_of(golds)
    # A gold value of another type than the schema's is a variable, such as the name of a data set: compared as is.
    variable = of_golds is not None and of_golds is not expected
    if type(value) is expected:
        if isinstance(value, list) and not _items_fit(value, golds, schema):
            return f"{value!r} has items of another type"
    elif type(value) is of_golds:
        variable = True
    else:
        return f"{value!r} is no {said}"
    right = value in golds if variable else _is_gold(value, golds)
    return "" if right else f"{value!r} is not right"


def _is_gold(value: Any, golds: Sequence[Any]) -> bool:
    """Whether a value is one of the right ones: objects field by field, texts without their punctuation."""
    if isinstance(value, dict):
        return any(_dict_fits(value, gold) for gold in golds if gold != "")
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        lists = [gold for gold in golds if isinstance(gold, list) and len(gold) == len(value)]
        return any(all(map(_dict_fits, value, gold)) for gold in lists)
    return _plain(value) in [_plain(gold) for gold in golds]


def _type_of(golds: Sequence[Any]) -> type | None:
    """The type of the first gold value; None where it may only be left out."""
    return next((type(gold) for gold in golds if gold != ""), None)


def _items_fit(value: Sequence[Any], golds: Sequence[Any], schema: Mapping[str, Any]) -> bool:
    """Whether the items of a list have the type of the schema exactly: an int is no float here."""
    items = schema.get("items", {}).get("type")
    if items is None or not any(isinstance(gold, list) for gold in golds):
        return True
    return all(type(item) is _TYPES[items] for item in value)


def _dict_fits(value: Mapping[str, Any], gold: Mapping[str, Any]) -> bool:
    """Whether each field is one of its right values; what is left out may be."""
    if any(name not in gold for name in value):
        return False
    if any(_plain(item) not in [_plain(one) for one in _listed(gold[name])] for name, item in value.items()):
        return False
    return all(name in value or "" in _listed(golds) for name, golds in gold.items())


def _listed(golds: Any) -> Sequence[Any]:
    return golds if isinstance(golds, list) else [golds]


def _plain(value: Any) -> Any:
    """Texts without spaces and punctuation, in lower case and with double quotes; lists item by item."""
    if isinstance(value, str):
        return _IGNORED.sub("", value).lower().replace("'", '"')
    return [_plain(item) if isinstance(item, str) else item for item in value] if isinstance(value, list) else value
