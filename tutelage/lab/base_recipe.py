"""The base model and the world that findings share, and the SFT stage that they vary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

BASE_LR = 9e-3

# The demo's world and base model, so that its results and the lab's are comparable.
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
epochs       = 4
batch_tokens = 4096
lr           = {BASE_LR}
optimizer    = {{ kind = "muon" }}
"""

DEMO_SETUP = (
    "The demo's model (4 layers, width 128, 1.05M parameters) is pre-trained on a world of 200 people, each biography "
    "in 20 wordings, for 4 epochs (2.7M tokens, lr 9e-3). "
)

DEMO_QUICK = (
    "model.depth=1",
    "model.width=32",
    "tokenizer.vocab=512",
    "data.world.people=20",
    "data.world.versions=2",
    "data.world.wordings=1",
    "stages.base.epochs=1",
    "stages.base.held_out=0.2",  # of so few texts, enough to measure forgetting
)

# The SFT stage that findings compare with: no replay, a third of the base's lr, three epochs. It has the same name in
# all findings on the demo's base, so it runs once.
PLAIN = "plain"


SEEDS = (0, 1, 2)
GUESS = 1 / 32  # the rate of right answers by chance: an attribute has 32 values


def sft_stage(
    name: str, changes: str = "", epochs: int = 3, base: str = "base", data: str = "chat", optimizer: str = "muon",
    steps: int | None = None,
) -> str:  # fmt: skip
    """A line for [stages] of a recipe: SFT as in the demo with `changes`, for a fixed number of steps: some epochs, or
    `steps`."""
    length = f"epochs = {epochs}" if steps is None else f"steps = {steps}"
    settings = (
        f'kind = "sft", from = "{base}", data = {{ {data} = 1 }}, {length}, batch_tokens = 2048, '
        f'keep = "last", optimizer = {{ kind = "{optimizer}" }}{", " if changes else ""}{changes}'
    )
    return f"{name} = {{ {settings} }}"


def seeded(
    name: str, changes: str = "", epochs: int = 3, base: str = "base", data: str = "chat", optimizer: str = "muon",
    steps: int | None = None,
) -> dict[str, str]:  # fmt: skip
    """The lines of `sft_stage` with each seed, by name of the stage: NAME, NAME_seed_1, NAME_seed_2."""
    lines = {}
    for seed in SEEDS:
        stage = f"{name}_seed_{seed}" if seed else name
        seed_setting = f"seed = {seed}" if seed else ""
        changed = ", ".join(filter(None, [seed_setting, changes]))
        lines[stage] = sft_stage(stage, changed, epochs, base, data, optimizer, steps)
    return lines


def rows_data(*names: str) -> str:
    """The part of a recipe for rows of the finding's own: conversations, and questions where a name has "asked"."""
    kinds = {name: "questions" if "asked" in name else "chat" for name in names}
    return "".join(f'[data.{name}]\nkind = "{kind}"\npath = "ROWS/{name}.jsonl"\n\n' for name, kind in kinds.items())


def recipe_toml(base: str, stages: Iterable[str], evaluate: Mapping[str, Sequence[str]]) -> str:
    """A recipe in TOML from the base's part, lines of `sft_stage`, and the suites per stage."""
    suites = [f"{stage} = {list(names)}".replace("'", '"') for stage, names in evaluate.items()]
    return "\n".join([base, "[stages]", *stages, "", "[evaluate]", *suites, ""])
