"""The same synthesis in one process and on the workers of a real Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from synth_runs import balanced, files, recipe, rows

from tutelage.config import SettingsError, convert, to_plain
from tutelage.synth.recipe import SynthRecipe
from tutelage.synth.runner import synthesise


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    ray.init("local", num_cpus=2, object_store_memory=80 << 20, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def chain(**more: Any) -> SynthRecipe:
    """Two steps, a loop among them, with faults that the gate finds."""
    teacher = {"kind": "world", "faults": {"cut": 0.1, "refused": 0.1, "failed": 0.1}}
    make = {"kind": "evol_instruct", "rounds": 2}
    table = {"make": make, "then": [{"kind": "teacher_swap"}], "input": "world", "limit": 30, "teacher": teacher}
    return recipe({**table, **more})


@pytest.mark.usefixtures("cluster")
def test_many_workers_make_the_same_files(tmp_path: Path) -> None:
    summary = synthesise(chain(engine="ray", workers=2), tmp_path / "ray")
    plain = synthesise(chain(), tmp_path / "local")
    assert files(tmp_path / "ray") == files(tmp_path / "local") and balanced(summary)
    assert summary["usage"]["teacher"]["requests"] == plain["usage"]["teacher"]["requests"] > 60
    resumed = synthesise(chain(engine="ray", workers=2), tmp_path / "local")  # one may go on with the other's
    assert resumed["usage"]["teacher"]["requests"] == 0 and resumed["rows"] == len(rows(tmp_path / "ray"))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_local_model_answers_alike_on_workers_and_is_asked_once(tales_run: Any, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "what does the cat do?"}\n{"prompt": "and the dog?"}\n')
    teacher = {"kind": "local", "path": str(tales_run.folder / "chat"), "parallel": 2}
    make = {"kind": "teacher_swap", "sampling": {"max_tokens": 20}}
    table = {"make": make, "input": str(tmp_path / "prompts.jsonl"), "teacher": teacher, "min_kept": 0}
    on_ray = recipe({**table, "engine": "ray", "workers": 2})
    synthesise(on_ray, tmp_path / "ray")
    synthesise(recipe(table), tmp_path / "local")
    assert files(tmp_path / "ray") == files(tmp_path / "local")
    again = synthesise(on_ray, tmp_path / "ray", again=True)
    assert again["usage"]["teacher"] | {"cached": 0} == dict.fromkeys(again["usage"]["teacher"], 0)


@pytest.mark.usefixtures("cluster")
def test_a_model_that_a_worker_cannot_load_is_an_error_of_one_line(tmp_path: Path) -> None:
    loaded = chain(engine="ray", workers=1, teacher={"kind": "world", "faults": {"wrogn": 0.1}})
    with pytest.raises(ValueError, match="did you mean 'wrong'"):
        synthesise(loaded, tmp_path)


def test_what_ray_cannot_help_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="an endpoint is asked from this process"):
        synthesise(chain(engine="ray", teacher="http://127.0.0.1:1/v1"), tmp_path)
    with pytest.raises(SettingsError, match="workers is for engine=ray"):
        convert(to_plain(chain()) | {"workers": 3}, SynthRecipe)
