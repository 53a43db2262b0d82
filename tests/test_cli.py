from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import tutelage
from tutelage import progress
from tutelage.cli import main
from tutelage.config import recipes_folder

TINY = recipes_folder() / "tiny.toml"
QUICK = ["stages.base.steps=3", "stages.chat={kind='sft',from='base',data={chat=1},steps=2,too_long='split'}"]
VERBS = ["run", "demo", "plan", "sft", "look", "doctor", "evaluate", "chat"]


@pytest.fixture(autouse=True)
def automatic_progress() -> Iterator[None]:
    """A verb sets for the whole process how progress is shown, and all verbs here share one."""
    yield
    progress.set_mode("auto")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of one whole tiny run, and what the command that made it said."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return folder, tutelage_verb("run", TINY, f"out={folder}")


@pytest.fixture(scope="module")
def tiny(made: tuple[Path, Result]) -> Path:
    return made[0]


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run that a test may break."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def tutelage_verb(*arguments: object, stdin: str = "") -> Result:
    """A verb in this process, before a terminal of 120 columns."""
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, [str(argument) for argument in arguments], input=stdin)


def refused(*arguments: object, status: int = 1) -> str:
    """The one sentence that a wrong command gives."""
    result = tutelage_verb(*arguments)
    assert result.exit_code == status, result.output
    assert isinstance(result.exception, SystemExit)
    *before, last = result.stderr.splitlines()
    assert not any(line.startswith("tutelage: ") for line in before)
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert last.startswith("tutelage: ")
    return last.removeprefix("tutelage: ")


