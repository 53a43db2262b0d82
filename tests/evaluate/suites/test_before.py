from __future__ import annotations

from pathlib import Path

from tutelage.evaluate.suites import SUITES
from tutelage.recipe import load_recipe
from tutelage.runner import Run


def test_before_is_what_the_model_could_do_that_a_stage_starts_from(
    tales: Path, tales_run: Run, tmp_path: Path
) -> None:
    """A base model has no turns to keep; a chat model answers the same prompts as the stage that starts from it."""
    assert SUITES["before"].run(tales_run.session("chat")).to_plain() == {
        "rates": {},
        "outcomes": {},
        "samples": (),
        "figures": {},
    }
    folder = tales_run.folder / "chat"
    model = f"stages.base={{kind='model',path='{folder}',data={{tales=1}},lr=0.01}}"
    run = Run(load_recipe(tales, [model, "stages.chat.steps=2", "evaluate.chat=['before','format']"]), tmp_path / "run")
    summary = run.run()
    assert SUITES["before"].run(run.session("chat")).rates["format.prompts.near"].count == 2
    # The model it starts from answered the very same prompts in its own run.
    for name in ("compliant", "prompts.near", "prompts.seen", "stops", "in_vocabulary"):
        before = summary[f"evaluate.chat.before.format.{name}.rate"]
        assert before == tales_run.summary()[f"evaluate.chat.format.{name}.rate"]
