"""Whether llama.cpp writes the same greedy tokens from an exported GGUF file as our engine, on 20 chat prompts.

    TUTELAGE_LLAMA_CPP=llama-env/bin/python python benchmarks/peers/llama_cpp_parity.py MODEL

TUTELAGE_LLAMA_CPP names a Python that has llama-cpp-python. Both read the same f16 file: ours computes in float32,
llama.cpp rounds what its products read to float16. For each prompt that differs it prints how far apart the two tokens
are under our model; it exits with 1 if that is 0.05 nats or more. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from tutelage.chat.render.make import make_renderer
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.gguf.read import read_gguf
from tutelage.model.gguf.write import write_gguf
from tutelage.model.hub import load_model
from tutelage.model.transformer import Transformer
from tutelage.records import Conversation, message

TOKENS, LARGEST_GAP = 48, 0.05
QUESTIONS = [
    "What is the capital of France?", "Write a haiku about rain.", "Explain gravity to a child.",
    "Translate 'good morning' into Spanish.", "List three uses of a paper clip.", "Who wrote Hamlet?",
    "What is 12 times 12?", "Give me a recipe for pancakes.", "Why is the sky blue?", "Name four planets.",
    "Write a Python function that reverses a string.", "What does a heart do?", "Tell me a joke about cats.",
    "How do I boil an egg?", "Summarise the story of Cinderella.", "What is photosynthesis?",
    "Suggest a name for a dog.", "Describe autumn in two sentences.", "How many days has a leap year?",
    "What is the difference between weather and climate?",
]  # fmt: skip


def main() -> None:
    """Compare, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder of a chat model")
    folder = parser.parse_args().model
    python = os.environ.get("TUTELAGE_LLAMA_CPP")
    if python is None:
        sys.exit("set TUTELAGE_LLAMA_CPP to a Python that has llama-cpp-python")
    checkpoint = load_model(folder)
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    asked = [Conversation((message("user", question),)) for question in QUESTIONS]
    prompts = [[int(token) for token in prompt.ids] for prompt in renderer.render_prompts(asked)]
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "model.gguf"
        write_gguf(path, checkpoint, "f16", folder.name)
        theirs = llama_cpp_greedy(python, path, prompts, [TOKENS] * len(prompts), sequences=1)["tokens"]
        model = read_gguf(path).model
    sampling = SamplingSettings(max_tokens=TOKENS)
    answers = generate(model, [np.array(prompt) for prompt in prompts], frozenset(), sampling)
    gaps = {}
    for question, prompt, answer, other in zip(QUESTIONS, prompts, answers, theirs, strict=True):
        if answer.tokens != other:
            place = next(i for i, pair in enumerate(zip(answer.tokens, other, strict=True)) if pair[0] != pair[1])
            gaps[question] = gap = token_gap(model, [*prompt, *answer.tokens[:place]], other[place])
            print(f"differs at token {place + 1}, gap {gap:.4f} nats: {question}")
    print(json.dumps({"name": "llama.cpp parity", "equal": len(prompts) - len(gaps), "prompts": len(prompts),
                      "largest_gap": round(max(gaps.values(), default=0.0), 4)}))  # fmt: skip
    sys.exit(any(gap >= LARGEST_GAP for gap in gaps.values()))


@torch.inference_mode()
def token_gap(model: Transformer, ids: list[int], token: int) -> float:
    """How much less likely than the most likely next token a token is, in nats."""
    hidden_ND = model.hidden(torch.tensor(ids), torch.arange(len(ids)), model.within_segments((len(ids),)))
    logits_V = model.logits(hidden_ND[-1:])[0]
    return float(logits_V.max() - logits_V[token])


def llama_cpp_greedy(
    python: str, path: Path, prompts: list[list[int]], counts: list[int], sequences: int, threads: int = 1
) -> dict[str, object]:
    """What `llama_cpp_greedy.py` prints, run by this Python."""
    question = {"path": str(path), "prompts": prompts, "counts": counts, "sequences": sequences, "threads": threads}
    command = [python, str(Path(__file__).with_name("llama_cpp_greedy.py"))]
    done = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"llama.cpp failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
