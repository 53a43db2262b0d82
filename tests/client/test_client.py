"""The client against a real server in this process: requests, retries, cache, budget and the secret key."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

import tutelage
from tutelage import progress
from tutelage.client import Answer, BudgetError, Client, EndpointError, EndpointSettings, Failure, retry_after_seconds
from tutelage.config import SettingsError, convert

KEY = "sk-" + "0123456789abcdef" * 2


def question(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"<document>\n{text}\n</document>"}], "temperature": 0, **more}


def settings(endpoint: Any, **more: Any) -> EndpointSettings:
    return EndpointSettings(**{"url": endpoint.url, "model": "judge", "backoff": 0.001, "parallel": 2, **more})


def answered(result: Answer | Failure) -> Answer:
    assert isinstance(result, Answer), result
    return result


def test_a_question_is_sent_as_openai_lays_it_out(endpoint: Any) -> None:
    with Client(settings(endpoint)) as client:
        result = answered(client.ask(question("the atom and the cell", max_tokens=9)))
    assert result.text == "It holds words I like.\nScore: 2"
    assert (result.prompt_tokens, result.completion_tokens, result.truncated) == (10, 2, False)
    assert endpoint.paths == ["/v1/chat/completions"]
    assert endpoint.seen == [{"model": "judge", **question("the atom and the cell", max_tokens=9)}]
    assert "Authorization" not in endpoint.headers[0]


def test_plain_completions_and_their_logprobs(endpoint: Any) -> None:
    endpoint.answer = lambda body: body["prompt"].upper()
    with Client(settings(endpoint, url=endpoint.url + "/chat/completions/")) as client:
        result = answered(client.ask({"prompt": "once", "logprobs": 1}))
    assert endpoint.paths == ["/v1/completions"]
    assert (result.text, result.choices[0].raw["logprobs"]) == ("ONCE", {"tokens": ["ONCE"]})


@pytest.mark.parametrize("fault", [429, 500, 503, "drop", "half", "garbage", "no choices"])
def test_transient_failures_are_retried(endpoint: Any, fault: Any) -> None:
    endpoint.faults = [fault, fault]
    with Client(settings(endpoint)) as client:
        assert answered(client.ask(question("a"))).text.endswith("Score: 0")
        assert (client.usage.requests, client.usage.retries, client.usage.answers) == (3, 2, 1)


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_request_has_a_time_limit_whatever_the_endpoint_does(endpoint: Any, fault: str) -> None:
    endpoint.faults = [fault]
    with Client(settings(endpoint, timeout=0.3, attempts=2)) as client:
        assert answered(client.ask(question("a"))).text.endswith("Score: 0")
    endpoint.faults = [fault]
    with Client(settings(endpoint, timeout=0.3, attempts=1)) as client:
        assert client.ask(question("b")) == Failure("timeout", "no reply within 0.3 s")


def test_the_size_of_a_reply_is_bounded(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tutelage.client.http.MAX_REPLY", 10_000)
    endpoint.answer = lambda body: "x" * 20_000
    with Client(settings(endpoint, attempts=1)) as client:
        assert client.ask(question("a")) == Failure("reply too large", "more than 10,000 bytes")


def test_a_redirect_is_not_followed_with_the_key(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    elsewhere = f"http://localhost:{endpoint.port}/v1"
    endpoint.faults = [{"status": 302, "Location": elsewhere}]
    with (
        Client(settings(endpoint, key_variable="JUDGE_KEY")) as client,
        pytest.raises(EndpointError, match=f"redirects to {elsewhere}"),
    ):
        client.ask(question("a"))
    assert len(endpoint.paths) == 1


def test_a_name_that_is_no_host_is_a_failure() -> None:
    with Client(EndpointSettings(url="http://a..b/v1", model="m", attempts=1)) as client:
        result = client.ask(question("a"))
    assert isinstance(result, Failure) and result.reason == "broken connection"


def test_backoff_grows_and_has_jitter(endpoint: Any) -> None:
    endpoint.always = 500
    with Client(settings(endpoint, backoff=0.02, attempts=5)) as client:
        assert client.ask(question("a")) == Failure("status 500", "trouble 500")
    gaps = [later - earlier for earlier, later in zip(endpoint.times, endpoint.times[1:], strict=False)]
    assert all(gap >= 0.01 * 2**n for n, gap in enumerate(gaps))
    assert len(gaps) == 4


def test_retry_after_holds_for_all_threads(endpoint: Any) -> None:
    endpoint.faults = [{"Retry-After": "0.4"}]
    with Client(settings(endpoint, parallel=1)) as client:
        list(client.ask_all((n, question(str(n))) for n in range(2)))
    assert endpoint.times[1] - endpoint.times[0] >= 0.4
    endpoint.faults = [{"Retry-After": "7200"}]
    with (
        Client(settings(endpoint)) as client,
        pytest.raises(EndpointError, match="rate limited; retry in 2 h 00 min"),
    ):
        client.ask(question("later"))


def test_a_retry_after_is_a_number_or_a_date() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after_seconds(format_datetime(now + timedelta(seconds=90), usegmt=True), now) == 90
    assert retry_after_seconds(format_datetime(now - timedelta(days=1), usegmt=True), now) == 0
    assert [retry_after_seconds(text, now) for text in ("12", " 1.5 ", "", "soon", "-3", "nan", "inf", "9" * 400)] == [
        12, 1.5, 0, 0, 0, 0, 0, 0,
    ]  # fmt: skip


def test_a_bad_question_fails_alone(endpoint: Any) -> None:
    endpoint.faults = [400]
    with Client(settings(endpoint)) as client:
        assert client.ask(question("too long")) == Failure("refused with status 400", "trouble 400")
        assert answered(client.ask(question("short")))
        assert (client.usage.requests, client.usage.failed) == (2, 1)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (401, r"API key not accepted \(status 401: trouble 401\)"),
        (404, "no such address or model; correct url or model"),
        ({"status": 307, "Location": "http://elsewhere.org/v1"}, "it redirects to http://elsewhere.org/v1; if that"),
    ],
)
def test_fatal_errors_end_the_run_at_once(endpoint: Any, fault: Any, sentence: str) -> None:
    endpoint.always = fault
    with Client(settings(endpoint)) as client, pytest.raises(EndpointError, match=sentence):
        list(client.ask_all((n, question(str(n))) for n in range(50)))
    assert len(endpoint.seen) <= 2


def test_an_unreachable_endpoint_ends_the_run(endpoint: Any) -> None:
    endpoint.always = "drop"
    with (
        Client(settings(endpoint, attempts=2)) as client,
        pytest.raises(EndpointError, match="3 questions in a row failed .*broken connection"),
    ):
        list(client.ask_all((n, question(str(n))) for n in range(50)))
    assert len(endpoint.seen) <= 8


def test_the_number_of_concurrent_requests(endpoint: Any) -> None:
    def when_all_are_there(body: dict[str, Any]) -> str:
        while endpoint.max_in_flight < 3:
            time.sleep(0.002)
        return "yes"

    endpoint.answer = when_all_are_there
    with Client(settings(endpoint, parallel=3)) as client:
        result = dict(client.ask_all((n, question(f"atom {n}")) for n in range(20)))
    assert sorted(result) == list(range(20))
    assert endpoint.max_in_flight == 3


def test_answers_are_cached_and_never_paid_twice(endpoint: Any, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    for _ in range(2):
        with Client(settings(endpoint), file) as client:
            result = dict(client.ask_all((n, question(f"atom {n}")) for n in range(6)))
            assert all(answered(answer).text.endswith("Score: 1") for answer in result.values())
    assert len(endpoint.seen) == 6
    assert (client.usage.requests, client.usage.cached) == (0, 6)
    others = [
        (settings(endpoint, model="other"), question("atom 0")),
        (settings(endpoint), question("atom 0", seed=1)),
    ]
    for number, (other, asked) in enumerate(others, 7):
        with Client(other, file) as client:
            client.ask(asked)
        assert len(endpoint.seen) == number
    moved = settings(endpoint, url=endpoint.url.replace("127.0.0.1", "localhost"))
    with Client(moved, file) as client:
        client.ask(question("atom 0"))
    assert len(endpoint.seen) == 8


def test_samples_of_one_prompt_are_asked_for_apart_and_cached_apart(endpoint: Any, tmp_path: Path) -> None:
    """inspect_ai 2580, autogen 2377: a cache without the sample number gives one answer n times."""
    numbers = iter(range(100))
    endpoint.answer = lambda body: f"joke {next(numbers)}"
    for _ in range(2):
        with Client(settings(endpoint, parallel=1), tmp_path / "answers.jsonl") as client:
            texts = [answered(client.ask(question("a joke"), sample)).text for sample in range(4)]
        assert texts == ["joke 0", "joke 1", "joke 2", "joke 3"]
    assert len(endpoint.seen) == 4


def test_a_budget_of_money(endpoint: Any) -> None:
    priced = settings(endpoint, parallel=1, prompt_price=1e5, completion_price=5e5, max_cost=5.0)  # 2 an answer
    with Client(priced) as client, pytest.raises(BudgetError, match="5 in money"):
        for _ in client.ask_all((n, question(str(n))) for n in range(9)):
            pass
    assert len(endpoint.seen) == 3
    with pytest.raises(ValueError, match="needs prompt_price"):
        settings(endpoint, max_cost=1.0)


def test_busy_replies_halve_the_requests_in_flight(endpoint: Any) -> None:
    endpoint.faults = [429] * 8
    with Client(settings(endpoint, parallel=8, attempts=20)) as client:
        result = dict(client.ask_all((n, question(str(n))) for n in range(8)))
        assert client._limit.limit < 8
    assert len(result) == 8


def test_a_broken_line_of_the_cache_is_skipped(endpoint: Any, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    with Client(settings(endpoint), file) as client:
        client.ask(question("one"))
        client.ask(question("two"))
    content = file.read_bytes()
    file.write_bytes(content[:-20])
    for wanted in (1, 0):  # the second one is asked once more, and then it is there
        with Client(settings(endpoint), file) as client:
            client.ask(question("one"))
            client.ask(question("two"))
            assert client.usage.requests == wanted
    assert [line for line in file.read_bytes().splitlines() if line in content.splitlines()] == content.splitlines()


def test_a_budget_of_requests_is_never_exceeded(endpoint: Any, tmp_path: Path) -> None:
    endpoint.faults = [500]
    with Client(settings(endpoint, max_requests=5), tmp_path / "answers") as client:
        with pytest.raises(BudgetError, match="budget of 5 requests is spent; answers so far are cached in .*answers"):
            list(client.ask_all((n, question(str(n))) for n in range(20)))
        assert (client.usage.requests, client.usage.answers) == (5, 4)
    assert len(endpoint.seen) == 5
    with Client(settings(endpoint, max_requests=16), tmp_path / "answers") as client:
        assert len(list(client.ask_all((n, question(str(n))) for n in range(20)))) == 20


def test_answers_before_the_budget_was_spent_are_yielded(endpoint: Any) -> None:
    given = []
    with (
        Client(settings(endpoint, max_tokens_total=60, parallel=1)) as client,
        pytest.raises(BudgetError, match="60 tokens"),
    ):
        for name, _ in client.ask_all((n, question(str(n))) for n in range(20)):
            given.append(name)
    assert given == [0, 1, 2, 3, 4]
    endpoint.usage = False
    with (
        Client(settings(endpoint, max_tokens_total=60)) as client,
        pytest.raises(EndpointError, match="leave max_tokens_total and max_cost out"),
    ):
        client.ask(question("a"))


def test_truncated_answers_are_counted(endpoint: Any) -> None:
    endpoint.faults = ["cut off"]
    with Client(settings(endpoint)) as client:
        assert answered(client.ask(question("a"))).truncated
        assert client.usage.truncated == 1


def test_a_stop_request_yields_answers_in_flight(endpoint: Any) -> None:
    endpoint.delay = 0.05
    with Client(settings(endpoint)) as client:
        result = list(client.ask_all(((n, question(str(n))) for n in range(50)), lambda: len(endpoint.seen) > 4))
    assert len(result) == len(endpoint.seen) < 10


def test_a_caller_that_leaves_the_loop_does_not_wait(endpoint: Any) -> None:
    endpoint.faults = [None, "hang"]
    with Client(settings(endpoint)) as client:
        for _ in client.ask_all((n, question(str(n))) for n in range(50)):
            while len(endpoint.seen) < 2:
                time.sleep(0.002)
            break
    assert endpoint.in_flight >= 1  # the one that hangs


LIMITED = """
import resource, sys
from pathlib import Path
from tutelage.client import Client, EndpointSettings
with Client(EndpointSettings(url=sys.argv[1], model="judge"), Path(sys.argv[2])) as client:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        for n, _ in client.ask_all((n, {"prompt": str(n)}) for n in range(99)):
            pass
    except OSError as error:
        print(error)
