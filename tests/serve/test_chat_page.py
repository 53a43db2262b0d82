"""The chat page in a real browser, where one is installed; its models are tiny and write nonsense."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser, browser
from served import Served, serving, tiny_checkpoint

from tutelage.engine.engine import EngineSettings
from tutelage.serve.chat_page import chat_page
from tutelage.serve.server import ServeSettings

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")
USAGES = "document.querySelectorAll('.usage').length"
HOSTILE = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>[a](javascript:hit=1)'


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    settings = ServeSettings(engine=EngineSettings(max_rows=4, chunk_tokens=64, min_prefix=16))
    models = {"tuned": tiny_checkpoint(context=4096), "base": tiny_checkpoint(seed=1, chats=False)}
    with serving(models, settings) as one:
        yield one


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture
def page(chromium: Browser, served: Served) -> Iterator[Browser]:
    """The page with nothing stored, with short answers."""
    chromium.errors.clear()
    chromium.requests.clear()
    chromium.open(served.url)
    chromium.run("localStorage.clear()")
    chromium.open(served.url)
    chromium.wait("document.getElementById('model').options.length === 2")
    chromium.run("settings.max_tokens = 8; settings.seed = 3; settings.temperature = 1")
    yield chromium
    chromium.run("stopAll()")
    served.settle()
    assert chromium.errors == []
    assert all(url.startswith(served.url) for url in chromium.requests)


def say(page: Browser, text: str, answers: int) -> None:
    """Send a message, and wait until so many answers are on the page and done."""
    page.run("document.getElementById('message').focus()")
    page.type(text, "Enter")
    page.wait(f"{USAGES} === {answers} && !busy()")


def answers(page: Browser) -> list[str]:
    texts: list[str] = page.run("[...document.querySelectorAll('.answer > .text')].map((e) => e.textContent)")
    return texts


def record_requests(page: Browser) -> None:
    """Keep the bodies of requests in `sent`."""
    page.run("""(() => { const real = fetch; window.sent = []; window.fetch = (url, options) => {
        if (options?.body) sent.push(JSON.parse(options.body));
        return real(url, options);
    }; })()""")


def test_a_conversation_is_streamed_kept_and_says_what_the_cache_saved(page: Browser, served: Served) -> None:
    say(page, "Good day, you are well. " * 3, 1)
    say(page, "Where was Nora born?", 2)
    first = answers(page)
    assert all(first)
    lines = page.run("[...document.querySelectorAll('.usage')].map((e) => e.textContent)")
    assert "none cached" in lines[0]
    assert re.match(r"\d+ of \d+ prompt tokens from the prefix cache \(\d+% not computed again\)", lines[1])
    page.open(served.url)
    page.wait("models.length")
    page.run("settings.max_tokens = 8; document.querySelector('#conversations button').click()")
    assert answers(page) == first
    page.run("document.getElementById('new').click()")
    assert answers(page) == []
    say(page, "Another", 1)
    assert page.run("document.querySelectorAll('#conversations li').length") == 2


def test_a_token_shows_its_probability_and_the_alternatives(page: Browser) -> None:
    say(page, "Good day", 1)
    page.run("document.querySelector('.answer .token').scrollIntoView({block: 'center'})")
    time.sleep(0.2)  # scrolling hides what is shown
    page.hover(".answer .token")
    page.wait("document.querySelector('.tip') && !document.querySelector('.tip').hidden")
    tip = page.run("document.querySelector('.tip').textContent")
    assert re.match(r"probability \d+\.\d%\n(\d+\.\d%  \".*\"\n?){5}", tip)
    spelled = page.run("[...document.querySelectorAll('.answer .token')].map((e) => e.textContent).join('')")
    assert spelled == answers(page)[0]


def test_an_answer_is_stopped_and_regenerated(page: Browser, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    say(page, "Hello", 1)
    monkeypatch.setitem(served.model.__dict__, "stop_ids", frozenset())  # else it may end by itself at once
    page.run("settings.max_tokens = 3000; settings.seed = ''")
    page.run("document.getElementById('message').focus()")
    page.type("Good day", "Enter")
    page.wait("busy()")
    page.run("window.first = document.querySelector('.turn')")
    page.wait("document.querySelectorAll('.answer > .text')[1].textContent.length > 5 && busy()")
    assert page.run("first.isConnected")  # what is above is not drawn again for every token
    page.press("Escape")
    page.wait("!busy()")
    assert page.run("shownTurns()[1].answers[0][0].finish") == "stopped"
    page.run("settings.max_tokens = 8; document.querySelectorAll('.answer')[1].querySelector('button').click()")
    page.wait(f"{USAGES} === 2 && !busy()")
    assert page.run("document.querySelectorAll('.answer')[1].querySelector('.versions').textContent.includes('2/2')")
    again = answers(page)[1]
    page.run("document.querySelectorAll('.answer')[1].querySelector('.versions button').click()")
    assert answers(page)[1] != again


def test_an_edited_message_branches(page: Browser) -> None:
    say(page, "Good day", 1)
    first = answers(page)
    page.run("document.querySelector('.question button').click()")
    page.run("document.querySelector('.question textarea').value = 'Where was'")
    page.press("Enter")
    page.wait(f"{USAGES} === 1 && !busy() && document.querySelector('.question .text').textContent === 'Where was'")
    assert page.run("document.querySelector('.question .versions').textContent.includes('2/2')")
    page.run("document.querySelector('.question .versions button').click()")
    assert page.run("document.querySelector('.question .text').textContent") == "Good day"
    assert answers(page) == first


def test_two_models_answer_side_by_side(page: Browser) -> None:
    page.run("settings.beside = 'base'; fillModels(); draw()")
    say(page, "Good day", 2)
    assert page.run("[...document.querySelectorAll('.who')].map((e) => e.textContent)") == ["tuned", "base"]
    left, right = page.run("[...document.querySelectorAll('.answer')].map((e) => e.getBoundingClientRect().left)")
    assert right > left + 200
    first = answers(page)
    assert len(set(first)) == 2
    record_requests(page)
    say(page, "And then?", 4)
    prompts = {body["model"]: body.get("prompt") for body in page.run("sent")}
    assert prompts == {"tuned": None, "base": f"Good day\n{first[1]}\nAnd then?"}


def test_s29_answers_are_text_never_markup(page: Browser) -> None:
    page.run(f"""(() => {{
        const hostile = {json.dumps(HOSTILE)}, turn = newTurn(hostile);
        const calls = [{{id: "1", name: hostile, arguments: hostile}}];
        const written = {{model: hostile, content: hostile, reasoning: hostile, error: hostile}};
        turn.answers[0].push({{...written, finish: "stop", calls}});
        current.title = hostile; current.turns.push(turn); save(); draw();
    }})()""")
    time.sleep(0.1)
    assert page.run("window.hit === undefined")
    assert page.run("document.querySelectorAll('#transcript img, #transcript script, #transcript a').length") == 0
    assert answers(page) == [HOSTILE]
    assert page.run("document.querySelectorAll('details.reasoning, details.call').length") == 2
    assert page.run("document.querySelectorAll('details.call[open]').length") == 0


def test_an_error_is_shown_where_the_answer_would_be(page: Browser) -> None:
    page.run("settings.max_tokens = 100000; document.getElementById('message').focus()")
    page.type("Good day", "Enter")
    page.wait("document.querySelector('.answer .error')")
    assert "the context of tuned holds 4096" in page.run("document.querySelector('.answer .error').textContent")
    assert len(page.errors) == 1  # the browser's own line about the status 400
    page.errors.clear()


def fill(page: Browser, name: str, value: str) -> None:
    """Write into a field of the settings, as a person does."""
    page.run(f"""(() => {{ const field = document.getElementById({json.dumps(name)});
        field.value = {json.dumps(value)}; field.dispatchEvent(new Event("change")); }})()""")


def test_settings_are_sent_and_kept(page: Browser, served: Served) -> None:
    record_requests(page)
    chosen = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.01, "max_tokens": 3, "seed": 5}
    for name, value in chosen.items():
        fill(page, name, str(value))
    fill(page, "system", "Be brief.")
    fill(page, "stop_string", "zz")
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    fill(page, "tools", json.dumps([tool]))
    say(page, "Good day", 1)
    (body,) = page.run("sent")
    assert {name: body[name] for name in chosen} == chosen
    assert (body["stop"], body["tools"]) == (["zz"], [tool])
    assert [m["content"] for m in body["messages"]] == ["Be brief.", "Good day"]
    page.open(served.url)
    page.wait("models.length")
    assert page.run("[...document.querySelectorAll('#system, #top_k')].map((e) => e.value)") == ["Be brief.", "7"]
    fill(page, "tools", "[")
    page.run("document.getElementById('message').focus()")
    page.type("Good day", "Enter")
    page.wait("document.querySelector('.answer .error')")
    assert "the tools are no JSON" in page.run("document.querySelector('.answer .error').textContent")


def test_answers_fit_the_context_without_a_limit(page: Browser) -> None:
    record_requests(page)
    page.run("settings.max_tokens = ''; settings.model = 'base'")
    say(page, "Good day", 1)
    assert page.run("sent[0].max_tokens") == 256  # half of its context: a base model ends nowhere by itself
    page.run("window.asked = requestBody(findModel('tuned'), shownTurns(), 0)[1]")
    assert page.run("asked.max_tokens === undefined")  # up to the end of the context


def test_the_results_of_called_tools_go_back_to_the_model(page: Browser) -> None:
    record_requests(page)
    page.run("""(() => { const turn = newTurn("How warm is it?");
        const calls = [{id: "a1", name: "look", arguments: '{"city": "Oslo"}'}];
        turn.answers[0].push({model: "tuned", content: "", reasoning: "I look.", calls, finish: "tool_calls"});
        current.title = "t"; current.turns.push(turn); save(); draw();
        document.querySelector(".results textarea").value = "7 degrees";
        document.querySelector(".results button").click(); })()""")
    page.wait(f"{USAGES} === 1 && !busy()")
    call = {"id": "a1", "type": "function", "function": {"name": "look", "arguments": '{"city": "Oslo"}'}}
    user, assistant, tool = page.run("sent")[0]["messages"][-3:]
    assert user == {"role": "user", "content": "How warm is it?"}
    assert (assistant["tool_calls"], assistant["reasoning_content"]) == ([call], "I look.")
    assert tool == {"role": "tool", "tool_call_id": "a1", "content": "7 degrees"}
    assert page.run("document.querySelectorAll('.question details.call').length") == 1


def test_the_keys_work(page: Browser) -> None:
    say(page, "Good day", 1)
    page.run("document.activeElement.blur()")
    page.press("r")
    page.wait("document.querySelector('.answer .versions') && !busy()")
    page.run("document.querySelector('.answer .token').focus()")
    assert "probability" in page.run("document.querySelector('.tip').textContent")
    page.press("ArrowRight")
    assert page.run("document.activeElement === document.querySelectorAll('.answer .token')[1]")
    page.press("?")
    assert page.run("document.getElementById('keys').open")
    page.press("/")
    assert page.run("document.activeElement.id") == "message"
    page.run("document.activeElement.blur()")
    page.press("n")
    assert answers(page) == []
    assert page.run("document.activeElement.id") == "message"


def test_an_answer_that_was_cut_by_a_reload_says_so(page: Browser, served: Served) -> None:
    page.run("settings.max_tokens = 3000; document.getElementById('message').focus()")
    page.type("Good day", "Enter")
    page.wait("busy()")
    page.open(served.url)
    page.wait("models.length")
    page.run("document.querySelector('#conversations button').click()")
    assert page.run("document.querySelector('#conversations button').getAttribute('aria-current')") == "true"
    assert "before this answer was complete" in page.run("document.querySelector('.answer').textContent")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_runs_over_the_edge(page: Browser, served: Served, width: int, dark: bool, tmp_path: Path) -> None:
    page.run("settings.beside = 'base'; writeStored(SETTINGS, settings)")
    page.open(served.url, width, dark=dark)
    page.wait("document.getElementById('model').options.length === 2")
    say(page, "Good day " + "long" * 60, 2)
    for opened in ("", "document.querySelector('.controls details').open = true"):
        page.run(opened or "0")
        assert page.overflow() == []
        assert page.run("document.documentElement.scrollWidth") == width
    page.screenshot(tmp_path / "page.png")
    assert page.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 22, 26)" if dark else "rgb(253, 253, 251)"
    )


def test_a_server_that_is_gone_is_named(page: Browser, served: Served) -> None:
    page.run("window.fetch = async () => { throw new TypeError('Failed to fetch'); }")
    page.run("document.getElementById('message').focus()")
    page.type("Good day", "Enter")
    page.wait("document.querySelector('.answer .error')")
    assert "the server does not answer" in page.run("document.querySelector('.answer .error').textContent")


def test_the_page_needs_nothing_from_outside() -> None:
    text = chat_page()
    assert re.findall(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//[^"')\s]+""", text) == []
    assert "connect-src &#x27;self&#x27;" in text
    assert "innerHTML" not in text