def process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """A verb in a process of its own, where streams, limits and signals are real."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(tutelage.__file__).parents[1])}
    command = [sys.executable, *(["-m", "tutelage"] if arguments[0] != "-c" else []), *map(str, arguments)]
    return subprocess.run(command, env=environment, text=True, **{"capture_output": True, **options})


def test_run_does_everything_and_shows_it(made: tuple[Path, Result]) -> None:
    folder, result = made
    assert result.exit_code == 0, result.output
    for words in ("held-out people, one-step questions", "keeps the form of a conversation", "chat forgets: "):
        assert words in result.stdout
    assert result.stdout.endswith(f"every figure: {folder / 'summary.json'}\n")
    assert "chat: 15/15 steps" in result.stderr
    summary = json.loads((folder / "summary.json").read_text())
    assert {"evaluate.chat.knowledge.held_out.low", "evaluate.chat.format.rate", "seconds"} <= summary.keys()


def test_run_again_skips_everything(copy: Path) -> None:
    result = tutelage_verb("run", TINY, f"out={copy}")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == ["base: finished before, skipped", "chat: finished before, skipped"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["run", TINY, "out={}"], {"name", "seconds", "stages.chat.loss"}),
        (["plan", TINY, "out={}"], {"stages", "seconds", "peak_bytes"}),
        (["look", "{}/chat"], None),
        (["evaluate", "{}/chat"], {"evaluate.chat.format.rate", "evaluate.chat.knowledge.held_out.rate"}),
        (["chat", "{}/chat"], None),
    ],
)
def test_json_is_one_document_and_json_lines(copy: Path, arguments: list[object], names: set[str] | None) -> None:
    shutil.rmtree(copy / "chat" / "evaluate")  # so that evaluating has progress to tell
    filled = [str(argument).replace("{}", str(copy)) for argument in arguments]
    result = tutelage_verb(*filled, "--json", stdin="hello\n")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert names <= document.keys() if names else isinstance(document, list)
    assert all("event" in json.loads(line) for line in result.stderr.splitlines())


def test_an_error_is_a_json_line_too(tmp_path: Path) -> None:
    result = tutelage_verb("plan", tmp_path / "none.toml", "--json")
    assert result.exit_code == 1
    sentence = f"there is no file {tmp_path / 'none.toml'}; check the path"
    assert json.loads(result.stderr) == {"event": "error", "message": sentence}


def test_plan_before_and_after(tiny: Path, tmp_path: Path) -> None:
    before, after = (tutelage_verb("plan", TINY, f"out={out}").stdout for out in (tmp_path / "none", tiny))
    assert before.count("to do ") == 2
    assert after.count("done") == 2
    assert "to do: about 0.0 s" in after
    assert not (tmp_path / "none").exists()


def test_look_shows_the_rows_of_a_step(tiny: Path) -> None:
    table = tutelage_verb("look", tiny / "chat").stdout
    assert "<|assistant|>" in table
    assert "micro-batch 1 of 1" in table
    running = tutelage_verb("look", tiny / "chat", "--text", "--rows", 1).stdout
    assert "⟦" in running
    assert "segment 2" not in running
    (rows,) = json.loads(tutelage_verb("look", tiny / "base", "--json", "--step", 2, "--rows", 2).stdout)
    assert {row["segment"] for row in rows} == {0, 1}
    assert {row["label_role"] for row in rows} == {"document"}


def test_look_saves_a_picture(tiny: Path, tmp_path: Path) -> None:
    result = tutelage_verb("look", tiny / "chat", "--rows", 1, "--svg", tmp_path / "look.svg")
    assert "micro-batch 1 of 1" in result.stdout
    picture = (tmp_path / "look.svg").read_text()
    assert "tutelage&#160;look&#160;tiny/chat" in picture
    assert "@font-face" not in picture  # nothing is fetched from the network


def test_a_run_stands_for_its_last_finished_stage(tiny: Path) -> None:
    of_run, of_stage = (tutelage_verb("look", path, "--json").stdout for path in (tiny, tiny / "chat"))
    assert of_run == of_stage


def test_look_at_a_file_shows_what_would_be_trained(tiny: Path, tmp_path: Path) -> None:
    data = conversations(tmp_path, "What is 2 + 3?", "Who is there?", broken=True)
    result = tutelage_verb("look", data, "--model", tiny, "--text")
    assert "⟦·It·is·so.<|end|>⟧" in result.stdout
    assert "dropped: not JSON" in result.stdout
    first, _ = json.loads(tutelage_verb("look", data, "--model", tiny / "base", "--json").stdout)
    graded = [token for token, weight in zip(first["tokens"], first["weights"], strict=True) if weight]
    assert "".join(graded) == " It is so.<|end|>"
    everything = tutelage_verb("look", data, "--model", tiny, "--train-on", "everything", "--json", "--rows", 1).stdout
    assert sum(json.loads(everything)[0]["weights"]) == len(first["tokens"]) - 1
    assert (
        refused("look", data)
        == f"to see the tokens of {data} say for which model: --model RUN/STAGE, or any model's folder"
    )


def test_look_at_answers_shows_how_sure_the_model_was(tiny: Path) -> None:
    question = "Who are you?"
    (answer,) = json.loads(tutelage_verb("look", tiny, "--ask", question, "--json").stdout)
    assert answer["question"] == question
    for place in answer["tokens"]:
        assert all(0 <= share <= place["probability"] + 1e-6 for share in place["others"].values())  # greedy
    shown = tutelage_verb("look", tiny, "--ask", question).stdout
    assert question in shown
    assert "probability" in shown
    assert refused("look", tiny / "base", "--ask", question).endswith("it answers nothing; give a fine-tuned stage")


@pytest.mark.parametrize("what", ["step", "file", "answers"])
def test_look_saves_a_page(tiny: Path, tmp_path: Path, what: str) -> None:
    data = conversations(tmp_path, "What is 2 + 3?", "Who is there?")
    targets = {"step": [tiny], "file": [data, "--model", tiny], "answers": [tiny, "--ask", "One?", "--ask", "Two?"]}
    page = tmp_path / "page.html"
    result = tutelage_verb("look", *targets[what], "--rows", 2, "--html", page)
    assert result.stdout == f"2 rows to look at, for a browser: {page}\n"
    assert page.read_text().startswith("<!doctype html>")
    both = "--svg saves what is shown on the terminal, and --html shows nothing there; ask for one"
    assert refused("look", *targets[what], "--html", page, "--svg", page) == both


def conversations(folder: Path, *questions: str, broken: bool = False) -> Path:
    """A file of conversations, in which every answer is the same."""
    path = folder / "mine.jsonl"
    rows = [json.dumps({"prompt": question, "completion": "It is so."}) for question in questions]
    path.write_text("\n".join(["{broken"] * broken + rows) + "\n")
    return path


def test_sft_on_a_few_own_lines(tiny: Path, tmp_path: Path) -> None:
    data = conversations(tmp_path, *(f"Is it {word}?" for word in "so now then here there true old new mine".split()))
    result = tutelage_verb("sft", "--model", tiny / "base", "--data", data, "--out", tmp_path / "tuned")
    assert f"chat with it: tutelage chat {tmp_path / 'tuned'}" in result.stdout
    summary = json.loads((tmp_path / "tuned" / "summary.json").read_text())
    assert summary["stages.sft.ledgers.chat.rows_kept"] == 9
    assert summary["stages.sft.steps"] >= 100
    assert summary["evaluate.sft.format.rate"] == 1
    assert summary["stages.sft.graded_by_source.replay.world"] > 0  # the text of the base is known, and replayed
    assert summary["evaluate.sft.forgetting.before"] > 0
    talked = tutelage_verb("chat", tmp_path / "tuned", stdin="Is it true?\n").stdout
    assert "It is so." in talked
    again = tutelage_verb("sft", "--model", tiny, "--data", data, "--out", tmp_path / "again", "--epochs", 1)
    assert again.exit_code == 0  # a fine-tuned model too may be fine-tuned
    (tmp_path / "empty.jsonl").write_text("")
    assert "empty" in refused("sft", "--model", tiny, "--data", tmp_path / "empty.jsonl", "--out", tmp_path / "x")


def test_a_reader_that_goes_away_ends_a_verb_without_a_word(tiny: Path) -> None:
    for flag in ([], ["--json"]):
        reader, writer = os.pipe()
        os.close(reader)  # nobody reads, from the first byte on
        result = process("look", tiny / "chat", *flag, stdout=writer, stderr=subprocess.PIPE, capture_output=False)
        os.close(writer)
        assert result.stderr == ""
        assert result.returncode == 1


def test_evaluate_measures_what_is_missing_and_keeps_the_runs_time(copy: Path) -> None:
    before = json.loads((copy / "summary.json").read_text())
    (copy / "chat" / "evaluate" / "forgetting.json").unlink()
    result = tutelage_verb("evaluate", copy / "chat")
    assert result.exit_code == 0
    assert "chat forgets: " in result.stdout
    after = json.loads((copy / "summary.json").read_text())
    assert after["seconds"] >= before["seconds"]
    same = [name for name in before if name.startswith("evaluate.")]
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_demo_is_the_recipe_that_comes_with_it(tmp_path: Path) -> None:
    small = [
        "model.depth=1",
        "model.width=32",
        "tokenizer.vocab=400",
        "data.world.people=20",
        "data.world.versions=1",
        *("stages.base={kind='pretrain',data={world=1},steps=2}", QUICK[1], "evaluate={}"),
    ]
    result = tutelage_verb("demo", *small, f"out={tmp_path / 'demo'}")
    assert result.exit_code == 0, result.output
    assert f"chat with it: tutelage chat {tmp_path / 'demo' / 'chat'}" in result.stdout.replace("\n", "")


def test_a_chat_from_the_first_word_to_the_last(tiny: Path) -> None:
    result = tutelage_verb("chat", tiny / "chat", stdin="1\n/new\nWhere was Nora Abernel Sparrow born?\n/quit\nmore\n")
    assert result.exit_code == 0, result.output
    assert "Questions about people whom no training question named:" in result.stdout
    assert "measured: right about one fact of people it only read of" in result.stdout
    assert ": the true answer is " in result.stdout
    assert "forgotten; a new conversation begins" in result.stdout
    assert "the truth about Nora Abernel Sparrow: birthplace " in result.stdout
    assert result.stdout.count("> ") == 4  # nothing is read after /quit


def test_a_chat_as_json_is_what_was_said(tiny: Path) -> None:
    result = tutelage_verb("chat", tiny / "chat", "--json", stdin="hello\n1")
    said = json.loads(result.stdout)
    assert [set(exchange) for exchange in said] == [{"user", "assistant"}, {"user", "assistant", "truth"}]
    assert said[0]["user"] == "hello"


def test_a_byte_that_is_no_text_does_not_end_a_chat(tiny: Path) -> None:
    command = [sys.executable, "-m", "tutelage", "chat", str(tiny / "chat"), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(tutelage.__file__).parents[1]), "PYTHONUTF8": "1"}
    result = subprocess.run(command, input=b"caf\xe9\n", capture_output=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)[0]["user"] == "caf\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("arguments", [[], *([verb] for verb in VERBS)])
def test_help_says_what_a_verb_does(arguments: list[str]) -> None:
    result = tutelage_verb(*arguments, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    for word in ["--json", "--debug"] if arguments else VERBS:
        assert word in result.stdout


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from tutelage.cli import main
for arguments in (["--help"], ["run", "--help"], ["--version"]):
    main(arguments, standalone_mode=False)
print(sorted({"torch", "transformers", "numpy", "rich", "tokenizers"} & sys.modules.keys()))
"""
    assert process("-c", code).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["plan", recipes_folder() / "tny.toml"], f"there is no file {recipes_folder() / 'tny.toml'}; did you mean "),
        (["plan", recipes_folder()], f"cannot read {recipes_folder()}: is a directory; check the path"),
        (["run", TINY, "out"], "'out' is not an override; write dotted.key=value, e.g. stages.base.epochs=3"),
        (["run", TINY, "out="], "out= names no folder; write out=DIR, as in out=runs/second"),
        (["run", TINY, "model.dept=3"], f"{TINY}: model has no setting 'dept'; did you mean 'depth'?"),
        (["plan", TINY, "stages.base.steps=many"], f"{TINY}: stages.base.steps must be a whole number, and 'many' is"),
        (["demo", "stages.base.lr=fast"], f"{recipes_folder() / 'demo.toml'}: stages.base.lr must be a number, and "),
        (["evaluate", "nowhere/chat"], f"{Path('nowhere/chat').resolve()} is not the folder of a stage: "),
        (["look", "nowhere/chat"], f"{Path('nowhere/chat').resolve()} is not the folder of a stage: "),
        (["chat", "nowhere/chat"], "there is no folder nowhere/chat, and no model of that name could be fetched"),
    ],
)
def test_a_wrong_command_is_one_sentence(arguments: list[object], sentence: str) -> None:
    assert refused(*arguments).startswith(sentence)


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text('name = "x"\nmodel = { depth = \n')
    sentence = refused("run", tmp_path / "broken.toml")
    assert sentence.startswith(f"{tmp_path / 'broken.toml'}, line 2, column ")


