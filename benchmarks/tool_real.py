"""A published chat model learns to call a search, and does so through `tutelage serve` with the openai SDK as client.

The model gets a chat template that shows tools (by default Qwen 2.5's, as TRL carries it) where its own has none. It is
fine-tuned with LoRA on questions about people who stand in a folder of notes, half of which are answered by a search of
it, and half, which need none, directly. Then the server runs with `--tools search=FOLDER`; the client offers the tools
that GET /v1/tools lists, runs calls by POST /v1/tools/call, and asks about other people of the folder.

There is no peer: the JSON line carries the figures. --quick: 16 rows, 2 epochs, 3 questions; its figures mean little.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import CHECKOUT, argument_parser

PEOPLE, TRAINED = 80, 60  # with a note each; those who are asked about in training
LORA_RANK, MOST_CALLS = 16, 3


def with_tools(model: Path, template: Path, folder: Path) -> Path:
    """A folder with the model's files and another chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in model.iterdir():
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file.resolve())
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    shutil.copy(template, folder / "chat_template.jinja")
    return folder


def write_data(folder: Path, trained: int) -> list[dict[str, str]]:
    """The notes and the rows for fine-tuning, about so many people; returns held-out questions with their answers."""
    from tutelage.chat.audit.fix import openai_row
    from tutelage.records import Conversation, message
    from tutelage.tools.search import build_index, folder_documents, search, search_tool, shown_result
    from tutelage.tools.world_conversations import call_turns
    from tutelage.world.biographies import biography
    from tutelage.world.everyday import everyday_turns
    from tutelage.world.keyed_random import KeyedRandom
    from tutelage.world.person_questions import ask_one_step
    from tutelage.world.society import World, WorldSettings
    from tutelage.world.values import ATTRIBUTES

    world, notes = World(WorldSettings(people=PEOPLE)), folder / "notes"
    notes.mkdir(parents=True, exist_ok=True)
    for number in range(PEOPLE):
        person = world.person(number)
        (notes / f"{person.name.lower().replace(' ', '-')}.md").write_text(biography(person, 0, 0, 1.0))
    index = build_index(folder_documents(notes))
    tools, rows, held_out = (search_tool(index).schema,), [], []
    for number in range(PEOPLE):
        rng = KeyedRandom("tool_real", number)
        question, reply = ask_one_step(world.person(number), rng.choice(ATTRIBUTES), rng)
        if number >= TRAINED:
            held_out.append({"question": question.prompt, "answer": question.answer})
            continue
        if number >= trained:
            continue
        found = shown_result(search(index, question.subject))
        calls = call_turns("search", {"query": question.subject}, found)
        turns = [message("user", question.prompt), *calls, message("assistant", reply)]
        system, said = everyday_turns(number, 0)
        plain = [message("assistant" if place % 2 else "user", text) for place, text in enumerate(said)]
        plain = [*([message("system", system)] if system else []), *plain]
        rows += [openai_row(Conversation(tuple(row), tools=tools)) for row in (turns, plain)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return held_out


@contextmanager
def served(model: Path, notes: Path) -> Iterator[str]:
    """The address of a server that runs while the block does."""
    command = [sys.executable, "-m", "tutelage", "serve", str(model), "--port", "0", "--tools", f"search={notes}"]
    server = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert server.stdout is not None
    try:
        for line in server.stdout:
            if "http://" in line:
                yield "http://" + line.split("http://")[1].split()[0].rstrip("/,.")
                return
        raise SystemExit("the server ended before it listened")
    finally:
        server.terminate()
        server.wait(60)


def answer(url: str, name: str, question: str) -> tuple[str, int]:
    """The answer of the served model, whose calls the server runs, and how many there were."""
    from openai import OpenAI

    client = OpenAI(base_url=f"{url}/v1", api_key="none")
    messages: list[Any] = [{"role": "user", "content": question}]
    with urllib.request.urlopen(f"{url}/v1/tools") as response:
        tools = json.load(response)["data"]
    for count in range(MOST_CALLS + 1):
        reply = client.chat.completions.create(
            model=name, messages=messages, tools=tools, temperature=0, max_tokens=96
        ).choices[0]
        if reply.finish_reason != "tool_calls" or not reply.message.tool_calls:
            return reply.message.content or "", count
        messages.append(reply.message.model_dump(exclude_none=True))
        calls = [
            {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
            for call in reply.message.tool_calls
        ]
        body = json.dumps({"model": name, "calls": calls}).encode()
        request = urllib.request.Request(f"{url}/v1/tools/call", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            results = json.load(response)["data"]
        messages += [{"role": "tool", "tool_call_id": one["id"], "content": one["text"]} for one in results]
    return "", MOST_CALLS


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Fine-tune, serve and ask; the figures."""
    from tutelage.intervals import rate
    from tutelage.scoring.extract import normalise

    trained, epochs, most = (8, 2, 3) if arguments.quick else (TRAINED, arguments.epochs, PEOPLE)
    asked = write_data(folder, trained)[:most]
    model = with_tools(arguments.model, arguments.template, folder / "model")
    command = [
        sys.executable, "-m", "tutelage", "sft", "--model", str(model), "--data", str(folder / "rows.jsonl"), "--out",
        str(folder / "tuned"), "--lora", str(LORA_RANK), "--lr", str(arguments.lr), "--batch-rows", "8",
        "--epochs", str(epochs), "evaluate.sft=[]",
    ]  # fmt: skip
    subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
    with served(folder / "tuned" / "sft", folder / "notes") as url:
        answers = [answer(url, "sft", row["question"]) for row in asked]
    right = [
        f" {normalise(row['answer'])} " in f" {normalise(text)} " for row, (text, _) in zip(asked, answers, strict=True)
    ]
    called = [count > 0 for _, count in answers]
    for row, (text, count) in zip(asked[:5], answers, strict=False):
        print(f"{row['question']} [{count} calls] {text}", file=sys.stderr)
    return {
        "name": "tool_real", "epochs": epochs, "questions": len(asked),
        "called": asdict(rate(sum(called), len(asked))), "right": asdict(rate(sum(right), len(asked))),
    }  # fmt: skip


def main() -> None:
    parser = argument_parser()
    parser.add_argument("--model", type=Path, required=True, help="folder of a published chat model")
    parser.add_argument("--template", type=Path, required=True, help="a chat template with tools: TRL's qwen2_5.jinja")
    parser.add_argument("--folder", type=Path, help="keep data and run here")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=5e-4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps({**measure(arguments, folder), **({"quick": True} if arguments.quick else {})}))


if __name__ == "__main__":
    main()
