from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from tutelage.report.knowing import knowing_tables


def test_the_two_way_table_is_drawn_with_and_without_tools(tmp_path: Path) -> None:
    (tmp_path / "evaluate").mkdir()
    cost = {
        "written_direct": 12.0,
        "written_with_calls": 40.0,
        "added_with_calls": 170.0,
        "written_without_tools": 13.0,
    }
    figures = {
        "table": {"known": {"right": 280, "refused": 7}, "unknown": {"wrong": 12, "refused": 188}},
        "table_with_tools": {"indexed": {"right, after a call": 141, "wrong": 9}},
        "cost": cost,
    }
    (tmp_path / "evaluate" / "knowing.json").write_text(json.dumps({"results": {"figures": figures}}))
    html = "".join(map(str, knowing_tables({"chat": SimpleNamespace(folder=tmp_path)})))  # type: ignore[dict-item]
    assert html.count("<table") == 2
    for shown in ("280", "188", "141", "nonexistent names", "called, right", "40 written and 170 read"):
        assert shown in html
    assert list(knowing_tables({"other": SimpleNamespace(folder=tmp_path / "none")})) == []  # type: ignore[dict-item]
