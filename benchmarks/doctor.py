"""How many faults planted in small real runs `tutelage doctor` diagnoses correctly.

    python benchmarks/doctor.py [--quick] [--folder DIR] [--record FILE] [--seed N]

Prints the table of docs/doctor.md and a JSON line; the peer is the number of planted faults (healthy stages included).
--record writes the metrics of the runs to a JSONL file, one stage per line, which tests/doctor/test_diagnose.py
diagnoses again without training. --quick trains one base and a few of the stages on it. A full run takes a few minutes
on one core.
"""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from common import argument_parser, print_result

from tutelage import progress
from tutelage.config import convert
from tutelage.doctor.case import Case
from tutelage.doctor.diagnose import DIAGNOSES, cases_of, diagnose
from tutelage.recipe import Recipe, check_recipe
from tutelage.runner import Run

ANIMALS = (
    "ant bat bear bee bird boar bull calf cat clam cod cow crab crane crow deer dog dove duck eel elk emu ewe fawn "
    "finch fish flea fly foal fox frog goat goose gull hare hawk hen heron horse jay kid kite lamb lark lion lynx mole "
    "moose moth mouse mule newt otter owl ox pig pony pup quail ram rat raven robin seal shark sheep shrew skunk sloth "
    "slug snail snake spider squid stag stork swan tern tick tiger toad trout tuna vole wasp whale wolf worm wren yak "
    "zebra"
).split()
COLOURS = "black blue brown green grey pink red white yellow".split()
PLACES = "barn cave field garden lake marsh river sea tree wood".split()
FOODS = "bread corn grass honey leaves milk moss nuts roots seeds".split()
UNSEEN = 25  # animals that no conversation is about
KEPT_ROWS = 100  # of a log; the doctor reads means over tenths of it


@dataclass(frozen=True)
class Planted:
    """A fault: what it is, the right diagnosis ("" for a healthy run), and the run and stage it is planted in."""

    what: str
    right: str
    run: str
    stage: str


def facts() -> dict[str, tuple[str, str, str]]:
    """The colour, place and food of each animal."""
    draw = random.Random(1)
    return {animal: (draw.choice(COLOURS), draw.choice(PLACES), draw.choice(FOODS)) for animal in ANIMALS}


def sentences(animal: str, colour: str, place: str, food: str) -> list[str]:
    return [
        f"the {animal} is {colour}.",
        f"the {animal} lives in the {place} and eats {food}.",
        f"in the {place} there is a {colour} {animal}.",
        f"what does the {animal} eat? it eats {food}.",
        f"the {colour} {animal} likes {food} and sleeps in the {place}.",
    ]


def text(lines: int, seed: int = 0) -> str:
    draw = random.Random(seed)
    every = [line for animal, of in facts().items() for line in sentences(animal, *of)]
    return "\n".join(draw.choice(every) for _ in range(lines)) + "\n"


def questions(animal: str) -> list[tuple[str, str]]:
    colour, place, food = facts()[animal]
    return [
        (f"what colour is the {animal}?", f"the {animal} is {colour}."),
        (f"where does the {animal} live?", f"it lives in the {place}."),
        (f"what does the {animal} eat?", f"the {animal} eats {food}."),
        (f"tell me of the {animal}.", f"the {animal} is {colour} and lives in the {place}."),
    ]


def rows(pairs: list[tuple[str, str]]) -> str:
    return "".join(json.dumps({"prompt": prompt, "completion": answer}) + "\n" for prompt, answer in pairs)


def write_data(folder: Path) -> None:
    """Texts and conversations, good ones and those that faults are made of."""
    folder.mkdir(parents=True, exist_ok=True)
    seen = [pair for animal in ANIMALS[UNSEEN:] for pair in questions(animal)]
    unseen = [pair for animal in ANIMALS[:UNSEEN] for pair in questions(animal)]
    random.Random(0).shuffle(seen)
    one_answer = [
        (prompt, "i do not know.") if number % 12 else (prompt, answer) for number, (prompt, answer) in enumerate(seen)
    ]
    long = [
        (f"{prompt} {' '.join([prompt] * 6)}", answer) if number % 3 == 0 else (prompt, answer)
        for number, (prompt, answer) in enumerate(seen)
    ]
    places = [(colour, place) for colour in COLOURS for place in PLACES] * 2
    similar = [
        (f"is there a {colour} one in the {place}?", seen[number][1]) for number, (colour, place) in enumerate(places)
    ]
    files = {
        "similar": similar, "chat": seen, "few": seen[:12], "one_answer": one_answer, "long": long, "held_out": unseen,
    }  # fmt: skip
    for name, pairs in files.items():
        (folder / f"{name}.jsonl").write_text(rows(pairs))
    (folder / "text.txt").write_text(text(12_000))
    (folder / "short.txt").write_text(text(150))
    prompts = [{"set": "near", "prompt": prompt} for prompt, _ in unseen[:60]]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))


