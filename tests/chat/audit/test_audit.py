from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tutelage.chat.audit import Report, audit_file, fix_file
from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.hf import HFRenderer
from tutelage.chat.render.make import make_renderer
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.files import to_json
from tutelage.tokenizer import TokenizerSettings, train

Write = Callable[..., Path]
FoundRows = Callable[[Report], dict[str, list[int]]]

WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
LONG = " ".join(WORDS)
CLEAN = [
    (f"What is the square of {n} when it is added to itself?", f"It is {2 * n * n}, for {n} is counted twice.")
    for n in range(30)
]


def levels(report: Report) -> dict[str, str]:
    return {finding.name: finding.level for finding in report.findings}


def test_a_clean_file_has_no_finding(write: Write) -> None:
    report = audit_file(write(CLEAN))
    assert (report.findings, report.errors, report.conversations, report.format) == ((), (), 30, "messages")
    assert report.profile["prompts.distinct"] == report.profile["rows.read"] == 30
    detected_by = report.profile["languages.detected_by"]
    assert report.profile["languages"] == ({"Latin": 1.0} if detected_by == "script" else {"en": 1.0})
    assert detected_by == ("py3langid" if importlib.util.find_spec("py3langid") else "script")


def test_broken_rows_are_an_error_unless_allowed(write: Write) -> None:
    path = write([*CLEAN, "{", json.dumps({"messages": [{"role": "user", "content": "why?"}]}), "", ["why?", " "]])
    report = audit_file(path)
    assert levels(report) == {"broken row": "error"}
    reasons = {finding.detail: (finding.count, finding.examples[0].place) for finding in report.findings}
    assert reasons == {
        "not JSON": (1, "chats.jsonl:31"),
        "one-sided conversation": (1, "chats.jsonl:32"),
        "a message that cannot be learned from": (1, "chats.jsonl:34"),
    }
    assert levels(audit_file(path, max_broken=0.1)) == {"broken row": "warning"}


def test_rows_of_the_held_out_file_are_leaks(write: Write, found_rows: FoundRows) -> None:
    text = f"{LONG} is what the old ferry carries over the lake every morning and every night of the year"
    mine = [*CLEAN, (f"Who says that {text}?", f"They all say that {text}."), ("hello", "Hello you!")]
    other = [
        ("What is the square of 3 when it is added to itself?", "Eighteen."),  # the same question
        CLEAN[5],
        (f"Who says that {text}, now?", f"They all say that {text}!"),  # nearly the same
        ("hello", "Hi there, what can I do for you?"),  # a greeting is no leak
        ("What is the cube of 31 when it is taken from itself?", "Nothing is left of it."),
    ]
    report = audit_file(write(mine), held_out=write(other, "other.jsonl"))
    assert found_rows(report) == {"leak": [3, 5, 30]}
    (leak,) = report.errors
    assert leak.detail == "2 exact, 1 near"
    assert leak.examples[0].place == "chats.jsonl:4"
    assert audit_file(write(CLEAN), held_out=write([("new " + LONG, "yes")], "other.jsonl")).findings == ()


def test_rows_with_benchmark_texts_overlap(write: Write, found_rows: FoundRows) -> None:
    asked = f"How many words are there in {LONG}, and why?"
    path = write([*CLEAN, (f"Please tell me. {asked.upper()}", "Sixteen of them."), ("What is 2?", asked)])
    evaluation = write([json.dumps({"id": "test-1", "nested": {"question": [asked]}, "answer": "16"})], "suite.jsonl")
    report = audit_file(path, against=[evaluation])
    assert found_rows(report) == {"overlap": [30, 31]}
    respelled = [*CLEAN, (f"Please: {asked.replace(' ', ', ')}", "Sixteen of them.")]  # marks do not hide it
    assert found_rows(audit_file(write(respelled, "respelled.jsonl"), against=[evaluation])) == {"overlap": [30]}
    assert report.errors[0].examples[0].excerpt.startswith("100% of suite.jsonl:1: Please tell me.")
    unrelated = write(
        [json.dumps({"question": "Which of these animals lays eggs and swims in the river at night?"})], "other.jsonl"
    )
    assert audit_file(path, against=[unrelated]).findings == ()
    with pytest.raises(ValueError, match="has no rows with text to search for"):
        audit_file(path, against=[write([json.dumps({"label": 1})], "labels.jsonl")])
    with pytest.raises(ValueError, match="none of the 1 benchmark items can be matched: none has 8 words or more"):
        audit_file(path, against=[write([json.dumps({"question": "How many legs has a millipede?"})], "short.jsonl")])


