"""The pages in a real browser, where one is installed: nothing runs over the edge, wide or narrow, light or dark."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tutelage import progress
from tutelage.chat.token_page import rows_page
from tutelage.config import recipes_folder
from tutelage.recipe import load_recipe
from tutelage.report.compare import compare
from tutelage.report.compare_page import compare_page
from tutelage.report.page import write_report
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
    return {"report": report, "comparison": compare_page(compare(folder, folder)), "rows": rows}


@pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["report", "comparison", "rows"])
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
    for page in pages.values():
        assert re.findall(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//[^"')\s]+""", page) == []
        assert "default-src 'none'" in html.unescape(page)
