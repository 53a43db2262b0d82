"""The chat page: one self-contained page that asks the server it came from, and nobody else."""

from __future__ import annotations

from functools import cache
from importlib import resources

from tutelage.html import Html, page, tag

SCRIPTS = ("store.js", "client.js", "view.js", "control.js")  # in this order: one script
NUMBERS = {
    "temperature": ("0", "2", "0.1"),
    "top_p": ("0.05", "1", "0.05"),
    "top_k": ("0", "1000", "1"),
    "min_p": ("0", "1", "0.01"),
    "max_tokens": ("1", "100000", "1"),
    "seed": ("0", "999999999", "1"),
}
PLACEHOLDERS = {"max_tokens": "no limit", "seed": "any"}
KEYS = {
    "Enter": "send",
    "Shift Enter": "a new line",
    "Escape": "stop; close the list",
    "/": "to the message",
    "n": "a new conversation",
    "r": "regenerate the last answers",
    "← →": "on a token: to its neighbour",
    "?": "these keys",
}


@cache
def chat_page() -> str:
    """The page. Answers are shown as text only, and its content security policy allows requests to its own server
    alone, so no answer can load an image or run a script."""
    script = "\n".join(_resource(name) for name in SCRIPTS)
    parts = [_conversations(), _settings(), _main()]
    return page("Tutelage", parts, style=_resource("chat.css"), script=script, asks_server=True)


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")


def _conversations() -> Html:
    new = tag("button", "New conversation", attributes={"id": "new", "type": "button"})
    listed = tag("ul", attributes={"id": "conversations"})
    note = tag("p", "Kept in this browser only.", attributes={"class": "note"})
    full = tag(
        "p",
        "The browser's storage is full or forbidden: what is new is lost with the page.",
        attributes={"id": "storage", "class": "error", "hidden": ""},
    )
    keys = tag("details", tag("summary", "keys"), _key_list(), attributes={"id": "keys"})
    return tag("aside", new, listed, note, full, keys, attributes={"id": "drawer", "aria-label": "conversations"})


def _key_list() -> Html:
    rows = [part for key, text in KEYS.items() for part in (tag("dt", tag("kbd", key)), tag("dd", text))]
    return tag("dl", *rows, attributes={"class": "keys"})


def _settings() -> Html:
    menu = tag("button", "☰", attributes={"id": "menu", "type": "button", "aria-label": "conversations"})
    model = _field("model", tag("select", attributes={"id": "model"}))
    beside = _field("compare with", tag("select", attributes={"id": "beside"}), "beside")
    numbers = [
        _field(
            name.replace("_", " "),
            tag(
                "input",
                attributes={"id": name, "type": "number", "min": low, "max": high, "step": step}
                | ({"placeholder": PLACEHOLDERS[name]} if name in PLACEHOLDERS else {}),
            ),
            name,
        )
        for name, (low, high, step) in NUMBERS.items()
    ]
    stop = _field("stop string", tag("input", attributes={"id": "stop_string", "type": "text"}), "stop_string")
    key = _field("API key", tag("input", attributes={"id": "key", "type": "password", "autocomplete": "off"}), "key")
    system = _field("system message", tag("textarea", attributes={"id": "system", "rows": "2"}), "system")
    tools = _field(
        "tools, a JSON list in OpenAI's format", tag("textarea", attributes={"id": "tools", "rows": "2"}), "tools"
    )
    shade = tag(
        "label",
        tag("input", attributes={"id": "shade", "type": "checkbox"}),
        " shade tokens by how unlikely they were",
        attributes={"class": "check"},
    )
    more = tag(
        "details",
        tag("summary", "settings"),
        system,
        tag("div", *numbers, stop, key, attributes={"class": "grid"}),
        tools,
        shade,
    )
    problem = tag("p", attributes={"id": "problem", "class": "error", "role": "alert", "hidden": ""})
    bar = tag("div", menu, model, beside, attributes={"class": "bar"})
    return tag("div", bar, more, problem, attributes={"class": "controls"})


def _main() -> Html:
    hint = "Write a message below. Hover a token of an answer to see its probability and the alternatives."
    empty = tag("p", hint, attributes={"id": "empty", "class": "note"})
    transcript = tag("div", attributes={"id": "transcript"})
    message = tag(
        "textarea",
        attributes={"id": "message", "rows": "2", "placeholder": "Message", "aria-label": "message", "autofocus": ""},
    )
    send = tag("button", "Send", attributes={"id": "send", "type": "button"})
    stop = tag("button", "Stop", attributes={"id": "stop", "type": "button", "hidden": ""})
    composer = tag("div", message, send, stop, attributes={"class": "composer"})
    return tag("div", empty, transcript, composer, attributes={"class": "talk"})


def _field(label: str, control: Html, name: str = "") -> Html:
    text = tag("label", label, attributes={"for": name or label})
    return tag("div", text, control, attributes={"class": "field"})
