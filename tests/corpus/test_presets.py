"""The recipes for curation that come along, over web pages made for the purpose, from a WARC file to documents."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tutelage.config import SettingsError, recipes_folder
from tutelage.corpus.curation import load_curation
from tutelage.corpus.pipeline import curate
from tutelage.corpus.probe import probe_documents
from tutelage.corpus.shards import corpus_files, read_documents

PRESETS = ("c4_paper", "gopher", "fineweb", "fineweb_paper", "dolma", "ccnet", "dclm")
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
    (folder / "bad.jsonl").write_bytes(
        b"\n".join(msgspec.json.encode({"text": f"buy cheap now click here number {n} " * 20}) for n in range(20))
    )
    return folder


def curated(name: str, pages: Path, out: Path) -> dict[str, Any]:
    overrides = [f"input={pages / 'pages.warc.gz'}", "workers=1"]
    if name.startswith("fineweb"):
        overrides.append("steps.extract.mode=fast")
    if name == "ccnet":
        overrides += [f"steps.perplexity.positives=['{pages / 'good.jsonl'}']", "steps.perplexity.vocabulary=400"]
    if name == "dclm":
        overrides += [f"steps.quality.positives=['{pages / 'good.jsonl'}']", "steps.best.share=0.5"]
        overrides.append(f"steps.quality.negatives=['{pages / 'bad.jsonl'}']")
    return curate(load_curation(recipes_folder() / f"{name}.toml", overrides), out)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_runs_from_pages_to_documents(
    name: str, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    result = curated(name, pages, tmp_path / "out")
    accounts = result["accounts"]
    assert accounts[0]["read"]["documents"] == 8
    for account in accounts:
        dropped = sum(reason["sizes"]["documents"] for reason in account["dropped"].values())
        assert account["read"]["documents"] == account["out"]["documents"] + dropped
    for before, after in pairwise(accounts):
        assert before["out"] == after["read"]
    kept = [document for file in corpus_files(tmp_path / "out") for document in read_documents(file)]
    assert 1 <= len(kept) == accounts[-1]["out"]["documents"] <= 6
    texts = [document.text for document in kept]
    assert len(set(texts)) == len(texts)
    assert not any("Too short" in text or text.count("The same line") > 1 for text in texts)
    assert name != "ccnet" or {document.facts["bucket"] for document in kept} == {"head", "middle", "tail"}
    assert any("Katze" in text for text in texts) == (name == "ccnet")


def test_a_preset_asks_for_what_it_needs() -> None:
    with pytest.raises(SettingsError, match="does not say what to read; say it with input=FILES"):
        load_curation(recipes_folder() / "gopher.toml")
    with pytest.raises(SettingsError, match="say which model judges with model, or train one from positives"):
        load_curation(recipes_folder() / "dclm.toml", ["input=x"])