def test_only_names_a_stage_that_can_run(tmp_path: Path) -> None:
    out = f"out={tmp_path / 'run'}"
    assert refused("run", TINY, out, "--only", "caht") == "there is no stage 'caht'; did you mean 'chat'?"
    sentence = refused("run", TINY, out, "--only", "chat")
    assert sentence == "stage 'chat' builds on 'base', which is not finished; run that first"


def test_what_is_no_finished_stage_is_refused(copy: Path) -> None:
    assert refused("look", copy / "caht") == f"{copy} has no stage 'caht'; did you mean 'chat'?"
    (copy / "empty").mkdir()
    (copy / "empty" / "recipe.json").write_bytes((copy / "recipe.json").read_bytes())
    nothing = f"{copy / 'empty'} is a run in which no stage is finished; run its recipe first"
    assert refused("chat", copy / "empty") == nothing
    base = f"{copy / 'base'} is a base model: it goes on with text and cannot chat; give a fine-tuned one"
    assert refused("chat", copy / "base") == base
    (copy / "chat" / "stage.json").unlink()
    assert refused("evaluate", copy / "chat") == "stage chat is not finished; run its recipe first"
    assert refused("look", copy / "chat", "--step", 0) == "step 0 does not exist; steps are counted from 1"
    assert refused("look", copy / "chat", "--step", 999).startswith("stage chat has fewer than 999 steps")
    assert refused("chat", copy / "chat", "--temperature", -1).startswith("temperature is -1.0; it must be 0 ")


