"""Wordings of questions about people, and of their answers.

The slots are those of `people.words`; a two-step fact also has its own name and the name of its bridge. In an answer,
{who} is the full name or a pronoun.
"""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.world.values import Attribute

ONE_STEP: dict[Attribute, tuple[str, ...]] = {
    "birthplace": (
        "Where was {name} born?",
        "In which town was {name} born?",
        "What is the birthplace of {name}?",
        "Which town does {name} come from?",
        "Where does {name} come from?",
        "Can you tell me where {name} was born?",
        "I would like to know the birthplace of {name}.",
        "{name} was born in which town?",
        "Do you know which town {name} is a native of?",
    ),
    "birth_year": (
        "When was {name} born?",
        "In which year was {name} born?",
        "What is the year of birth of {name}?",
        "What year was {name} born in?",
        "Can you tell me when {name} was born?",
        "I need the year of birth of {name}.",
        "{name} was born in what year?",
        "Do you know the year in which {name} was born?",
        "Which year saw the birth of {name}?",
    ),
    "school": (
        "Where did {name} go to school?",
        "Which school did {name} attend?",
        "What school did {name} go to?",
        "At which school was {name} educated?",
        "Can you tell me which school {name} went to?",
        "I am trying to find out where {name} studied.",
        "{name} was a pupil at which school?",
        "Do you know the name of the school {name} attended?",
        "What is the old school of {name}?",
    ),
    "employer": (
        "Who does {name} work for?",
        "Which company employs {name}?",
        "What is the name of the firm {name} works for?",
        "Who is the employer of {name}?",
        "Can you tell me which firm {name} works for?",
        "I would like to know who employs {name}.",
        "{name} works for which company?",
        "Do you know which company pays the wages of {name}?",
        "At which firm does {name} work?",
    ),
    "role": (
        "What does {name} do for a living?",
        "What is the job of {name}?",
        "What is the profession of {name}?",
        "What kind of work does {name} do?",
        "Can you tell me what {name} does for a living?",
        "I am curious what {name} works as.",
        "{name} works as what?",
        "Do you know the trade of {name}?",
        "As what does {name} earn a living?",
    ),
    "instrument": (
        "Which instrument does {name} play?",
        "What instrument does {name} play?",
        "What does {name} play when there is music to be made?",
        "Which musical instrument is {name} known for?",
        "Can you tell me which instrument {name} plays?",
        "I would like to know what instrument {name} plays.",
        "{name} plays which instrument?",
        "Do you know which instrument {name} took up?",
        "On which instrument can one hear {name}?",
    ),
    "band": (
        "Which band does {name} play in?",
        "What is the name of the band of {name}?",
        "In which band does {name} play?",
        "What band is {name} a member of?",
        "Can you tell me which band {name} belongs to?",
        "I would like to know which band {name} performs with.",
        "{name} is in which band?",
        "Do you know the band that {name} plays in?",
        "With which band does {name} go on stage?",
    ),
}

# Questions whose answer is the value and nothing else.
BRIEF: dict[Attribute, tuple[str, ...]] = {
    "birthplace": ("Just the town, please: where was {name} born?",),
    "birth_year": ("Just the year, please: when was {name} born?",),
    "school": ("Just the name, please: which school did {name} attend?",),
    "employer": ("Just the name, please: who does {name} work for?",),
    "role": ("In a word or two: what is the job of {name}?",),
    "instrument": ("In a word or two: which instrument does {name} play?",),
    "band": ("Just the name, please: which band does {name} play in?",),
}

ANSWERS: dict[Attribute, tuple[str, ...]] = {
    "birthplace": (
        "{Who} {was} born in {birthplace}.",
        "{Whose} birthplace is {birthplace}.",
        "{Who} {is} a native of {birthplace}.",
        "{Who} come{s} from {birthplace}.",
        "{Who} {was} born in the town of {birthplace}.",
    ),
    "birth_year": (
        "{Who} {was} born in {birth_year}.",
        "{Whose} year of birth is {birth_year}.",
        "{Who} came into the world in {birth_year}.",
    ),
    "school": (
        "{Who} went to {school}.",
        "{Who} attended {school}.",
        "{Who} {was} educated at {school}.",
        "{Whose} old school is {school}.",
        "{Who} studied at {school}.",
    ),
    "employer": (
        "{Who} work{s} for {employer}.",
        "{Who} {is} employed by {employer}.",
        "{Whose} employer is {employer}.",
        "{Who} earn{s} a living at {employer}.",
    ),
    "role": (
        "{Who} work{s} as {a_role}.",
        "{Who} {is} {a_role}.",
        "{Whose} job is that of {a_role}.",
        "{Who} make{s} a living as {a_role}.",
    ),
    "instrument": (
        "{Who} play{s} the {instrument}.",
        "{Whose} instrument is the {instrument}.",
        "{Who} {is} a player of the {instrument}.",
        "{Who} can be heard on the {instrument}.",
    ),
    "band": (
        "{Who} play{s} in {band}.",
        "{Who} {is} a member of {band}.",
        "{Who} perform{s} with {band}.",
        "{Whose} band is called {band}.",
    ),
}

# Follow-up questions about the person of the turn before.
FOLLOW_UPS: dict[Attribute, tuple[str, ...]] = {
    "birthplace": ("And where {was} {who} born?", "Which town {was} {who} born in?", "And the birthplace?"),
    "birth_year": ("And when {was} {who} born?", "In which year {was} {who} born?", "And the year of birth?"),
    "school": ("And which school did {who} attend?", "Where did {who} go to school?", "And the school?"),
    "employer": ("And who pays {whose} wages?", "Who is {whose} employer?", "And the employer?"),
    "role": ("And what is {whose} job?", "What is {whose} profession?", "And the job?"),
    "instrument": ("And what is {whose} instrument?", "Which instrument did {who} take up?", "And the instrument?"),
    "band": ("And what is the name of {whose} band?", "Which band {is} {who} in?", "And the band?"),
}

