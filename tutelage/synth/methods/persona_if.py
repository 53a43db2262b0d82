"""Persona IF: instructions with constraints that a program checks, and the rejected twin (Tulu 3, 2411.15124)."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tutelage.scoring.constraints import constraints
from tutelage.synth.method import At, Drop, Method, New, Row, RowKind, Steps, ask
from tutelage.synth.parse import labelled
from tutelage.synth.rows import pair

# Kind, arguments and words of constraints: few of IFEval's list, which is a test; name others in a recipe.
CONSTRAINTS: tuple[dict[str, Any], ...] = (
    {"kind": "punctuation:no_comma", "say": "Use no comma."},
    {"kind": "change_case:english_lowercase", "say": "Write in lower case only."},
    {"kind": "detectable_format:title", "say": "Give a title in double angle brackets, such as <<title>>."},
    {"kind": "startend:quotation", "say": "Put the whole answer in double quotation marks."},
    {
        "kind": "length_constraints:number_words",
        "relation": "less than",
        "num_words": 60,
        "say": "Use fewer than 60 words.",
    },
    {
        "kind": "detectable_format:number_bullet_lists",
        "num_bullets": 3,
        "say": 'Give exactly 3 bullet points, each with "* ".',
    },
)


class PersonaIf(Method, tag="persona_if", tag_field="kind", frozen=True, kw_only=True):
    """Make preferences of personas: an answer that follows all constraints against one that does not.

    most: of the constraints in an instruction; constraints: kinds with arguments, as the verifier "constraints" has
    them, and `say`, in words."""

    takes: ClassVar[RowKind] = "documents"
    makes: ClassVar[RowKind] = "preferences"
    most: int = 3
    constraints: tuple[dict[str, Any], ...] = CONSTRAINTS

    def steps(self, row: Row, at: At) -> Steps:
        rng = at.random("constraints")
        drawn = rng.shuffled(self.constraints)[: 1 + rng.randbelow(self.most)]
        gold = json.dumps([{name: value for name, value in one.items() if name != "say"} for one in drawn])
        person = f"that only this person would give: {row['text']}"
        text = f'Write an instruction for an assistant {person}\n\nBegin with "Problem:".'
        [posed] = yield [ask(text, "problem", row)]
        [problem] = labelled(posed.text, ("Problem",))
        prompt = " ".join([problem, *(one["say"] for one in drawn)])
        [followed, ignored] = yield [
            ask(prompt, "constrained", (problem, drawn)),
            ask(problem, "answer", (problem, [])),
        ]
        if constraints(followed.text, gold).outcome != "right":
            raise Drop("constraint not followed", followed.text)
        if constraints(ignored.text, gold).outcome == "right":
            raise Drop("twin follows it too", ignored.text)
        turns = [{"role": "user", "content": prompt}]
        return [New(pair(turns, followed.text.strip(), ignored.text.strip()), followed, {"constraints": gold})]
