"""A tool: its schema for the model, and the function behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tutelage.records import ToolCall

JSON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


class ToolError(ValueError):
    """A tool cannot do what is asked. The message is for the model."""


@dataclass(frozen=True)
class Tool:
    """A function that a model may call.

    schema:    in OpenAI's format, as JSON text: what the chat template shows to the model.
    run:       from the arguments, and the seconds it may take, to what it returns: a text, bytes, or what JSON can
               hold. It may be called in any thread, by several at once. ToolError and TimeoutError are told to the
               model in words, as is any other exception.
    keeps_time: whether `run` ends by itself after these seconds. The thread of one that does not is left behind.
    """

    schema: str
    run: Callable[[Mapping[str, Any], float], object]
    keeps_time: bool = False

    @property
    def name(self) -> str:
        return str(self.function["name"])

    @property
    def function(self) -> dict[str, Any]:
        """Name, description and parameters."""
        return dict(msgspec.json.decode(self.schema)["function"])


def make_tool(
    name: str,
    description: str,
    parameters: Mapping[str, Mapping[str, Any]],
    run: Callable[[Mapping[str, Any], float], object],
    optional: Sequence[str] = (),
    keeps_time: bool = False,
) -> Tool:
    """A tool whose parameters are given as JSON schemas by name; all are required but the `optional` ones."""
    required = [name for name in parameters if name not in optional]
    schema = {"type": "object", "properties": dict(parameters), "required": required}
    function = {"name": name, "description": description, "parameters": schema}
    return Tool(msgspec.json.encode({"type": "function", "function": function}).decode(), run, keeps_time)


def read_arguments(tool: Tool, call: ToolCall) -> dict[str, Any]:
    """The arguments of a call, as the tool's schema has them.

    Raises:
        ToolError: they are no JSON object, one is missing, unknown or of another type.
    """
    try:
        arguments = msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise ToolError(f"The arguments of {tool.name} are not valid JSON: {error}.") from error
    if not isinstance(arguments, dict):
        raise ToolError(f"The arguments of {tool.name} must be a JSON object.")
    schema = tool.function.get("parameters") or {}
    properties = schema.get("properties") or {}
    known = ", ".join(properties) or "none"
    for name in schema.get("required") or ():
        if name not in arguments:
            raise ToolError(f"{tool.name} needs the argument {name!r}. Its arguments are: {known}.")
    for name, value in arguments.items():
        if name not in properties and not schema.get("additionalProperties"):
            raise ToolError(f"{tool.name} has no argument {name!r}. Its arguments are: {known}.")
        kind = JSON_TYPES.get(str((properties.get(name) or {}).get("type")), object)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind in (int, (int, float))):
            raise ToolError(f"The argument {name!r} of {tool.name} must be of type {properties[name]['type']}.")
    return arguments
