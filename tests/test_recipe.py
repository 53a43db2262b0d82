from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_recipe import write_tiny_recipe

from tutelage import files, progress
from tutelage.cli.open_run import open_stage
from tutelage.config import SettingsError, recipes_folder
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.suites import format, knowledge
from tutelage.model.hub import load_model
from tutelage.recipe import load_recipe
from tutelage.runner import Run

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    base = "steps = 2\nbatch_tokens = 1024\nheld_out = 0.1"
    return write_tiny_recipe(tmp_path, base, "steps = 2\nbatch_tokens = 1024\nreplay = 0.5")


def test_a_stage_may_lengthen_the_context(recipe: Path, tmp_path: Path) -> None:
    run = Run(load_recipe(recipe, ["stages.chat.context=160", "evaluate={}"]), tmp_path / "run")
    run.run()
    assert load_model(run.folder / "base").model.config.context == 128
    assert load_model(run.folder / "chat").model.config.context == 160


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("nmae='x'", " has no setting 'nmae'; did you mean 'name'?"),
        ("model.dept=3", ": model has no setting 'dept'; did you mean 'depth'?"),
        ("stages.base.epoch=3", ": stages.base has no setting 'epoch'; did you mean 'epochs'?"),
        ("stages.base.lr='1e-4'", ": stages.base.lr must be a number, and '1e-4' is not; drop the quotes: 1e-4"),
        ("stages.base.micro_tokens=1.5", ": stages.base.micro_tokens must be a whole number, and 1.5 is not"),
        ("stages.base.kind=pretrian", ": stages.base.kind cannot be 'pretrian'; did you mean 'pretrain'?"),
        ("stages.chat.too_long=cut", ": stages.chat.too_long cannot be 'cut'; choose one of error, drop, split"),
        ("stages={}", ": [stages] is empty; a recipe needs at least one stage"),
        ("stages.chat.from=bas", ": stages.chat.from names stage 'bas', which does not exist; did you mean 'base'?"),
        ("stages.base.from=chat", ": stages.base.from: 'chat' is below 'base'; put it above"),
        (
            "stages.chat.data={caht=1}",
            ": stages.chat.data names data 'caht', which [data] does not have; did you mean 'chat'?",
        ),
        (
            "stages.chat.data={world=1}",
            ": stages.chat.data: 'world' holds documents, but a fine-tuning stage trains on conversations",
        ),
        (
            "stages.base.data={chat=1}",
            ": stages.base.data: 'chat' holds conversations, but a pre-training stage trains on documents",
        ),
        ("evaluate.chat=['fromat']", ": evaluate.chat: there is no suite 'fromat'; did you mean 'format'?"),
        (
            "evaluate.caht=['format']",
            ": evaluate names stage 'caht', which does not exist; did you mean 'chat'?",
        ),
        (
            "stages.data={kind='pretrain',steps=1,data={world=1}}",
            ": stages.data: 'data' cannot be a stage's name; use letters, digits, - and _",
        ),
        (
            "stages.base.epochs=1",
            ": stages.base cannot be used: epochs = 1 and steps = 2 both say when the stage is finished; take one of "
            "the two out of the recipe",
        ),
        (
            "stages.base={kind='pretrain',data={world=1}}",
            ": stages.base cannot be used: a stage needs epochs or steps, to know when it is finished",
        ),
        ("stages.base.batch_tokens=0", ": stages.base cannot be used: batch_tokens is 0; it must be at least 1"),
        (
            "stages.base.data={world=0}",
            ": stages.base cannot be used: data needs at least one name, each with a share above 0, such as "
            "data = { world = 1 }",
        ),
        (
            "stages.base.held_out=1",
            ": stages.base cannot be used: held_out is 1.0; it is a share of the rows: at least 0, below 1",
        ),
        (
            "stages.chat.replay=1.0",
            ": stages.chat cannot be used: replay is 1.0; it is a share of the trained tokens: at least 0, below 1",
        ),
        (
            "stages.chat={kind='sft',data={chat=1},steps=1}",
            ': stages.chat cannot be used: fine-tuning needs a model to start from: say from = "STAGE"',
        ),
        ("model.heads=3", ": model.width 32 cannot be split over 3 heads; choose a width that 3 divides"),
        ("stages.chat.lr=-1", ": stages.chat.lr is -1.0; a learning rate must be above 0"),
        (
            "stages.chat.schedule.warmup=2",
            ": stages.chat.schedule cannot be used: warmup is 2.0; it is a share and must lie between 0 and 1",
        ),
        (
            "stages.chat.optimizer.clip=0",
            ": stages.chat.optimizer cannot be used: clip is 0.0; it must be above 0 (inf never clips)",
        ),
        ("data.world.people=3", ": data.world cannot be used: a world has from 20 to 1,000,000 people, not 3"),
        ("stages.chatt.lr=1", ": stages.chatt.lr: there is no stage 'chatt'; did you mean 'chat'?"),
        ("data.wrld.people=30", ": data.wrld.people: there is no data 'wrld'; did you mean 'world'?"),
        (
            "stages.chat.max_forgetting=0.1",
            ': stages.chat.max_forgetting needs evaluate.chat to hold "forgetting", which measures it',
        ),
        (
            "stages.chat.replay_data={chat=1}",
            ": stages.chat.replay_data: 'chat' holds conversations, but a fine-tuning stage replays documents",
        ),
        (
            "stages.chat={kind='sft',from='base',data={chat=1},steps=1,lr=1e-3,find_lr=true}",
            ": stages.chat cannot be used: lr (--lr) sets the rate and find_lr (--find-lr) searches for it: give one "
            "of the two",
        ),
        (
            "stages.chat={kind='sft',from='base',data={chat=1},steps=1,replay_data={world=1}}",
            ": stages.chat cannot be used: replay_data names text to replay: give each a share above 0, and replay "
            "above 0",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_the_nearest_right_name(recipe: Path, override: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_recipe(recipe, [override])
    assert str(error.value) == str(recipe) + sentence


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["data.other={kind='world'}"], "has 2 of kind 'world'; say which with world = \"NAME\""),
        (
            ["data.other={kind='world'}", "data.chat.world=wolrd"],
            "world = 'wolrd' names no data of kind 'world'; did you mean 'world'?",
        ),
    ],
)
def test_chat_must_know_its_world(recipe: Path, overrides: list[str], part: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_recipe(recipe, overrides)
    assert str(error.value).endswith(part)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "stages.chat.micro_tokens=8",
            "stage chat: micro_tokens = 8, but its longest conversation or piece of text has",
        ),
        (
            "stages.chat.context=4",
            "stage chat: nothing is left to train on in 'chat'; see its ledger",
        ),
    ],
)
def test_what_only_the_data_can_tell_is_one_sentence_when_it_runs(
    recipe: Path, tmp_path: Path, override: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match="stage|evaluate") as error:
        Run(load_recipe(recipe, [override]), tmp_path / "run").run()
    assert str(error.value).startswith(sentence)


