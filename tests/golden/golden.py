"""Golden numbers: proves that a refactor changes no digit.

    python tests/golden/golden.py write before.json      # before the change
    python tests/golden/golden.py check before.json      # after it: exit status 1 and a list where anything differs

Runs a tiny recipe (pre-training, SFT with replay, evaluation), a LoRA fine-tuning of a checkpoint with a chat template
of its own, and a small curation, through the command line and with fixed threads. Records every figure of every step,
sha256 of the tokenised stores, of the models and of the corpus, and every figure of summary.json.

Floating-point results depend on the machine, so the numbers themselves are not committed. `keys.json` maps names before
a rename to names after it; a name mapped to null changed on purpose and is not compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
KEYS = Path(__file__).with_name("keys.json")
# Differ from run to run or from commit to commit.
VOLATILE = re.compile(
    r"(^|\.)(seconds|tokens_per_second|tokens/s|peak_rss_bytes|environment|fingerprint|version|written_at)($|\.)"
)

RECIPE = """
name = "golden"
model = { depth = 2, width = 64, context = 128, norm = "layer", mlp = "relu2" }
tokenizer = { kind = "bpe", vocab = 1024, data = ["world", "chat"] }
[data]
world = { kind = "world", people = 20, versions = 5, unknown = 0.0 }
chat = { kind = "world-chat", split = "train" }
[stages.base]
kind = "pretrain"
data = { world = 1 }
steps = 40
batch_tokens = 1024
micro_tokens = 512
lr = 6e-3
optimizer = { kind = "adamw" }
[stages.chat]
kind = "sft"
from = "base"
data = { chat = 1 }
replay = 0.5
epochs = 1
batch_tokens = 1024
micro_tokens = 512
too_long = "split"
held_out = 0.1
evaluate_every = 12
optimizer = { kind = "adamw" }
[evaluate]
base = ["knowledge"]
chat = ["format", "knowledge", "forgetting"]
"""

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] | trim + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


def run(folder: Path) -> dict[str, Any]:
    """Make all runs in `folder` and collect their numbers."""
    (folder / "golden.toml").write_text(RECIPE)
    tutelage("run", folder / "golden.toml", f"out={folder / 'run'}")

    external = folder / "external"
    external.mkdir()
    for path in (folder / "run/chat").iterdir():
        if path.name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(path, external / path.name)
    (external / "chat_template.jinja").write_text(TEMPLATE)
    write_chats(folder / "chats.jsonl")
    tutelage(
        "sft",
        "--model",
        external,
        "--data",
        folder / "chats.jsonl",
        "--out",
        folder / "tuned",
        "--lora",
        "4",
        "--too-long",
        "split",
    )

    write_pages(folder / "pages.jsonl")
    tutelage("curate", ROOT / "recipes/c4_paper.toml", f"input={folder / 'pages.jsonl'}", f"out={folder / 'corpus'}")
    return {
        "run": collect_run(folder / "run", ("base", "chat")),
        "tuned": collect_run(folder / "tuned", ("sft",)),
        "corpus": collect_corpus(folder / "corpus"),
    }


def tutelage(*arguments: object) -> None:
    """Run a command with fixed threads; its output is shown only where it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tutelage", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")


def collect_run(folder: Path, stages: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in stages:
        info = json.loads((folder / name / "stage.json").read_text())
        lines = [json.loads(line) for line in (folder / name / "train.jsonl").read_text().splitlines()]
        found[f"{name}.steps"] = {str(line["step"]): dict(flatten(line)) for line in lines}
        found[f"{name}.weights"] = sha256(next(folder.glob(f"{name}/*model.safetensors")))
        for data, store in info["stores"].items():
            payload = sorted((folder / "data" / store).glob("*.bin"))
            found[f"{name}.store.{data}"] = {path.stem: sha256(path) for path in payload}
    summary = json.loads((folder / "summary.json").read_text())
    found["summary"] = {key: value for key, value in summary.items() if not VOLATILE.search(key)}
    return found


def collect_corpus(folder: Path) -> dict[str, Any]:
    shards = {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".zst", ".gz", ".jsonl")
    }
    assert shards, f"{folder} holds no shard"
    return shards


