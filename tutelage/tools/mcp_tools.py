"""Tools of an MCP server, through the official client library (the extra `mcp`)."""

from __future__ import annotations

import asyncio
import atexit
import shlex
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any

import msgspec

from tutelage.extras import load
from tutelage.tools.tool import Tool, ToolError

START_SECONDS, CLOSE_SECONDS = 30.0, 5.0
_running: list[tuple[threading.Thread, asyncio.AbstractEventLoop, asyncio.Event]] = []


def mcp_tools(server: str) -> list[Tool]:
    """The tools of a server: an http(s) address, or a command, which is started and ends with this process. The client
    runs in a thread of its own.

    Raises:
        ValueError: the library is missing, or the server cannot be reached or has no tools.
    """
    load("mcp", "mcp")
    ready: Future[tuple[Any, list[Any]]] = Future()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(_connect(server, ready, stop))
        finally:
            loop.close()

    thread = threading.Thread(target=serve, name="mcp", daemon=True)
    thread.start()
    _running.append((thread, loop, stop))
    try:
        client, listed = ready.result(START_SECONDS)
    except FutureTimeout:
        raise ValueError(f"the MCP server {server!r} did not answer within {START_SECONDS:g} seconds") from None
    except Exception as error:
        raise ValueError(f"the MCP server {server!r} cannot be used: {type(error).__name__}: {error}") from error
    if not listed:
        raise ValueError(f"the MCP server {server!r} has no tools")
    return [Tool(_schema(tool), _caller(client, tool.name, loop), keeps_time=True) for tool in listed]


def close_servers() -> None:
    """End the servers that were started, and the connections to others; happens by itself at the end of the process."""
    while _running:
        thread, loop, stop = _running.pop()
        with suppress(RuntimeError):  # it has ended
            loop.call_soon_threadsafe(stop.set)
        thread.join(CLOSE_SECONDS)


atexit.register(close_servers)


async def _connect(server: str, ready: Future[tuple[Any, list[Any]]], stop: asyncio.Event) -> None:
    mcp = load("mcp", "mcp")
    try:
        target: Any = server
        if "://" not in server:
            command, *arguments = shlex.split(server)
            target = mcp.StdioServerParameters(command=command, args=arguments, encoding_error_handler="replace")
        async with mcp.Client(target) as client:
            listed = await client.list_tools()
            ready.set_result((client, list(listed.tools)))
            await stop.wait()
    except Exception as error:
        if not ready.done():
            ready.set_exception(error)


def _schema(tool: Any) -> str:
    function = {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema}
    return msgspec.json.encode({"type": "function", "function": function}).decode()


def _caller(client: Any, name: str, loop: asyncio.AbstractEventLoop) -> Callable[[Mapping[str, Any], float], str]:
    def run(arguments: Mapping[str, Any], seconds: float) -> str:
        called = asyncio.run_coroutine_threadsafe(client.call_tool(name, dict(arguments)), loop)
        try:
            result = called.result(seconds)
        except FutureTimeout:
            called.cancel()
            raise TimeoutError from None
        text = "\n".join(part.text for part in result.content if getattr(part, "type", "") == "text")
        if result.is_error:
            raise ToolError(text or f"{name} failed.")
        return text

    return run