def test_only_one_stage_and_what_it_builds_on(recipe: Path, tmp_path: Path) -> None:
    run = Run(load_recipe(recipe), tmp_path / "run")
    with pytest.raises(SettingsError, match="^there is no stage 'caht'; did you mean 'chat'\\?$"):
        run.run(only="caht")
    with pytest.raises(SettingsError, match="^stage 'chat' builds on 'base', which is not finished; run that first$"):
        run.run(only="chat")
    assert "stages.chat.steps" not in run.run(only="base")
    assert run.run(only="chat")["stages.chat.steps"] == 2


def test_finished_stages_are_skipped_and_a_changed_one_and_all_below_run_again(recipe: Path, tmp_path: Path) -> None:
    def ran(*overrides: str) -> set[str]:
        """The stages that a run trains, told by when their folders were written."""
        before = {name: written(name) for name in ("base", "chat", "tokenizer")}
        Run(load_recipe(recipe, overrides), folder).run()
        return {name for name, time in before.items() if written(name) != time}

    def written(name: str) -> int:
        path = folder / name / ("tokenizer.json" if name == "tokenizer" else "model.safetensors")
        return path.stat().st_mtime_ns if path.exists() else 0

    folder = tmp_path / "run"
    assert ran() == {"base", "chat", "tokenizer"}
    assert ran() == set()
    # How a run is evaluated and saved, and how it cuts its steps, does not change what it becomes.
    quiet = "stages.base.micro_tokens=500", "stages.base.checkpoint_seconds=3", "stages.base.evaluate_every=1"
    quiet += "stages.base.save_every=1", "stages.base.keep_checkpoints=1", "stages.base.activation_checkpointing=true"
    assert ran(*quiet) == set()
    assert ran("name=other") == set()
    assert ran("stages.chat.lr=1e-4") == {"chat"}
    assert ran("stages.chat.lr=1e-4", "stages.base.lr=1e-4") == {"base", "chat"}
    assert ran("data.world.seed=5") == {"base", "chat", "tokenizer"}