def test_broken_files_are_named(copy: Path) -> None:
    weights, stage, recipe = copy / "chat" / "model.safetensors", copy / "chat" / "stage.json", copy / "recipe.json"
    os.truncate(weights, 1000)
    assert refused("chat", copy / "chat").startswith(f"{weights} is not a whole safetensors file (")
    stage.write_text('{"name": "ch')
    for arguments in (["evaluate", copy / "chat"], ["plan", TINY, f"out={copy}"], ["run", TINY, f"out={copy}"]):
        assert refused(*arguments).startswith(f"{stage} is not valid JSON (")
    stage.write_text("[]")  # JSON, but of no stage: it is not finished
    assert refused("evaluate", copy / "chat") == "stage chat is not finished; run its recipe first"
    recipe.write_text('{"name": "x"}')
    assert refused("look", copy / "chat") == f"{recipe} needs 'data', and it is not set"
    recipe.write_text("{")
    assert refused("look", copy / "chat").startswith(f"{recipe} is not valid JSON (")


def test_a_file_where_the_run_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        assert refused("run", TINY, f"out={out}").startswith(f"cannot write {out / 'recipe.json'}: ")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write anywhere")
    sentence = refused("run", TINY, f"out={tmp_path / 'run'}")
    tmp_path.chmod(0o700)
    assert sentence.endswith("permission denied; choose another folder or change its permissions")


