"""Every chat template that TRL and transformers carry against conversations with tools of real sets: how many turns
with calls render, verify, and are read back the same, and why the others are refused. A table of docs/tools.md.

The templates get a small byte-level tokenizer with the special tokens that they name, as in the tests. Sets: Glaive
(English, Chinese), LLaMA-Factory's tool rows, the Schema-Guided Dialogue set and BFCL with its gold calls, from
$TUTELAGE_DATA or ../shared/data. There is no peer.
"""

from __future__ import annotations

import importlib.util
import json
import re
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
from common import argument_parser, data_folder
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from tutelage.chat.formats import read_conversations
from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.hf import HFRenderer
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Message, ToolCall, message
from tutelage.tokenizer import Tokenizer as OurTokenizer

SPECIAL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>\s]{1,40}｜>|</?s>|<(?:start|end)_of_\w+>|\[/?[A-Z_]{3,20}\]|<\|?turn\|?>"
)
ENDS = ("<|im_end|>", "<|eot_id|>", "<|END_OF_TURN_TOKEN|>", "<end_of_turn>", "<turn|>", "<｜end▁of▁sentence｜>",
        "<|end|>", "<|return|>", "<|eot|>", "<end_of_utterance>", "<|user|>")  # fmt: skip
PROBE = Conversation(
    (message("user", "x"), Message("assistant", (ToolCall("weather", '{"city": "Bern"}'),))),
    tools=('{"type": "function", "function": {"name": "weather", "description": "Tells the weather.", "parameters": '
           '{"type": "object", "properties": {"city": {"type": "string", "description": "Which."}}}}}',),
)  # fmt: skip


def templates() -> dict[str, str]:
    """The templates of the installed packages, by name."""
    found = {}
    for package in ("trl", "transformers"):
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None, f"{package} is not installed: .[peers]"
        for path in sorted(Path(spec.origin).parent.rglob("*.jinja")):
            if "{%" in (text := path.read_text(encoding="utf-8")) and "role" in text:
                found[f"{package}/{path.stem}"] = text
    return found


