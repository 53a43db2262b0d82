from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tutelage import progress
from tutelage.config import SettingsError, recipes_folder
from tutelage.scaling.climb import climb
from tutelage.scaling.ladder import arms, load_ladder, recipe_of, sizes_of
from tutelage.scaling.ladder_result import LadderResult, ladder_lines, ladder_page, ladder_result
from tutelage.scaling.points import load_points, read_points
from tutelage.scaling.sweeps import lr_law, sweep_lines, tune_small, tuning_line

SMALL = """
name    = "small"
budgets = [2e9, 4e9]
tokens_per_parameter = [0.01, 1000]
lr       = 1e-2
lr_width = 16
lr_exponent = -0.5
sweep   = { budget = 2e9, factors = [0.5, 2] }
model   = { context = 64, depth = 1 }
tokenizer = { kind = "bpe", vocab = 300 }
[sizes]
w16 = { width = 16, heads = 1 }
w32 = { width = 32 }
[data.world]
kind = "world"
people = 20
versions = 2
[stage]
data = { world = 1 }
batch_tokens = 512
held_out = 0.1
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def quiet_terminal() -> object:
    progress.set_mode("quiet")
    yield
    progress.set_mode("auto")


def test_the_shipped_ladder_fits_in_an_hour() -> None:
    """Each budget has at least four sizes, for a parabola; all arms together cost less than 4e10 FLOPs a second do."""
    ladder = load_ladder(recipes_folder() / "ladder.toml")
    planned = arms(ladder)
    for budget in ladder.budgets:
        assert sum(arm.budget == budget and arm.factor == 1 for arm in planned) >= 4
    assert ladder.baselines is not None
    lstms = [arm for arm in planned if arm.factor == 1 and arm.budget in ladder.baselines.budgets]
    flops = sum(arm.budget for arm in planned) + len(ladder.baselines.lrs) * sum(arm.budget for arm in lstms)
    assert flops < 4e10 * 3600
    assert len({(arm.size, arm.stage) for arm in planned}) == len(planned)


def test_arms_share_a_budget_and_the_points_come_first(small: Path) -> None:
    ladder = load_ladder(small)
    planned = arms(ladder)
    assert len(planned) == 2 * 2 + 2 * 2
    for arm in planned:
        assert 6 * arm.parameters * arm.tokens == pytest.approx(arm.budget, rel=0.1)
    assert [arm.factor for arm in planned[:4]] == [1] * 4
    assert [arm.budget for arm in planned[:4]] == sorted(arm.budget for arm in planned[:4])
    lrs = {arm.size: arm.lr for arm in planned if arm.factor == 1}
    assert lrs["w32"] == pytest.approx(lrs["w16"] / 2**0.5)
    assert recipe_of(ladder, "w16").stages.keys() == {
        "flops_2e09", "flops_4e09", "flops_2e09_lr_0_5", "flops_2e09_lr_2",
    }  # fmt: skip


def test_a_range_of_tokens_per_parameter_leaves_sizes_out(small: Path) -> None:
    ladder = load_ladder(small, ["tokens_per_parameter=[5, 1000]"])
    assert sizes_of(ladder) == ["w16"]
    with pytest.raises(SettingsError, match="no size has 1e"):
        load_ladder(small, ["tokens_per_parameter=[1e6, 1e7]"])


def test_the_learning_rate_of_a_ladder_follows_from_its_sweeps() -> None:
    """A size with a single rate is no sweep."""
    lrs = (1e-3, 2e-3, 4e-3, 8e-3)
    rows = [
        {"parameters_matrices": size, "lr": lr, "loss": 3 + math.log(lr / (0.1 * size**-0.25)) ** 2}
        for size in (1e5, 1e6)
        for lr in lrs
    ]
    law = lr_law([*rows, {"parameters_matrices": 1e7, "lr": 1e-3, "loss": 3.0}], bootstraps=20)
    assert law.exponent.value == pytest.approx(-0.25)
    assert list(law.curves) == [1e5, 1e6]
    assert "best learning rate ~ N^-0.25" in next(sweep_lines(law))


def test_smaller_sizes_tune_the_largest() -> None:
    """Four rates at each of three sizes: 8 small trainings and a large one, beside 4 large ones."""
    rows = [
        {"parameters_matrices": size, "tokens": 1e6, "lr": lr, "loss": 3 + math.log(lr / (0.1 * size**-0.25)) ** 2}
        for size in (1e4, 1e5, 1e6)
        for lr in (1e-3, 2e-3, 4e-3, 8e-3)
    ]
    tuned = tune_small(rows)
    assert tuned.lr.value == pytest.approx(0.1 * 1e6**-0.25)
    assert tuned.decades == pytest.approx(1)
    assert (tuned.tried, tuned.best_lr) == (4e-3, 4e-3) and tuned.loss == tuned.best
    assert tuned.compute == pytest.approx((4 * 1e4 + 4 * 1e5 + 1e6) / 4e6)
    assert "for 36% of the compute" in tuning_line(tuned)
    with pytest.raises(ValueError, match="do not determine a law"):
        tune_small([row for row in rows if row["parameters_matrices"] > 1e4])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budgets=[]", "budgets needs FLOPs above 0"),
        ("budget=[1e9]", "budget"),
        ("stage.batch_tokens='x'", r"small\.toml: stage\.batch_tokens must be a whole number"),
        ("stage.lr=1", "stage.lr is set by the ladder"),
        ("sizes.w16.width=15", "size w16"),
        ("baselines={budgets=[1e9], lrs=[1e-3]}", "baselines.budgets needs budgets of the ladder"),
        ("baselines={budgets=[2e9], lrs=[]}", "baselines needs lrs"),
    ],
)
def test_a_mistake_is_found_before_anything_is_trained(small: Path, override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_ladder(small, [override])


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that advances by so much at every reading."""
    readings = iter(range(1000))
    return lambda: next(readings) * seconds


