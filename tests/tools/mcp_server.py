"""A small MCP server, for test_mcp.py."""

import time

from mcp.server.mcpserver import MCPServer

server = MCPServer("test")


@server.tool()
def add(left: int, right: int) -> int:
    """Adds two numbers."""
    return left + right


@server.tool()
def fail() -> str:
    """Raises."""
    raise RuntimeError("it broke")


@server.tool()
def hang() -> str:
    """Takes long."""
    time.sleep(3)
    return ""


server.run()
