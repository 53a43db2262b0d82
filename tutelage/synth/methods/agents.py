"""Agents: conversations with tools that run, a simulated user and a rubric (Kimi K2, 2507.20534, section 3.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tutelage.synth.method import Ask, At, Drop, Method, New, Row, RowKind, Steps, ask
from tutelage.synth.parse import verdict
from tutelage.synth.rows import question_of
from tutelage.synth.tool_turns import agent_row, as_asked, call_turns, called, opened, transcript, user_turn
from tutelage.synth.verify import VerifierName, check_answer

END = "[end]"
GREEDY, USER_SAMPLING = {"temperature": 0}, {"temperature": 0.9, "max_tokens": 256}
PERSONAS = ("in plain words", "very politely", "in a hurry, in fragments", "like somebody who loves to chat")
USER = """You play the user of an assistant, and write {persona}. You want: {goal}
Read the conversation so far, and write only your next message: ask for what is missing, or for one thing more that \
follows from it. Do not answer for the assistant. If you want nothing more, write {end}."""
JUDGE = """An assistant with tools talked to a user. Check the conversation:
- The user got what was asked for. Where it cannot be found, the assistant says so.
- Every fact that the assistant names is in a result.
- It made the calls that it needed, with right arguments, and no others. A call that failed is repeated or admitted.
Write a line on each, and end with one line: [[pass]] or [[fail]]."""


class Agents(Method, tag="agents", tag_field="kind", frozen=True, kw_only=True):
    """Make conversations with tool calls from prompts, which say what a user wants. tools: as `tutelage chat --tools`;
    turns: of the user, at most; calls: of a conversation, at most; fails: the share of calls at which a tool is busy;
    verify: a verifier of the first answer, besides the judge's rubric."""

    takes: ClassVar[RowKind] = "prompts"
    makes: ClassVar[RowKind] = "conversations"
    tools: str = "calculator"
    turns: int = 2
    calls: int = 6
    fails: float = 0.1
    verify: VerifierName | None = None

    def steps(self, row: Row, at: At) -> Steps:
        tools, goal = opened(self.tools), question_of(row)
        asked, talk, calls = goal, [user_turn(goal)], 0
        answers: list[tuple[str, str]] = []
        verdicts: Mapping[str, str] = {}
        while True:
            [reply] = yield [Ask(as_asked(tools, talk), "agent", {"temperature": 0.7}, about=asked)]
            if call := called(reply.text):
                calls += 1
                if calls > self.calls:
                    raise Drop("too many calls", reply.raw)
                talk += call_turns(tools, call, at.random("busy", calls).randbelow(1000) < 1000 * self.fails)
                continue
            talk.append({"role": "assistant", "content": reply.text.strip()})
            answers.append((asked, reply.text))
            verdicts = verdicts or check_answer(self.verify, row, reply.text)
            if len(answers) == self.turns:
                break
            [said] = yield [self._user(goal, talk, at)]
            if END in said.text:
                break
            asked = said.text.strip().removeprefix("user:").strip()
            talk.append(user_turn(asked))
        [judged] = yield [ask(f"{JUDGE}\n\n{transcript(talk)}", "rubric", answers, model="judge", sampling=GREEDY)]
        if verdict(judged.text, ("pass", "fail")) == "fail":
            raise Drop("fails the rubric", judged.raw)
        return [New(agent_row(tools, talk), reply, {**verdicts, "calls": calls})]

    def _user(self, goal: str, talk: list[Row], at: At) -> Ask:
        persona = at.random("persona").choice(PERSONAS)
        request = USER.replace("{end}", END).replace("{persona}", persona).replace("{goal}", goal)
        text = f"{request}\n\n{transcript(talk, calls=False)}"
        return ask(text, "user", (goal, len(talk)), model="user", sampling=USER_SAMPLING)