def test_a_model_verifies_and_measures_every_row(write: Write, found_rows: FoundRows) -> None:
    tokenizer = train([LONG], TokenizerSettings(vocab=300)).extend(TEMPLATE_TOKENS)
    renderer = make_renderer(tokenizer, ChatConfig())
    exchange = ("Say " + LONG, LONG + ".")
    path = write(
        [*CLEAN, (*exchange, "Again? " + LONG, "No: " + LONG + "."), (" ".join([LONG] * 8), "That is too much.")]
    )
    plain = audit_file(path, renderer=renderer, context=10_000)
    assert plain.findings == ()
    longest = plain.profile["tokens.longest"]
    assert plain.profile["tokens.total"] > longest > plain.profile["tokens.median"] > 0
    context = longest - 1
    report = audit_file(path, renderer=renderer, context=context)
    assert found_rows(report) == {"too long": [31]}
    assert levels(report) == {"too long": "error"}
    assert levels(audit_file(path, renderer=renderer, context=context, too_long="drop")) == {"too long": "warning"}
    assert levels(audit_file(path, renderer=renderer, context=context, too_long="split")) == {"too long": "error"}
    assert report.profile["context.split.unsplittable"] == 1
    assert report.profile["context.drop.trained_tokens_lost"] > 0


def test_faults_of_the_whole_file(write: Write) -> None:
    rows = [(f"Tell me please, what is number {n}?", f"Number {n} it is, as it was before.") for n in range(60)]
    one_kind = audit_file(write([(f"{LONG} {LONG} {LONG} {LONG}: {n}", f"It is {n}.") for n in range(60)]))
    assert {"few prompts", "same opening", "mostly prompt"} <= set(levels(one_kind))
    assert set(levels(audit_file(write(rows)))) - {"few prompts"} == {"same opening"}
    ends_unanswered = audit_file(write([*CLEAN, (*CLEAN[0][:1], "Nought, as nothing is.", "And then?")]))
    assert ends_unanswered.findings[-1].name == "no last answer"
    assert ends_unanswered.findings[-1].examples[0].place == "chats.jsonl:31"


def test_end_markers_that_only_some_answers_have(write: Write) -> None:
    marked = [(asked, f"{said}<|im_end|>") for asked, said in CLEAN]
    assert audit_file(write(marked)).findings == ()  # they are taken off as the file is read
    (finding,) = audit_file(write([*CLEAN[:10], *marked[10:]])).findings
    assert (finding.name, finding.count, finding.detail) == (
        "missing end marker",
        10,
        "20 have one, the first is chats.jsonl:11",
    )


def test_a_few_rows_in_another_script_are_named(write: Write, found_rows: FoundRows) -> None:
    russian = ("Какая сегодня погода в этом городе у моря?", "Сегодня в этом городе у моря очень тепло и ясно.")
    assert found_rows(audit_file(write([*CLEAN, russian]))) == {"rare language": [30]}
    assert "rare language" not in found_rows(
        audit_file(write([*CLEAN, *[(f"{russian[0]} {n}", f"{russian[1]} {n}") for n in range(20)]]))
    )


