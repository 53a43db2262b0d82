from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tutelage.batching.rendering import CHUNKS_FOR_WORKERS, ROWS_AT_ONCE, render_all
from tutelage.chat import ChatConfig, Renderer, VerificationError
from tutelage.chat.render.hf import HFRenderer
from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.records import Conversation, message
from tutelage.tokenizer import Tokenizer, TokenizerSettings, train

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TOKENIZER = train(["one two three four"], TokenizerSettings(vocab=280)).extend(TEMPLATE_TOKENS)
RENDERERS: dict[str, Renderer] = {
    "native": NativeRenderer(TOKENIZER),
    "verified": HFRenderer(TOKENIZER, ChatConfig(TEMPLATE)),
}


def rows(count: int) -> Iterator[Conversation]:
    for number in range(count):
        asked = "a <|end|> b" if number % 100 == 7 else f"ask {number}"
        said = () if number % 100 == 9 else (message("assistant", f"{number} said"),)
        yield Conversation((message("user", asked), *said), id=f"chats:{number}")


@pytest.mark.parametrize("kind", RENDERERS)
def test_pain_18_workers_render_what_one_process_renders_in_the_same_order(kind: str) -> None:
    renderer, count = RENDERERS[kind], 6 * ROWS_AT_ONCE + 5
    alone = list(render_all(rows(count), renderer, "assistant", processes=1))
    together = list(render_all(rows(count), renderer, "assistant", processes=2))
    assert [row.id for row, _ in together] == [row.id for row, _ in alone] == [f"chats:{n}" for n in range(count)]
    refused = 0
    for (_, theirs), (_, ours) in zip(together, alone, strict=True):
        if isinstance(ours, ValueError):
            refused += 1
            assert (type(theirs), str(theirs)) == (type(ours), str(ours))
            assert vars(theirs) == vars(ours)
            assert not isinstance(ours, VerificationError) or ours.reason
            continue
        assert not isinstance(theirs, ValueError)
        for one, other in zip(theirs, ours, strict=True):
            assert (one.ids.tolist(), one.weights.tolist()) == (other.ids.tolist(), other.weights.tolist())
            assert one.roles.tolist() == other.roles.tolist()
            assert (one.ids.dtype, one.weights.dtype) == (other.ids.dtype, other.weights.dtype)
    assert refused == 16 if kind == "native" else refused == 32


def no_worker_is_left() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def test_what_a_worker_raises_is_raised_here_and_no_worker_is_left() -> None:
    bad = Conversation((None,), id="chats:bad")  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute"):
        list(render_all([bad], RENDERERS["native"], "assistant", processes=2))
    assert no_worker_is_left()
    made = render_all(rows(20 * ROWS_AT_ONCE), RENDERERS["native"], "assistant", processes=2)
    assert next(made)[0].id == "chats:0"
    assert not no_worker_is_left()
    made.close()  # as Ctrl-C does, and any error of whoever reads
    assert no_worker_is_left()


class Deadly(Tokenizer):
    """A tokenizer that no process survives to unpack."""

    def __reduce__(self) -> tuple[object, tuple[int]]:  # type: ignore[override]
        return os._exit, (3,)


def test_a_worker_that_dies_is_an_error_that_says_so() -> None:
    renderer = NativeRenderer(Deadly(TOKENIZER.backend))
    with pytest.raises(ValueError, match=r"a worker process has died \(exit status 3\)"):
        list(render_all(rows(3), renderer, "assistant", processes=2))
    assert no_worker_is_left()


def test_few_rows_start_no_worker() -> None:
    deadly = NativeRenderer(Deadly(TOKENIZER.backend))
    few = CHUNKS_FOR_WORKERS * ROWS_AT_ONCE - 1
    assert len(list(render_all(rows(few), deadly, "assistant"))) == few
    assert list(render_all([], deadly, "assistant")) == []


def test_a_worker_needs_no_torch() -> None:
    code = "import sys, tutelage.batching.rendering; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
