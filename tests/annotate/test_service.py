"""Submissions, drafts and what the page may know. H numbers are field failures of other tools: Label Studio, Argilla,
FastChat."""

from __future__ import annotations

import errno
import html
import json
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from annotate_helpers import HOSTILE, items, post, served, service
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.annotate.annotation_page import annotation_page
from tutelage.annotate.events import LogSettings, PromptTurn
from tutelage.annotate.items import make_item
from tutelage.annotate.log import read_log
from tutelage.annotate.service import AnnotationDraft, AnnotationService, SubmitRequest
from tutelage.annotate.state import read_events
from tutelage.serve.errors import ApiError

TWO = LogSettings(task="rank", overlap=2)


def submit(served: AnnotationService, person: str, ranks: list[int | None], id_: str, **more: Any) -> dict[str, Any]:
    number = more.pop("number", None)
    number = served.next(person)["number"] if number is None else number
    return served.submit(person, SubmitRequest(id=id_, number=number, revision=0, ranks=ranks, **more))


def test_h1_two_people_get_the_same_item_and_see_nothing_of_each_other(tmp_path: Path) -> None:
    """label-studio #1052, #831, #6233, #795."""
    with service(tmp_path / "log", items(1, answers=4), TWO) as desk:
        submit(desk, "ann", [1, 1, 2, 3], "ann-12345", reason="clear enough")
        shown = desk.next("ben")
        assert sorted(shown["answers"]) == sorted(desk.state.items[next(iter(desk.state.items))].answers)
        assert shown["submitted"] is None
        assert shown["draft"] is None
        text = json.dumps(shown, default=repr)
        assert "ann" not in text.replace("answers", "")
        assert "clear enough" not in text
        submit(desk, "ben", [2, 1, None, None], "ben-12345")
        assert desk.next("cem")["done"]  # two are enough
        assert {vote.person for vote in desk.state.votes()} == {"ann", "ben"}
        with pytest.raises(ApiError, match="you have no item 1"):
            desk.item("cem", 0)


CRASH = """
import os, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from annotate_helpers import service
from tutelage.annotate.log import AnnotationLog
from tutelage.annotate.service import SubmitRequest
append = AnnotationLog.append
def dying(self, *events):
    if {written}: append(self, *events)
    os.kill(os.getpid(), 9)
with service(Path({log!r})) as desk:
    AnnotationLog.append = dying
    desk.submit("ann", SubmitRequest(id="ann-12345", number=0, revision=0, ranks=[1, 2, 2]))
"""


@pytest.mark.parametrize("written", [True, False])
def test_h2_killed_between_send_and_ack_loses_nothing_and_doubles_nothing(tmp_path: Path, written: bool) -> None:
    """label-studio #1101, #1790: the page sends again what was not acknowledged."""
    path = tmp_path / "log.jsonl"
    with service(path, items(1), TWO) as desk:
        desk.next("ann")
        desk.save_draft("ann", 0, AnnotationDraft(ranks=[1, None, None], seconds=5))
    code = textwrap.dedent(CRASH).format(tests=str(Path(__file__).parents[1]), log=str(path), written=written)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with service(path) as desk:
        if not written:
            draft = desk.item("ann", 0)["draft"]
            assert draft.ranks == [1, None, None]  # the draft is there too
        answers = [submit(desk, "ann", [1, 2, 2], "ann-12345", number=0) for _ in range(3)]
        assert [answer["revision"] for answer in answers] == [1, 1, 1]
    state = read_events(read_log(path))
    assert [len(history) for history in state.history.values()] == [1]


def test_h2_an_old_draft_does_not_overwrite_a_submission(tmp_path: Path) -> None:
    with service(tmp_path / "log", items(1), TWO) as desk:
        desk.next("ann")
        assert desk.save_draft("ann", 0, AnnotationDraft(ranks=[3, 2, 1]))["saved"]
        submit(desk, "ann", [1, 2, 3], "ann-12345", number=0)
        assert not desk.save_draft("ann", 0, AnnotationDraft(ranks=[3, 2, 1]))["saved"]  # of a window left open
        shown = desk.item("ann", 0)
        assert shown["draft"] is None
        assert shown["submitted"]["ranks"] == [1, 2, 3]


