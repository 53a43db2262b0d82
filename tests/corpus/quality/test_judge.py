"""The LLM judge: the sample, the files it writes, and failures."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tutelage
from tutelage.client import BudgetError, EndpointError, EndpointSettings
from tutelage.corpus.curation import load_curation
from tutelage.corpus.pipeline import curate
from tutelage.corpus.quality.judge import draw, judge
from tutelage.corpus.quality.rubric import EDUCATIONAL
from tutelage.ledger import Ledger
from tutelage.records import Document

KEY = "sk-" + "fedcba9876543210" * 2
WORDS = "planet energy number history cell river the of and it was in a boat dog blue shoe cup tree road".split()


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Sixty short texts, one of them twice, and an empty one."""
    chance = random.Random(0)
    texts = [" ".join(chance.choices(WORDS, k=12)) for _ in range(60)]
    rows = [{"id": f"doc{n}", "text": text} for n, text in enumerate([*texts, texts[0]])]
    (tmp_path / "pages.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return tmp_path / "pages.jsonl"


def settings(endpoint: Any, **more: Any) -> EndpointSettings:
    return EndpointSettings(**{"url": endpoint.url, "model": "judge", "backoff": 0.001, "parallel": 2, **more})


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@given(st.lists(st.sampled_from("abcdefgh"), max_size=20), st.randoms(use_true_random=False), st.integers(1, 9))
def test_the_same_texts_are_drawn_in_whatever_order_they_come(texts: list[str], chance: Any, count: int) -> None:
    def drawn(stream: list[str], seed: int = 0) -> list[str]:
        ledger = Ledger("sample")
        found = draw((Document(text, str(n)) for n, text in enumerate(stream)), count, seed, ledger)
        assert (ledger.rows_read, ledger.rows_kept) == (len(stream), len(found))
        return [document.text for document in found]

    first = drawn(texts)
    assert len(first) == len(set(first)) == min(count, len(set(texts)))
    assert drawn(chance.sample(texts, len(texts))) == first
    assert sorted(drawn(texts, seed=1)) == sorted(first) or count < len(set(texts))


def test_scores_are_written_with_reasons_and_a_summary(endpoint: Any, pages: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    summary = judge([str(pages)], settings(endpoint), out, EDUCATIONAL, 40)
    rows = rows_of(out)
    texts = {row["id"]: row["text"] for row in rows_of(pages)}
    assert len(rows) == 40 == summary["scored"] == sum(summary["score_counts"])
    for row in rows:
        assert row["text"] == texts[row["id"]]
        assert row["score"] == min(5, len(set(WORDS[:6]) & set(row["text"].split())))
        assert row["reason"] == "It holds words I like."
    _, sample, judged = summary["ledgers"]
    assert sample["rows_read"] == 61
    assert {reason: found["rows"] for reason, found in sample["dropped"].items()}["not drawn"] in (20, 21)
    assert (judged["rows_read"], judged["rows_kept"], judged["dropped"]) == (40, 40, {})
    assert json.loads((tmp_path / "scores.ledger.json").read_text())["usage"]["requests"] == 40
    assert endpoint.seen[0]["max_tokens"] == 512
    assert judge([str(pages)], settings(endpoint), out, EDUCATIONAL, 40)["usage"]["requests"] == 0
    assert rows_of(out) == rows


def test_documents_without_a_score_are_written_and_counted(endpoint: Any, pages: Path, tmp_path: Path) -> None:
    def moody(body: dict[str, Any]) -> str:
        return "I would rather not." if "boat" in body["messages"][-1]["content"] else "It is so.\nScore: 2"

    endpoint.answer = moody
    endpoint.faults = [400, "truncated"]
    summary = judge([str(pages)], settings(endpoint, parallel=1), tmp_path / "scores.jsonl", EDUCATIONAL, 60)
    rejected = rows_of(tmp_path / "scores.rejected.jsonl")
    assert summary["scored"] + len(rejected) == 60
    counted = {reason: found["rows"] for reason, found in summary["ledgers"][2]["dropped"].items()}
    assert counted.pop("no answer: refused with status 400") == 1
    counted.pop("answer truncated", 0)  # where it had a score all the same it is one
    assert list(counted) == ["no score line"]
    assert {row["answer"] for row in rejected if row["reason"] == "no score line"} == {"I would rather not."}


def test_a_corpus_is_judged_and_raw_pages_are_not(endpoint: Any, pages: Path, tmp_path: Path) -> None:
    body = "".join(f"<p>{row['text']} and so it went on for a long time.</p>" for row in rows_of(pages)[:20])
    (tmp_path / "page.html").write_text(f"<html><body><article>{body}</article></body></html>", encoding="utf-8")
    (tmp_path / "plain.toml").write_text("name = 'plain'\n[steps]\nextract = { kind = 'extract' }\n", encoding="utf-8")
    given = f"input=['{pages}', '{tmp_path / 'page.html'}']"
    curate(load_curation(tmp_path / "plain.toml", [given, "workers=1"]), tmp_path / "corpus")
    summary = judge([str(tmp_path / "corpus")], settings(endpoint), tmp_path / "one.jsonl", EDUCATIONAL, 99)
    assert summary["scored"] == 61
    texts = {row["text"] for row in rows_of(tmp_path / "one.jsonl")}
    assert {row["text"] for row in rows_of(pages)} < texts
    with pytest.raises(ValueError, match="no text to judge in .*page.html: 1 rows: HTML, not text; curate it first"):
        judge([str(tmp_path / "page.html")], settings(endpoint), tmp_path / "two.jsonl", EDUCATIONAL, 10)


def test_a_budget_leaves_what_is_done(endpoint: Any, pages: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    with pytest.raises(BudgetError, match="budget of 25 requests is spent.*; 25 of 60 documents are scored, in"):
        judge([str(pages)], settings(endpoint, max_requests=25), out, EDUCATIONAL, 60)
    assert len(rows_of(out)) == 25
    summary = judge([str(pages)], settings(endpoint, max_requests=35), out, EDUCATIONAL, 60)
    assert (summary["scored"], summary["usage"]["cached"]) == (60, 25)
    assert max(endpoint.asked().values()) == 1


def test_a_judge_that_never_scores_is_not_asked_to_the_end(endpoint: Any, pages: Path, tmp_path: Path) -> None:
    endpoint.answer = lambda body: "As a language model I cannot."
    with pytest.raises(ValueError, match=r"none of the first 20 answers has a score \(last: no score line"):
        judge([str(pages)], settings(endpoint), tmp_path / "scores.jsonl", EDUCATIONAL, 60)
    assert len(endpoint.seen) <= 23
    assert len(rows_of(tmp_path / "scores.rejected.jsonl")) == 20


def test_a_judge_that_is_gone_is_a_sentence(endpoint: Any, pages: Path, tmp_path: Path) -> None:
    endpoint.always = 503
    with pytest.raises(EndpointError, match="cannot be used: .*; 0 of 60 documents are scored"):
        judge([str(pages)], settings(endpoint, attempts=2), tmp_path / "scores.jsonl", EDUCATIONAL, 60)
    with pytest.raises(ValueError, match="must end in .jsonl"):
        judge([str(pages)], settings(endpoint), tmp_path / "scores.txt", EDUCATIONAL, 60)


def command(endpoint: Any, pages: Path, out: Path) -> list[str]:
    given = ["--url", endpoint.url, "--model", "judge", "--sample", "60", "--parallel", "2", "--out", str(out)]
    return [sys.executable, "-m", "tutelage", "judge", str(pages), *given, "--key-variable", "JUDGE_KEY"]


def environment() -> dict[str, str]:
    root = Path(tutelage.__file__).parents[1]
    return {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "JUDGE_KEY": KEY}


def test_killed_and_given_again_the_command_ends_as_if_nothing_had_been(
    endpoint: Any, pages: Path, tmp_path: Path
) -> None:
    """And the key, which the endpoint was given, is to be found nowhere."""
    judge([str(pages)], settings(endpoint), tmp_path / "whole.jsonl", EDUCATIONAL, 60)
    endpoint.seen.clear()
    endpoint.delay = 0.02
    out = tmp_path / "killed" / "scores.jsonl"
    first = subprocess.Popen(command(endpoint, pages, out), env=environment(), stderr=subprocess.PIPE)
    while len(endpoint.seen) < 15 and first.poll() is None:
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    _, stderr = first.communicate()
    assert first.returncode == -signal.SIGKILL, stderr
    done = subprocess.run(command(endpoint, pages, out), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert 60 <= len(endpoint.seen) <= 62
    assert f"tutelage scorer --scores {out}" in done.stdout
    assert f"Bearer {KEY}" in endpoint.headers[-1].values()
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert KEY.encode() not in written + stderr
    assert KEY not in done.stdout + done.stderr


def test_asked_to_stop_it_writes_what_is_done(endpoint: Any, pages: Path, tmp_path: Path) -> None:
    endpoint.delay = 0.05
    out = tmp_path / "scores.jsonl"
    running = subprocess.Popen(command(endpoint, pages, out), env=environment(), stderr=subprocess.PIPE, text=True)
    while len(endpoint.seen) < 10 and running.poll() is None:
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate()
    assert running.returncode == 130
    scored = len(rows_of(out))
    assert 8 <= scored < 60
    assert f"interrupted after {scored} of 60 documents; their scores are in {out}; rerun to resume" in stderr
