"""Tools from a Python file: every public function with a docstring, in a process that can be killed.

Types of parameters are those of the annotations: str, int, float, bool, list, dict. A parameter with a default may be
left out.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from tutelage.tools.results import as_text
from tutelage.tools.tool import Tool, ToolError, make_tool
from tutelage.workers import TimedWorker, WorkerDied

TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def function_tools(path: Path, seconds: float = 10) -> list[Tool]:
    """The functions of a file as tools. The file is imported here once, for its signatures, and in each process that
    runs its functions.

    seconds: limit of one call; the process is killed then, and the next call starts another.

    Raises:
        ValueError: the file cannot be imported, has no function with a docstring, or one of another type of parameter.
    """
    module = _load(str(path.resolve()))
    functions = {
        name: function
        for name, function in vars(module).items()
        if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
    }
    documented = {name: function for name, function in functions.items() if inspect.getdoc(function)}
    if not documented:
        raise ValueError(f"{path} has no function with a docstring; the docstring tells the model what it does")
    return [_tool(path, name, function, seconds) for name, function in documented.items()]


@cache
def _load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_{Path(path).stem}", path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _tool(path: Path, name: str, function: Callable[..., object], seconds: float) -> Tool:
    parameters, optional = {}, []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        kind = TYPES.get(getattr(parameter.annotation, "__origin__", parameter.annotation))
        if kind is None or parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            allowed = ", ".join(kind.__name__ for kind in TYPES)
            raise ValueError(f"{path}, {name}: annotate '{parameter.name}' as one of {allowed}")
        parameters[parameter.name] = {"type": kind}
        if parameter.default is not parameter.empty:
            optional.append(parameter.name)
    resolved = str(path.resolve())
    worker = TimedWorker(partial(_call, resolved, name), seconds, partial(_load_only, resolved))

    def run(arguments: Mapping[str, Any], seconds: float) -> str:
        try:
            return worker(dict(arguments))
        except WorkerDied as error:
            raise ToolError(f"{name} ended its process: {error}") from error

    description = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
    return make_tool(name, description, parameters, run, optional, keeps_time=True)


def _load_only(path: str) -> None:
    _load(path)


def _call(path: str, name: str, arguments: dict[str, Any]) -> str:
    """In the worker: only a bounded, valid text crosses over, whatever the function returns."""
    return as_text(getattr(_load(path), name)(**arguments))