def flatten(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Nested tables and lists as (dotted name, value) pairs."""
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list):
        items = [(str(place), value) for place, value in enumerate(tree)]
    else:
        return [(prefix, tree)]
    return [pair for key, value in items for pair in flatten(value, f"{prefix}.{key}" if prefix else str(key))]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_chats(path: Path) -> None:
    """120 conversations, some of several turns, some with blanks that a template trims."""
    draw = random.Random(1)
    words = "river stone bread lamp cloud paper violin garden winter letter".split()
    rows = []
    for number in range(120):
        messages = []
        for turn in range(1 + number % 3):
            noun = draw.choice(words)
            messages.append({"role": "user", "content": f"What do you think of the {noun}, number {number}.{turn}?"})
            messages.append({"role": "assistant", "content": f" I like the {noun} and the {draw.choice(words)}."})
        rows.append(json.dumps({"messages": messages}))
    path.write_text("\n".join(rows))


def write_pages(path: Path) -> None:
    """300 documents: good ones, short ones, repeated lines, exact and near duplicates."""
    draw = random.Random(2)
    nouns = "house river teacher market engine forest harbour painter doctor bridge".split()
    verbs = "builds crosses teaches visits repairs enters leaves paints heals watches".split()
    rows: list[str] = []
    for number in range(300):
        if number % 20 == 7:
            rows.append(rows[-3])
            continue
        count = 2 if number % 11 == 0 else 12
        lines = [
            f"The {draw.choice(nouns)} {draw.choice(verbs)} the {draw.choice(nouns)} in {draw.randint(1000, 9999)}."
            for _ in range(count)
        ]
        if number % 13 == 0:
            lines += ["Read our terms of use and cookie policy."] * 3
        if number % 17 == 0:
            lines += [lines[0]] * 4
        rows.append("\n".join(lines))
    documents = [{"id": f"page-{number}", "text": text} for number, text in enumerate(rows)]
    path.write_text("\n".join(map(json.dumps, documents)))


def renamed(numbers: dict[str, Any], keys: dict[str, str | None]) -> dict[str, Any]:
    """Flat numbers under the names of today. A pattern of `keys` is a regular expression over the whole dotted name."""
    found = {}
    for name, value in numbers.items():
        new: str | None = name
        for pattern, replacement in keys.items():
            if new is not None and re.search(pattern, new):
                new = None if replacement is None else re.sub(pattern, replacement, new)
        if new is not None:
            found[new] = value
    return found


def differences(before: dict[str, Any], after: dict[str, Any], keys: dict[str, str | None]) -> list[str]:
    dropped = {pattern: None for pattern, replacement in keys.items() if replacement is None}
    old = renamed(dict(flatten(before)), keys)
    new = renamed(dict(flatten(after)), dropped)
    found = [f"gone: {name} = {old[name]}" for name in sorted(old.keys() - new.keys())]
    found += [f"new: {name} = {new[name]}" for name in sorted(new.keys() - old.keys())]
    found += [
        f"{name}: {old[name]} -> {new[name]}" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]
    ]
    return found


def main(verb: str, path: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        numbers = run(Path(folder))
    if verb == "write":
        Path(path).write_text(json.dumps(numbers, indent=1, sort_keys=True))
        print(f"{len(flatten(numbers)):,} numbers written to {path}")
        return 0
    keys = json.loads(KEYS.read_text()) if KEYS.exists() else {}
    found = differences(json.loads(Path(path).read_text()), numbers, keys)
    print("\n".join(found[:200]))
    print(f"{len(found):,} of {len(flatten(numbers)):,} numbers differ")
    return 1 if found else 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("write", "check"):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
