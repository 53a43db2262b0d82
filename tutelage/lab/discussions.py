"""What people write about results, for the lab's page: why a verdict differs from the literature and what would decide
it; and which claims no model of this size can show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

# By number of the finding. A contradicted finding has one (tests/lab/test_page.py).
DISCUSSIONS: Mapping[str, str] = {
    "5": "Few rows are enough if they are repeated: 300 conversations keep the format after 90 steps, about 18 epochs, "
    "and not after two epochs, which are 10 steps. So it is the steps that the format needs. The error of sums falls "
    "from 39% to 12% and 10%: four times the rows gain little the second time, since all sizes have the same steps, "
    "so that the exponent is a mean of two different slopes and no evidence of a power law. What would decide it: as "
    "many epochs at every size, and five sizes or more.",
    "6": "The most likely reason is the size of the set of kinds. FLAN gains from hundreds of tasks; here there are "
    "seven attributes, and asked for the one that no row has, the model answers with another one. The control shows "
    "that more kinds do help on the kinds that are trained. What would decide it: some hundred kinds of questions, "
    "or a larger base, such as a real checkpoint of 100M parameters and more.",
    "11": "The base ranks right replies first, and the control shows that the experiment works. But only questions "
    "with answers teach to answer; all other arms stay at the floor. The most likely reason is that the base has read "
    "questions in sums alone: nothing in its text makes an answer follow a question, which published bases have read "
    "millions of times. What would decide it: the same arms on a second base, whose text has questions about other "
    "people with answers.",
    "14": "The gain comes from cleaning, and not from hardness. Random clean rows reach 21.0%, the hardest of them "
    "22.2%, each within the interval of the other. Without cleaning three quarters of the hardest rows are false, and "
    "they do no better than random ones. What would decide whether hardness helps: a pool whose good rows differ in "
    "difficulty; here all are of one kind.",
    "18": "N counts the output layer here. Without it the exponent is 0.57 (0.51 to 0.61), which is within the "
    "stated bounds too, but whose interval does not hold the published 0.50. All sizes have one learning rate, so "
    "that a rate tuned by size might move it. What would decide it: the same budgets with a sweep for each size.",
    "21": "At equal tokens both arms have nearly all sums right, which leaves no room for a difference: sums of three "
    "digits can be learned from the answers alone, if these are seen five times as often. At equal epochs they are "
    "not learned. What would decide it: products, as in the source, or so few rows that half of the answers are "
    "wrong.",
    "N9": "The filter helps at 200 and at 800 rows, by 8 points each. But unfiltered rows do not flatten before 800: "
    "a fifth of them is good, and 160 good rows still teach. What would decide it: some thousand rows, and more steps "
    "for more rows.",
    "N15": "The order is as claimed, but grammar ends at 67% of its pairs. Half of them begin with a plural subject, "
    'which the text has seldom: in 1,500 texts a verb follows "They" 27 times, and a name 581 times. Each kind is '
    "compared with its own final gain, so that only the frequent part of grammar is known to come first. What would "
    "decide it: agreement that the text shows as often as it states facts.",
    "27": "The control does not fire: neither neural model predicts a token much better for having read more than "
    "eight before it, so that no use of long contexts can be compared. A megabyte of text and 500 steps are too "
    "little, and tokens early and late in a text are different ones, which makes the comparison noisy. The "
    "transformer is as good as the counts; the loss of the LSTM is 12% higher. What would decide it: ten times the "
    "text, such as WikiText-2, and the same tokens after short and after long contexts.",
    "31": "The size of the effect depends on the worst source. After the source of mixed quality alone no question "
    "is answered right, and a fifth of both mixes is of it. The chosen source answers with the value alone, which "
    "also costs the fewest trained tokens. What would decide whether purity itself helps: the mix of the other four "
    "sources, in one style each and in one common style.",
    "N5": "The effect needs some per cent of the rows. With one row in 1,000, or one in 100, no more answers run on "
    "than without, so that a single missing end token does not confuse this model. A row without its end still ends "
    "later here, which is milder than a mark that is missing everywhere.",
    "N6": "The new tokens start from vectors that no text has trained. The pieces of spelled marks have trained "
    "vectors, and the base copies them at once: after 8 steps 99% of the answers keep the format, against 0%. After "
    "40 steps both do. Single tokens save tokens in every row, and no text of a user can forge them, which this "
    "measure does not show. What would decide it: new tokens that start from the mean of the pieces of their marks, "
    "and a base that has read thousands of other marks.",
    "N2": "As in finding 6, the kinds that no row has stay at the floor, and so cannot tell the arms apart. On the "
    "kinds that are trained breadth does beat depth (see the table), which is no test of the claim: breadth has "
    "rows of these kinds. What would decide it: a larger base, or hundreds of kinds.",
    "12": "The second effect is shown: tokens shift most at the beginning of an answer. The share of unshifted "
    "tokens is below the published 77 to 82%. The most likely reason is that the base has read no dialogue and no "
    "question about people: after a question its likeliest continuation is another document, so that names and "
    "verbs of the answer count as shifted. What would decide it: a base whose text has questions with answers, or a "
    "real base model with its own tuned checkpoint.",
}

# The same of measurements on a published checkpoint.
MODEL_DISCUSSIONS: Mapping[str, str] = {
    "21": "The weights were restored from a copy in 4 bits, which costs accuracy in both arms. The gain does not "
    "contradict the source, whose small models gain nothing on problems in words: one-digit sums are within reach of "
    "this model, and it writes steps in the form of the examples every time.",
    "22": "The weights were restored from a copy in 4 bits, which costs accuracy. The majority gains its points "
    "by 8 samples. It helps only where the right sum is the most frequent one, and on most sums another one is; the "
    "right one is among 32 samples on 85% of them. The interval over 60 sums just includes 0. What would decide it: "
    "some hundred sums, named before the run, or a model that is right on half of them. Prompt and size of the sums "
    "were chosen after small probes: of two-digit sums a tenth is right, in the chat template none.",
    "29": "The spread is that between labels and texts: wherever a label is scored, the model always prefers the same "
    "one and is at chance. A first set of questions, about one of two people, failed its control (38% without labels) "
    "and was replaced by an easier one, after it had shown that labels are at chance. Only this second set is shown.",
}


class Wanting(NamedTuple):
    """A claim that is not replicated here, and what a replication needs."""

    number: str
    claim: str
    needs: str


NEEDS_SCALE: tuple[Wanting, ...] = (
    Wanting(
        "24",
        "Continuations by a better model teach following without any instruction.",
        "A base that writes text worth continuing, and a better model as teacher: with 1M parameters both stay at "
        "the floor. Synthesise the continuations of a mid-sized checkpoint's documents with a larger one "
        "(`recipes/synth`), fine-tune with `recipes/finetune.toml`, and compare on MT-Bench with `tutelage answers`.",
    ),
    Wanting(
        "28",
        "Judges like length and first place; correct for both.",
        "A judge: no model of this size judges. `tutelage judge-pairs` and `tutelage win-rate` measure and correct "
        "both biases on stored judgements of a large model.",
    ),
    Wanting(
        "32",
        "Reasoning first makes new facts easier to absorb.",
        "A model that puts two facts together about people whom no row asks about: its measure is two-step "
        "questions. Fine-tune a checkpoint of 1B or more on worked solutions, or on as many tokens of plain rows, "
        "then train both on text about new people (data of kind `world`), and compare with the suite `knowledge`.",
    ),
)