"""


def test_a_full_disk_is_one_sentence_and_the_cache_stays_valid(endpoint: Any, tmp_path: Path) -> None:
    endpoint.answer = lambda body: "word " * 9
    file = tmp_path / "answers"
    environment = {**os.environ, "PYTHONPATH": str(Path(tutelage.__file__).parents[1])}
    command = [sys.executable, "-c", LIMITED, endpoint.url, str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.startswith(f"cannot write {file}: "), done.stderr
    assert file.stat().st_size == 1000
    with Client(settings(endpoint), file) as client:
        result = list(client.ask_all((n, {"prompt": str(n)}) for n in range(20)))
    assert len(result) == 20
    assert client.usage.cached >= 2
    with Client(settings(endpoint), file) as client:
        assert len(list(client.ask_all((n, {"prompt": str(n)}) for n in range(20)))) == client.usage.cached == 20


def test_failures_are_reported_at_intervals(endpoint: Any, capsys: pytest.CaptureFixture[str]) -> None:
    progress.set_mode("plain")
    endpoint.faults = [503, 503, 503]
    with Client(settings(endpoint)) as client:
        client.ask(question("a"))
    assert capsys.readouterr().err == f"{endpoint.url}: status 503 (trouble 503)\n"


# The key is sent, and appears nowhere else.


def test_the_key_is_sent_and_appears_nowhere_else(
    endpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUDGE_KEY", f" {KEY}\n")
    endpoint.answer = lambda body: f"your key is {KEY}"
    with Client(settings(endpoint, key_variable="JUDGE_KEY"), tmp_path / "answers") as client:
        assert answered(client.ask(question("a"))).text == "your key is [key]"
        endpoint.faults = ["echo"]
        result = client.ask(question("b"))
        assert result == Failure("refused with status 400", "wrong key Bearer [key]")
        endpoint.faults = [{"status": 401, "WWW-Authenticate": KEY}]
        with pytest.raises(EndpointError) as error:
            client.ask(question("c"))
    assert [headers["Authorization"] for headers in endpoint.headers] == [f"Bearer {KEY}"] * 3
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    shown = "".join(capfd.readouterr()) + str(error.value) + repr(vars(client)["settings"])
    assert b"your key is" in written
    assert KEY not in written.decode() + shown


@pytest.mark.parametrize("variable", ["NO_SUCH_VARIABLE", KEY, ""])
def test_a_key_given_in_place_of_its_variable_is_not_repeated(endpoint: Any, variable: str) -> None:
    with pytest.raises(ValueError, match="never the key itself") as error:
        Client(settings(endpoint, key_variable=variable))
    assert not variable or variable not in str(error.value)


def test_a_key_that_cannot_be_sent_is_not_shown(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-one\nX-Header: sk-two")
    with pytest.raises(ValueError, match="has invalid characters") as error:
        Client(settings(endpoint, key_variable="JUDGE_KEY"))
    assert "sk-" not in str(error.value)


@pytest.mark.parametrize("host", ["example.org", "10.0.0.7", "127.0.0.1.example.org", "0.0.0.0"])
def test_a_key_is_never_sent_unencrypted(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with pytest.raises(ValueError, match=f"would be sent to {host} unencrypted; use https"):
        Client(EndpointSettings(url=f"http://{host}/v1", model="m", key_variable="JUDGE_KEY"))
    for url in (f"https://{host}/v1", "http://localhost:1/v1", "http://127.0.0.9/v1", "http://[::1]:1/v1"):
        Client(EndpointSettings(url=url, model="m", key_variable="JUDGE_KEY"))
    Client(EndpointSettings(url=f"http://{host}/v1", model="m"))


@pytest.mark.parametrize(
    "url",
    ["localhost:8000/v1", "ftp://host/v1", "https://", "http://host:port/v1", "http://u:p@host", "http://h?key=1"],
)
def test_invalid_addresses(url: str) -> None:
    with pytest.raises(ValueError, match="^url .*") as error:
        Client(EndpointSettings(url=url, model="m"))
    assert "p@" not in str(error.value)


def test_bounds_of_settings() -> None:
    with pytest.raises(SettingsError, match="parallel must be >= 1"):
        convert({"url": "http://h", "model": "m", "parallel": 0}, EndpointSettings)


def test_a_proxy_is_used_and_does_not_see_the_key(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{endpoint.port}")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{endpoint.port}")
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with Client(settings(endpoint, url="http://model.invalid/v1")) as client:
        assert answered(client.ask(question("atom"))).text.endswith("Score: 1")
    assert endpoint.paths == ["http://model.invalid/v1/chat/completions"]
    assert endpoint.headers[0]["Proxy-Authorization"] == "Basic bWU6c2VjcmV0"
    secret = settings(endpoint, url="https://model.invalid/v1", key_variable="JUDGE_KEY", attempts=1)
    with Client(secret) as client:
        result = client.ask(question("a"))
    assert isinstance(result, Failure) and result.reason == "broken connection"
    assert endpoint.paths[-1] == "model.invalid:443"
    assert KEY not in json.dumps(endpoint.headers)


# Killed at any moment.

SCRIPT = """
import sys
from pathlib import Path
from tutelage.client import Client, EndpointSettings
settings = EndpointSettings(url=sys.argv[1], model="judge", parallel=3)
def question(n):
    return n, {"messages": [{"role": "user", "content": f"<document>\\natom {n}\\n</document>"}]}
with Client(settings, Path(sys.argv[2])) as client:
    print(len(list(client.ask_all(map(question, range(40))))), client.usage.cached, flush=True)
assert "torch" not in sys.modules
"""


def test_a_killed_run_pays_only_for_requests_in_flight(endpoint: Any, tmp_path: Path) -> None:
    endpoint.delay = 0.02
    file = tmp_path / "answers"
    command = [sys.executable, "-c", SCRIPT, endpoint.url, str(file)]
    environment = {**os.environ, "PYTHONPATH": str(Path(tutelage.__file__).parents[1])}
    first = subprocess.Popen(command, env=environment)
    while len(endpoint.seen) < 12:
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    lines = file.read_bytes().count(b"\n")
    assert lines >= 9
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == f"40 {lines}\n", done.stderr
    assert len(endpoint.seen) <= 40 + 3