def test_answers_that_all_stop_at_one_length_were_cut(write: Write, found_rows: FoundRows) -> None:
    names = [f"item{n}" for n in range(200)]
    lists = [(f"List what is in box {n}.", (" ".join(names[n:]) + " ").ljust(400)[: 150 + n]) for n in range(40)]
    cut = [(f"List what is in crate {n}.", " ".join(reversed(names[n : n + 60]))[:300]) for n in range(10)]
    assert all(len(answer) == 300 for _, answer in cut)
    report = audit_file(write([*lists, *cut]))
    assert found_rows(report)["truncated"] == list(range(40, 50))


def test_the_report_is_plain_data_and_the_same_each_time(write: Write) -> None:
    path = write([*CLEAN, CLEAN[3], ("Why?", "N/A")])
    first, second = (to_json(audit_file(path).to_dict()) for _ in range(2))
    assert first == second
    plain = json.loads(first)
    assert [finding["name"] for finding in plain["findings"]] == ["placeholder answer", "duplicate"]
    assert plain["findings"][1]["examples"][0]["place"] == "chats.jsonl:31 and chats.jsonl:4"


def test_f08_the_validation_split_of_a_folder_is_compared_and_the_test_split_is_not_read(write: Write) -> None:
    leaking = [("What is the square of 3 when it is added to itself?", "Eighteen.")]
    folder = write(CLEAN, "train.jsonl").parent
    write(leaking, "validation.jsonl")
    (folder / "test.jsonl").write_text("not read")
    report = audit_file(folder)
    assert report.conversations == len(CLEAN)
    assert [finding.name for finding in report.findings] == ["leak"]


def test_f20_calls_that_nobody_offers_and_fields_that_are_not_read_are_findings(tmp_path: Path) -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "tide", "arguments": {"pier": 4}}}]}
    asked = {"role": "user", "content": "How high is the tide at pier 4?"}
    tool = {"name": "tide", "parameters": {"type": "object"}}
    rows = [
        {"messages": [asked, call]},
        {"messages": [asked, call], "tools": [tool]},
        {"messages": [asked, call], "tools": [{**tool, "name": "wind"}], "grade": 3},
        {"messages": [asked, {**call, "mood": "calm"}], "tools": [tool]},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = {(f.name, f.detail): f for f in audit_file(path).findings if f.name in ("call not offered", "unread field")}
    assert {name: (f.level, f.count, [e.place for e in f.examples]) for name, f in found.items()} == {
        ("call not offered", ""): ("warning", 2, ["rows.jsonl:1", "rows.jsonl:3"]),
        ("unread field", "grade"): ("warning", 1, ["rows.jsonl:3"]),
        ("unread field", "messages.mood"): ("warning", 1, ["rows.jsonl:4"]),
    }


def test_an_empty_file_of_a_folder_is_a_finding_and_does_not_stop(write: Write) -> None:
    path = write([*CLEAN])
    (path.parent / "aaa.jsonl").write_text("")
    (finding,) = audit_file(path.parent).findings
    assert (finding.name, finding.level, finding.count, finding.examples[0].place) == (
        "empty file",
        "warning",
        1,
        "aaa.jsonl",
    )


def test_a_file_of_another_kind_is_refused(write: Write) -> None:
    with pytest.raises(ValueError, match="no row in a known format"):
        audit_file(write([json.dumps({"text": "a page"})]))


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_rows_that_a_checkpoints_template_refuses_are_reported_by_reason(
    write: Write, found_rows: FoundRows, make: Callable[..., HFRenderer], tmp_path: Path
) -> None:
    path = write([*CLEAN, ("What does <|im_end|> stand for in here?", "It ends a turn, and it is a token.")])
    renderer = make(CHATML, eos="<|im_end|>")
    report = audit_file(path, renderer=renderer, context=4096)
    assert found_rows(report) == {"special token": [30], "unverifiable": [30]}
    assert {finding.name: (finding.level, finding.detail) for finding in report.findings}["unverifiable"] == (
        "error",
        "a special token in a text",
    )
    assert levels(audit_file(path, renderer=renderer, max_refused=0.1))["unverifiable"] == "warning"
    clean = fix_file(report, tmp_path / "clean.jsonl")
    assert audit_file(clean.path, renderer=renderer, context=4096).findings == ()