def test_a_second_window_gets_a_conflict_and_overwrites_nothing(tmp_path: Path) -> None:
    with service(tmp_path / "log", items(1), TWO) as desk:
        submit(desk, "ann", [1, 2, 3], "window-one")
        with pytest.raises(ApiError, match="in another window") as refused:
            submit(desk, "ann", [3, 2, 1], "window-two", number=0)
        assert (refused.value.status, refused.value.code) == (409, "revision_conflict")
        assert desk.item("ann", 0)["submitted"]["ranks"] == [1, 2, 3]
        desk.submit("ann", SubmitRequest(id="window-too", number=0, revision=1, ranks=[3, 2, 1]))
        history = next(iter(desk.state.history.values()))
        assert [vote.revision for vote in history] == [1, 2]  # the first one is kept
        with pytest.raises(ApiError, match="another submission"):
            submit(desk, "ben", [1, 2, 3], "window-one")


def test_h3_ties_and_partial_ranks_are_kept_as_numbers(tmp_path: Path) -> None:
    """argilla #5834, #4034, #4049; ImageReward #85."""
    path = tmp_path / "log.jsonl"
    with service(path, items(1, answers=4), TWO) as desk:
        submit(desk, "ann", [2, 2, 4, None], "ann-12345")
        order = desk.state.assigned["ann"][0].order
    vote = next(read_events(read_log(path)).votes())
    assert [vote.ranks[place] for place in order] == [1, 1, 2, None]  # without gaps, in the order of the answers


@pytest.mark.parametrize(
    ("ranks", "outcome", "problem"),
    [
        ([1, None, None], "done", "rank at least two"),
        ([1, 2], "done", "must be 3 numbers"),
        ([1, 2, 7], "done", "must be 3 numbers"),
        ([0, 1, 2], "done", "must be 3 numbers"),
        ([None, None, None], "all bad", ""),
        ([], "skipped", ""),
        ([1, 2, 3], "all bad", ""),
    ],
)
def test_what_a_ranking_must_have(tmp_path: Path, ranks: list[int | None], outcome: Any, problem: str) -> None:
    with service(tmp_path / "log", items(1), TWO) as desk:
        if not problem:
            assert submit(desk, "ann", ranks, "ann-12345", outcome=outcome)["revision"] == 1
            return
        with pytest.raises(ApiError, match=problem):
            submit(desk, "ann", ranks, "ann-12345", outcome=outcome)
        assert not desk.state.by_id


def test_without_ties_two_equal_ranks_are_refused(tmp_path: Path) -> None:
    settings = LogSettings(task="rank", ties=False)
    with service(tmp_path / "log", items(1), settings) as desk, pytest.raises(ApiError, match="ties are not wanted"):
        submit(desk, "ann", [1, 1, 2], "ann-12345")


def test_h4_names_never_reach_the_page(tmp_path: Path) -> None:
    """FastChat #1210, #3539, #3441."""
    answers = ["I am Tulu-9, a language model.", "Call me runs/m2.", "The sea."]
    item = make_item([PromptTurn("user", "Who are you?")], answers, ["org/Tulu-9", "runs/m2", "runs/m3"])
    assert item.leaks == (True, True, False)
    with service(tmp_path / "log", [item], TWO) as desk, served(desk) as url:
        shown = post(url, "next", {"person": "ann"}).text
        saved = post(url, "submit", {"person": "ann", "submission": {
            "id": "ann-12345", "number": 0, "revision": 0, "ranks": [1, 2, 3]}}).text  # fmt: skip
        page = annotation_page(desk.state.settings, keyed=False)
        for name in ("Tulu", "tulu", "runs/m", item.id):
            assert name not in shown + saved + page
        assert "█" in shown


def test_h7_answers_are_data_and_the_page_loads_nothing(tmp_path: Path) -> None:
    """FastChat #88 (S29): tests/annotate/test_page.py looks at it in a browser."""
    source = annotation_page(LogSettings(task="rank", guidelines=HOSTILE), keyed=False)
    assert HOSTILE not in source
    page = html.unescape(source)
    assert "default-src 'none'" in page
    assert "connect-src 'self'" in page
    assert "innerHTML" not in page


def test_foreign_pages_hosts_and_keys_are_refused(tmp_path: Path) -> None:
    keys = {"ann": "key-of-ann", "ben": "key-of-ben"}
    with service(tmp_path / "log", items(3), TWO) as desk, served(desk, keys) as url:
        host = url.removeprefix("http://").rstrip("/")
        bearer = {"Authorization": "Bearer key-of-ben"}
        assert post(url, "next", {"person": "ann"}).status_code == 401
        assert post(url, "next", {"person": "ann"}, Authorization="Bearer key-of").status_code == 401
        assert post(url, "next", {"person": "ann"}, **bearer).status_code == 200
        assert [*desk.state.assigned] == ["ben"]  # the key says who it is, not the page
        assert post(url, "next", {}, **bearer, Host="evil.example").status_code == 403
        assert post(url, "next", {}, **bearer, Origin="http://evil.example").status_code == 403
        assert post(url, "next", {}, **bearer, Origin=f"http://{host}").status_code == 200
        assert post(url, "next", {}, **bearer, **{"Content-Type": "text/plain"}).status_code == 415
        assert post(url, "draft", {"number": "x"}, **bearer).status_code == 400
        assert post(url, "nothing", {}, **bearer).status_code == 404


