from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from tutelage.cli import main
from tutelage.cli.curate import print_funnel, print_mix

SIZES = {"documents": 123_456_789, "words": 123_456_789_012, "bytes": 1_234_567_890_123}
REASON = "characters in duplicated paragraphs above 0.2"


def shown(show: object, what: dict[str, object]) -> str:
    """What stands on a terminal of 80 columns, with the spaces and the rules of a table taken out."""
    assert callable(show)
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show(what, console)
    assert isinstance(console.file, io.StringIO)
    assert max(map(len, console.file.getvalue().splitlines())) <= 80
    return "".join(console.file.getvalue().replace("│", " ").split())


def test_a_funnel_cuts_nothing_off_in_eighty_columns() -> None:
    step = {"step": "repetition", "input": SIZES, "output": SIZES, "dropped": {REASON: {"sizes": SIZES}}}
    text = shown(print_funnel, {"name": "fineweb", "steps": [step]})
    assert "…" not in text
    assert text.count("123,456,789100.0%123,456,789,0121,234,567,890,123") == 3


def test_a_mix_cuts_nothing_off_in_eighty_columns() -> None:
    row = {"documents": 123_456_789, "tokens": 123_456_789_012, "share": 0.5, "target_share": 0.4, "epochs": 1.234}
    text = shown(print_mix, {"name": "mix", "unit": "tokens", "warnings": [], "mix": {"a-source-of-a-long-name": row}})
    assert "…" not in text
    assert "123,456,789123,456,789,01250.0%40.0%1.23" in text


def test_the_number_of_dropped_documents_shown_is_printed(tmp_path: Path) -> None:
    texts = ["short"] * 5 + ["a text that is long enough to be kept"] * 2
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    recipe = tmp_path / "c.toml"
    recipe.write_text('name = "c"\ninput = "in.jsonl"\n[steps.short]\nkind = "length"\nshortest = 20\n')
    out = tmp_path / "out"
    made = CliRunner().invoke(main, ["curate", str(recipe), f"out={out}", "--json"])
    assert made.exit_code == 0, made.output
    some = CliRunner().invoke(main, ["look", str(out)]).stdout
    assert some.endswith("3 of 5 dropped documents, at most 3 per reason; --rows shows more\n")
    every = CliRunner().invoke(main, ["look", str(out), "--rows", "9"]).stdout
    assert every.endswith("5 of 5 dropped documents, at most 9 per reason\n")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read")
def test_a_file_that_cannot_be_read_stops_the_curation_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tutelage.io.open.RETRY_SECONDS", ())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "words"}\n')
    broken = tmp_path / "in" / "b.jsonl"
    broken.symlink_to("/proc/self/mem")  # every read is an input/output error
    (tmp_path / "c.toml").write_text('name = "c"\ninput = "in/*"\n[steps.all]\nkind = "length"\nshortest = 1\n')
    command = ["curate", str(tmp_path / "c.toml"), f"out={tmp_path / 'out'}", "workers=1"]
    failed = CliRunner().invoke(main, command)
    assert failed.exit_code == 1
    assert f"tutelage: cannot read {broken} from byte 0: Input/output error; check the disk" in failed.stderr
    broken.unlink()
    broken.write_text('{"text": "more words"}\n')
    assert CliRunner().invoke(main, command).exit_code == 0
    assert json.loads((tmp_path / "out" / "curation.json").read_text())["steps"][0]["output"]["documents"] == 2


def test_out_address_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"text": "some words"}\n')
    (tmp_path / "c.toml").write_text('name = "c"\ninput = "a.jsonl"\nworkers = 1\n[steps]\n')
    done = CliRunner().invoke(main, ["curate", "c.toml", "out=memory://out-address/corpus"])
    assert done.exit_code == 0, done.output
    assert "dataset card: memory://out-address/corpus/README.md" in done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "c.toml", "cache"]
    nowhere = CliRunner().invoke(main, ["curate", "c.toml", "out=nonsense://corpus"])
    assert nowhere.exit_code == 1 and "nonsense://corpus cannot be opened" in nowhere.output


def test_out_address_is_refused_where_runs_go(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "x"\ninput = "in/*"\n')
    result = CliRunner().invoke(main, ["run", str(recipe), "out=s3://bucket/corpus"])
    assert result.exit_code == 1
    assert "out= is s3://bucket/corpus, but it must be a folder; write to a local or mounted disk" in result.output
    result = CliRunner().invoke(main, ["sft", "--model", "m", "--data", "d", "--out", "memory://corpus"])
    assert result.exit_code == 2
    assert "is memory://corpus, but it must be a folder" in result.output
