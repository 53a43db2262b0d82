"""Two annotators in a real browser, where one is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from annotate_helpers import HOSTILE, items, served, service
from browser import CHROMIUM, Browser, browser

from tutelage.annotate.choose import choice_figures, until_decided
from tutelage.annotate.events import LogSettings, PromptTurn, Submission
from tutelage.annotate.items import make_item
from tutelage.annotate.log import read_log
from tutelage.annotate.service import AnnotationService, SubmitRequest
from tutelage.annotate.state import read_events

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")
KEYS = {"ann": "key-of-ann", "ben": "key-of-ben"}
CARDS = "document.querySelectorAll('.answer').length"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


def enter(page: Browser, url: str, person: str, width: int = 1280, dark: bool = False) -> None:
    """Open the link of a person, on a page of its own."""
    page.open("about:blank")
    page.open(f"{url}#key={KEYS[person]}", width, dark=dark)
    page.wait("item || !document.getElementById('done').hidden")


def votes(path: Path) -> list[Submission]:
    return [*read_events(read_log(path)).votes()]


def drag(page: Browser, letter: str, level: str) -> None:
    """Drag the letter of an answer to a rank with the mouse."""
    middle = "((e) => { const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]; })"
    page.run("document.getElementById('levels').scrollIntoView({block: 'center'})")
    chip = page.run(f"{middle}([...document.querySelectorAll('.chip')].find((e) => e.textContent === '{letter}'))")
    row = page.run(f"{middle}(document.querySelector('.level[data-rank=\"{level}\"]'))")
    for kind, at in (("mousePressed", chip), ("mouseMoved", row), ("mouseReleased", row)):
        page.send("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", buttons=1, clickCount=1)


def test_two_annotators_rank_with_ties_reload_conflict_and_drag(page: Browser, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    hostile = make_item(
        [PromptTurn("user", f"What? {HOSTILE}")], ["Water.", HOSTILE, "I am GPT-4, an AI."], ["a", "b", "GPT-4"]
    )
    with (
        service(path, [hostile, *items(1, answers=4)], LogSettings(task="rank", overlap=2)) as desk,
        served(desk, KEYS) as url,
    ):
        enter(page, url, "ann")
        for key in "a1b1":
            page.press(key)
        page.wait("document.getElementById('saved').textContent === 'draft saved'")
        enter(page, url, "ann", 400, dark=True)  # a reload: the draft is back
        assert page.run("work.ranks") == [1, 1, None]
        assert page.overflow() == []
        page.press("c")
        page.press("2")
        page.press("Enter")
        page.wait("item.number === 1")
        enter(page, url, "ben")
        assert page.run("work.ranks") == [None, None, None]  # nothing of what ann did
        assert page.run("document.querySelectorAll('main img, main script').length") == 0
        assert page.run("window.hit") is None
        drag(page, "C", "1")
        drag(page, "A", "2")
        assert page.run("work.ranks") == [2, None, 1]
        # Meanwhile ben submits in another window.
        desk.submit("ben", request(desk, "ben", [3, 2, 1]))
        page.press("Enter")
        page.wait("!document.getElementById('problem').hidden && item.submitted")
        assert "another window" in page.run("document.getElementById('problem').textContent")
        assert page.run("work.ranks") == [3, 2, 1]  # what is saved
        drag(page, "B", "")
        page.press("x")
        page.press("Enter")
        page.wait("item.number === 1")
        assert page.errors == [] or all("409" in error for error in page.errors)
        assert all(asked.startswith((url, "about:")) for asked in page.requests)
    orders = {person: given[0].order for person, given in desk.state.assigned.items()}
    ann, ben = votes(path)
    assert [ann.ranks[place] for place in orders["ann"]] == [1, 1, 2]
    assert (ben.outcome, ben.revision) == ("all bad", 2)
    assert [ben.ranks[place] for place in orders["ben"]] == [2, None, 1]
    page.errors.clear()


def request(desk: AnnotationService, person: str, ranks: list[int | None]) -> SubmitRequest:
    """A submission of the first item from another window."""
    return SubmitRequest(id="another-window", number=0, revision=desk.next(person)["revision"], ranks=ranks)


def test_what_was_not_acknowledged_is_sent_again_after_a_reload(page: Browser, tmp_path: Path) -> None:
    """H2 in the browser: the server ends after it has written, and before it answers."""
    path = tmp_path / "log.jsonl"
    with service(path, items(2), LogSettings(task="rank")) as desk, served(desk, KEYS) as url:
        enter(page, url, "ann")
        page.run("window.fetch = async (url, options) => { window.sent = options.body; throw new TypeError('gone'); }")
        for key in "a1b2":
            page.press(key)
        page.press("Enter")
        page.wait("document.getElementById('problem').textContent.startsWith('not saved yet')")
        before = page.run("JSON.parse([...unsaved.values()][0]).id")
        desk.submit("ann", kept(page))  # it arrived; the answer did not
        enter(page, url, "ann")
        page.wait("item && item.number === 1")
        assert page.run(
            "[unsaved.size, Object.keys(localStorage).filter((name) => name.startsWith('pending')).length]"
        ) == [0, 0]
    (vote,) = votes(path)
    assert (vote.id, vote.revision) == (before, 1)


def kept(page: Browser) -> SubmitRequest:
    """The submission that the page has not got an answer to."""
    return msgspec.json.decode(
        page.run("localStorage.getItem(pendingPrefix() + [...unsaved.keys()][0])"), type=SubmitRequest
    )


def test_without_keys_the_page_asks_for_a_name_and_ends_with_thanks(page: Browser, tmp_path: Path) -> None:
    with service(tmp_path / "log.jsonl", items(1), LogSettings(task="rank")) as desk, served(desk) as url:
        page.open(url)
        page.run("localStorage.clear()")
        page.open(url)
        page.wait("!document.getElementById('who').hidden")
        page.run("document.getElementById('person').focus()")
        page.type("", "Enter")
        page.wait("!document.getElementById('problem').hidden")
        page.type("eva", "Enter")
        page.wait(f"{CARDS} === 3")
        page.press("s")
        page.wait("!document.getElementById('done').hidden")
        assert [vote.outcome for vote in desk.state.votes()] == ["skipped"]
        page.run("document.getElementById('before').click()")  # one may still change it
        page.wait("item && item.submitted")
        for key in "a1b2":
            page.press(key)
        page.wait("!document.getElementById('submit').disabled")
        page.press("Enter")
        page.wait("!document.getElementById('done').hidden")
        assert [(vote.outcome, vote.revision) for vote in desk.state.votes()] == [("done", 2)]
        page.run("document.getElementById('before').click()")
        page.wait("item && !document.getElementById('after').disabled")
        page.press("ArrowRight")
        page.wait("!document.getElementById('done').hidden")
    page.errors.clear()


def test_a_checkpoint_is_chosen_blind_by_two_people(page: Browser, tmp_path: Path) -> None:
    """They rank by what they read; the page ends when it is decided, and never says which it is."""
    path, settings = tmp_path / "log.jsonl", LogSettings(task="choose")
    with service(path, items(40, answers=2), settings, until_decided()) as desk, served(desk, KEYS) as url:
        for person in ("ann", "ben"):
            enter(page, url, person)
            for number in range(10):
                page.wait(f"item && item.number === {number}")
                assert page.run("document.documentElement.outerHTML.includes('runs/m')") is False
                texts = page.run("item.answers")
                better = next(place for place, text in enumerate(texts) if text.startswith("Answer 1"))
                for key in f"{'ab'[better]}1{'ab'[1 - better]}2":
                    page.press(key)
                page.press("Enter")
            page.wait("(item && item.number === 10) || !document.getElementById('done').hidden")
        page.wait("!document.getElementById('done').hidden")  # after 20 prompts in all
        assert page.errors == []
    found = choice_figures(desk.state)
    assert found["decision"] == {"best": "runs/m2", "prompts": 20}
