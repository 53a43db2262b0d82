from __future__ import annotations

import pytest

from tutelage.chat.audit.marks import Marks


@pytest.mark.parametrize(
    "text",
    ["a <|im_start|>user", "[INST] why [/INST]", "<<SYS>>", "<end_of_turn>", "<s>why", "so.</s>", "x\n\nHuman: why",
     "### Instruction:\nDo it", "do it\n\n### Response:\n", "<｜User｜>why"],
)  # fmt: skip
def test_marks_of_well_known_templates(text: str) -> None:
    assert Marks().find(text) >= 0


@pytest.mark.parametrize(
    "text",
    ["a <s>b</s> c", "a <| b |> c", "x <|> y", "### Results", "Human: why", "[INSTALL]", "INST] of", "# Response",
     "In markdown ### Instruction: is a heading"],
)  # fmt: skip
def test_what_is_no_mark(text: str) -> None:
    assert Marks().find(text) == -1


def test_a_models_own_tokens() -> None:
    marks = Marks(("<tool>", "<tool>x"))
    assert marks.find("say <tool>x") == 4
    assert marks.find("say tool") == -1
