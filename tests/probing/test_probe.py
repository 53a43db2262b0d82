"""Probing a model, from a file of questions to rows, with verifiers and with a judge."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tutelage import progress
from tutelage.chat import chat_tokenizer, read_conversations
from tutelage.chat.render.config import ChatConfig
from tutelage.cli import main
from tutelage.engine.sampling import SamplingSettings
from tutelage.ledger import Ledger
from tutelage.model.hub import Checkpoint, save_model
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.probing.judge import read_verdict
from tutelage.probing.probe import probe, score_by_verifiers
from tutelage.probing.questions import read_probe_questions
from tutelage.tokenizer import TokenizerSettings, train

TOKENIZER = chat_tokenizer(train(["where is rome?"], TokenizerSettings(vocab=270)), ChatConfig())
MODEL = initialise(Transformer(resolve(ModelSettings(depth=1, width=16, context=96), TOKENIZER.vocab_size)), 0)
CHECKPOINT = Checkpoint(MODEL, TOKENIZER)
ROWS = [
    {"question": "Where?", "answer": "Rome"},
    {"question": "How many?", "answer": 4, "id": "count"},
    {"question": "Who is Orson?", "answer": None},
]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture(autouse=True)
def automatic_progress() -> Any:
    yield
    progress.set_mode("auto")


def test_each_question_is_asked_greedily_and_sampled(questions: Path) -> None:
    asked = read_probe_questions(questions, None)
    assert [question.verifier for question in asked] == ["contains", "numeric", "contains"]
    settings = SamplingSettings(temperature=1.0, max_tokens=12)
    probed = probe(CHECKPOINT, asked, 5, settings, score_by_verifiers)
    again = probe(CHECKPOINT, asked, 5, settings, score_by_verifiers)
    assert [len(item.sampled) for item in probed] == [5] * 3
    assert len({answer.text for item in probed for answer in item.sampled}) > 10, "the samples of a question differ"
    assert probed == again
    assert {answer.outcome for item in probed for answer in item.sampled} == {"unclear"}, "cut off"


def saved(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model", CHECKPOINT)
    return tmp_path / "model"


def typed(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, [str(argument) for argument in arguments])


def test_the_command_says_what_is_wrong(questions: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path)
    arguments = ("probe", folder, "--questions", questions, "--out", tmp_path / "rows.jsonl", "--max-tokens", 4)
    result = typed(*arguments, "--judge", "http://127.0.0.1:9")
    assert "say which of its models judges with --judge-model NAME" in result.stderr
    result = typed(*arguments, "--judge", "nonsense")
    assert "'nonsense' is no verifier" in result.stderr
    questions.write_text('{"question": "", "answer": 1}\n')
    assert "the question is empty" in typed(*arguments).stderr


def test_a_probe_writes_rows_that_training_reads(questions: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path)
    out, map_file = tmp_path / "rows.jsonl", tmp_path / "map.jsonl"
    arguments = ("--questions", questions, "--out", out, "--map", map_file, "--impossible", 12, "--max-tokens", 4)
    result = typed("probe", folder, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert sum(summary["classes"].values()) == 15
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert summary["rows"] == len(rows) == summary["refused"]
    mapped: list[Any] = [json.loads(line) for line in map_file.read_text().splitlines()]
    assert [row["question"] for row in mapped[:3]] == ["Where?", "How many?", "Who is Orson?"]
    ledger = Ledger("rows")
    assert len(list(read_conversations(out, ledger))) == ledger.rows_kept == len(rows)


def test_a_judge_at_an_endpoint_scores(questions: Path, tmp_path: Path) -> None:
    path = Path(__file__).parents[1] / "client" / "endpoint.py"
    spec = importlib.util.spec_from_file_location("endpoint", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = saved(tmp_path)
    with module.Endpoint(lambda body: "Verdict: correct") as running:
        arguments = ("--questions", questions, "--out", tmp_path / "rows.jsonl", "--max-tokens", 4, "--samples", 2)
        result = typed("probe", folder, *arguments, "--judge", running.url, "--judge-model", "m", "--json")
        assert result.exit_code == 0, result.stderr
    assert (tmp_path / "rows.judged.jsonl").stat().st_size
    asked = [body["messages"][-1]["content"] for body in running.seen]
    assert len(asked) == len(set(asked)) >= 3
    assert sum("Rome" in text for text in asked) == sum("Where?" in text for text in asked) > 0
    assert sum("has no answer" in text for text in asked) == sum("Orson" in text for text in asked) > 0


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("It is so. Verdict: correct", "right"),
        ("Verdict: correct? No. **Verdict: incorrect**", "wrong"),
        ("verdict - evasive", "abstained"),
        ("It is correct.", "unclear"),
    ],
)
def test_verdicts(text: str, outcome: str) -> None:
    assert read_verdict(text) == outcome
