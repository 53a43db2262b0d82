"""The README.md of an exported model: what it was trained from and on, how, and what was measured. No path of the
machine is in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tutelage.files import read_json
from tutelage.model.adapter import is_adapter
from tutelage.model.hub import base_name, load_chat_files
from tutelage.report.labels import format_change, format_ci, format_count, format_pct, in_display_order, rate_label
from tutelage.report.read import Finished, read_stage
from tutelage.stages.base import RECIPE, STAGE

CARD = "README.md"
SETTINGS = ("epochs", "steps", "batch_rows", "batch_tokens", "replay", "train_on", "loss_type", "beta", "seed")


def model_card(folder: Path, title: str, merged: bool) -> str:
    """The card of the model in a folder, in Markdown with the hub's front matter; with what its run measured, where it
    is a stage of one."""
    stage = read_stage(folder) if (folder / STAGE).exists() else None
    recipe = read_json(folder.parent / RECIPE) if stage is not None and (folder.parent / RECIPE).exists() else {}
    base = _base(stage, recipe)
    parts = [_front_matter(base, stage, is_adapter(folder) and not merged), f"# {title}\n", _opening(base, stage)]
    if stage is not None:
        parts += [_data(stage, recipe), _training(stage), _measured(stage)]
    return "\n".join([*filter(None, parts), _use(folder, title, is_adapter(folder) and not merged)])


def _base(stage: Finished | None, recipe: Mapping[str, Any]) -> str:
    """The name of the external checkpoint that training started from: that on the hub, or its folder's."""
    stages = recipe.get("stages", {})
    name = "" if stage is None else stage.name
    while (parent := stages.get(name, {}).get("from")) is not None:
        name = parent
    path = stages.get(name, {}).get("path")
    return base_name(Path(path)) if path else ""


def _front_matter(base: str, stage: Finished | None, adapter: bool) -> str:
    fields: dict[str, Any] = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["tutelage", *([] if stage is None else [str(stage.info.settings.get("kind", "sft"))])],
    }
    if "/" in base:
        fields["base_model"] = base
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in fields.items()), "---", ""])


def _opening(base: str, stage: Finished | None) -> str:
    source = f", fine-tuned from {base}" if base else ""
    size = "" if stage is None else f" {format_count(stage.info.parameters)} parameters"
    trained = None if stage is None else stage.info.trained_parameters
    if stage is not None and trained and trained < stage.info.parameters:
        size += f", of which {format_count(trained)} were trained (LoRA)"
    return f"A language model{source}, trained with Tutelage.{f'{size}.' if size else ''}\n"


def _data(stage: Finished, recipe: Mapping[str, Any]) -> str:
    rows = ["## Data\n", "| data | file | rows trained on | held out | dropped |", "|---|---|---:|---:|---:|"]
    for name, ledger in stage.info.ledgers.items():
        path = recipe.get("data", {}).get(name.removeprefix("replay."), {}).get("path")
        file, counts = Path(path).name if path else "–", (ledger.rows_out, ledger.rows_held_out, ledger.rows_dropped)
        rows.append(f"| {name} | {file} | {' | '.join(map(str, counts))} |")
    return "\n".join(rows) + "\n"


def _training(stage: Finished) -> str:
    info = stage.info
    found = {name: info.settings[name] for name in SETTINGS if info.settings.get(name) is not None}
    lora = info.settings.get("lora")
    found |= {"lr": info.lr, "optimizer steps": info.steps, "trained tokens": round(info.trained_tokens)}
    found |= {} if lora is None else {"LoRA rank, alpha": f"{lora['rank']}, {lora['alpha']:g}"}
    rows = [f"| {name} | {value} |" for name, value in found.items()]
    return "\n".join(["## Training\n", "| | |", "|---|---|", *rows, ""])


def _measured(stage: Finished) -> str:
    """Every figure with its 95% interval."""
    rows = list(_figures(stage))
    if not rows:
        return ""
    lines = [f"| {label} | {figure} | {interval} |" for label, figure, interval in rows]
    return "\n".join(["## Measured\n", "| | | 95% interval |", "|---|---:|---|", *lines, ""])


def _figures(stage: Finished) -> Iterator[tuple[str, str, str]]:
    for name, losses in stage.row_losses.items():
        change = f"{losses.before:.3f} → {losses.after:.3f} ({format_change(losses.change)})"
        yield (
            f"loss on {losses.rows} held-out rows of {name}, nats per token",
            change,
            f"{format_change(losses.low)} to {format_change(losses.high)}",
        )
    for name, lost in stage.forgetting.items():
        change = f"{lost.before:.3f} → {lost.after:.3f} ({format_change(lost.increase)})"
        label = f"loss on general text ({name}), bits per byte"
        yield label, change, f"{format_change(lost.low)} to {format_change(lost.high)}"
    for name in in_display_order(set(stage.rates)):
        rate = stage.rates[name]
        yield f"{rate_label(name)} (of {rate.count})", format_pct(rate.rate), format_ci(rate)


def _use(folder: Path, title: str, adapter: bool) -> str:
    system = load_chat_files(folder)[1].settings.system
    opening = f'{{"role": "system", "content": {json.dumps(system, ensure_ascii=False)}}}, ' if system else ""
    note = "All training conversations shared this system message; without it the model may answer as its base.\n\n"
    load = (
        f'from peft import AutoPeftModelForCausalLM\n\nmodel = AutoPeftModelForCausalLM.from_pretrained("{title}")'
        if adapter
        else f'from transformers import AutoModelForCausalLM\n\nmodel = AutoModelForCausalLM.from_pretrained("{title}")'
    )
    return f"""## Use

{note if system else ""}```python
from transformers import AutoTokenizer
{load}
tokenizer = AutoTokenizer.from_pretrained("{title}")
messages = [{opening}{{"role": "user", "content": "Who are you?"}}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**ids, max_new_tokens=100)[0][ids["input_ids"].shape[1]:]
print(tokenizer.decode(answer, skip_special_tokens=True))
```
"""
