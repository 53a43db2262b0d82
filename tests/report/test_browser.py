"""The pages in a real browser, where one is installed: nothing runs over the edge, wide or narrow, light or dark."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made_policy import policy

from tutelage import progress
from tutelage.chat.token_page import rows_page
from tutelage.config import recipes_folder
from tutelage.evaluate.statistics import rate
from tutelage.html import page
from tutelage.recipe import load_recipe
from tutelage.report.compare import compare
from tutelage.report.compare_page import compare_page
from tutelage.report.page import style, write_report
from tutelage.report.read import MeanInterval, StoredResults
from tutelage.report.rewards import PARTS, SETS, rewards
from tutelage.report.rollouts import rollouts
from tutelage.rl.hacking import CurvePoint, curve_figures, length_figures, suspicious_samples
from tutelage.runner import Run
from tutelage.stages.look import page_rows, step_batches

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
MEASURE = """
<script>onload = () => { const page = document.querySelector("iframe").contentDocument;
  const wide = [...page.querySelectorAll("body *")].filter(e => {
    const box = e.getBoundingClientRect();
    let around = e.parentElement;
    while (around !== page.body && getComputedStyle(around).overflowX === "visible") around = around.parentElement;
    return box.width > 0 && box.right > WIDTH + 1 && around === page.body; });
  document.title = page.documentElement.scrollWidth + " " + wide.map(e => e.tagName + "." + e.className).join(" ");
}</script>"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A report, a comparison and rows of tokens, of a tiny run."""
    folder = tmp_path_factory.mktemp("browser") / "tiny"
    progress.set_mode("quiet")
    quick = ["stages.base.steps=4", "stages.base.evaluate_every=2", "stages.chat.evaluate_every=5"]
    run = Run(load_recipe(recipes_folder() / "tiny.toml", quick), folder)
    run.run()
    report = write_report(run).read_text()
    micro, tokenizer = step_batches(run.recipe.stages["chat"], run.context("chat"), 1)
    rows = rows_page("Rows", "What is trained.", page_rows(micro, tokenizer, 3))
    progress.set_mode("auto")
    return {
        "report": report,
        "comparison": compare_page(compare(folder, folder)),
        "rows": rows,
        "rewards": rewards_page(),
        "rollouts": rollouts_page(),
    }


def rewards_page() -> str:
    """True utility and proxy of a made-up reward model and a made-up policy."""
    random = np.random.default_rng(0)
    points = [
        CurvePoint(
            f"step {100 * n}", 0.9 * n * n, 10 * n + random.normal(0, 1, 9), 9 * n - 2 * n * n + random.random(9)
        )
        for n in range(6)
    ]
    words, prompt = random.integers(5, 90, 90).astype(float), np.repeat(np.arange(9), 10)
    lengths = {name: length_figures(words + random.normal(0, 9, 90), words, prompt) for name in ("proxy", "gold")}
    rows = [
        {"at": f"step {n}", "question": "Who is it, and why? " * 3, "answer": "Gladly. " * n, "proxy": n, "gold": -n}
        for n in range(30)
    ]
    means = {name: {"mean": 1234.5, "low": -1.5, "high": 2345.5} for name in ("true", "proxy", *PARTS)}
    figures = {name: {**means, "gain": {"true": means["true"], "proxy": means["proxy"]}} for name in SETS}
    calibration = {str(n): {"sure": 0.52 + 0.1 * n, "right": 0.5 + 0.1 * n, "count": 40.0} for n in range(5)}
    of_suites = {
        "utility": StoredResults(figures=figures),
        "hacking": StoredResults(
            figures=curve_figures("rl", points) | {"length": lengths}, samples=suspicious_samples(rows, 20)
        ),
        "preferences": StoredResults(figures={"calibration": calibration}),
    }
    known = {name: MeanInterval(0.9) for name in ("ceiling", "true_utility_accuracy", "share_of_ceiling")}
    rates = {"preferences.accuracy": rate(80, 100)}
    stage = SimpleNamespace(name="policy", rewards=of_suites, preferences=known, rates=rates)
    part = rewards([stage])  # type: ignore[list-item]
    assert part is not None
    assert "overoptimised" in part
    return page("Rewards", [style(), part])


def rollouts_page() -> str:
    """A made-up policy with everything that is drawn of one, and long answers."""
    part = rollouts([policy(100)])  # type: ignore[list-item]
    assert part is not None
    return page("Rollouts", [style(), part])


@pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["report", "comparison", "rows", "rewards", "rollouts"])
def test_nothing_runs_over_the_edge(name: str, width: int, dark: bool, pages: dict[str, str], tmp_path: Path) -> None:
    # The page's own policy would refuse to be measured; that it is there is tested with the page kit.
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", pages[name])
    frame = f'<iframe style="width:{width}px;height:2000px;border:0" srcdoc="{html.escape(bare)}"></iframe>'
    outer = tmp_path / "outer.html"
    outer.write_text(f"<!doctype html><meta charset=utf-8>{frame}{MEASURE.replace('WIDTH', str(width))}")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND", "--no-first-run", "--disable-background-networking"]
    flags += ["--hide-scrollbars"]
    flags += ["--blink-settings=preferredColorScheme=0"] * dark
    command = [BROWSER, *flags, "--virtual-time-budget=3000", "--window-size=1400,2100", "--dump-dom", outer.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None, done.stderr
    found, _, over = title[1].partition(" ")
    assert (int(found), over) == (width, "")


def test_no_page_asks_for_anything_outside(pages: dict[str, str]) -> None:
    for text in pages.values():
        assert re.findall(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//[^"')\s]+""", text) == []
        assert "default-src 'none'" in html.unescape(text)
