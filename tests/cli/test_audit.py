from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from click.testing import CliRunner, Result

from tutelage.cli import main

if TYPE_CHECKING:
    from tutelage.runner import Run

CLEAN = [
    {"prompt": f"What is the square of {n} when it is added to itself?", "completion": f"It is {2 * n * n}, twice."}
    for n in range(30)
]
FAULTY = [*CLEAN, CLEAN[3], {"prompt": "Why is <b>that</b> so?", "completion": "N/A"}]


def written(folder: Path, rows: list[object], name: str = "chats.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def audit(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(main, ["audit", *map(str, arguments)])


def test_a_clean_file_may_be_trained_on(tmp_path: Path) -> None:
    result = audit(written(tmp_path, [*CLEAN]), "--fix", tmp_path / "clean.jsonl")
    assert result.exit_code == 0, result.output
    assert "Ready for training: no errors, no warnings." in result.output
    assert not (tmp_path / "clean.jsonl").exists()


def test_warnings_are_shown_with_their_fixes_and_do_not_stop(tmp_path: Path) -> None:
    result = audit(written(tmp_path, [*FAULTY]))
    assert result.exit_code == 0, result.output
    assert "Ready for training: no errors, 2 warnings." in result.output
    assert re.search(r"warning\s+exact duplicates of an earlier row\s+1\s+3.1%", result.output)
    assert "Keep one of each" in result.output


def test_an_error_is_the_exit_status_for_people_and_machines(tmp_path: Path) -> None:
    path = written(tmp_path, [*FAULTY, "{"])
    assert audit(path).exit_code == 1
    assert "Not ready for training: 1 error, 2 warnings." in audit(path).output
    result = audit(path, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["errors"] == 1
    assert {finding["name"] for finding in report["findings"]} == {"broken row", "duplicate", "placeholder answer"}
    assert audit(path, "--max-broken", "0.1").exit_code == 0


def test_fix_writes_a_file_and_a_ledger_and_the_exit_status_is_that_of_the_file(tmp_path: Path) -> None:
    clean = tmp_path / "clean.jsonl"
    faulty = written(tmp_path, [*FAULTY, "{"])
    result = audit(faulty, "--fix", clean, "--json")
    assert result.exit_code == 0, result.output  # the file has an error, and what was written has none
    report = json.loads(result.stdout)
    fixed = report["fixed"]
    assert (report["errors"], fixed["errors"], fixed["findings"]) == (1, 0, [])
    assert (fixed["ledger"]["rows_read"], fixed["ledger"]["rows_kept"]) == (33, 30)
    assert len(clean.read_text().splitlines()) == 30
    assert audit(clean).exit_code == 0
    assert Path(fixed["ledger_path"]).exists()
    shown = audit(faulty, "--fix", clean).output
    assert "Not ready for training: 1 error, 2 warnings." in shown
    assert "Fixed file: Ready for training: no errors, no warnings." in shown


def test_an_error_that_fix_leaves_is_the_exit_status(tales: Path, tales_run: Run, tmp_path: Path) -> None:
    chats, clean = tales.parent / "chat.jsonl", tmp_path / "clean.jsonl"
    twice = tmp_path / "chat.jsonl"
    twice.write_text(chats.read_text() + "\n" + chats.read_text().splitlines()[0])
    result = audit(twice, "--model", tales_run.folder, "--context", 20, "--fix", clean)
    assert result.exit_code == 1
    assert "Fixed file: Not ready for training: 1 error, " in result.output
    assert "- longer than the model's context: " in result.output


def test_the_page_holds_every_finding_and_no_markup_of_the_data(tmp_path: Path) -> None:
    page = tmp_path / "audit.html"
    assert audit(written(tmp_path, [*FAULTY]), "--html", page).exit_code == 0
    text = page.read_text()
    assert "exact duplicates of an earlier row" in text
    assert "Why is &lt;b&gt;that&lt;/b&gt; so?" in text
    assert "<b>that</b>" not in text


def test_invalid_options_are_one_sentence(tmp_path: Path) -> None:
    result = audit(written(tmp_path, [*CLEAN]), "--context", "100")
    assert result.exit_code == 1
    assert "--model" in result.stderr
    assert audit(tmp_path / "none.jsonl").exit_code == 1
    result = audit(written(tmp_path, [*CLEAN]), "--held-out", tmp_path / "none.jsonl")
    assert result.exit_code == 1
    assert "none.jsonl: no such file" in result.stderr


def test_a_model_verifies_and_measures(tales: Path, tales_run: Run) -> None:
    chats = tales.parent / "chat.jsonl"
    report = json.loads(audit(chats, "--model", tales_run.folder, "--json").stdout)
    assert report["profile"]["context.tokens"] == 64
    assert 0 < report["profile"]["tokens.trained"] < report["profile"]["tokens.total"]
    assert report["errors"] == 0
    short = audit(chats, "--model", tales_run.folder, "--context", 20, "--json")
    assert short.exit_code == 1
    assert {finding["name"] for finding in json.loads(short.stdout)["findings"] if finding["level"] == "error"} == {
        "too long"
    }


def test_preferences_are_audited_too(tmp_path: Path) -> None:
    rows = [{"prompt": f"q {n}", "chosen": f"a longer answer {n}", "rejected": f"b {n}"} for n in range(30)]
    path, page = written(tmp_path, [*rows, rows[0]], "pairs.jsonl"), tmp_path / "page.html"
    result = audit(path, "--html", page)
    assert result.exit_code == 0, result.output
    assert "31 preferences, format chosen-rejected" in result.output
    assert "31 pairs; 30 distinct prompts, 1 of them in several rows" in result.output
    assert "the longer answer is preferred in 100.0% of 31 comparisons (95%: 89.0% to 100.0%)" in result.output
    assert "31 preferences" in page.read_text()
    found = json.loads(audit(path, "--json").stdout)
    assert {finding["name"] for finding in found["findings"]} == {"duplicate", "length bias"}
    assert audit(written(tmp_path, [*rows, "{"], "broken.jsonl")).exit_code == 1


def test_options_for_conversations_are_refused_for_preferences(tmp_path: Path) -> None:
    path = written(tmp_path, [{"prompt": "q", "chosen": "a", "rejected": "b"}], "pairs.jsonl")
    result = audit(path, "--fix", tmp_path / "fixed.jsonl")
    assert result.exit_code == 1
    assert "holds preferences, and --fix works on conversations only" in result.output
