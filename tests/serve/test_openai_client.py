"""The openai package as a client that nobody here wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from served import HELLO, Served, serving, tiny_checkpoint

from tutelage.serve.server import ServeSettings

openai = pytest.importorskip("openai")
KEY = "secret-key"
MESSAGES: Any = HELLO["messages"]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 4}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving({"tiny": tiny_checkpoint(), "base": tiny_checkpoint(chats=False)}, ServeSettings(api_key=KEY)) as one:
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client
    served.settle()


def test_models_are_listed(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "base"]
    assert client.models.retrieve("base").id == "base"


def test_a_chat_is_answered_whole_and_streamed_alike(client: Any) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "seed": 5, "max_tokens": 12}
    whole = client.chat.completions.create(**asked)
    assert whole.object == "chat.completion"
    assert whole.choices[0].message.role == "assistant"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == whole.choices[0].message.content
    assert len(chunks) > 4
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_choices_differ_and_repeat_with_their_seed(client: Any) -> None:
    """S10: a draw is a function of seed, choice and position."""
    asked: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "seed": 7, "max_tokens": 16}
    four = client.chat.completions.create(**asked, n=4)
    texts = [choice.message.content for choice in four.choices]
    assert [choice.index for choice in four.choices] == [0, 1, 2, 3]
    assert len(set(texts)) == 4
    assert client.chat.completions.create(**asked).choices[0].message.content == texts[0]
    streamed = [""] * 4
    for chunk in client.chat.completions.create(**asked, n=4, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts


def test_a_stop_string_ends_the_answer_and_is_not_sent(client: Any) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "temperature": 0, "max_tokens": 24}
    text = client.chat.completions.create(**asked).choices[0].message.content
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    cut = client.chat.completions.create(**asked, stop=[stop]).choices[0]
    assert cut.finish_reason == "stop"
    assert cut.message.content == text[: text.index(stop)]


def test_log_probabilities_are_one_entry_a_token(client: Any) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "temperature": 0, "max_tokens": 6}
    answer = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
    entries = answer.choices[0].logprobs.content
    assert len(entries) == answer.usage.completion_tokens
    for entry in entries:
        assert entry.logprob == pytest.approx(entry.top_logprobs[0].logprob, abs=1e-4)  # greedy takes the likeliest
        assert len(entry.top_logprobs) == 3
    streamed: list[Any] = []
    for chunk in client.chat.completions.create(**asked, logprobs=True, top_logprobs=3, stream=True):
        if chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content
    assert [entry.token for entry in streamed] == [entry.token for entry in entries]


def test_a_completion_echoes_its_prompt_with_log_probabilities(client: Any) -> None:
    answer = client.completions.create(
        model="base", prompt="Where was", max_tokens=2, echo=True, logprobs=2, temperature=0
    )
    choice = answer.choices[0]
    assert choice.text.startswith("Where was")
    assert len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs) == len(choice.logprobs.text_offset)
    assert all(value is not None for value in choice.logprobs.token_logprobs)  # the end of a text comes before it
    two = client.completions.create(model="base", prompt=["Where", "Good"], max_tokens=2, n=2)
    assert [choice.index for choice in two.choices] == [0, 1, 2, 3]
    chunks = list(client.completions.create(model="base", prompt="Where", max_tokens=3, seed=1, stream=True))
    whole = client.completions.create(model="base", prompt="Where", max_tokens=3, seed=1)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text


def test_a_json_schema_holds_for_a_model_that_writes_nonsense(client: Any) -> None:
    pytest.importorskip("llguidance")
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
    for seed in range(3):
        answer = client.chat.completions.create(
            model="tiny", messages=MESSAGES, response_format=form, seed=seed, max_tokens=100
        )
        assert answer.choices[0].finish_reason == "stop"
        person = json.loads(answer.choices[0].message.content)
        assert set(person) == {"name", "age"}
        assert len(person["name"]) <= 4
        assert person["age"] <= 99


def function(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


@pytest.mark.parametrize("named", [False, True], ids=["required", "named"])
def test_a_call_can_be_required_of_a_model_that_writes_nonsense(client: Any, named: bool) -> None:
    pytest.importorskip("llguidance")
    city = {"type": "string", "enum": ["Oslo", 'a "b"']}
    tools = [function("look", city=city), function("add", a={"type": "integer", "minimum": 0, "maximum": 9})]
    choice = {"type": "function", "function": {"name": "add"}} if named else "required"
    asked: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "tools": tools, "tool_choice": choice}
    for seed in range(3):
        answer = client.chat.completions.create(**asked, seed=seed, max_tokens=140).choices[0]
        assert answer.finish_reason == "tool_calls"
        (call,) = answer.message.tool_calls
        arguments = json.loads(call.function.arguments)
        assert set(arguments) == {"add": {"a"}, "look": {"city"}}[call.function.name]
        assert call.function.name == "add" or not named
        pieces = [
            chunk.choices[0].delta.tool_calls[0].function
            for chunk in client.chat.completions.create(**asked, seed=seed, max_tokens=140, stream=True)
            if chunk.choices[0].delta.tool_calls
        ]
        assert pieces[0].name == call.function.name
        assert "".join(piece.arguments for piece in pieces) == call.function.arguments


def test_a_logit_bias_forces_a_token(client: Any, served: Served) -> None:
    token = int(served.model.checkpoint.tokenizer.encode("well")[0])
    answer = client.chat.completions.create(
        model="tiny", messages=MESSAGES, logit_bias={str(token): 100}, max_tokens=4, temperature=0, logprobs=True
    )
    assert len({entry.token for entry in answer.choices[0].logprobs.content}) == 1


LONG = [{"role": "user", "content": "Good day " * 400}]
BAD: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("BadRequestError", {"n": 0}, "n", None),
    ("BadRequestError", {"temperature": -1}, "temperature", None),
    ("BadRequestError", {"top_p": 2}, "top_p", None),
    ("BadRequestError", {"max_tokens": 0}, "max_tokens", None),
    ("BadRequestError", {"stop": ["a"] * 99}, "stop", None),
    ("BadRequestError", {"logprobs": True, "top_logprobs": 99}, "top_logprobs", None),
    ("BadRequestError", {"messages": []}, "messages", None),
    ("BadRequestError", {"messages": [{"role": "wizard", "content": "a"}]}, "messages", None),
    ("BadRequestError", {"messages": LONG}, "messages", "context_length_exceeded"),
    ("BadRequestError", {"response_format": {"type": "yaml"}}, "response_format", None),
    ("BadRequestError", {"extra_body": {"audio": {"voice": "x"}}}, "audio", "unsupported_parameter"),
    ("BadRequestError", {"model": "base"}, "model", "not_a_chat_model"),
    ("BadRequestError", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", None),
    ("BadRequestError", {"tool_choice": "required"}, "tool_choice", None),
    ("NotFoundError", {"model": "gpt"}, "model", "model_not_found"),
]


@pytest.mark.parametrize(("error", "changed", "param", "code"), BAD, ids=lambda value: str(value)[:40])
def test_s22_bad_requests_raise_the_right_exception(
    client: Any, error: str, changed: dict[str, Any], param: str | None, code: str | None
) -> None:
    with pytest.raises(getattr(openai, error)) as caught:
        client.chat.completions.create(**{"model": "tiny", "messages": MESSAGES, "max_tokens": 4, **changed})
    assert caught.value.param == param
    assert caught.value.code == (code or caught.value.code)
    assert caught.value.type == "invalid_request_error"


def test_a_wrong_key_is_an_authentication_error(served: Served) -> None:
    with (
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()
