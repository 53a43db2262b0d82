from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tutelage.chat import make_renderer
from tutelage.cli import main
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.token_shift import ShiftedAnswer, shift_figures, shift_of, token_shift
from tutelage.html import Token, tokens
from tutelage.model.hub import load_model
from tutelage.records import Conversation, message
from tutelage.report.token_shift import shift_page

pytestmark = pytest.mark.usefixtures("quiet")
PROMPTS = [Conversation((message("user", f"who {verb} the cat?"),), verb) for verb in ("sees", "hears", "likes")]


def test_a_model_is_not_shifted_from_itself(tales_run: Any) -> None:
    chat = load_model(tales_run.folder / "chat")
    answers, same_prompt = token_shift(chat, chat, PROMPTS, SamplingSettings(max_tokens=12))
    assert same_prompt and len(answers) == 3
    assert all((answer.rank_T == 1).all() for answer in answers)
    assert shift_figures(answers, chat)["shares"]["unshifted"]["rate"] == 1


def test_the_classes_are_those_of_the_paper() -> None:
    assert [shift_of(rank) for rank in (1, 2, 3, 4, 900)] == ["unshifted", "marginal", "marginal", "shifted", "shifted"]


def test_shares_by_position_and_the_most_shifted_tokens(tales_run: Any) -> None:
    chat = load_model(tales_run.folder / "chat")
    (prompt,) = make_renderer(chat.tokenizer, chat.chat_config).render_prompts(PROMPTS[:1])
    ids = chat.tokenizer.encode("the cat sees").astype(np.int64)
    rank_T = np.array([9, 2] + [1] * (len(ids) - 2))
    found = shift_figures([ShiftedAnswer("a", prompt, ids, rank_T, np.log(1 / rank_T))] * 2, chat)
    assert (found["answers"], found["tokens"]) == (2, 2 * len(ids))
    assert found["shares"]["shifted"]["rate"] == pytest.approx(1 / len(ids))
    assert found["by_position"]["1"]["shifted"]["rate"] == 1
    assert found["by_position"]["2-5"]["marginal"]["rate"] == 0.25
    assert found["shifted_tokens"] == [{"token": "t", "count": 2}]
    page = shift_page({**found, "aligned": "chat", "base": "base"}, [], chat.tokenizer)
    assert "By position in the answer" in page


def test_classes_are_marked_by_more_than_colour() -> None:
    markup = tokens([Token("a", "assistant", shift="shifted"), Token("b", "assistant", shift="marginal")])
    assert '<span class="shifted"' in markup and '<span class="marginal"' in markup
    assert "one of its next likeliest two" in markup


def test_the_command_compares_with_the_base_model(tales_run: Any, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": one.messages[0].text}) for one in PROMPTS))
    folder = tales_run.folder
    arguments = ["token-shift", folder / "chat", path, "--base", folder / "base", "--html", tmp_path / "page.html"]
    result = CliRunner().invoke(main, [*map(str, arguments), "--max-tokens", "12", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert not found["same_prompt"]  # the base has no tokens of the template
    assert sum(found["shares"][name]["rate"] for name in ("unshifted", "marginal", "shifted")) == pytest.approx(1)
    assert "prompts.jsonl:1" in (tmp_path / "page.html").read_text()
