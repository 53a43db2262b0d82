"""The smallest recipe on the built-in world, for tests that run one."""

from __future__ import annotations

from pathlib import Path

from tutelage import progress
from tutelage.runner import Run

# Ends within [data], so that more data can follow.
START = """
name      = "tiny"
model     = { depth = 1, width = 32, context = 128 }
tokenizer = { kind = "bpe", vocab = 300 }

[data]
world = { kind = "world", people = 20, versions = 1 }
chat  = { kind = "world-chat" }
"""


def write_tiny_recipe(folder: Path, base: str, chat: str) -> Path:
    """Write the recipe with a stage "base" and a stage "chat" on it, with these further settings, lines of TOML."""
    path = folder / "tiny.toml"
    path.write_text(f"""{START}
[stages.base]
kind = "pretrain"
data = {{ world = 1 }}
{base}

[stages.chat]
kind = "sft"
from = "base"
data = {{ chat = 1 }}
too_long = "drop"
{chat}
""")
    return path


def run_quietly(run: Run, *stages: str) -> Run:
    """Run these stages, by default all, without progress on the terminal."""
    progress.set_mode("quiet")
    try:
        for stage in stages or (None,):
            run.run(only=stage)
    finally:
        progress.set_mode("auto")
    return run