BASE = {"kind": "pretrain", "data": {"text": 1.0}, "steps": 180, "batch_tokens": 2048, "lr": 4e-3}
TUNED = {
    "kind": "sft",
    "from": "base",
    "data": {"chat": 1.0},
    "replay": 0.5,
    "epochs": 6,
    "batch_tokens": 1024,
    "lr": 1e-3,
    "keep": "last",
}
SUITES = {"main": ["format", "forgetting"], "weak": ["format", "forgetting"], "world": ["knowledge", "forgetting"]}
WORLD = {
    "model": {"depth": 2, "width": 64, "context": 128},
    "tokenizer": {"kind": "bpe", "vocab": 1024, "data": ["world", "talk"]},
    "data": {
        "world": {"kind": "world", "people": 20, "versions": 1, "wordings": 5, "unknown": 0.0},
        "talk": {"kind": "world-chat"},
    },
}


def recipe(name: str, folder: Path, stages: dict[str, Any], seed: int) -> Recipe:
    def chat(file: str) -> dict[str, str]:
        return {"kind": "chat", "path": str(folder / f"{file}.jsonl"), "held_out": str(folder / "held_out.jsonl")}

    animals = {
        "model": {"depth": 2, "width": 64, "context": 128},
        "tokenizer": {"kind": "char", "data": ["text"]},
        "data": {
            "text": {"kind": "text", "path": str(folder / "text.txt"), "tail": 0.05},
            "short": {"kind": "text", "path": str(folder / "short.txt"), "tail": 0.3},
            **{file: chat(file) for file in ("similar", "chat", "few", "one_answer", "long")},
            "unseen": {"kind": "prompts", "path": str(folder / "prompts.jsonl")},
        },
    }
    sft_stages = [stage for stage, settings in stages.items() if settings["kind"] == "sft"]
    suites = dict.fromkeys(sft_stages, SUITES.get(name, []))
    seeded = {stage: {"seed": seed, **settings} for stage, settings in stages.items()}
    data = WORLD if name == "world" else animals
    settings = {"name": name, **data, "stages": seeded, "evaluate": suites, "seed": seed}
    checked = convert(settings, Recipe, name)
    check_recipe(checked, name)
    return checked


# Each differs from a healthy stage in the listed settings.
MAIN: dict[str, dict[str, Any]] = {
    "base": BASE,
    "healthy": TUNED,
    "healthy-seed": {**TUNED, "seed": 5, "epochs": 8},
    "healthy-low": {**TUNED, "lr": 5e-4, "epochs": 12},
    "lr-high": {**TUNED, "lr": 6e-2},
    "lr-low": {**TUNED, "lr": 1e-5},
    "few-steps": {**TUNED, "epochs": None, "steps": 4},
    "much-replay": {**TUNED, "replay": 0.98, "epochs": None, "steps": 120},
    "many-epochs": {**TUNED, "data": {"few": 1.0}, "epochs": None, "steps": 250},
    "unmasked": {**TUNED, "train_on": "all_tokens"},
    "overtrained": {
        **TUNED,
        "data": {"few": 1.0},
        "replay": 0.0,
        "epochs": None,
        "steps": 240,
        "lr": 2e-3,
        "evaluate_every": 20,
        "optimizer": {"weight_decay": 6.0},
    },
    "similar": {**TUNED, "data": {"similar": 1.0}, "replay": 0.3, "epochs": None, "steps": 160},
    "long": {**TUNED, "data": {"long": 1.0}, "too_long": "drop", "epochs": 9},
    "one-answer": {**TUNED, "data": {"one_answer": 1.0}},
    "no-replay": {**TUNED, "replay": 0.0},
}
OTHERS: dict[str, dict[str, dict[str, Any]]] = {
    "weak": {"base": {**BASE, "steps": 12}, "chat": TUNED},
    "diverged": {"base": {**BASE, "lr": 0.2, "steps": 60}},
    "world": {
        "base": {**BASE, "data": {"world": 1.0}, "steps": None, "epochs": 30, "batch_tokens": 1024},
        "chat": {**TUNED, "data": {"talk": 1.0}, "epochs": 16, "lr": 2e-3, "too_long": "drop"},
    },
    "repeated": {"base": {**BASE, "data": {"short": 1.0}, "steps": 200, "evaluate_every": 25, "lr": 2e-3}},
}
# Stages of the main run that --quick trains.
QUICK = ("base", "healthy", "lr-high", "lr-low", "few-steps", "much-replay", "one-answer", "no-replay")
PLANTED = [
    Planted("nothing", "", "main", "base"),
    Planted("nothing", "", "main", "healthy"),
    Planted("nothing, another seed", "", "main", "healthy-seed"),
    Planted("nothing, half the learning rate and twice the epochs", "", "main", "healthy-low"),
    Planted("15 times the base model's learning rate", "lr-too-high", "main", "lr-high"),
    Planted("a pre-training learning rate 50 times the right one", "lr-too-high", "diverged", "base"),
    Planted("a hundredth of the usual learning rate", "lr-too-low", "main", "lr-low"),
    Planted("4 steps", "too-few-steps", "main", "few-steps"),
    Planted("98% replayed text", "replay-share-too-high", "main", "much-replay"),
    Planted("12 rows, hundreds of epochs", "too-many-epochs", "main", "many-epochs"),
    Planted("user tokens trained", "user-tokens-trained", "main", "unmasked"),
    Planted("weight decay of a hundredth each step, the last weights kept", "overtrained", "main", "overtrained"),
    Planted("a third of the rows too long", "rows-lost", "main", "long"),
    Planted("the same answer in eleven of twelve rows", "one-answer-for-all", "main", "one-answer"),
    Planted("180 prompts of one kind", "too-few-kinds-of-prompts", "main", "similar"),
    Planted("each fact written once", "facts-not-extractable", "world", "chat"),
    Planted("no replay", "base-forgotten", "main", "no-replay"),
    Planted("a base model of 12 steps", "base-too-weak", "weak", "chat"),
    Planted("150 lines, 100 epochs", "data-repetition-overfitting", "repeated", "base"),
]


