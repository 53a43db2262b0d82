"""Runs a selection on a file: reads it, decides, and writes the kept rows with an account of the others."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from tutelage.chat.audit.fix import openai_row
from tutelage.chat.formats import read_conversations
from tutelage.files import atomic_file, to_json, write_json
from tutelage.ledger import Ledger
from tutelage.synth.selection import SELECTIONS
from tutelage.synth.selection.candidates import Candidates
from tutelage.synth.teacher import LocalTeacher, parse_teacher
from tutelage.synth.teachers import open_teacher

WORSE = "ranked below those that are kept"


def select_rows(
    path: Path, out: Path, by: str, keep: int, model: Path | None = None, judge: str | None = None, seed: int = 0
) -> dict[str, Any]:
    """Keep at most `keep` conversations of a file, in its order; "OUT.ledger.json" says why the others are not.

    model: the folder of a model, for losses, embeddings and success rates; judge: an endpoint, the folder of a model,
    or "world", for scores. Answers of models are cached beside `out`.

    Raises:
        DiskError, ValueError: the file cannot be read; or the selection needs a model or a judge that is not given.
    """
    reading, ledger = Ledger("reading"), Ledger(f"{path} by {by} -> {out}")
    rows = list(read_conversations(path, reading, 1.0))
    cache_folder = out.with_name(f"{out.name}.answers")
    with ExitStack() as stack:

        @cache
        def checkpoint() -> Any:
            from tutelage.synth import measures

            assert model is not None
            return measures.open_local(model)

        given: dict[str, Any] = {}
        if model is not None:
            from tutelage.synth import measures

            def successes() -> Any:
                teacher = open_teacher(LocalTeacher(path=str(model)), cache_folder / "model.jsonl")
                stack.callback(teacher.close)
                return measures.success_rates(teacher, rows)

            given |= {
                "losses": lambda: measures.answer_losses(checkpoint(), rows),
                "embeddings": lambda: measures.embeddings(checkpoint(), rows),
                "successes": successes,
            }
        if judge is not None:
            from tutelage.synth import measures

            judging = open_teacher(parse_teacher(judge), cache_folder / "judge.jsonl")
            stack.callback(judging.close)
            given["scores"] = lambda criterion: measures.judge_scores(judging, rows, criterion)
        sources = [row.meta.get("source", row.id.partition(":")[0].partition("#")[0]) for row in rows]
        decision = SELECTIONS[by](Candidates(rows, keep, seed, sources, **given))
    with atomic_file(out) as temporary, temporary.open("wb") as file:
        for number, row in enumerate(rows):
            ledger.read()
            if number in decision.kept:
                ledger.keep()
                lineage = {"parent": row.id, "selection": by, "score": decision.kept[number]}
                line = {"id": row.id, **openai_row(row), "lineage": lineage}
                file.write(to_json(line, indent=None, sort=False) + b"\n")
            else:
                ledger.drop(decision.dropped.get(number, WORSE), where=row.id)
    ledger.check()
    account = {"reading": reading.to_dict(), "selection": ledger.to_dict()}
    write_json(out.with_name(f"{out.name}.ledger.json"), account)
    return account
