from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tutelage.config import to_plain
from tutelage.model.sizes import ModelSettings, parameter_count, resolve
from tutelage.model.transformer import Transformer
from tutelage.scaling.points import load_points, parameter_counts, read_points, run_rows, write_points


def test_a_table_is_read_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    """Points before the end of their schedule and of many epochs would bend the fit."""
    path = tmp_path / "p.csv"
    path.write_text(
        "name,parameters_total,parameters_matrices,tokens,loss,epochs,finished,flops\n"
        "a,10,8,100,3.5,1,1,\n"
        "b,20,16,100,3.0,1,1,99\n"
        "c,20,16,100,2.9,8,1,\n"
        "d,20,16,50,3.2,1,0,\n"
        "e,20,16,,3.2,1,1,\n"
    )
    points = read_points(path)
    assert points.count == "matrices"
    assert points.parameters.tolist() == [8, 16]
    assert points.compute.tolist() == [6 * 8 * 100, 99]
    assert points.dropped == {
        "parameters, tokens or loss missing or not positive": 1,
        "training stopped before its schedule ended": 1,
        "more than 4 epochs": 1,
    }
    assert read_points(path, "total").parameters.tolist() == [10, 20]
    assert points.ranges()["tokens_per_parameter"] == (6.25, 12.5)


def test_a_table_that_does_not_name_its_count_says_so(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    write_points(path, [{"parameters": 10, "tokens": 20, "loss": 3}])
    assert read_points(path).count == "unnamed"
    with pytest.raises(ValueError, match="has no column parameters_total; it has parameters, tokens, loss"):
        read_points(path, "total")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no rows"),
        ("parameters,tokens\n1,2\n", "has no column 'loss'"),
        ("tokens,loss\n1,2\n", "has no column of parameters"),
        ("parameters,tokens,loss\n1,2\n", "row 1 has more or fewer cells"),
        ("parameters,tokens,loss\n1,2,x\n", "row 1, column 'loss': 'x' is not a number"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_points(path)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("position", ["rotary", "learned"])
def test_three_counts_of_the_same_model(tied: bool, position: str) -> None:
    """Each is a sum over the tensors of the model itself."""
    settings = ModelSettings(depth=2, width=64, context=32, tied=tied, position=position, mlp="gelu")  # type: ignore[arg-type]
    config = resolve(settings, 300)
    counts = parameter_counts(config)
    assert counts["total"] == parameter_count(config)
    blocks = dict(Transformer(config).blocks.named_parameters())
    matrices = sum(tensor.numel() for tensor in blocks.values() if tensor.ndim == 2)
    gains = sum(tensor.numel() for tensor in blocks.values() if tensor.ndim == 1) + 64
    assert counts["matrices"] == matrices + 300 * 64
    assert counts["no_embedding"] == matrices + gains


def write_stage(folder: Path, **changes: object) -> None:
    stage = {
        "reads": "documents",
        "settings": {"from": None},
        "held_out": {"world": 3.5},
        "epochs": {"world": 0.5},
        "trained_tokens": 1000.0,
        "selected": {"step": 10},
        "steps": 10,
        "lr": 0.01,
        "seconds": 1.0,
    }
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(json.dumps({**stage, **changes}))
    config = resolve(ModelSettings(depth=1, width=32), 300)
    (folder / "config.json").write_text(json.dumps(to_plain(config)))


def test_finished_runs_are_points(tmp_path: Path) -> None:
    write_stage(tmp_path / "run" / "base")
    write_stage(tmp_path / "run" / "sft", reads="conversations")
    write_stage(tmp_path / "run" / "mid", settings={"from": "base"})
    write_stage(tmp_path / "run" / "two", held_out={"a": 1.0, "b": 2.0})
    rows, skipped = run_rows([tmp_path])
    assert [row["loss"] for row in rows] == [3.5]
    assert dict(skipped) == {
        "not pre-training from random weights": 2,
        "held-out loss of no or several data sets": 1,
    }
    points = load_points([tmp_path / "run"], "total")
    assert points.parameters.tolist() == [parameter_count(resolve(ModelSettings(depth=1, width=32), 300))]
    assert sum(points.dropped.values()) == 3
    assert np.isnan(points.budget).all()


def test_the_share_of_made_text_is_that_of_the_trained_tokens(tmp_path: Path) -> None:
    """And the loss is that of text which is not made."""
    parts = {"held_out": {"world": 3.5, "retold": 1.0}, "epochs": {"world": 0.5, "retold": 9.0}}
    write_stage(tmp_path / "run" / "base", **parts, trained_by_dataset={"world": 750.0, "retold": 250.0})
    write_stage(tmp_path / "run" / "plain", trained_by_dataset={"world": 1000.0})
    points = load_points([tmp_path / "run"], made=["retold"])
    assert points.made is not None
    assert points.made.tolist() == [0.25, 0.0]
    assert points.loss.tolist() == [3.5, 3.5]
    assert load_points([tmp_path / "run"]).made is None


def test_folders_without_points_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished pre-training below"):
        load_points([tmp_path])
    (tmp_path / "p.csv").write_text("parameters,tokens,loss\n1,2,3\n")
    with pytest.raises(ValueError, match="and not both"):
        load_points([tmp_path, tmp_path / "p.csv"])
