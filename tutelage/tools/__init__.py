"""Tools: what a model may call, the loop that runs the calls, and the tools that Tutelage brings (docs/tools.md)."""
