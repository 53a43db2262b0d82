"""What findings on the end of pre-training share: a small world, a stage at a constant rate, stages that lower it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tutelage.lab.base_recipe import BASE_LR
from tutelage.world.society import World, WorldSettings

PEOPLE, STABLE, DECAY = 80, 300, 80
SETTINGS = WorldSettings(people=PEOPLE, versions=20, wordings=6, unknown=0.0)
MODEL = """\
name      = "lab"
model     = { depth = 4, width = 128, context = 256, norm = "layer", mlp = "relu2" }
tokenizer = { kind = "bpe", vocab = 2048, data = ["world", "chat"] }

"""
DATA = f"""\
[data]
world = {{ kind = "world", people = {PEOPLE}, versions = 20, wordings = 6, unknown = 0.0 }}
chat  = {{ kind = "world-chat", split = "train" }}
"""
SETUP = (
    f"A model (4 layers, width 128) reads a world of {PEOPLE} people for {STABLE} steps of 4,096 tokens at a constant "
    f"rate and for {DECAY} steps while the rate falls to a twentieth. "
)
QUICK = (
    "model.depth=1", "model.width=32", "tokenizer.vocab=512", "data.world.people=20", "data.world.versions=2",
    "data.world.wordings=1",
)  # fmt: skip


def pretrain_stage(name: str, data: str, steps: int, seed: int, parent: str = "") -> str:
    """A line for [stages] of a recipe: at a constant rate from random weights, or from a stage while the rate falls."""
    start = f'from = "{parent}", ' if parent else ""
    schedule = '{ kind = "wsd", warmup = 0.0, decay = 1.0 }' if parent else '{ kind = "constant" }'
    return (
        f'{name} = {{ kind = "pretrain", {start}data = {{ {data} }}, steps = {steps}, batch_tokens = 4096, '
        f'lr = {BASE_LR}, seed = {seed}, schedule = {schedule}, optimizer = {{ kind = "muon" }} }}'
    )


def spoken() -> Iterator[Mapping[str, object]]:
    """The conversations as plain text."""
    for chat in World(SETTINGS).conversations("train"):
        yield {"text": "\n".join(f"{turn.role.title()}: {turn.text}" for turn in chat.messages)}