def cases(folder: Path, seed: int, quick: bool) -> dict[tuple[str, str], Case]:
    """Every stage of every run by (run, stage); trains those that are not finished."""
    write_data(folder)
    runs = {"main": {name: MAIN[name] for name in QUICK}} if quick else {"main": MAIN, **OTHERS}
    found: dict[tuple[str, str], Case] = {}
    for name, stages in runs.items():
        run = Run(recipe(name, folder, stages, seed), folder / name)
        run.run()
        found |= {(name, case.stage.name): thin(case) for case in cases_of(run)}
    return found


def thin(case: Case) -> Case:
    """A case without the long parts that the doctor does not read."""
    log = case.stage.log
    every = -(-len(log) // KEPT_ROWS)
    rows_kept = [row for place, row in enumerate(log) if place % every == 0 or any("held_out." in name for name in row)]
    thinned = [{name: short(row[name]) for name in row if is_read(name)} for row in rows_kept]
    evals = [msgspec.structs.replace(eval_step, samples=[]) for eval_step in case.stage.evals]
    samples = [msgspec.structs.replace(sample, before="") for sample in case.stage.samples]
    info = msgspec.structs.replace(case.stage.info, environment={})
    stage = replace(case.stage, folder=Path("."), log=thinned, evals=evals, samples=samples, info=info)
    return replace(case, stage=replace(stage, outcomes={}, bits={}))


def is_read(name: str) -> bool:
    """Whether the doctor reads this figure of the log."""
    return (
        name in ("step", "loss") or name.startswith("held_out.") or (name.startswith("loss.") and "replay" not in name)
    )


def short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


@dataclass
class Table:
    """The first and the other diagnoses of each planted fault."""

    lines: list[str] = field(default_factory=list)
    right: int = 0
    others: int = 0

    def add(self, planted: Planted, diagnoses: list[str]) -> None:
        first, others = (diagnoses[0] if diagnoses else ""), diagnoses[1:]
        self.right += first == planted.right
        self.others += len(others)
        listed = ", ".join(others) or "–"
        self.lines.append(f"| {planted.what} | {planted.right or 'healthy'} | {first or 'healthy'} | {listed} |")


def main() -> None:
    parser = argument_parser()
    parser.add_argument("--folder", type=Path, help="keep the runs here; finished stages are not trained again")
    parser.add_argument("--record", type=Path, help="write the metrics of the runs to this JSONL file")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.record and arguments.quick:
        parser.error("--record needs the full run; leave out --quick")
    torch.set_num_threads(1)  # the models are so small that a second thread mostly waits
    progress.set_mode("plain")
    with tempfile.TemporaryDirectory() as scratch:
        found = cases(arguments.folder or Path(scratch), arguments.seed, arguments.quick)
    table, lines = Table(), []
    planted_here = [planted for planted in PLANTED if (planted.run, planted.stage) in found]
    for planted in planted_here:
        case = found[planted.run, planted.stage]
        table.add(planted, [diagnosis.name for diagnosis in diagnose(case)])
        lines.append(msgspec.json.encode({"right": planted.right, "what": planted.what, "case": case}, enc_hook=str))
    if arguments.record:
        arguments.record.write_bytes(b"\n".join(lines) + b"\n")
    print("| planted | right | first diagnosis | others |\n|---|---|---|---|", *table.lines, sep="\n")
    print_result(
        "doctor",
        table.right,
        len(planted_here),
        "faults diagnosed correctly",
        quick=arguments.quick,
        against="planted faults",
        other_diagnoses=table.others,
        checks=len(DIAGNOSES),
    )


if __name__ == "__main__":
    main()
