"""The recipes for curation that come along: over web pages made for the purpose, from a WARC file to documents; over
real ones, into pre-training; over random ones; and killed again and again."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage import progress
from tutelage.config import SettingsError, convert, recipes_folder
from tutelage.corpus.curation import load_curation
from tutelage.corpus.pipeline import curate
from tutelage.corpus.probe import probe_documents
from tutelage.corpus.shards import corpus_files, corpus_result, read_documents
from tutelage.recipe import Recipe
from tutelage.runner import Run

PRESETS = ("c4_paper", "gopher", "fineweb", "fineweb_edu", "fineweb_paper", "dolma", "ccnet", "dclm")
GERMAN = "Die Katze sitzt auf der Mauer und sieht den Vögeln im Garten zu. " * 2 + (
    "Am Abend kommt der Nachbar nach Hause und stellt die Milch vor die Tür, denn er weiß, dass sie darauf wartet. "
    "Danach schläft sie ein, und niemand im Haus hört mehr etwas von ihr, bis am Morgen die Sonne aufgeht. "
    "Es gibt viele solche Tage in diesem Sommer, und keiner von ihnen ist wie der andere gewesen."
)


def record(number: int, body: str) -> bytes:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + body.encode()
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://site.org/{number}\r\n"
        f"WARC-Date: 2024-01-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{number:012d}>\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + http + b"\r\n\r\n")


def page(*paragraphs: str) -> str:
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return f"<html><head><title>A page</title></head><body><article>{body}</article></body></html>"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WARC of pages of prose; one of them twice, one in German, one too short, one of a single repeated line."""
    folder = tmp_path_factory.mktemp("pages")
    texts = [" ".join(document.text.split()) for document in probe_documents()]
    prose = sorted((text for text in texts if text.count(". ") >= 2 and "{" not in text), key=len)[-12:]
    bodies = [page(prose[n], prose[n + 1], prose[n + 2]) for n in range(0, 12, 3)]
    bodies += [bodies[0], page(GERMAN), page("Too short."), page(*["The same line over and over again."] * 30)]
    (folder / "pages.warc.gz").write_bytes(b"".join(record(number, body) for number, body in enumerate(bodies)))
    (folder / "good.jsonl").write_bytes(b"\n".join(msgspec.json.encode({"text": text}) for text in prose))
    spam = [f"buy cheap now click here number {n} " * 20 for n in range(20)]
    (folder / "bad.jsonl").write_bytes(b"\n".join(msgspec.json.encode({"text": text}) for text in spam))
    scores = [(part, 4) for text in texts for part in (text, text[: len(text) // 2])] + [(text * 2, 0) for text in spam]
    (folder / "scores.jsonl").write_bytes(
        b"\n".join(
            msgspec.json.encode({"id": f"{n}", "text": text, "score": score}) for n, (text, score) in enumerate(scores)
        )
    )
    return folder


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The models that are trained on the way stand where only these tests look, once for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def overrides(name: str, examples: Path) -> list[str]:
    """What a preset is told beside its input: models small enough for a test, each trained of `positives`."""
    good, bad = examples / "good.jsonl", examples / "bad.jsonl"
    more = ["steps.extract.mode=fast"] if name.startswith("fineweb") else []
    if name == "fineweb_edu":
        more += [f"steps.educational.scores=['{examples / 'scores.jsonl'}']"]
    if name == "ccnet":
        more += [f"steps.perplexity.positives=['{good}']", "steps.perplexity.vocabulary=400"]
    if name == "dclm":
        more += [f"steps.quality.positives=['{good}']", f"steps.quality.negatives=['{bad}']", "steps.best.share=0.5"]
    return more


def curated(name: str, given: str, examples: Path, out: Path, *more: str) -> dict[str, Any]:
    told = [f"input={given}", "workers=1", *overrides(name, examples), *more]
    return curate(load_curation(recipes_folder() / f"{name}.toml", told), out)


def check_invariant(result: dict[str, Any]) -> None:
    """Every record read is a document or counted; at each step input = kept + dropped."""
    read, steps = result["read"], result["steps"]
    assert read["rows_read"] == read["rows_kept"] + sum(entry["rows"] for entry in read["dropped"].values())
    assert read["rows_kept"] == steps[0]["input"]["documents"]
    for step in steps:
        for measure, entered in step["input"].items():
            dropped = sum(reason["sizes"][measure] for reason in step["dropped"].values())
            assert entered == step["kept"][measure] + dropped
    for before, after in pairwise(steps):
        assert before["output"] == after["input"]


def documents(out: Path) -> list[tuple[str, str]]:
    return [(document.id, document.text) for file in corpus_files(out) for document in read_documents(file)]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_runs_from_pages_to_documents(name: str, pages: Path, tmp_path: Path) -> None:
    result = curated(name, str(pages / "pages.warc.gz"), pages, tmp_path / "out")
    check_invariant(result)
    steps = result["steps"]
    assert steps[0]["input"]["documents"] == 8
    kept = [document for file in corpus_files(tmp_path / "out") for document in read_documents(file)]
    assert 1 <= len(kept) == steps[-1]["output"]["documents"] <= 6
    texts = [document.text for document in kept]
    assert len(set(texts)) == len(texts)
    assert not any("Too short" in text or text.count("The same line") > 1 for text in texts)
    assert name != "ccnet" or {document.facts["bucket"] for document in kept} == {"head", "middle", "tail"}
    assert any("Katze" in text for text in texts) == (name == "ccnet")


@pytest.fixture(scope="module")
def real_pages(data: Callable[[str], Path]) -> str:
    """The WARC files of Common Crawl, and pages in HTML."""
    warcs = [data(f"warc_samples/{name}") for name in ("sample-0000.warc.gz", "whirlwind.warc.gz")]
    htmls = sorted(data("article_extraction/html").glob("*.html.gz"))[:16]
    return str([str(path) for path in (*warcs, *htmls)])


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "fineweb"])
def test_a_preset_leads_from_real_pages_into_pretraining(
    name: str, real_pages: str, pages: Path, tmp_path: Path
) -> None:
    output = "parquet" if name in ("gopher", "ccnet") else "jsonl"
    result = curated(name, real_pages, pages, tmp_path / "corpus", f"output={output}")
    check_invariant(result)
    assert result["steps"][0]["input"]["documents"] > 20
    kept = documents(tmp_path / "corpus")
    assert len(kept) == result["steps"][-1]["output"]["documents"] > 3
    table = {
        "name": "pages",
        "model": {"depth": 1, "width": 32, "context": 64},
        "tokenizer": {"kind": "bpe", "vocab": 300},
        "data": {"pages": {"kind": "corpus", "path": str(tmp_path / "corpus")}},
        "stages": {"base": {"kind": "pretrain", "data": {"pages": 1}, "steps": 12, "batch_tokens": 512, "lr": 1e-2}},
    }
    run = Run(convert(table, Recipe, "recipe"), tmp_path / "run")
    progress.set_mode("quiet")
    run.run()
    progress.set_mode("auto")
    base = run.stage_done("base")
    assert base is not None
    ledger = base["ledgers"]["pages"]
    assert set(ledger["dropped"]) <= {"in the held-out part"}
    dropped = sum(entry["rows"] for entry in ledger["dropped"].values())
    assert ledger["rows_kept"] + ledger["rows_held_out"] + dropped == len(kept)
    assert base["trained_tokens"] > 11 * 512 and base["loss"] < base["loss_start"] - 0.5


# Lines that rules of all kinds look at, so that what is made of them meets most of them.
LINE = st.one_of(
    st.sampled_from(
        [
            "The ferry left the island at noon, and all of those who had been waiting on the pier went home with it.",
            "It was late, and the captain had to wait for the mail that the people of the village have sent to us.",
            "Write to someone@example.org or to 192.0.2.7.",
            "lorem ipsum {",
            "javascript",
            "Click here to read more...",
            "• a point",
            GERMAN,
            "",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
)
PAGE = st.lists(LINE, max_size=12).map("\n".join)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(PRESETS), texts=st.lists(PAGE, max_size=8), twice=st.integers(0, 4), markup=st.booleans())
def test_a_preset_keeps_or_drops_every_document_of_any_kind(
    name: str, texts: list[str], twice: int, markup: bool, pages: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("random")
    field = "html" if markup else "text"
    rows = [{field: text, "url": f"http://site.org/{n // 2}"} for n, text in enumerate(texts + texts[:twice])]
    (folder / "in.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, rows)) + b"\nnot a row\n")
    result = curated(name, str(folder / "in.jsonl"), pages, folder / "out")
    check_invariant(result)
    assert result["read"]["rows_read"] == len(rows) + 1
    assert len(documents(folder / "out")) == result["steps"][-1]["output"]["documents"]


@pytest.mark.slow
def test_a_preset_killed_at_random_moments_loses_nothing(pages: Path, tmp_path: Path) -> None:
    draw = random.Random()
    (tmp_path / "in").mkdir()
    rows = [msgspec.json.decode(line) for line in (pages / "good.jsonl").read_bytes().splitlines()]
    words = " ".join(row["text"] for row in rows).split()
    for number in range(16):
        texts = [" ".join(draw.choices(words, k=draw.randrange(30, 90))) for _ in range(60)]
        lines = map(msgspec.json.encode, ({"text": text} for text in texts + texts[:5]))
        (tmp_path / "in" / f"{number}.jsonl").write_bytes(b"\n".join(lines))
    given = f"{tmp_path}/in/*.jsonl"
    curated("gopher", given, pages, tmp_path / "never killed", "shard_mib=0.000001")
    out, recipe = tmp_path / "killed", recipes_folder() / "gopher.toml"
    told = [f"input={given}", "workers=2", "shard_mib=0.000001", f"out={out}"]
    command = [sys.executable, "-m", "tutelage", "curate", str(recipe), *told]
    kills = 3
    while True:
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (out / ".work").exists() and running.poll() is None:
            time.sleep(0.01)
        try:
            running.wait(draw.uniform(0, 1.5) if kills else None)
            break
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            kills -= 1
    assert running.returncode == 0
    check_invariant(corpus_result(out))
    assert documents(out) == documents(tmp_path / "never killed")


def test_a_preset_asks_for_what_it_needs() -> None:
    with pytest.raises(SettingsError, match="has no input; add input=FILES"):
        load_curation(recipes_folder() / "gopher.toml")
    with pytest.raises(SettingsError, match="set either model, or positives and negatives"):
        load_curation(recipes_folder() / "dclm.toml", ["input=x"])
