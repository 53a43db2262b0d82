"""The server's rules, and field failures of other servers (S numbers: what was reported against them)."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from served import CHAT, HELLO, TEXT, Served, serving, tiny_checkpoint

from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.sampling import SamplingSettings
from tutelage.serve import http, protocol
from tutelage.serve.answers import LOWEST_LOGPROB
from tutelage.serve.errors import ApiError
from tutelage.serve.prompt_logprobs import prompt_logprobs
from tutelage.serve.server import ServeSettings, allowed_hosts, is_local, read_api_key

LONG = {**HELLO, "max_tokens": 400, "ignore_eos": True, "seed": 1}


@pytest.fixture(scope="module")
def one() -> Iterator[Served]:
    with serving() as served:
        yield served


@pytest.fixture
def served(one: Served) -> Iterator[Served]:
    yield one
    one.settle()  # no test leaves a page behind


def open_stream(served: Served, body: dict[str, Any]) -> socket.socket:
    """A connection on which a streamed request has been sent; nothing is read."""
    data = json.dumps({**body, "stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    connection = socket.create_connection(("127.0.0.1", served.port))
    connection.sendall(head.encode() + b"\r\n\r\n" + data)
    return connection


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.005)


def text_of(events: list[Any]) -> str:
    return "".join(e["choices"][0]["delta"].get("content", "") for e in events[:-1] if e["choices"])


def test_s8_a_client_that_leaves_is_cancelled_and_the_others_write_the_same(served: Served) -> None:
    """Invariant 3: queued, reading its prompt, or decoding: four rows, eight streams, all of them cut."""
    expected = served.stream(CHAT, {**HELLO, "seed": 3, "max_tokens": 60, "ignore_eos": True})
    connections = [open_stream(served, LONG) for _ in range(8)]
    engine = served.model.worker.engine
    wait_for(lambda: len(served.model.worker.choices) == 8 and len(engine.scheduler.running) == 4)
    results: list[Any] = []
    kept = threading.Thread(
        target=lambda: results.append(served.stream(CHAT, {**HELLO, "seed": 3, "max_tokens": 60, "ignore_eos": True}))
    )
    kept.start()
    for connection in connections:
        connection.close()
    kept.join(60)
    assert text_of(results[0]) == text_of(expected)
    served.settle()


def test_s9_the_queue_is_bounded_and_refuses_before_it_tokenises(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServeSettings(max_queue=2, engine=EngineSettings(max_rows=1, chunk_tokens=64))
    with serving(settings=settings) as served:
        hold, held = threading.Event(), threading.Event()
        blocked = served.model.worker.call(lambda engine: (held.set(), hold.wait(60)))
        held.wait(60)
        statuses: list[httpx2.Response] = []
        threads = [
            threading.Thread(target=lambda: statuses.append(served.post(CHAT, {**HELLO, "max_tokens": 2})))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(served.model.worker._inbox) == 2)
        monkeypatch.setattr(type(served.model), "chat_prompt", lambda self, request: pytest.fail("tokenised"))
        refused = [served.post(CHAT, {**HELLO, "max_tokens": 2}) for _ in range(8)]
        assert [response.status_code for response in refused] == [429] * 8
        assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
        assert refused[0].json()["error"]["code"] == "rate_limit_exceeded"
        hold.set()
        blocked.result(60)
        for thread in threads:
            thread.join(60)
        assert [response.status_code for response in statuses] == [200, 200]
        served.settle()


def test_s10_a_seeded_answer_is_the_same_alone_and_in_a_crowd(served: Served) -> None:
    asked = {**HELLO, "seed": 11, "max_tokens": 30}
    alone = served.post(CHAT, asked).json()["choices"][0]["message"]["content"]
    answers: list[str] = []

    def ask(body: dict[str, Any]) -> None:
        answers.append(served.post(CHAT, body).json()["choices"][0]["message"]["content"])

    crowd = [threading.Thread(target=ask, args=({**HELLO, "max_tokens": 30},)) for _ in range(7)]
    for thread in crowd:
        thread.start()
    assert served.post(CHAT, asked).json()["choices"][0]["message"]["content"] == alone
    for thread in crowd:
        thread.join()
    assert len(set(answers)) > 1  # without a seed each draws its own


def test_s17_usage_counts_token_ids(served: Served) -> None:
    """Invariant 8."""
    body = {**HELLO, "seed": 2, "max_tokens": 9, "ignore_eos": True, "logprobs": True}
    whole = served.post(CHAT, body).json()
    streamed = served.stream(CHAT, {**body, "stream_options": {"include_usage": True}})
    assert streamed[-1] == "[DONE]"
    usage = streamed[-2]["usage"]
    assert usage["completion_tokens"] == whole["usage"]["completion_tokens"] == 9
    assert usage["prompt_tokens"] == whole["usage"]["prompt_tokens"]
    entries = [e for event in streamed[:-2] for e in (event["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert len(entries) == 9


def test_s17_cached_tokens_are_those_that_were_not_computed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 2: the tokens that went through the model are counted."""
    computed = [0]
    fast = served.model.worker.engine.rows.fast
    real = fast.hidden

    def counting(ids: torch.Tensor, *more: Any) -> torch.Tensor:
        computed[0] += len(ids)
        return real(ids, *more)

    monkeypatch.setattr(fast, "hidden", counting)
    messages = [{"role": "user", "content": "The prefix of this prompt is long enough for pages. " * 3}]
    answers, counts = [], []
    for _ in range(2):
        computed[0] = 0
        answers.append(served.post(CHAT, {"messages": messages, "max_tokens": 4, "temperature": 0, "ignore_eos": True}))
        counts.append(computed[0])
    first, second = (answer.json() for answer in answers)
    for answer, count in zip((first, second), counts, strict=True):
        usage = answer["usage"]
        # The last token is not read: nothing comes after it.
        assert count == usage["total_tokens"] - usage["prompt_tokens_details"]["cached_tokens"] - 1
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] >= 0.8 * second["usage"]["prompt_tokens"]
    assert first["choices"][0]["message"] == second["choices"][0]["message"]


