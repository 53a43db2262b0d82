"""The recipes of published corpora and of kinds of files, each over a few documents of its kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pdf_files import column, pdf_page

from tutelage.config import recipes_folder
from tutelage.corpus.curation import load_curation
from tutelage.corpus.mix import load_mix
from tutelage.corpus.pipeline import curate
from tutelage.corpus.probe import probe_documents
from tutelage.corpus.shards import corpus_files, read_documents

GERMAN = [
    "Der Wärter des Turms stand an jedem Tag früh auf und sah auf das Meer, während er an der Lampe arbeitete.",
    "Im Winter waren die Stürme lang, so dass das Brot hart war, bevor das Boot mit der Post wieder in den Hafen kam.",
    "Die Kinder des Dorfes kamen oft zu ihm, denn er erzählte von Schiffen, die er in der Nacht sah.",
    "Als der Bruder von der Insel fortging, blieb er allein bei der Lampe, und mit ihm nur der alte Hund.",
]


def run(name: str, folder: Path, *overrides: str) -> tuple[list[str], dict[str, object]]:
    """The ids that a recipe keeps of the files in FOLDER/in, and its warnings and drops."""
    more = [f"input={folder / 'in'}", "workers=1", *overrides]
    result = curate(load_curation(recipes_folder() / f"{name}.toml", more), folder / name)
    kept = [document.id for file in corpus_files(folder / name) for document in read_documents(file)]
    return kept, {step["step"]: list(step["dropped"]) for step in result["steps"]}


def write_rows(folder: Path, rows: list[dict[str, str]]) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))


def test_fineweb2_judges_each_language_by_its_words(tmp_path: Path) -> None:
    english = [" ".join(document.text.split()) for document in probe_documents()][:1]
    rows = [
        {"id": "german", "text": "\n".join(GERMAN)},
        {"id": "twice a line", "text": "\n".join(["Straßenbahn Fahrplan Haltestelle Bahnhof."] * 2 + GERMAN[:1])},
        {"id": "english", "text": english[0]},
    ]  # fmt: skip
    write_rows(tmp_path, rows)
    kept, dropped = run("fineweb2", tmp_path)
    assert kept == ["german"]
    assert dropped["language"] == ["other language"]
    kept, dropped = run("fineweb2", tmp_path, "steps.quality.languages.de.min_stop_words=16")
    assert kept == [] and "too few stop words" in dropped["quality"]


@pytest.mark.parametrize("name", ["refinedweb", "openwebtext"])
def test_recipes_of_web_pages_drop_copies_and_fragments(name: str, tmp_path: Path) -> None:
    texts = [document.text for document in probe_documents() if document.text.count(". ") > 3]
    text = " ".join(sorted(texts, key=len)[-3:])
    rows = [
        {"id": "page", "text": text, "url": "http://a.org/1"},
        {"id": "copy", "text": f"{text} And so it was.", "url": "http://a.org/2"},
        {"id": "short", "text": "Only a few words.", "url": "http://a.org/3"},
        {"id": "wiki", "text": text, "url": "http://en.wikipedia.org/3"},
    ]
    write_rows(tmp_path, rows[: 3 if name == "refinedweb" else 4])
    assert run(name, tmp_path)[0] == ["page"]


def test_common_pile_keeps_pages_under_open_licences(tmp_path: Path) -> None:
    texts = sorted((document.text for document in probe_documents()), key=len)[-9:]
    body = "".join(f"<p>{text}</p>" for text in texts)
    (tmp_path / "in").mkdir()
    for name, licence in {"by": "by/4.0", "nc": "by-nc/4.0", "none": ""}.items():
        link = f'<a rel="license" href="https://creativecommons.org/licenses/{licence}/">l</a>' if licence else ""
        page = f"<!DOCTYPE html><html><body><article>{body}</article><footer>{link}</footer></body></html>"
        (tmp_path / "in" / f"{name}.html").write_text(page.replace("<article>", f"<article><h1>{name}</h1>"))
    kept, dropped = run("common_pile", tmp_path)
    assert kept == ["in/by.html"]
    assert len(dropped["licence"]) == 2


def test_papers_and_books_come_from_pdf(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    lines = column("Paragraph", 90, 55)
    pdf = pdf_page([(60, 740 - 12 * n, line) for n, line in enumerate(lines)])
    for name in ("a", "copy"):
        (tmp_path / "in" / f"{name}.pdf").write_bytes(pdf)
    (tmp_path / "in" / "picture.png").write_bytes(b"\x89PNG")
    least = "steps.quality.min_words=100"
    kept, dropped = run("papers_pdf", tmp_path, least, "unknown_files=skip", "steps.language.confidence=0.1")
    assert kept == ["in/a.pdf"] and dropped["exact"] == ["duplicate text"]
    kept, dropped = run("books_pdf", tmp_path, "unknown_files=skip", "steps.language.confidence=0.1")
    assert kept == [] and dropped["short"] == ["too short"]


def test_topics_takes_examples_of_each_topic(tmp_path: Path) -> None:
    words = {"science": "atom light proof cell", "history": "king war treaty year", "shopping": "price cart sale shoe"}
    rows = [
        {"id": f"{topic}{n}", "text": f"The {' and the '.join(own.split()[n % 4 :] + own.split())} of day {n}."}
        for topic, own in words.items()
        for n in range(40)
    ]
    write_rows(tmp_path, rows)
    examples = []
    for topic in words:
        path = tmp_path / f"{topic}.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows if row["id"].startswith(topic)))
        examples.append(f"steps.topics.examples.{topic}=['{path}']")
    kept, _ = run("topics", tmp_path, *examples)
    counts = {topic: sum(name.startswith(topic) for name in kept) for topic in words}
    assert counts["science"] == 40 and 2 <= counts["shopping"] <= 16 and counts["history"] > counts["shopping"]


@pytest.mark.parametrize(
    ("name", "sources", "total"),
    [("mix_pile", 22, 100), ("mix_llama", 7, 100), ("mix_dolma", 6, 3059.3), ("mix_common_pile", 31, 1034.44)],
)
def test_published_mixes_have_their_shares(name: str, sources: int, total: float) -> None:
    recipe = load_mix(recipes_folder() / f"{name}.toml", [])
    shares = next(iter(recipe.stages.values())).shares
    assert (len(shares), sum(shares.values())) == (sources, pytest.approx(total))