@pytest.mark.usefixtures("quiet_terminal")
def test_a_ladder_stops_in_time_and_resumes(small: Path, tmp_path: Path) -> None:
    """Every reading of the clock is half an hour later, so the first training takes half an hour, and the next would
    end after the limit."""
    ladder = load_ladder(small, ["budgets=[5e8]", "sweep={budget=5e8, factors=[2]}"])
    folder = tmp_path / "run"
    left = climb(ladder, folder, hours=1.2, clock=ticking(1800))
    assert len(left) == 3
    assert len(read_points(folder / "points.csv")) == 1
    assert "3 trainings are left" in "\n".join(ladder_lines(ladder_result(ladder, folder, left)))

    before = (folder / "w16" / "flops_5e08" / "stage.json").read_bytes()
    assert climb(ladder, folder) == []
    assert (folder / "w16" / "flops_5e08" / "stage.json").read_bytes() == before
    points = read_points(folder / "points.csv")
    assert points.count == "matrices"
    assert points.budget.tolist() == [5e8, 5e8]
    assert points.compute == pytest.approx(points.budget, rel=0.15)
    assert len(read_points(folder / "sweeps.csv")) == 4
    assert len(load_points([folder])) == 4
    result = ladder_result(ladder, folder, [])
    assert "2 points with 2 sizes" in result.refused["laws"]
    assert "0 sweeps do not" in result.refused["lr"]
    assert result.to_plain()["laws"] is None
    assert "not fitted: 0 sweeps do not" in (folder / "index.html").read_text()


@pytest.mark.usefixtures("quiet_terminal")
def test_baselines_of_a_ladder_are_trained_last_and_kept(small: Path, tmp_path: Path) -> None:
    one = ["budgets=[2e9]", "sizes={w16={width=16, heads=1}}", "sweep={budget=2e9, factors=[]}"]
    baselines = "baselines={budgets=[2e9], lrs=[1e-3, 1e-2], layers=1, order=3}"
    ladder = load_ladder(small, [*one, baselines])
    folder = tmp_path / "run"
    left = climb(ladder, folder, hours=1.2, clock=ticking(1800))
    assert [arm.stage for arm in left] == ["flops_2e09_lstm"] * 2
    assert ladder_result(ladder, folder, left).baselines == []

    assert climb(ladder, folder) == []
    files = {path: path.stat().st_mtime_ns for path in (folder / "baselines").iterdir()}
    assert len(files) == 4
    assert climb(ladder, folder) == []
    assert {path: path.stat().st_mtime_ns for path in files} == files
    result = ladder_result(ladder, folder, [])
    (row,) = result.to_plain()["baselines"]
    transformer, lstm, ngrams = row["models"]
    assert transformer["loss"] == pytest.approx(result.points[0]["loss"], rel=1e-5)
    assert max(model["loss"] for model in (transformer, lstm, ngrams)) < math.log(300)
    assert lstm["change"]["low"] <= lstm["change"]["value"] <= lstm["change"]["high"]
    assert row["lstm_lr"] == 1e-2
    assert "n-grams" in "\n".join(ladder_lines(result))
    assert (folder / "index.html").read_text().count("<svg") == 2 * 2


def test_the_page_of_a_ladder_has_its_sweeps(small: Path, tmp_path: Path) -> None:
    rows = [
        {"parameters_matrices": size, "lr": lr, "loss": 3 + math.log(lr / (0.1 * size**-0.25)) ** 2}
        for size in (1e5, 1e6)
        for lr in (1e-3, 2e-3, 4e-3, 8e-3)
    ]
    result = LadderResult(tmp_path, [], [], None, lr_law(rows, bootstraps=20), None, [], {"laws": "too few points"})
    text = ladder_page(result, "small")
    assert "N = 100,000, parabola" in text
    assert "best learning rate ~ N^-0.25" in text
    assert "laws: not fitted: too few points" in text
