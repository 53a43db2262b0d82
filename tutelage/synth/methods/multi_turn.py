"""Conversations of a simulated user with an assistant, as ShareGPT has them of people with one (Vicuna)."""

from __future__ import annotations

from typing import ClassVar

from tutelage.synth.method import Ask, At, Method, New, Row, RowKind, Steps, ask
from tutelage.synth.rows import as_text, prompt_of

END = "[end]"
USER = """You play the user of an assistant. Your goal: {goal}
Read the conversation so far, and write only the user's next message: ask back, narrow it down, or go on to the next \
part, in few words, as people write. Do not thank, and do not answer for the assistant. If the goal is reached, write \
{end}."""


class MultiTurn(Method, tag="multi_turn", tag_field="kind", frozen=True, kw_only=True):
    """Talk about prompts, which open the conversations. turns: of the user, at most; a model "user" may play them."""

    takes: ClassVar[RowKind] = "prompts"
    makes: ClassVar[RowKind] = "conversations"
    turns: int = 3

    def steps(self, row: Row, at: At) -> Steps:
        talk = [*prompt_of(row)]
        goal = talk[-1]["content"]
        for turn in range(self.turns):
            [answer] = yield [Ask(tuple(talk), "answer", {"temperature": 0.7}, about=row)]
            talk.append({"role": "assistant", "content": answer.text.strip()})
            if turn == self.turns - 1:
                break
            # The user sees the conversation and the goal, and never the assistant's system message.
            seen = [message for message in talk if message["role"] != "system"]
            request = USER.replace("{end}", END).replace("{goal}", goal)
            text = f"{request}\n\n<conversation>\n{as_text(seen)}\n</conversation>"
            [said] = yield [
                ask(text, "user", (goal, turn), model="user", sampling={"temperature": 0.9, "max_tokens": 256})
            ]
            if END in said.text:
                break
            talk.append({"role": "user", "content": said.text.strip().removeprefix("user:").strip()})
        turns = sum(message["role"] == "user" for message in talk)
        return [New({"messages": talk}, answer, {"turns": turns})]
