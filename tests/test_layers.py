"""Imports only go up the list of layers, and never in a circle; and only stages/ knows the kinds of stages."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

# A file may import from what stands above its own name, and from inside its own folder.
ORDER = """
__init__ records files ledger config progress process tracking workers ray_cluster intervals html client extras text
io sandbox scoring world tokenizer chat corpus cost batching model train engine tools rl evaluate probing synth stages
recipe runner find_model sft_recipe rl_recipe plan predicted settings_page report doctor scaling lab serve annotate cli
__main__
""".split()


def imported_modules(path: Path, root: Path) -> set[str]:
    """Every module of the package that a file imports: at its top, inside functions, or for type checking only."""
    package = list(path.relative_to(root.parent).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                inner = root.parent.joinpath(*base.split("."), alias.name)
                found.add(f"{base}.{alias.name}" if inner.with_suffix(".py").exists() or inner.is_dir() else base)
    return {name for name in found if name.split(".")[0] == root.name}


def violations(root: Path) -> list[str]:
    """One sentence for each import that goes down the list, each file that is not on it, and each circle."""
    sentences, graph = [], {}
    for path in sorted(root.rglob("*.py")):
        parts = [*path.relative_to(root.parent).with_suffix("").parts]
        layer = parts[1]
        if layer not in ORDER:
            sentences.append(f"{path.name}: '{layer}' is not in ORDER of tests/test_layers.py; put it there")
            continue
        imports = imported_modules(path, root)
        graph[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = imports
        for name in sorted(imports):
            other = [*name.split("."), "__init__"][1]
            if other not in ORDER:
                sentences.append(f"{'.'.join(parts)} imports {name}, which is not in ORDER of tests/test_layers.py")
            elif other != layer and ORDER.index(other) > ORDER.index(layer):
                sentences.append(f"{'.'.join(parts)} imports {name}, which stands below it")
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        sentences.append("these modules import each other in a circle: " + " <- ".join(error.args[1]))
    return sentences


def test_imports_only_go_up() -> None:
    package = Path(__file__).parents[1] / "tutelage"
    assert len(list(package.rglob("*.py"))) > 5
    assert violations(package) == []


def test_what_is_forbidden_is_found(tmp_path: Path) -> None:
    root = tmp_path / "tutelage"
    files = {
        "records.py": "def late():\n    from tutelage import cli",
        "cli.py": "import tutelage.records",
        "model/__init__.py": "",
        "model/heads.py": "from tutelage.model import cache",
        "model/cache.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .heads import Head",
        "helpers.py": "",
        "world/people.py": "from tutelage.records import Document\nfrom . import names",
        "world/names.py": "from ..cli import main",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    found = violations(root)
    assert "tutelage.records imports tutelage.cli, which stands below it" in found
    assert "tutelage.world.names imports tutelage.cli, which stands below it" in found
    assert any("'helpers' is not in ORDER" in sentence for sentence in found)
    assert any("circle" in sentence for sentence in found)
    assert len(found) == 4

    (root / "records.py").write_text("", encoding="utf-8")
    (root / "world/names.py").write_text("", encoding="utf-8")
    (root / "helpers.py").unlink()
    circle = violations(root)
    assert len(circle) == 1
    assert "tutelage.model.heads" in circle[0]

    (root / "model/cache.py").write_text("", encoding="utf-8")
    assert violations(root) == []


STAGE_KINDS = {"Stage", "TrainStage", "FineTune", "Pretrain", "Sft", "PretrainedModel", "AnyStage"}


def kind_checks(root: Path) -> list[str]:
    """Where a file outside stages/ asks which kind a stage is, by isinstance, issubclass, match or type()."""
    found = []
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] == "stages":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            asked: list[ast.AST] = []
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
                asked = [*node.args[1:]]
            elif isinstance(node, ast.MatchClass):
                asked = [node.cls]
            elif isinstance(node, ast.Compare):  # type(stage) is Sft
                sides = [node.left, *node.comparators]
                calls = [
                    side for side in sides if isinstance(side, ast.Call) and getattr(side.func, "id", "") == "type"
                ]
                asked = [*sides] if calls else []
            inner = [name for part in asked for name in ast.walk(part)]
            names = {getattr(name, "attr", getattr(name, "id", "")) for name in inner}
            if kinds := sorted(names & STAGE_KINDS):
                found.append(f"{path.relative_to(root)}:{node.lineno}: {', '.join(kinds)}")  # type: ignore[attr-defined]
    return found


def test_no_kind_of_stage_is_asked_for_outside_stages() -> None:
    """What differs from kind to kind is a method of the stage, so that a new kind is one file."""
    assert kind_checks(Path(__file__).parents[1] / "tutelage") == []


def test_a_check_of_a_kind_is_found(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "base.py").write_text("isinstance(stage, TrainStage)")
    (tmp_path / "plan.py").write_text(
        "isinstance(stage, Sft)\n"
        "isinstance(stage, int | settings.Pretrain)\n"
        "isinstance(stage, (str, PretrainedModel))\n"
        "isinstance(Sft, type)\n"
        "type(stage) is Sft\n"
        "issubclass(kind, FineTune)\n"
        "match stage:\n    case Sft():\n        pass\n"
    )
    lines = [sentence.split(":")[1] for sentence in kind_checks(tmp_path)]
    assert sorted(lines) == ["1", "2", "3", "5", "6", "8"]
