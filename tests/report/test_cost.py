from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from tutelage.report.cost import costs, environment, ledgers
from tutelage.report.read import Finished, read_run
from tutelage.runner import Run

MakeRun = Callable[..., Run]


def stages(run: Run) -> list[Finished]:
    return list(read_run(run).values())


def test_every_row_is_in_the_ledger(make_run: MakeRun) -> None:
    found = stages(make_run())
    shown = ledgers(found)
    assert shown is not None
    assert "every ledger adds up" in shown
    assert "dropped: longer than the context of 128 tokens" in shown
    assert "rows.jsonl:7" in shown
    found[0].info.ledgers["world"].rows_kept += 1
    wrong = ledgers(found)
    assert wrong is not None
    assert "every ledger adds up" not in wrong
    assert "does not add up: 10 rows were read, but 9 kept and 2 dropped make 11." in wrong


def test_costs_are_shown_in_full(make_run: MakeRun) -> None:
    shown = costs(stages(make_run()), {})
    assert shown is not None
    for figure in ("1,049,728", "3,386,335", "3,346,170", "11,746", "4 min 48 s", "3.00 GiB"):
        assert figure in shown
    assert costs([], {}) is None
    assert ledgers([]) is None


def test_an_environment_that_changed_is_shown_stage_by_stage(make_run: MakeRun) -> None:
    base, chat = stages(make_run())
    same = "".join(environment([base, chat]))
    assert "every stage" in same
    other = replace(chat, info=msgspec.structs.replace(chat.info, environment={"python": "3.12"}))
    different = "".join(environment([base, other]))
    assert "every stage" not in different
    assert "3.11" in different
    assert "3.12" in different
    assert environment([]) == []