def test_s23_an_error_in_the_middle_of_a_stream_is_sent_and_no_done_follows(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, steps = served.model.worker, [0]
    real = worker.engine.step

    def failing() -> Any:
        steps[0] += 1
        if steps[0] == 4:
            raise RuntimeError("out of memory")
        return real()

    monkeypatch.setattr(worker.engine, "step", failing)
    events = served.stream(CHAT, LONG)
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert events[-1]["error"]["type"] == "server_error"
    assert "out of memory" in events[-1]["error"]["message"]
    assert served.post(CHAT, {**HELLO, "max_tokens": 2}).status_code == 200  # the next one finds a working server


def test_s24_a_prompt_that_is_too_long_is_refused_and_never_cut(served: Served) -> None:
    """Invariant 10."""
    context = served.model.context
    ids = served.model.text_prompt("a")[:1] * context
    fits = served.post(TEXT, {"prompt": ids[:-1], "max_tokens": 1})
    assert fits.status_code == 200
    refused = served.post(TEXT, {"prompt": ids[:-1], "max_tokens": 2})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert served.post(TEXT, {"prompt": ids, "max_tokens": 1}).status_code == 400


def test_e33_prompt_log_probabilities_are_those_of_one_pass_cached_or_not(served: Served) -> None:
    """Invariant 11: also of two prompts in both orders, after others filled the cache with their beginnings."""
    texts = ["Where was Nora born? Good day, you are well. " * 4 + end for end in ("Bo", "Nora")]
    served.post(TEXT, {"prompt": texts, "max_tokens": 1})
    asked = [
        served.post(TEXT, {"prompt": order, "max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0}).json()
        for order in (texts, texts[::-1])
    ]
    one, two = ([choice["logprobs"]["token_logprobs"] for choice in answer["choices"]] for answer in asked)
    assert one == two[::-1]
    model = served.model.checkpoint.model
    for text, values in zip(texts, one, strict=True):
        ids = torch.tensor(served.model.text_prompt(text))
        hidden = model.hidden(ids, torch.arange(len(ids)), model.within_segments((len(ids),)))
        expected = model.logits(hidden).log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0].tolist()
        assert values[:-1] == pytest.approx(expected, abs=1e-5)


def test_log_probabilities_are_the_engines(served: Served) -> None:
    """Invariant 11: of an answer that is sampled, and of the prompt; in a server that answers others meanwhile."""
    prompt = served.model.text_prompt("Where was")
    noise = threading.Thread(target=lambda: served.post(CHAT, {**HELLO, "max_tokens": 40}))
    noise.start()
    body = {"prompt": "Where was", "max_tokens": 8, "seed": 4, "logprobs": 0, "ignore_eos": True, "echo": True}
    got = served.post(TEXT, body).json()["choices"][0]["logprobs"]["token_logprobs"]
    noise.join()
    model = served.model.checkpoint.model
    engine = Engine(model)
    request = engine.add(prompt, frozenset(), SamplingSettings(temperature=1, max_tokens=8, seed=4))
    engine.run()
    assert got[-8:] == pytest.approx(request.generation.logprobs, abs=1e-5)
    assert got[:-8] == pytest.approx([value for value, _ in prompt_logprobs(model, prompt, 1)[1:]], abs=1e-5)


def test_only_prompts_can_be_scored_without_an_answer(served: Served) -> None:
    answer = served.post(TEXT, {"prompt": "Good day", "max_tokens": 0, "echo": True, "logprobs": 1}).json()
    assert answer["choices"][0]["text"] == "Good day"
    assert answer["usage"]["completion_tokens"] == 0
    assert min(answer["choices"][0]["logprobs"]["token_logprobs"]) >= LOWEST_LOGPROB


def test_s29_the_host_is_checked_and_no_other_site_may_read(served: Served) -> None:
    assert served.get("/health", Host="evil.example").status_code == 403
    assert served.get("/health", Host=f"localhost:{served.port}").status_code == 200
    response = served.get("/v1/models", Origin="https://evil.example")
    assert not [name for name in response.headers if name.startswith("access-control")]
    form = httpx2.post(f"{served.url}{CHAT}", content=json.dumps(HELLO), headers={"content-type": "text/plain"})
    assert form.status_code == 415  # what a form of another site could send
    assert allowed_hosts(ServeSettings(allow_hosts=("*",))) is None
    assert "my.host" in (allowed_hosts(ServeSettings(allow_hosts=("My.Host",))) or ())
    assert [is_local(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "my.host")] == [True] * 3 + [
        False
    ] * 2


def test_the_key_is_asked_for_everywhere_but_at_the_page_and_health() -> None:
    with serving(settings=ServeSettings(api_key="sesame")) as served:
        for path in ("/v1/models", "/metrics", "/slots"):
            assert served.get(path).status_code == 401
            assert served.get(path, Authorization="Bearer sesam").status_code == 401
            assert served.get(path, Authorization="Bearer sesame").status_code == 200
        assert served.get("/health").status_code == served.get("/").status_code == 200
        assert served.post(CHAT, HELLO).json()["error"]["code"] == "invalid_api_key"


def test_a_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("sesame\n")
    (tmp_path / "empty").write_text("\n")
    assert read_api_key(tmp_path / "key") == "sesame"
    assert read_api_key(None) == ""
    monkeypatch.setenv("TUTELAGE_API_KEY", "open")
    assert read_api_key(None) == "open"
    with pytest.raises(ValueError, match="empty holds no API key"):
        read_api_key(tmp_path / "empty")


def test_bodies_are_limited(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(settings=ServeSettings(max_body=1000)) as small:
        large = small.post(CHAT, {"messages": [{"role": "user", "content": "a" * 2000}]})
        assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")
        chunked = httpx2.post(
            f"{small.url}{CHAT}", content=iter([b"[" * 800] * 3), headers={"content-type": "application/json"}
        )
        assert chunked.status_code == 413
    monkeypatch.setattr(http, "BODY_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", served.port)) as connection:  # half of a body, then nothing
        head = (
            f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{{"
        )
        connection.sendall(head.encode())
        assert b" 408 " in connection.recv(4096)
    deep = httpx2.post(f"{served.url}{CHAT}", content=b"[" * 100_000, headers={"content-type": "application/json"})
    assert deep.status_code == 400


def test_wrong_paths_and_methods_are_errors_in_json(served: Served) -> None:
    assert served.get("/v1/nothing").json()["error"]["code"] == "not_found"
    assert served.get(CHAT).status_code == 405
    assert served.get("/v1/models/nothing").json()["error"]["code"] == "model_not_found"


def test_slow_readers_hold_up_nobody(served: Served) -> None:
    """They read nothing; what the engine writes for them waits in memory, and their pages are free when it is done."""
    slow = [open_stream(served, {**LONG, "max_tokens": 100, "logprobs": True, "n": 4}) for _ in range(3)]
    assert served.post(CHAT, {**HELLO, "max_tokens": 3}).status_code == 200
    served.settle()
    for connection in slow:
        connection.close()


def test_a_reader_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one whose connection is half open: nobody says that it left."""
    monkeypatch.setattr(http, "SEND_SECONDS", 0.05)
    cancelled: list[bool] = []

    async def events() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        raise AssertionError("the first was never taken")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    stream = http.EventStream(events(), lambda: cancelled.append(True))
    asyncio.run(stream({"type": "http"}, receive, send))
    assert cancelled == [True]


def test_half_open_connections_are_closed(monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
    """A new one that is silent or sends half a head, and one after an answer; a stream may take longer than a head."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    half = b"POST /v1/completions HTTP/1.1\r\nHost: local"
    for sent in (b"", half):
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
            connection.sendall(sent)
            assert connection.recv(100) == b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connection.sendall(half)
        while connection.recv(1000):
            pass
    events = served.stream(CHAT, LONG)
    assert events[-1] == "[DONE]"


def test_metrics_and_slots_show_what_runs(served: Served) -> None:
    connection = open_stream(served, LONG)
    wait_for(lambda: len(served.model.worker.engine.scheduler.running) == 1)
    slot = served.get("/slots").json()[0]
    assert (slot["model"], slot["state"]) == ("tiny", "running")
    connection.close()
    served.settle()
    lines = served.get("/metrics").text.splitlines()
    values = {line.split()[0]: float(line.split()[-1]) for line in lines if not line.startswith("#")}
    assert values['tutelage_requests_running{model="tiny"}'] == 0
    assert values['tutelage_requests_cancelled_total{model="tiny"}'] >= 1
    count = values['tutelage_time_to_first_token_seconds_count{model="tiny"}']
    assert values['tutelage_time_to_first_token_seconds_bucket{model="tiny",le="+Inf"}'] == count >= 1


def test_a_draining_server_takes_no_more_and_says_so() -> None:
    with serving() as served:
        connection = open_stream(served, LONG)
        wait_for(lambda: len(served.model.worker.engine.scheduler.running) == 1)
        served.model.worker.drain()
        refused = served.post(CHAT, HELLO)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert served.get("/health").status_code == 503
        served.model.worker.fail_all(ApiError(503, "the server is shutting down"))
        served.settle()
        received = b""
        connection.settimeout(30)
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(65536)
        assert b"shutting down" in received
        assert b"[DONE]" not in received
        connection.close()


def test_two_models_are_told_apart_by_name() -> None:
    with serving({"a": tiny_checkpoint(seed=0), "b": tiny_checkpoint(seed=1)}) as served:
        texts = [
            served.post(CHAT, {**HELLO, "model": name, "temperature": 0, "max_tokens": 12}).json()["choices"][0][
                "message"
            ]["content"]
            for name in ("a", "b", "a")
        ]
        assert texts[0] == texts[2] != texts[1]
