"""From names, as `--tools` has them, to tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tutelage.tools.calculator import CALCULATOR
from tutelage.tools.functions import function_tools
from tutelage.tools.mcp_tools import mcp_tools
from tutelage.tools.python_tool import python_tool
from tutelage.tools.search import build_index, folder_documents, search_tool
from tutelage.tools.tool import Tool


def open_tools(
    names: str,
    world_search: Callable[[], Tool] | None = None,
    seconds: float = 10.0,
    unsafe: bool = False,
) -> list[Tool]:
    """The tools of a list parted by commas: search, search=FOLDER, calculator, python, FILE.py, mcp=COMMAND|URL.

    world_search: makes the search without a folder.
    seconds: most that one call of a function of a file may take.
    unsafe:  run Python with the caller's rights where the machine has no sandbox.

    Raises:
        ValueError: a name is none of these, a tool cannot be opened, or two have one name.
    """
    tools: list[Tool] = []
    for name in filter(None, map(str.strip, names.split(","))):
        kind, _, value = name.partition("=")
        if name == "calculator":
            tools.append(CALCULATOR)
        elif name == "python":
            tools.append(python_tool(unsafe))
        elif kind == "search":
            if not value and world_search is None:
                raise ValueError("search has nothing to search: say in which folder of texts with search=FOLDER")
            if value or world_search is None:
                tools.append(search_tool(build_index(folder_documents(Path(value)))))
            else:
                tools.append(world_search())
        elif kind == "mcp" and value:
            tools += mcp_tools(value)
        elif name.endswith(".py"):
            tools += function_tools(Path(name), seconds)
        else:
            known = "search, search=FOLDER, calculator, python, FILE.py, mcp=COMMAND"
            raise ValueError(f"there is no tool {name!r}; name some of {known}, with commas between them")
    taken = [tool.name for tool in tools]
    if twice := next((name for name in taken if taken.count(name) > 1), None):
        raise ValueError(f"two tools are named '{twice}'; leave one out")
    return tools
