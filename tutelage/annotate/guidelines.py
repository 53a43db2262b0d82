"""What annotators are told where no guidelines are given."""

from __future__ import annotations

# The order of InstructGPT's labelling instructions (Ouyang et al. 2022, "Training language models to follow
# instructions with human feedback", appendix B): first whether it helps, then whether it is true, then harm.
RANK = """\
Judge each answer by three questions, in this order.

1. Helpful: does it do what the user wants, also where the prompt does not say it well? Shorter is better if nothing \
is missing.
2. Truthful: is all of it true, or plainly marked as not sure? Look up what you can.
3. Harmless: would it hurt somebody, or help to hurt somebody?

If they pull in different directions, an answer that hurts somebody is the worst, and an answer with wrong facts is \
worse than one that says less.

Give equal ranks to answers that you cannot tell apart. Leave out answers that you cannot judge. Say "all bad" if no \
answer should be shown to a user. Skip what you do not understand."""

WRITE = """\
Write the answer that you would want to get.

1. Helpful: do what the user wants. Ask back only where an answer is not possible without it.
2. Truthful: write only what you know or have looked up.
3. Harmless: if the user asks for something that hurts somebody, say in one sentence that you will not help with it.

Write plain text without headings where a few sentences will do. Do not name yourself. Do not copy from other models."""
