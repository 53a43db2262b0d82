"""Preferences of the built-in world as a recipe: stages, evaluations against the known utility, and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_recipe import run_quietly

from tutelage.batching.datasets import falls_in
from tutelage.chat import make_renderer
from tutelage.config import SettingsError
from tutelage.evaluate.item_figures import item_figures
from tutelage.evaluate.suites import best_of_n, hacking, utility
from tutelage.evaluate.suites.preferences import item_sides, ranked_pairs, score_gaps
from tutelage.model.hub import load_model
from tutelage.recipe import load_recipe
from tutelage.records import Conversation, Preference, message
from tutelage.report.page import report_page
from tutelage.report.read import read_run
from tutelage.rl.hacking import kl_best_of_n
from tutelage.rl.reward_model import combined, reward_scores, token_scores
from tutelage.runner import Run
from tutelage.stages.data import preferences
from tutelage.stages.data_world import known_utility
from tutelage.world.preferences import noise_ceiling

RECIPE = """
name      = "small"
model     = { depth = 1, width = 32, context = 160 }
tokenizer = { kind = "bpe", vocab = 600, data = ["world", "answers"] }

[data]
world    = { kind = "world", people = 20, versions = 1, arithmetic = 0.0, everyday = 0.0 }
answers  = { kind = "world-answers", rows = 40 }
pairs    = { kind = "world-preferences", rows = 60, flaw = "politeness" }
rankings = { kind = "world-preferences", rows = 30, answers = 4, ties = 0.5 }

[stages.base]
kind = "pretrain"
data = { world = 1 }
steps = 4
batch_tokens = 1024
lr = 1e-2

[stages.chat]
kind = "sft"
from = "base"
data = { answers = 1 }
steps = 10
batch_tokens = 1024
lr = 1e-2

[stages.scorer]
kind = "reward"
from = "chat"
data = { pairs = 1 }
held_out = 0.3
steps = 6
batch_tokens = 1024
lr = 1e-2

[stages.ranked]
kind = "reward"
from = "chat"
data = { rankings = 1 }
held_out = 0.3
loss_type = "plackett_luce"
steps = 4
batch_tokens = 1024
lr = 1e-2

[stages.better]
kind = "dpo"
from = "chat"
data = { pairs = 1 }
held_out = 0.3
steps = 6
save_every = 2
batch_tokens = 1024
lr = 1e-2

[stages.kto]
kind = "kto"
from = "chat"
data = { pairs = 1 }
steps = 2
batch_tokens = 1024
lr = 1e-3