def test_debug_shows_where_it_went_wrong(tmp_path: Path) -> None:
    result = process("plan", tmp_path / "none.toml", "--debug")
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback")
    assert "SettingsError: there is no file" in result.stderr


@pytest.mark.parametrize("blocks", [200, 1400])
def test_a_disk_without_room_is_one_sentence_and_the_same_command_goes_on(blocks: int, tmp_path: Path) -> None:
    """No room for the data, no room for a checkpoint: a limit on files stands for a full disk."""
    run = ["run", TINY, f"out={tmp_path}", *QUICK, "stages.base.checkpoint_seconds=0", "evaluate={}"]

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (blocks * 512, resource.RLIM_INFINITY))

    refused = process(*run, preexec_fn=limit)
    assert refused.returncode == 1, refused.stderr
    assert "Traceback" not in refused.stderr
    sentences = [line for line in refused.stderr.splitlines() if line.startswith("tutelage: ")]
    assert len(sentences) == 1
    assert sentences[0].startswith(f"tutelage: cannot write {tmp_path}")
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".new")]
    assert not (tmp_path / "base" / "stage.json").exists()
    assert tutelage_verb(*run).exit_code == 0


def test_ctrl_c_is_130_and_one_sentence(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from tutelage.cli import main
def before(event, arguments):
    if event == "open" and str(arguments[0]).endswith("tiny.toml"):
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(before)
main()
"""
    result = process("-c", code, "plan", TINY)
    assert result.returncode == 128 + signal.SIGINT
    sentence = "tutelage: stopped; run the same command again to go on from the last checkpoint\n"
    assert result.stderr == sentence


def test_the_doctor_examines_a_run_or_a_stage(tiny: Path) -> None:
    whole = json.loads(tutelage_verb("doctor", tiny, "--json").stdout)
    one = json.loads(tutelage_verb("doctor", tiny / "chat", "--json").stdout)
    assert [found for found in whole if found["stage"] == "chat"] == one
    assert [found["name"] for found in one] == ["too-few-steps"]  # one pass makes no model
    assert set(one[0]) == {"name", "stage", "symptom", "cause", "cure", "evidence"}
    shown = tutelage_verb("doctor", tiny).stdout
    for found in whole:
        assert f"{found['stage']}: {found['symptom']} ({found['name']})" in shown
    assert "Diagnosis" in (tiny / "report.html").read_text()


def test_what_is_no_run_is_not_examined(tmp_path: Path, copy: Path) -> None:
    assert refused("doctor", tmp_path).startswith(f"{tmp_path} ")
    for stage in ("base", "chat"):
        (copy / stage / "stage.json").unlink()
    nothing = f"no stage of {copy} is finished, so there is nothing to examine; run its recipe first"
    assert refused("doctor", copy) == nothing


@pytest.mark.parametrize(("low", "status"), [(0.2, 3), (0.05, 0)])
def test_a_run_that_forgot_too_much_ends_with_status_3_when_all_is_written(copy: Path, low: float, status: int) -> None:
    measured = copy / "chat" / "evaluate" / "forgetting.json"
    stored = json.loads(measured.read_text())
    stored["results"] |= {"increase": 0.3, "low": low, "high": 0.4}
    measured.write_text(json.dumps(stored))
    result = tutelage_verb("run", TINY, f"out={copy}", "stages.chat.max_forgetting=0.1", "--json")
    assert result.exit_code == status
    assert json.loads(result.stdout)["evaluate.chat.forgetting.low"] == low
    assert json.loads((copy / "summary.json").read_text()) == json.loads(result.stdout)
    said = [json.loads(line) for line in result.stderr.splitlines() if '"error"' in line]
    assert [line["message"].partition(":")[0] for line in said] == ["chat forgets too much"] * (status == 3)
