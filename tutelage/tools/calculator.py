"""A calculator for expressions of numbers. It reads them as Python does, and runs nothing."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from tutelage.tools.tool import Tool, ToolError, make_tool

MOST_CHARACTERS = 200
MOST_BITS = 4096  # of a number, so that 9 ** 9 ** 9 ends at once
OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda left, right: Fraction(left // right),
    ast.Mod: operator.mod,
}


def calculate(expression: str) -> str:
    """The value of an expression with + - * / // % ** and brackets; x, × and ÷ are read as * and /. Exact where it has
    few digits, else with 12 significant ones.

    Raises:
        ToolError: it is no such expression, divides by 0, or a number becomes too large.
    """
    if len(expression) > MOST_CHARACTERS:
        raise ToolError(f"The expression has more than {MOST_CHARACTERS} characters.")
    text = expression.replace("×", "*").replace("÷", "/").replace("−", "-").replace("x", "*").replace("^", "**")
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body)
    except ZeroDivisionError:
        raise ToolError("It divides by 0.") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, ToolError):
            raise
        raise ToolError(f"{expression!r} is no expression of numbers.") from None
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.12g}"


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _bounded(Fraction(str(node.value)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        if type(node.op) in OPERATORS:
            return _bounded(OPERATORS[type(node.op)](left, right))
    raise ToolError("Only numbers, + - * / // % ** and brackets can be calculated.")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        if base < 0 or exponent > MOST_BITS or exponent < -MOST_BITS:
            raise ToolError("This power cannot be calculated.")
        try:
            return Fraction(float(base) ** float(exponent))
        except OverflowError:
            raise ToolError("The result is too large.") from None
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if size * abs(exponent.numerator) > MOST_BITS:
        raise ToolError("The result is too large.")
    return base**exponent.numerator


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
        raise ToolError("The result is too large.")
    return value


def _run(arguments: Mapping[str, Any], seconds: float) -> str:
    return calculate(arguments["expression"])


CALCULATOR: Tool = make_tool("calculator", "Calculates.", {"expression": {"type": "string"}}, _run)
