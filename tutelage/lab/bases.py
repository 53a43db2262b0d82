"""The model and the world that findings share, and the fine-tuning that they vary."""

from __future__ import annotations

BASE_RATE = 9e-3

# The demo's world and base model, so that its figures and the lab's can be laid side by side.
DEMO = f"""\
name      = "lab"
model     = {{ depth = 4, width = 128, context = 256, norm = "layer", mlp = "relu2" }}
tokenizer = {{ kind = "bpe", vocab = 2048, data = ["world", "chat"] }}

[data]
world = {{ kind = "world", people = 200, versions = 20, wordings = 6, unknown = 0.0 }}
chat  = {{ kind = "world-chat", split = "train" }}

[stages.base]
kind         = "pretrain"
data         = {{ world = 1 }}
epochs       = 5
batch_tokens = 4096
lr           = {BASE_RATE}
optimizer    = {{ kind = "muon" }}
"""

DEMO_SIZES = (
    "The demo's model (4 layers, width 128, 1.05M parameters) reads a world of 200 people, each biography in 20 "
    "wordings, 5 times (3.4M tokens, rate 9e-3). "
)

DEMO_QUICK = (
    "model.depth=1",
    "model.width=32",
    "tokenizer.vocab=512",
    "data.world.people=20",
    "data.world.versions=2",
    "data.world.wordings=1",
    "stages.base.epochs=1",
    "stages.base.held_out=0.2",  # of so few texts, enough that some are there to measure forgetting on
)

# The fine-tuning that findings compare with: no replay, a third of the base's rate, three passes. It has one name in
# all findings of the demo's base, and so is run once.
PLAIN = "plain"


def fine_tuning(name: str, changes: str = "", epochs: int = 3, base: str = "base") -> str:
    """A line below [stages] of a recipe: fine-tuning as in the demo, but for `changes`, for a fixed number of steps."""
    settings = (
        f'kind = "sft", from = "{base}", data = {{ chat = 1 }}, epochs = {epochs}, batch_tokens = 2048, '
        f'keep = "last", optimizer = {{ kind = "muon" }}{", " if changes else ""}{changes}'
    )
    return f"{name} = {{ {settings} }}"


def recipe(base: str, stages: list[str], evaluate: dict[str, list[str]]) -> str:
    """A recipe in TOML: a base's text, lines of `fine_tuning`, and what is measured at which stage."""
    suites = [f"{stage} = {names}".replace("'", '"') for stage, names in evaluate.items()]
    return "\n".join([base, "[stages]", *stages, "", "[evaluate]", *suites, ""])
