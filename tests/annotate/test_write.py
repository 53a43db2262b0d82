"""Writing demonstrations: the audit's checks live, suggestions, rows for `sft`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from annotate_helpers import served, service
from browser import CHROMIUM, browser

from tutelage.annotate.events import AnnotationItem, LogSettings, PromptTurn
from tutelage.annotate.export import ExportRules, export_rows
from tutelage.annotate.items import make_item, read_answer_items, read_prompt_items
from tutelage.annotate.models import answered_items, suggested_items
from tutelage.annotate.service import AnnotationService, SubmitRequest
from tutelage.annotate.state import read_events
from tutelage.chat import formats
from tutelage.ledger import Ledger
from tutelage.serve.errors import ApiError

LONG = "The sea is a large body of salt water that covers most of the Earth, and rivers carry the salt into it. " * 2
WRITE = LogSettings(task="write")


def prompts(*texts: str, suggestion: str = "") -> list[AnnotationItem]:
    return [make_item([PromptTurn("user", text)], suggestion=suggestion) for text in texts]


def write(desk: AnnotationService, person: str, text: str, suggested: bool = False) -> None:
    number = desk.next(person)["number"]
    id_ = f"{person}-item-{number}"
    desk.submit(person, SubmitRequest(id=id_, number=number, revision=0, text=text, suggested=suggested))


def test_the_audits_checks_are_shown_while_one_writes(tmp_path: Path) -> None:
    with service(tmp_path / "log", prompts("What is the sea?", "What is a sea?"), WRITE) as desk:
        number = desk.next("ann")["number"]
        assert desk.check("ann", number, "A large body of salt water.") == {"faults": []}
        assert desk.check("ann", number, " ") == {"faults": []}
        for text, fault in (
            ("Dear {{name}}, hello.", "placeholder"),
            ("Water.<|im_end|>", "marker"),
            ("I am ChatGPT.", "the answer names an assistant: chatgpt"),
        ):
            (found,) = desk.check("ann", number, text)["faults"]
            assert fault in found.lower()
        assert "longer than" in " ".join(desk.check("ann", number, "sea " * 1001)["faults"])
        write(desk, "ann", LONG)
        assert desk.check("ann", 0, LONG + "Yes.")["faults"] == []  # of one's own answer to the same prompt
        desk.next("ann")
        (found,) = desk.check("ann", 1, LONG + "Yes.")["faults"]
        assert "near duplicate" in found
        (found,) = desk.check("ann", 1, LONG)["faults"]
        assert found.startswith("duplicate")
        with pytest.raises(ApiError, match="the answer is empty"):
            write(desk, "ann", "  ")


def test_demonstrations_are_read_by_sft_and_say_who_took_a_suggestion(tmp_path: Path) -> None:
    with service(tmp_path / "log", prompts("What is the sea?", "And the sun?", suggestion="Hot."), WRITE) as desk:
        write(desk, "ann", "Water.")
        write(desk, "ann", "A star.", suggested=True)
        ledger = Ledger("votes")
        rows = [*export_rows(desk.state, "demonstrations", ExportRules(), ledger)]
    assert [row.get("suggested") for row in rows] == [None, True]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = [*formats.read_conversations(path, Ledger("rows"), 0.0)]
    assert [[message.text for message in row.messages] for row in read] == [
        ["What is the sea?", "Water."],
        ["And the sun?", "A star."],
    ]


def test_personal_data_in_prompts_is_masked_and_equal_prompts_are_one(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    rows = [
        {"prompt": "Write to joe.smith@gmail.com", "source": "user"},
        {"prompt": "Hello"},
        {"messages": [{"role": "user", "content": "Hello"}]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ledger = Ledger("prompts")
    found = read_prompt_items(path, ledger)
    ledger.check()
    assert [item.prompt[0].content for item in found] == ["Write to email@example.com", "Hello"]
    assert [item.source for item in found] == ["user", ""]
    assert ledger.noted["personal data masked"].rows == ledger.dropped["duplicate item"].rows == 1


def test_broken_rows_of_answers_are_dropped_with_their_reason(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    good: dict[str, object] = {
        "prompt": "a?",
        "answers": ["x", "y"],
        "models": ["m", "n"],
        "gold": [2, 1],
        "customer": "acme",
    }
    broken: list[dict[str, object]] = [
        {"answers": ["x"]},
        {"answers": ["x", 3]},
        {"models": ["m"]},
        {"gold": ["1", "2"]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [good, good, *[{**good, **row} for row in broken]]))
    ledger = Ledger("items")
    (item,) = read_answer_items(path, ledger)
    ledger.check()
    assert (item.source, item.gold, item.models) == ("acme", (2, 1), (("m",), ("n",)))
    assert {reason: entry.rows for reason, entry in ledger.dropped.items()} == {
        "duplicate item": 1,
        "malformed answers": 2,
        "malformed models": 1,
        "malformed gold": 1,
    }
    path.write_text('{"prompt": "a?", "answers": ["x"]}\n')
    with pytest.raises(ValueError, match="no row to annotate"):
        read_answer_items(path, Ledger("items"))


def test_models_are_asked_once_for_each_prompt() -> None:
    asked: list[tuple[str, int]] = []

    def ask(model: str, items: object) -> list[str]:
        asked.append((model, len(items)))  # type: ignore[arg-type]
        return [f"{model} to {item.prompt[0].content}" for item in items]  # type: ignore[attr-defined]

    state = read_events([LogSettings(task="rank")])
    first = [*answered_items(state, prompts("a", "b"), ["m", "n"], ask)]
    assert [item.answers for item in first] == [("m to a", "n to a"), ("m to b", "n to b")]
    state = read_events([LogSettings(task="rank"), *first])
    assert [item.answers[0] for item in answered_items(state, prompts("a", "c"), ["m", "n"], ask)] == ["m to c"]
    assert asked == [("m", 2), ("n", 2), ("m", 1), ("n", 1)]
    (suggested,) = suggested_items(state, prompts("d"), "m", ask)
    assert (suggested.suggestion, suggested.answers) == ("m to d", ())


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")
def test_an_answer_is_written_in_a_browser(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    new = prompts("What is the sea?", "What is the sun?", suggestion="A star.")
    settings = LogSettings(task="write", guidelines="Be true.")
    with browser(tmp_path / "profile") as page, service(path, new, settings) as desk, served(desk, {"ann": "k"}) as url:
        page.open(f"{url}#key=k", 400)
        page.wait("item")
        assert page.run("document.getElementById('submit').disabled")
        page.run("document.getElementById('text').focus()")
        page.type("Dear {{name}}, 1 s x")  # typed into the text, and no key of the page
        page.wait("document.querySelectorAll('#faults li').length === 1")
        page.wait("document.getElementById('saved').textContent === 'draft saved'")
        assert page.overflow() == []
        page.run("document.getElementById('submit').click()")
        page.wait("item.number === 1")
        page.run("document.getElementById('suggest').click()")
        page.run("document.getElementById('submit').click()")
        page.wait("!document.getElementById('done').hidden")
        assert page.errors == []
    assert [(vote.text, vote.suggested) for vote in desk.state.votes()] == [
        ("Dear {{name}}, 1 s x", False),
        ("A star.", True),
    ]
