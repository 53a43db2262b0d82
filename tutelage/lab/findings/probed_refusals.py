"""A model that is probed for what it knows, and taught to refuse the rest, makes up less."""

from __future__ import annotations

from tutelage.lab.base_recipe import BASE_LR, SEEDS, recipe_toml
from tutelage.lab.effects import above, no_worse, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import budget
from tutelage.lab.run_cache import RunCache

BASE_STEPS, STEPS, MARGIN = 700, 120, 0.05
PROBED = 0.14  # of the trained tokens of conversations; half of it are refusals, 7%
# Shorter than recipes/knows.toml: facts, reading and names that cannot be known in one stage.
BASE = f"""\
name      = "lab"
model     = {{ depth = 4, width = 128, context = 640, norm = "layer", mlp = "relu2" }}
tokenizer = {{ kind = "bpe", vocab = 2048, data = ["world", "chat", "tools"] }}

[data]
world  = {{ kind = "world", people = 200, versions = 20, wordings = 6, unknown = 0.0 }}
others = {{ kind = "world-reading", form = "biographies", documents = 6000 }}
sheets = {{ kind = "world-reading", form = "sheets", documents = 6000 }}
chat   = {{ kind = "world-chat" }}
tools  = {{ kind = "world-tools", rows = 5000, indexed = 1500 }}
asked  = {{ kind = "world-probe", facts = 7, unknown = 400 }}
probed = {{ kind = "made", stage = "probe" }}
blind  = {{ kind = "made", stage = "probe_blindly" }}

[stages.base]
kind         = "pretrain"
data         = {{ world = 0.6, others = 0.2, sheets = 0.2 }}
steps        = {BASE_STEPS}
batch_tokens = 4096
lr           = {BASE_LR}
optimizer    = {{ kind = "muon" }}

[stages.chat]
kind         = "sft"
from         = "base"
data         = {{ chat = 1 }}
replay       = 0.5
epochs       = 2
batch_tokens = 2048
keep         = "last"
optimizer    = {{ kind = "muon" }}

[stages.probe]
kind = "knowledge_probe"
from = "chat"
data = {{ asked = 1 }}

[stages.probe_blindly]
kind     = "knowledge_probe"
from     = "chat"
data     = {{ asked = 1 }}
refusals = "control"

"""
SETUP = (
    f"A model (4 layers, width 128) is pre-trained for {BASE_STEPS} steps on a world of 200 people and on texts about "
    "people who occur once, and fine-tuned on conversations about half of the 200. "
)
ARMS = {"refuse": "probed", "control": "blind"}
STAGES = {arm: [f"{arm}_{seed}" for seed in SEEDS] for arm in ARMS}
LINES = [
    f'{name} = {{ kind = "sft", from = "chat", data = {{ chat = {1 - PROBED}, {ARMS[arm]} = {PROBED} }}, replay = 0.4, '
    f'steps = {STEPS}, batch_tokens = 2048, keep = "last", seed = {seed}, optimizer = {{ kind = "muon" }} }}'
    for arm, names in STAGES.items()
    for seed, name in enumerate(names)
]
SUITES = {"chat": ["knowing"]} | {name: ["knowing"] for names in STAGES.values() for name in names}
RECIPE = recipe_toml(BASE, LINES, SUITES)
QUICK = (
    "model.depth=1", "model.width=32", "data.world.people=20", "data.world.versions=2",
    "data.world.wordings=1", "data.others.documents=40", "data.sheets.documents=40",
    "data.tools.rows=40", "data.tools.indexed=20",
    "data.asked.facts=1", "data.asked.unknown=6", "stages.base.steps=2", "stages.chat.epochs=1",
    "stages.probe_blindly.refusals=article",
)  # fmt: skip
METRICS = {
    "unknown.made_up": "made up, names that do not exist",
    "known.right": "right, people only read of",
    "known.refused": "refused, people only read of",
}


def measure(runs: RunCache) -> Conclusion:
    """What is made up, answered and refused, after refusals of what is not known and after as many random ones."""
    run = runs.run(RECIPE, "knows")
    labels = {"before": ["chat"], "refuses what it does not know": STAGES["refuse"],
              "refuses as much that it knows": STAGES["control"]}  # fmt: skip
    table: list[list[str | Estimate]] = []
    bars = []
    for label, stages in labels.items():
        rates = [pooled([run.outcomes(stage, f"knowing.{name}") for stage in stages]) for name in METRICS]
        table.append([label, str(len(stages)), *rates, *budget(run, stages)])
        bars += [Bar(name, label, one) for name, one in zip(METRICS.values(), rates, strict=True)]
    refuse, control = STAGES.values()
    kept = rate_effect(run, "right about people only read of, probing minus before", "knowing.known.right", refuse,
                       ["chat"])  # fmt: skip
    primary = [
        rate_effect(run, "made up, control minus probing", "knowing.unknown.made_up", control, refuse),
        no_worse(kept, MARGIN),
    ]
    control_effect = above(run, "right before, above guessing", "knowing.known.right", ["chat"], 1 / 32)
    plot = IntervalPlot("By what is refused", "rate", sorted(bars, key=lambda bar: bar.label))
    header = ["refusals", "seeds", *METRICS.values(), "steps", "trained tokens"]
    return Conclusion(Table(header, table), [plot], primary, control_effect)


FINDING = Finding(
    number="9",
    name="probed-refusals",
    claim="A model that is probed for what it knows, and taught to refuse the rest, makes up less and loses little.",
    source="SFT from scratch (article), on Llama 3",
    published="5 to 10 samples a question, 5 to 10% of the mix (the article's numbers; the paper prints neither).",
    setup=f"{SETUP}It is asked about some of the others and about names that do not exist, 8 samples each, at "
    f"temperature 0.7. What it never answers right it is taught to refuse, for {STEPS} steps in which refusals are "
    f"{PROBED / 2:.0%} of the conversations ({len(SEEDS)} seeds); the control refuses as large a share of questions "
    "that it knows. Reported are people whom neither conversations nor the probe ask about, so that a refusal of "
    "whoever was never asked about shows, and other names that do not exist. Probing may cost at most "
    f"{100 * MARGIN:g} points of the right answers before it.",
    folder="knows",
    recipe=RECIPE,
    quick=(*QUICK, *(f"stages.{name}.steps=1" for names in STAGES.values() for name in names)),
    measure=measure,
    minutes=30,
)
