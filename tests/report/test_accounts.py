from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from tutelage.recipe import Run
from tutelage.report.accounts import costs, environment, ledgers
from tutelage.report.read import Finished, read_run

MakeRun = Callable[..., Run]


def stages(run: Run) -> list[Finished]:
    return list(read_run(run).values())


def test_every_row_is_accounted_for(make_run: MakeRun) -> None:
    found = stages(make_run())
    shown = ledgers(found)
    assert shown is not None
    assert "every account adds up" in shown
    assert "dropped: longer than the context of 128 tokens" in shown
    assert "rows.jsonl:7" in shown
    found[0].info.ledgers["world"].rows_kept += 1
    wrong = ledgers(found)
    assert wrong is not None
    assert "every account adds up" not in wrong
    assert "does not add up: 10 rows were read, but 9 kept and 2 dropped make 11." in wrong


def test_costs_stand_whole(make_run: MakeRun) -> None:
    shown = costs(stages(make_run()))
    assert shown is not None
    for figure in ("1,049,728", "3,386,335", "3,346,170", "11,746", "4 min 48 s", "3.00 GiB"):
        assert figure in shown
    assert costs([]) is None
    assert ledgers([]) is None


def test_an_environment_that_changed_stands_stage_by_stage(make_run: MakeRun) -> None:
    base, chat = stages(make_run())
    alike = "".join(environment([base, chat]))
    assert "every stage" in alike
    other = replace(chat, info=msgspec.structs.replace(chat.info, environment={"python": "3.12"}))
    apart = "".join(environment([base, other]))
    assert "every stage" not in apart
    assert "3.11" in apart
    assert "3.12" in apart
    assert environment([]) == []