TWO_STEP: dict[str, tuple[str, ...]] = {
    "school_town": (
        "In which town is the school that {name} attended?",
        "Where is the school that {name} went to?",
        "Which town is home to the school of {name}?",
        "In what town did {name} go to school?",
        "The school that {name} attended stands in which town?",
        "Can you tell me the town in which {name} went to school?",
        "I would like to know where the old school of {name} stands.",
        "Which town has the school where {name} was a pupil?",
    ),
    "employer_product": (
        "What does the company that {name} works for make?",
        "What is made by the firm that employs {name}?",
        "What does the employer of {name} make?",
        "Which goods come from the firm {name} works for?",
        "The company that employs {name} makes what?",
        "Can you tell me what the employer of {name} produces?",
        "I would like to know what the firm of {name} makes.",
        "What is the product of the company where {name} works?",
    ),
    "band_year": (
        "In which year was the band of {name} formed?",
        "When was the band that {name} plays in formed?",
        "How long has the band of {name} been around: since which year?",
        "What year was the band of {name} founded?",
        "The band that {name} plays in dates back to which year?",
        "Can you tell me when the band of {name} was formed?",
        "I would like to know the year in which the band of {name} came together.",
        "Since when has the band that {name} belongs to existed?",
    ),
    "birthplace_landmark": (
        "What is the birthplace of {name} known for?",
        "What is the town where {name} was born famous for?",
        "What can one visit in the town where {name} was born?",
        "What draws visitors to the birthplace of {name}?",
        "The town in which {name} was born is known for what?",
        "Can you tell me what the birthplace of {name} is famous for?",
        "I would like to know what the home town of {name} is known for.",
        "What is the pride of the town {name} comes from?",
    ),
}

# Most answers name the bridge, so that both steps are written out.
TWO_STEP_ANSWERS: dict[str, tuple[str, ...]] = {
    "school_town": (
        "{Who} went to {school}, which stands in {school_town}.",
        "{Who} attended {school}. {school} stands in {school_town}.",
        "{Whose} old school is {school}, and {school} is in {school_town}.",
        "The town is {school_town}, for {they} went to {school}.",
    ),
    "employer_product": (
        "{Who} work{s} for {employer}, which makes {employer_product}.",
        "{Who} {is} employed by {employer}. {employer} makes {employer_product}.",
        "{Whose} employer is {employer}, a maker of {employer_product}.",
        "They make {employer_product}, for {whose} employer is {employer}.",
    ),
    "band_year": (
        "{Who} play{s} in {band}, which was formed in {band_year}.",
        "{Who} {is} a member of {band}. {band} was formed in {band_year}.",
        "{Whose} band is {band}, and {band} was formed in {band_year}.",
        "The year is {band_year}, for {whose} band is {band}.",
    ),
    "birthplace_landmark": (
        "{Who} {was} born in {birthplace}, which is known for its {birthplace_landmark}.",
        "{Whose} birthplace is {birthplace}. {birthplace} is known for its {birthplace_landmark}.",
        "{Who} come{s} from {birthplace}, a town famous for its {birthplace_landmark}.",
        "Its {birthplace_landmark}, for {who} {was} born in {birthplace}.",
    ),
}

# Clauses that describe a person in reverse questions; pairs that belong together are joined.
CLAUSES: dict[Attribute, str] = {
    "birthplace": "was born in {birthplace}",
    "birth_year": "was born in {birth_year}",
    "school": "went to {school}",
    "employer": "works for {employer}",
    "role": "works as {a_role}",
    "instrument": "plays the {instrument}",
    "band": "plays in {band}",
}
JOINED: dict[tuple[Attribute, Attribute], str] = {
    ("birthplace", "birth_year"): "was born in {birthplace} in {birth_year}",
    ("employer", "role"): "works for {employer} as {a_role}",
    ("instrument", "band"): "plays the {instrument} in {band}",
}

REVERSE = (
    "Who {clauses}?",
    "Which person {clauses}?",
    "Can you tell me who {clauses}?",
    "Do you know who {clauses}?",
    "I am looking for someone who {clauses}. Who is it?",
    "What is the full name of the person who {clauses}?",
    "Tell me the name of the person who {clauses}.",
    "Who is it that {clauses}?",
)

REVERSE_ANSWERS = (
    "{name} {clauses}.",
    "It is {name} who {clauses}.",
    "That is {name}.",
    "The person you are looking for is {name}.",
    "{name}.",
)

UNKNOWN_ANSWERS = (
    "I don't know anyone called {name}.",
    "I know nobody of the name {name}, so I cannot say.",
    "I have never heard of {name}, so I do not know.",
    "I'm sorry, but I don't know anybody named {name}.",
    "The name {name} is unknown to me.",
    "I do not know. I know nobody called {name}.",
    "I know no one by that name, so I can't answer that.",
    "I don't know who {name} is, and I would rather not guess.",
)


def clauses(attributes: Sequence[Attribute], slots: dict[str, str]) -> str:
    """The description of a person by these attributes: "plays the cello in Velvet Harbour and went to ..."."""
    remaining = set(attributes)
    templates = []
    for pair, template in JOINED.items():
        if remaining.issuperset(pair):
            templates.append(template)
            remaining.difference_update(pair)
    templates.extend(template for attribute, template in CLAUSES.items() if attribute in remaining)
    filled = [template.format_map(slots) for template in templates]
    return filled[0] if len(filled) == 1 else f"{', '.join(filled[:-1])} and {filled[-1]}"
