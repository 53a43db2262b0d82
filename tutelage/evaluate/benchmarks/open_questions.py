"""Questions with short answers in words: NQ-open, TriviaQA, Jeopardy and others of one right continuation."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.evaluate.benchmarks.benchmark import ItemScore, PromptBenchmark, PromptItem, as_item_score
from tutelage.io.row import Row
from tutelage.scoring import make_verifier
from tutelage.scoring.extract import normalise

INSTRUCTION = "Answer with a few words, without a sentence."
_EXACT, _CONTAINS = make_verifier("exact"), make_verifier("contains")


def open_item(row: Row, place: str) -> PromptItem:
    """`question` (or `context`) and `answer`: a text, a list of which each is right, or TriviaQA's object with `value`
    and `aliases`; `aliases` are read beside it too."""
    question = str(row.get("question") or row.get("context") or "").strip()
    question = question.removesuffix("Answer:").removesuffix("A:").strip()
    question = question.removeprefix("Question:").removeprefix("Q:").strip()
    answer = next((row[key] for key in ("answer", "continuation", "answers") if row.get(key) is not None), None)
    if isinstance(answer, Mapping):
        answer = [answer.get("value"), *answer.get("aliases", [])]
    found = [answer] if isinstance(answer, str | int | float) else list(answer or [])
    golds = list(
        dict.fromkeys(str(text).strip() for text in [*found, *(row.get("aliases") or [])] if str(text or "").strip())
    )
    if not question or not golds:
        raise ValueError("it needs a question and at least one answer")
    group = str(row.get("category") or "")
    data = {"shown": golds[0]}
    return PromptItem(str(row.get("id", place)), question, golds, golds[0], group, data=data)


def score_open(answer: str, item: PromptItem) -> Mapping[str, ItemScore]:
    """Strict: the answer is a right one. Lenient: it contains one as whole words."""
    lines = answer.strip().splitlines()
    golds = [gold for gold in item.gold if normalise(gold)]
    lenient = _CONTAINS(answer, golds) if golds else _EXACT(answer, item.gold)
    return {
        "strict": as_item_score(_EXACT(lines[0] if lines else "", item.gold)),
        "lenient": as_item_score(lenient),
    }


def _open(name: str, title: str, *files: str, shots: int = 5) -> PromptBenchmark:
    return PromptBenchmark(
        name, title, files, open_item, score_open, shots=shots, instruction=INSTRUCTION, stops=("\n",), max_tokens=48
    )


_SETS = (
    _open(
        "nq", "Natural Questions, open", "NQ-open.dev.jsonl*", "NQ-open.efficientqa.dev.1.1.jsonl*", "nq_open**valid*"
    ),
    _open("triviaqa", "TriviaQA", "triviaqa_sm_sub.jsonl*", "triviaqa*.jsonl*", "trivia_qa**valid*"),
    _open("jeopardy", "Jeopardy", "jeopardy_all.jsonl*", "jeopardy_small.jsonl*"),
    _open("wikidata", "BIG-bench QA Wikidata", "bigbench_qa_wikidata.jsonl*", shots=0),
    _open("arithmetic", "Simple arithmetic", "simple_arithmetic_withspaces.jsonl*"),
)
OPEN_SETS: Mapping[str, PromptBenchmark] = {one.name: one for one in _SETS}