[evaluate]
chat = ["utility"]
scorer = ["preferences", "best_of_n"]
ranked = ["preferences"]
better = ["preferences", "utility", "hacking"]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("world")
    (folder / "small.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        for module, constants in ((utility, ("PROMPTS",)), (best_of_n, ("PROMPTS", "DRAWS")), (hacking, ("PROMPTS",))):
            for name in constants:
                patch.setattr(module, name, 8)
        patch.setattr(best_of_n, "COUNTS", (1, 2, 4, 8))
        for module, settings in ((utility, "SAMPLED"), (best_of_n, "DECODING"), (hacking, "DECODING")):
            patch.setattr(module, settings, utility.SamplingSettings(temperature=1.0, max_tokens=16))
        return run_quietly(Run(load_recipe(folder / "small.toml", []), folder / "run"))


def results(run: Run, stage: str, suite: str) -> dict[str, Any]:
    return json.loads((run.folder / stage / "evaluate" / f"{suite}.json").read_text())["results"]


def test_the_ceiling_is_that_of_the_held_out_rows(run: Run) -> None:
    """Computed again from the rows, by their names."""
    table = run.recipe.data
    held_out = [row for row in preferences("pairs", table) if falls_in(row.id, 0.3)]
    ceiling = noise_ceiling([(row.known[0], row.known[1]) for row in held_out if isinstance(row, Preference)])
    for stage in ("scorer", "better"):
        figures = results(run, stage, "preferences")["figures"]
        assert figures["ceiling"]["mean"] == pytest.approx(ceiling.labeller, abs=1e-6)
        assert figures["true_utility_accuracy"]["mean"] == pytest.approx(ceiling.true, abs=1e-6)
        rate = results(run, stage, "preferences")["rates"]["accuracy"]["rate"]
        assert figures["share_of_ceiling"]["mean"] == pytest.approx(rate / ceiling.labeller, abs=1e-6)


def test_rankings_are_measured_pair_by_pair_with_their_prompts_resampled_together(run: Run) -> None:
    found = results(run, "ranked", "preferences")
    accuracy, prompts = found["rates"]["accuracy"], len(found["outcomes"]["accuracy"])
    assert accuracy["low"] <= accuracy["rate"] <= accuracy["high"]
    assert 3 * prompts < accuracy["count"] <= 6 * prompts  # 4 answers, some of which tie


def test_the_calibration_of_a_model_of_rankings_is_that_of_its_pairs(run: Run) -> None:
    """The mean gap of a prompt is no difference of two scores."""
    session = run.session("ranked")
    (store,) = session.open_preferences().values()
    scorer = session.checkpoint("model")
    assert session.items is not None
    margins = item_figures(scorer.model, store, session.items, 1024)["margin"]
    gaps = score_gaps(scorer, store, margins)
    counts = [len(ranked_pairs(item)) for item in item_sides(store)]
    assert len(gaps) == sum(counts)
    for own, margin in zip(np.split(gaps, np.cumsum(counts)[:-1]), margins, strict=True):
        assert own.mean() == pytest.approx(margin, abs=1e-5)
    bins = results(run, "ranked", "preferences")["figures"]["calibration"]
    assert sum(row["count"] for row in bins.values()) == len(gaps)


def test_utility_is_measured_on_known_people_on_others_and_under_another_rule(run: Run) -> None:
    figures = results(run, "better", "utility")["figures"]
    assert figures.keys() == {"trained", "held_out", "rule_changed"}
    for name in figures:
        true, gain = figures[name]["true"], figures[name]["gain"]["true"]
        assert true["low"] <= true["mean"] <= true["high"]
        before = results(run, "chat", "utility")["figures"][name]
        assert "gain" not in before  # its parent does not chat
        assert gain["mean"] == pytest.approx(true["mean"] - before["true"]["mean"])
    known = known_utility(["pairs"], run.recipe.data)
    assert known is not None
    for sample in results(run, "better", "utility")["samples"][:8]:
        task = next(task for task in utility.task_sets(known, 8)[sample["set"]] if task.prompt == sample["question"])
        assert sample["true"] == known.true(task, sample["answer"])
        assert sample["proxy"] == known.proxy(task, sample["answer"])


def test_best_of_n_sits_on_its_divergence_and_its_proxy_rises(run: Run) -> None:
    figures = results(run, "scorer", "best_of_n")["figures"]
    assert [point["kl"] for point in figures["points"]] == [kl_best_of_n(n) for n in (1, 2, 4, 8)]
    proxies = [point["proxy"] for point in figures["points"]]
    assert proxies == sorted(proxies)
    assert figures["points"][0]["gain"]["gold"] == {"mean": 0, "low": 0, "high": 0}
    gaps = [sample["gap"] for sample in results(run, "scorer", "best_of_n")["samples"]]
    assert gaps == sorted(gaps, reverse=True)


def test_the_kept_steps_are_a_curve_from_the_parent_on(run: Run) -> None:
    figures = results(run, "better", "hacking")["figures"]
    points = figures["points"]
    assert [point["name"] for point in points] == ["start", "step 2", "step 4", "step 6", "end"]
    assert points[0]["kl"] == 0
    assert points[2]["kl"] > 0
    assert points[-1]["kl"] == points[-2]["kl"]  # the last kept step is the finished model
    assert points[-1]["gold"] == points[-2]["gold"]


def test_pains_13_and_14_scores_of_texts_are_those_of_their_tokens_whatever_is_scored_beside_them(run: Run) -> None:
    """An ensemble takes the mean or the lowest."""
    scorer, other = load_model(run.folder / "scorer"), load_model(run.folder / "ranked")
    texts = ["Gladly. It was a pleasure.", "I do not know.", "Of course. " * 9]
    chats = [Conversation((message("user", "Who is it?"), message("assistant", text))) for text in texts]
    scores = reward_scores([scorer], chats)
    assert len(set(scores.tolist())) == 3
    for chat, score in zip(chats, scores, strict=True):
        assert reward_scores([scorer], [chat])[0] == pytest.approx(score, abs=1e-5)
        ((rendered,),) = make_renderer(scorer.tokenizer, scorer.chat_config).render_rows([chat])
        ids = rendered.ids[: int(np.flatnonzero(rendered.weights)[-1]) + 1]
        assert token_scores(scorer, [ids])[0] == pytest.approx(score, abs=1e-5)
    both = np.stack([scores, reward_scores([other], chats)])
    for combine, expected in (("mean", both.mean(0)), ("worst", both.min(0))):
        np.testing.assert_allclose(reward_scores([scorer, other], chats, combine), expected)  # type: ignore[arg-type]
        np.testing.assert_allclose(combined(list(both), combine), expected)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='no head "reward"; train one with `tutelage reward`'):
        reward_scores([load_model(run.folder / "better")], chats)


def test_the_report_shows_utility_curves_samples_and_calibration(run: Run) -> None:
    page = report_page(run, read_run(run))
    for text in ("True utility and proxy", "under another rule", "Every point", "√KL", "Gao et al. 2022"):
        assert text in page
    assert results(run, "scorer", "best_of_n")["figures"]["verdict"]["sentence"][1:] in page
    assert "which the labeller's own utility reaches" in page.replace("&#x27;", "'").replace("&#39;", "'")
    assert results(run, "better", "hacking")["samples"][0]["question"] in page.replace("&#x27;", "'")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("pairs    = { kind", "pairs    = { rows = 0, kind"), "rows"),
        (('chat = ["utility"]', 'chat = ["best_of_n"]'), "'best_of_n' needs a reward model"),
        (
            ("data = { pairs = 1 }\nheld_out = 0.3\nsteps = 6\nsave", "data = { answers = 1 }\nsteps = 6\nsave"),
            "'answers' holds conversations",
        ),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(RECIPE.replace(*change).replace("rows = 60, ", "" if "rows = 0" in change[1] else "rows = 60, "))
    with pytest.raises(SettingsError, match=said):
        load_recipe(path, [])


def test_dpo_refuses_rankings_with_the_stage_that_takes_them(run: Run, tmp_path: Path) -> None:
    recipe = load_recipe(run.folder.parent / "small.toml", ["stages.better.data={ rankings = 1 }"])
    with pytest.raises(ValueError, match="ranks 4 answers; train a reward model on it"):
        Run(recipe, tmp_path).trained_stage("better").prepare(Run(recipe, run.folder).context("better"))


def test_hacking_needs_kept_steps(run: Run) -> None:
    session = run.session("better")
    session.kept = dict
    with pytest.raises(ValueError, match="set save_every of the stage"):
        hacking.run(session)