def test_the_folder_of_another_run_is_refused(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    Run(load_recipe(recipe, []), folder).run()
    before = (folder / "recipe.json").read_bytes()
    tuned = tmp_path / "tuned.toml"
    tuned.write_text(
        'name = "tuned"\n[data]\nworld = { kind = "world", people = 20, versions = 1 }\n'
        'chat = { kind = "world-chat" }\n'
        f'[stages]\nbase = {{ kind = "model", path = "{folder / "base"}", lr = 1e-3 }}\n'
        'sft = { kind = "sft", from = "base", data = { chat = 1 }, steps = 1, too_long = "drop" }\n'
    )
    with pytest.raises(SettingsError, match="holds another run, '.*'; name another folder for this one"):
        Run(load_recipe(tuned, []), folder).run()
    assert (folder / "recipe.json").read_bytes() == before
    with pytest.raises(SettingsError, match="holds another run, '.*'; name another folder for this one"):
        Run(load_recipe(recipe, ["name=other", "seed=5"]), folder).run()
    assert (folder / "recipe.json").read_bytes() == before


def test_a_run_that_ended_before_it_trained_anything_keeps_no_folder(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match="raise micro_tokens to at least that"):
        Run(load_recipe(recipe, ["name=other", "stages.base.micro_tokens=2"]), folder).run()
    assert (folder / "recipe.json").exists()
    Run(load_recipe(recipe, ["evaluate={}"]), folder).run(only="base")
    assert (folder / "base" / "config.json").exists()


def test_fingerprints_hang_on_everything_above(recipe: Path, tmp_path: Path) -> None:
    def marks(*overrides: str) -> tuple[str, str]:
        run = Run(load_recipe(recipe, overrides), tmp_path)
        return run.fingerprint("base"), run.fingerprint("chat")

    base, chat = marks()
    assert marks("evaluate.chat=['format']", "stages.base.evaluate_every=7") == (base, chat)
    for override in ("seed=1", "model.width=64", "tokenizer.vocab=310", "data.world.versions=2", "stages.base.seed=1"):
        changed_base, changed_chat = marks(override)
        assert changed_base != base
        assert changed_chat != chat
    assert marks("data.chat.split=held_out")[1] != chat
    # A stage that keeps its best evaluation becomes another where it is evaluated at other times.
    evals = "stages.chat.evaluate_every=3"
    assert marks("stages.chat.keep=last") == marks("stages.chat.keep=last", evals)
    for override in ("stages.chat.context=100", "stages.chat.replay=0.4", "stages.chat.train_on=all_tokens", evals):
        changed_base, changed_chat = marks(override)
        assert changed_base == base
        assert changed_chat != chat


def test_the_summary_holds_the_figures_that_others_build_on(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (format, knowledge):
        monkeypatch.setattr(module, "ANSWER", SamplingSettings(max_tokens=2))
    overrides = ["evaluate.base=['knowledge']", "evaluate.chat=['format','knowledge','forgetting']"]
    run = Run(load_recipe(recipe, overrides), tmp_path / "run")
    summary = run.run()
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    for stage in ("base", "chat"):
        names = ("steps", "tokens", "tokens_per_second", "seconds", "loss", "parameters", "trained_tokens")
        assert all(summary[f"stages.{stage}.{name}"] > 0 for name in names)
    for rate in (
        "evaluate.base.knowledge.cloze.held_out",
        "evaluate.chat.knowledge.held_out",
        "evaluate.chat.knowledge.trained",
        "evaluate.chat.knowledge.held_out.reversal",
        "evaluate.chat.knowledge.held_out.multi_hop",
        "evaluate.chat.knowledge.unknown.hallucinated",
        "evaluate.chat.format.compliant",
    ):
        low, middle, high = (summary[f"{rate}.{name}"] for name in ("low", "rate", "high"))
        assert 0 <= low <= middle <= high <= 1
        assert summary[f"{rate}.count"] > 0
    forgetting = {name: summary[f"evaluate.chat.forgetting.{name}"] for name in ("before", "after", "increase")}
    assert forgetting["after"] / forgetting["before"] - 1 == pytest.approx(forgetting["increase"])
    assert summary["seconds"] > 0
    assert summary["peak_rss_bytes"] > 2**20
    assert not any(isinstance(value, dict | list) for value in summary.values())

    measured = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*/evaluate/*.json")}
    assert len(measured) == 4
    again = run.run()
    assert {path: path.stat().st_mtime_ns for path in measured} == measured  # read, not measured again
    changing = {"seconds", "peak_rss_bytes"}
    assert {k: v for k, v in again.items() if k not in changing} == {
        k: v for k, v in summary.items() if k not in changing
    }


def test_a_run_opened_again_has_its_stages_and_data_in_the_order_of_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "order.toml"
    recipe.write_text("""
        name = "order"
        model = { depth = 1, width = 32, context = 64 }
        tokenizer = { kind = "bpe", vocab = 300 }
        [data]
        world = { kind = "world", people = 20, versions = 1 }
        again = { kind = "world", people = 20, versions = 1, seed = 1 }
        [stages]
        second = { kind = "pretrain", data = { world = 1, again = 1 }, steps = 1, batch_tokens = 256 }
        first  = { kind = "pretrain", from = "second", data = { again = 1 }, steps = 1, batch_tokens = 256 }
    """)
    Run(load_recipe(recipe), tmp_path / "run").run(only="second")
    opened, name = open_stage(tmp_path / "run")
    assert name == "second"
    assert list(opened.recipe.stages) == ["second", "first"]
    assert list(opened.recipe.stages["second"].data) == ["world", "again"]
    assert opened.stage_done("second") is not None


def test_a_folder_that_is_no_run_is_left_alone(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(SettingsError, match=r"holds files that are not a run; name a new or empty folder: out=DIR$"):
        Run(load_recipe(recipe), tmp_path / "mine").run()
    with pytest.raises(SettingsError, match=r"name a new or empty folder: --out DIR$"):
        Run(load_recipe(recipe), tmp_path / "mine", "--out DIR").run()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_two_runs_do_not_write_to_one_folder(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.05)
    sentence = f"^another run is writing to {tmp_path / 'run'}; wait for it, or name another folder: out=DIR$"
    with files.locked(tmp_path / "run", ""), pytest.raises(ValueError, match=sentence):
        Run(load_recipe(recipe), tmp_path / "run").run()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [files.LOCK]
    Run(load_recipe(recipe), tmp_path / "run").run(only="base")
    assert (tmp_path / "run" / "base" / "config.json").exists()


def test_a_new_stage_may_be_given_in_parts(recipe: Path) -> None:
    parts = ["kind=pretrain", "from=base", "data={world=1}", "steps=1"]
    made = load_recipe(recipe, [f"stages.more.{part}" for part in parts])
    assert list(made.stages) == ["base", "chat", "more"]


def test_only_an_external_checkpoint_has_nothing_to_run(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Run(load_recipe(recipe), tmp_path / "made").run(only="base")
    folder = tmp_path / "made" / "base"
    run = Run(load_recipe(recipe, [f"stages.base={{kind='model',path='{folder}',data={{world=1}}}}"]), tmp_path / "run")
    progress.set_mode("plain")
    run.run(only="base")
    assert "base: an external checkpoint; there is nothing to run\n" in capsys.readouterr().err


def test_pain_17_a_run_that_surely_forgot_more_than_it_may_is_told_so(tales: Path, tmp_path: Path) -> None:
    """Planted: fine-tuned at the rate of the pre-training and without replay, it forgets. Only what the interval leaves
    no doubt of counts."""
    chat = ["replay=0.0", "keep=last", "evaluate_every=0"]
    planted = ["stages.base.steps=120", *(f"stages.chat.{one}" for one in chat), "evaluate.chat=['forgetting']"]
    planted_run = Run(load_recipe(tales, planted), tmp_path)
    summary = planted_run.run()
    increase, low, high = (summary[f"evaluate.chat.forgetting.{name}"] for name in ("increase", "low", "high"))
    assert 0 < low < increase < high

    def said(limit: float) -> str:
        recipe = load_recipe(tales, [*planted, f"stages.chat.max_forgetting={limit}"])
        return Run(recipe, tmp_path).forgetting_exceeds_limit()

    assert planted_run.forgetting_exceeds_limit() == ""  # none was asked for
    assert said((low + increase) / 2) == said(high + 0.1) == ""
    sentence = said(low / 2)
    assert sentence.startswith(
        f"chat forgets too much: its loss on held-out text 'tales' rose by {increase:.1%} (95%: "
    )
    assert f"max_forgetting allows {low / 2:.1%}; replay more" in sentence


# finetune.toml names a model of a hub.
SHIPPED = [
    path
    for path in sorted(recipes_folder().glob("*.toml"))
    if "[stages.base]" in path.read_text() and path.name != "finetune.toml"
]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_recipe_can_be_loaded(path: Path) -> None:
    assert load_recipe(path).stages
