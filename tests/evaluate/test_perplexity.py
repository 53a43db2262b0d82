from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tutelage.cli import main
from tutelage.evaluate.perplexity import SourceText, TextLoss, _windows, perplexity, text_losses
from tutelage.evaluate.token_scores import token_scores
from tutelage.model.hub import Checkpoint, load_model
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.tokenizer import END_OF_TEXT, TokenizerSettings, train

pytestmark = pytest.mark.usefixtures("quiet")


@given(st.integers(1, 400), st.integers(1, 3), st.integers(2, 64))
def test_pain_e10_every_token_is_scored_once_after_its_own_context(length: int, first: int, context: int) -> None:
    """mlx-lm PR 1902: the border was taken from the cut text, and context was scored."""
    context = max(context, 2 * first)
    scored: list[int] = []
    for begin, start, end in _windows(length, first, context):
        assert end - begin <= context and begin < start < end
        assert begin == 0 or start - begin >= context // 2
        scored += range(start, end)
    assert scored == [*range(first, length)]


def test_the_loss_of_a_short_text_is_the_sum_over_its_tokens(base_folder: Path) -> None:
    checkpoint = load_model(base_folder)
    text = "Grüße aus Köln"
    (loss,) = text_losses(checkpoint, [SourceText("a", "1", text)])
    opening = checkpoint.tokenizer.document_edges[0]
    ids = np.concatenate([opening, checkpoint.tokenizer.encode(text)])
    (scores,) = token_scores(checkpoint.model, [ids], [max(1, len(opening))])
    assert loss.nats == pytest.approx(-scores.logprob_T.sum())
    assert (loss.tokens, loss.bytes) == (len(ids) - max(1, len(opening)), 17)


def test_pain_e19_micro_and_macro_are_apart() -> None:
    """A source of many tokens does not stand for all."""
    losses = [TextLoss("big", str(n), 200.0, 100, 400) for n in range(30)] + [TextLoss("small", "x", 40.0, 10, 40)] * 2
    found = perplexity(losses)
    assert found["sources"]["big"]["nats_per_token"] == 2 and found["sources"]["small"]["nats_per_token"] == 4
    assert found["sources"]["big"]["perplexity"] == pytest.approx(math.exp(2))
    assert found["micro"]["nats_per_token"] == pytest.approx(6080 / 3020)
    assert found["macro"]["bits_per_byte"] == pytest.approx((0.5 + 1) / 2 / math.log(2))


def test_pain_e6_documents_open_with_bos_where_the_tokenizer_adds_it(tmp_path: Path) -> None:
    """lm-eval PR 1465: without BOS Gemma's perplexity on LAMBADA was 5.9e9."""
    tokenizer = train(["ein langer Satz"] * 4, TokenizerSettings(kind="bpe", vocab=270), (END_OF_TEXT,))
    model = initialise(Transformer(resolve(ModelSettings(depth=1, width=16, context=64), tokenizer.vocab_size)), 0)
    (loss,) = text_losses(Checkpoint(model, tokenizer), [SourceText("a", "1", "ein Satz")])
    ids = tokenizer.encode("ein Satz")
    assert len(tokenizer.document_edges[0]) == 1
    assert loss.tokens == len(ids)  # the first one too, after BOS
    (scores,) = token_scores(model, [np.concatenate([tokenizer.document_edges[0], ids])], [1])
    assert loss.nats == pytest.approx(-scores.logprob_T.sum())


def test_the_command_has_a_line_for_each_source(base_folder: Path, tmp_path: Path) -> None:
    for name, text in (("news", "ein langer Satz"), ("code", "x = 日本")):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": f"{text} {n}"}) for n in range(5)))
    files = [str(tmp_path / "news.jsonl"), str(tmp_path / "code.jsonl")]
    result = CliRunner().invoke(main, ["perplexity", str(base_folder), *files])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["news.jsonl", "code.jsonl"]
    assert "micro" in lines[2] and "macro" in lines[3]
    limited = json.loads(
        CliRunner().invoke(main, ["perplexity", str(base_folder), *files, "--limit", "2", "--json"]).stdout
    )
    assert {of["texts"] for of in limited["sources"].values()} == {2}
