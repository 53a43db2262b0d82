"""The page of `tutelage annotate`: one self-contained page that asks the server it came from, and nobody else."""

from __future__ import annotations

from importlib import resources

from tutelage.annotate.events import FLAGS, LogSettings
from tutelage.html import Html, page, tag

SCRIPTS = ("client.js", "rank.js", "write.js", "control.js")  # in this order: one script
RANK_KEYS = {
    "a b c …": "to the answer of this letter",
    "1 – 9": "give it this rank; equal ranks are ties",
    "0": "take its rank away",
    "↑ ↓": "to the answer before, after",
}
WRITE_KEYS = {"Ctrl Enter": "submit"}
KEYS = {"Enter": "submit", "x": "all answers are bad", "s": "skip", "← →": "the item before, after", "?": "these keys"}


def annotation_page(settings: LogSettings, keyed: bool) -> str:
    """The page. Prompts and answers are shown as text only, and its content security policy allows requests to its own
    server alone, so no answer can load an image or run a script."""
    script = "\n".join(_resource(name) for name in SCRIPTS)
    title = {"rank": "Rank answers", "choose": "Rank answers", "write": "Write answers"}[settings.task]
    writes = settings.task == "write"
    desk = tag(
        "div",
        _person(keyed),
        _item(writes),
        attributes={
            "id": "desk",
            "data-task": "write" if writes else "rank",
            "data-ties": "yes" if settings.ties else "",
            "data-keyed": "yes" if keyed else "",
        },
    )
    return page(title, [desk, _beside(settings)], style=_resource("annotate.css"), script=script, asks_server=True)


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")


def _person(keyed: bool) -> Html:
    """Who annotates: asked for, unless a key says it."""
    field = tag("input", attributes={"id": "person", "type": "text", "maxlength": "40", "autocomplete": "off"})
    ask = tag("label", "Your name ", field) if not keyed else None
    begin = tag("button", "Begin", attributes={"id": "begin", "type": "button"})
    return tag("div", ask, begin, attributes={"id": "who", "class": "bar", "hidden": ""})


def _item(writes: bool) -> Html:
    bar = tag(
        "div",
        tag("button", "← before", attributes={"id": "before", "type": "button"}),
        tag("button", "after →", attributes={"id": "after", "type": "button"}),
        tag("span", attributes={"id": "progress", "class": "note"}),
        tag("span", attributes={"id": "clock", "class": "note"}),
        tag("span", attributes={"id": "saved", "class": "note", "role": "status"}),
        attributes={"class": "bar"},
    )
    problem = tag("p", attributes={"id": "problem", "class": "error", "role": "alert", "hidden": ""})
    prompt = tag("div", attributes={"id": "prompt", "aria-label": "prompt"})
    work = _writing() if writes else _ranking()
    flags = [
        tag("label", tag("input", attributes={"type": "checkbox", "name": "flag", "value": flag}), f" {flag}")
        for flag in FLAGS
    ]
    reason = tag(
        "textarea",
        attributes={"id": "reason", "rows": "1", "placeholder": "Reason, if you like", "aria-label": "reason"},
    )
    more = tag("details", tag("summary", "flags and reason"), tag("div", *flags, attributes={"class": "flags"}), reason)
    submit = tag("button", "Submit", attributes={"id": "submit", "type": "button", "class": "main"})
    bad = tag("button", "All bad", attributes={"id": "all-bad", "type": "button"})
    skip = tag("button", "Skip", attributes={"id": "skip", "type": "button"})
    buttons = tag("div", submit, None if writes else bad, skip, attributes={"class": "bar actions"})
    done = tag("p", "Nothing is left for you. Thank you.", attributes={"id": "done", "class": "lead", "hidden": ""})
    item = tag("div", prompt, work, more, buttons, attributes={"id": "item", "hidden": ""})
    return tag("div", bar, problem, item, done, attributes={"id": "work", "hidden": ""})


def _ranking() -> Html:
    answers = tag("div", attributes={"id": "answers", "role": "list"})
    levels = tag("div", attributes={"id": "levels", "aria-label": "ranks: drag the letters"})
    return tag("div", answers, levels)


def _writing() -> Html:
    text = tag("textarea", attributes={"id": "text", "rows": "8", "aria-label": "answer", "placeholder": "The answer"})
    suggest = tag("button", "Start from the suggestion", attributes={"id": "suggest", "type": "button", "hidden": ""})
    faults = tag("ul", attributes={"id": "faults", "class": "error", "aria-live": "polite"})
    return tag("div", text, tag("p", attributes={"id": "length", "class": "note"}), suggest, faults)


def _beside(settings: LogSettings) -> Html:
    keys = {**WRITE_KEYS, **{k: v for k, v in KEYS.items() if k == "?"}} if settings.task == "write" else {
        **RANK_KEYS, **KEYS
    }  # fmt: skip
    rows = [part for key, text in keys.items() for part in (tag("dt", tag("kbd", key)), tag("dd", text))]
    listed = tag(
        "details", tag("summary", "keys"), tag("dl", *rows, attributes={"class": "keys"}), attributes={"id": "keys"}
    )
    guidelines = tag(
        "details",
        tag("summary", "guidelines"),
        tag("div", settings.guidelines, attributes={"class": "text"}),
        attributes={"id": "guidelines", "open": ""},
    )
    return tag("aside", guidelines if settings.guidelines else None, listed)