def renderer_of(template: str) -> HFRenderer | str:
    """A renderer with a small tokenizer, or why the template cannot be used."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [template], trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    )
    eos = next((end for end in ENDS if end in template), "</s>")
    names = dict.fromkeys([*SPECIAL.findall(template), "<s>", eos])
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    try:
        return HFRenderer(OurTokenizer(made), ChatConfig(template, {"bos_token": "<s>", "eos_token": eos}))
    except ValueError as error:
        return re.split(r" \(|;", str(error).rpartition(": ")[2])[0]


def bfcl(folder: Path) -> Iterator[Conversation]:
    """The questions of BFCL with the first accepted value of each argument."""
    for name in ("simple_python", "multiple", "parallel"):
        golds = [
            json.loads(line) for line in (folder / "possible_answer" / f"BFCL_v4_{name}.json").read_text().splitlines()
        ]
        rows = [json.loads(line) for line in (folder / f"BFCL_v4_{name}.json").read_text().splitlines()]
        for row, gold in zip(rows, golds, strict=True):
            turns = [message(turn["role"], turn["content"]) for turn in row["question"][0]]
            calls = tuple(
                ToolCall(tool, json.dumps({name: values[0] for name, values in given.items() if values[0] != ""}))
                for call in gold["ground_truth"] for tool, given in call.items()
            )  # fmt: skip
            tools = tuple(json.dumps({"type": "function", "function": one}) for one in row["function"])
            yield Conversation((*turns, Message("assistant", calls)), row["id"], tools=tools)


def guided(folder: Path, scratch: Path, limit: int) -> Iterator[Conversation]:
    """Dialogues of the Schema-Guided Dialogue set, each with schemas of the calls that it makes: its own are of
    services."""
    archive = next(folder.glob("*.tar.zst"))
    with pyarrow.input_stream(str(archive), "zstd") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        member = next(one for one in tar if re.search(r"dialogues_\d+\.json$", one.name))
        file = tar.extractfile(member)
        assert file is not None
        (scratch / "sgd.json").write_bytes(file.read())
    for row in islice(read_conversations(scratch / "sgd.json", Ledger("sgd")), limit):
        calls = [part for turn in row.messages for part in turn.content if isinstance(part, ToolCall)]
        arguments: dict[str, set[str]] = {}
        for call in calls:
            arguments.setdefault(call.name, set()).update(json.loads(call.arguments))
        yield Conversation(row.messages, row.id, tools=tuple(map(schema, arguments, arguments.values())))


def schema(name: str, arguments: set[str]) -> str:
    """A function whose arguments are texts."""
    properties = {argument: {"type": "string", "description": argument} for argument in sorted(arguments)}
    parameters = {"type": "object", "properties": properties}
    return json.dumps({"type": "function", "function": {"name": name, "description": name, "parameters": parameters}})


def sets(limit: int, scratch: Path) -> dict[str, list[Conversation]]:
    """The conversations of each set that make a call."""
    data = data_folder()
    demos = data / "llamafactory_demos"
    files = {"glaive": "glaive_toolcall_en_demo.json", "glaive, Chinese": "glaive_toolcall_zh_demo.json",
             "reasoning, tools": "reason_tool_use_demo_50.jsonl"}  # fmt: skip
    rows = {name: list(read_conversations(demos / file, Ledger(name), 1.0)) for name, file in files.items()}
    rows["SGD"] = list(guided(data / "sgd_train", scratch, 4 * limit))
    rows["BFCL"] = list(bfcl(data / "bfcl"))
    return {name: spread([row for row in part if turns_with_calls(row)], limit) for name, part in rows.items()}


def spread(rows: Sequence[Conversation], limit: int) -> list[Conversation]:
    """At most `limit` rows, evenly from all."""
    return [rows[place * len(rows) // limit] for place in range(limit)] if len(rows) > limit else list(rows)


def turns_with_calls(row: Conversation) -> list[list[ToolCall]]:
    """The calls of each turn that makes some."""
    calls = ([part for part in turn.content if isinstance(part, ToolCall)] for turn in row.messages)
    return [part for part in calls if part]


def read_back(renderer: HFRenderer, rows: Sequence[Conversation]) -> Counter[str]:
    """Of all turns with calls: read back the same, differently, or why the conversation is refused."""
    counts: Counter[str] = Counter()
    for row, made in zip(rows, renderer.render_rows(rows), strict=True):
        wanted = [[(call.name, json.loads(call.arguments)) for call in calls] for calls in turns_with_calls(row)]
        if isinstance(made, ValueError):
            counts[getattr(made, "reason", str(made))] += len(wanted)
            continue
        found = [
            [(part.name, json.loads(part.arguments)) for part in turn.content if isinstance(part, ToolCall)]
            for one in made for turn in trained_turns(renderer, one)
        ]  # fmt: skip
        same = [calls for calls in found if calls] == wanted
        counts["same" if same else "differently"] += len(wanted)
    return counts


def trained_turns(renderer: HFRenderer, made: Any) -> Iterator[Message]:
    """The trained turns of an example, as generated ones are read."""
    turn: list[int] = []
    for token, weight in zip(made.ids.tolist(), made.weights.tolist(), strict=True):
        if weight:
            turn.append(token)
        if turn and (not weight or token in renderer.stop_ids):
            yield renderer.parse(turn)
            turn = []


def main() -> None:
    parser = argument_parser()
    parser.add_argument("--rows", type=int, default=100, help="conversations of each set")
    arguments = parser.parse_args()
    unusable, kinds, total = Counter[str](), dict[str, Counter[str]](), Counter[str]()
    with tempfile.TemporaryDirectory() as scratch:
        rows = sets(5 if arguments.quick else arguments.rows, Path(scratch))
    for name, template in templates().items():
        renderer = renderer_of(template)
        if isinstance(renderer, str):
            unusable[renderer] += 1
            continue
        (probe,) = renderer.render_rows([PROBE])
        if isinstance(probe, ValueError):
            unusable[getattr(probe, "reason", str(probe))] += 1
            continue
        if renderer.call_format is None:
            unusable["calls cannot be read back"] += 1
            continue
        for kind, part in rows.items():
            counts = read_back(renderer, part)
            kinds.setdefault(kind, Counter()).update(counts)
            total += counts
            print(f"{name:40}{kind:20}{dict(counts)}")
    for kind, counts in kinds.items():
        print(f"{kind:20}{dict(counts)}")
    usable = len(templates()) - unusable.total()
    print(json.dumps({"name": "tool_templates", "templates": usable, "refused": unusable, "turns": total}))


if __name__ == "__main__":
    main()
