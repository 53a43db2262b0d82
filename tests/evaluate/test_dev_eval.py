from __future__ import annotations

import json
import shutil
from pathlib import Path

from tutelage import progress
from tutelage.evaluate.dev_eval import DevEval, run_dev_eval
from tutelage.model.hub import load_model
from tutelage.recipe import load_recipe
from tutelage.runner import Run


def dev_eval_of(run: Run) -> DevEval:
    found = run.trained_stage("chat").dev_eval(run.session("chat"), run.context("chat"))
    assert found is not None
    return found


def test_the_score_is_the_mean_of_what_was_asked(tales_run: Run) -> None:
    model, dev = load_model(tales_run.folder / "chat"), dev_eval_of(tales_run)
    assert (len(dev.prompts), list(dev.questions)) == (4, [])
    found = run_dev_eval(model, dev)
    assert list(found) == ["format", "in_vocabulary", "score"]
    assert found["score"] == (found["format"]["rate"] + found["in_vocabulary"]["rate"]) / 2
    assert list(run_dev_eval(model, DevEval(dev.prompts))) == ["format", "score"]
    assert run_dev_eval(model, DevEval(known_words=dev.known_words)) == {}


def test_a_model_that_writes_no_words_is_not_praised_for_having_written_no_wrong_one(
    tales: Path, tmp_path: Path
) -> None:
    """A model that answers "..." keeps the format; were its words left out of the mean, no other could beat it."""
    shutil.copytree(tales.parent, tmp_path, dirs_exist_ok=True)
    rows = [json.loads(row) for row in (tmp_path / "chat.jsonl").read_text().splitlines()]
    (tmp_path / "chat.jsonl").write_text("\n".join(json.dumps(row | {"completion": "..."}) for row in rows))
    run = Run(load_recipe(tmp_path / "tales.toml", ["evaluate={}", "stages.chat.evaluate_every=0"]), tmp_path / "run")
    progress.set_mode("quiet")
    run.run()
    found = run_dev_eval(load_model(run.folder / "chat"), dev_eval_of(run))
    progress.set_mode("auto")
    assert found["format"]["rate"] == 1
    assert found["score"] == 0.5