@pytest.mark.parametrize("person", ["", " ", "../x", "a" * 41, "<b>"])
def test_a_name_is_a_name(tmp_path: Path, person: str) -> None:
    with service(tmp_path / "log", items(1), TWO) as desk, pytest.raises(ApiError, match="a name is"):
        desk.next(person)


def test_time_on_an_item_is_at_most_what_has_passed(tmp_path: Path) -> None:
    now = [100.0]
    with service(tmp_path / "log", items(2), TWO, clock=lambda: now[0]) as desk:
        desk.next("ann")
        now[0] += 30
        submit(desk, "ann", [1, 2, 3], "ann-12345", seconds=500)
        submit(desk, "ann", [1, 2, 3], "ann-67890", seconds=-5)
        assert [vote.seconds for vote in desk.state.votes()] == [30.0, 0.0]


def test_changed_guidelines_get_another_version(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with service(path, items(2), LogSettings(task="rank", guidelines="Be kind.")) as desk:
        submit(desk, "ann", [1, 2, 3], "ann-12345")
    with service(path, (), LogSettings(task="rank", guidelines="Be true.")) as desk:
        submit(desk, "ann", [1, 2, 3], "ann-67890")
        versions = [vote.guidelines for vote in desk.state.votes()]
        assert versions[0] != versions[1] == desk.state.settings.guidelines_version


def test_of_many_who_ask_at_once_only_as_many_get_an_item_as_are_wanted(tmp_path: Path) -> None:
    """H1: "both get it"."""
    with service(tmp_path / "log", items(1), TWO) as desk, ThreadPoolExecutor(8) as threads:
        found = [*threads.map(desk.next, [f"person{n}" for n in range(8)])]
    assert sum("done" not in shown for shown in found) == 2


def test_on_a_full_disk_nothing_is_acknowledged_and_it_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(tmp_path / "log", items(1), TWO) as desk:
        desk.next("ann")
        with monkeypatch.context() as patch:

            def full(file: int) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr("tutelage.annotate.log.os.fsync", full)
            with pytest.raises(ApiError, match="not saved.*the disk is full") as refused:
                submit(desk, "ann", [1, 2, 3], "ann-12345", number=0)
            assert refused.value.status == 503  # the page tries again
            assert not desk.state.by_id
        assert submit(desk, "ann", [1, 2, 3], "ann-12345", number=0)["revision"] == 1
    assert len([*read_events(read_log(tmp_path / "log")).votes()]) == 1


@settings(max_examples=30)
@given(moves=st.lists(st.sampled_from(["submit", "again", "reopen", "torn", "other window"]), max_size=25))
def test_whatever_happens_nothing_acknowledged_is_lost_and_nothing_is_doubled(
    tmp_path_factory: pytest.TempPathFactory, moves: list[str]
) -> None:
    """Submissions, repeated ones, restarts, and lines that a crash tore, in any order."""
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    with service(path, items(1), TWO) as desk:
        desk.next("ann")
    acknowledged: list[SubmitRequest] = []
    opened = ExitStack()
    desk = opened.enter_context(service(path))
    for number, move in enumerate(moves):
        if move in ("reopen", "torn"):
            opened.close()
            if move == "torn":
                with path.open("a") as log:
                    log.write('{"event":"submitted","id":"never-ackn')
            desk = opened.enter_context(service(path))
        elif move == "again" and acknowledged:
            assert desk.submit("ann", acknowledged[-1])["revision"] == len(acknowledged)
        elif move == "submit":
            request = SubmitRequest(id=f"vote-{number:04d}", number=0, revision=len(acknowledged), ranks=[1, 2, 1])
            acknowledged.append(request)
            assert desk.submit("ann", request)["revision"] == len(acknowledged)
        elif move == "other window" and acknowledged:
            request = SubmitRequest(id=f"late-{number:04d}", number=0, revision=len(acknowledged) - 1, ranks=[2, 1, 1])
            with pytest.raises(ApiError, match="another window"):
                desk.submit("ann", request)
    opened.close()
    history = [*read_events(read_log(path)).history.values()]
    assert [vote.id for votes in history for vote in votes] == [request.id for request in acknowledged]
