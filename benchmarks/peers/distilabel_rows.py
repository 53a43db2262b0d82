"""distilabel answers the prompts of a folder at an endpoint; run by `benchmarks/synth.py` in an environment of its own.

Timed is `Pipeline.run` alone, less what a run of two rows takes: starting its processes is not counted.
"""

import json
import sys
import time
from pathlib import Path

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration


def run(url: str, prompts: list[str], parallel: int) -> tuple[float, list[tuple[str, str]]]:
    with Pipeline(name=f"rows-{len(prompts)}") as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": text} for text in prompts], batch_size=4 * parallel)
        model = OpenAILLM(
            model="stub", base_url=url, api_key="none", generation_kwargs={"temperature": 0.0, "max_new_tokens": 1024}
        )
        load >> TextGeneration(llm=model, input_batch_size=parallel)
    began = time.perf_counter()
    distiset = pipeline.run(use_cache=False)
    seconds = time.perf_counter() - began
    return seconds, [(row["instruction"], row["generation"]) for row in distiset["default"]["train"]]


def main() -> None:
    url, folder, parallel = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    prompts = json.loads((folder / "prompts.json").read_text())
    start, _ = run(url, prompts[:2], parallel)
    seconds, pairs = run(url, prompts, parallel)
    (folder / "result.json").write_text(json.dumps({"seconds": max(seconds - start, 1e-6), "pairs": pairs}))


if __name__ == "__main__":
    main()
