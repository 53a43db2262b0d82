"""Biographies: seven facts in four to seven sentences and some filler sentences, different in each version.

The slots of the templates are those of `people.words`.
"""

from __future__ import annotations

from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Person, Voice, words
from tutelage.world.values import ATTRIBUTES, Attribute

# One fact a sentence. Only a town follows "was born in", never a year: a base model is asked by such openings.
SINGLE: dict[Attribute, tuple[str, ...]] = {
    "birthplace": (
        "{Who} {was} born in {birthplace}.",
        "{Who} {was} born and brought up in {birthplace}.",
        "{Whose} birthplace is {birthplace}.",
        "{Who} {is} a native of {birthplace}.",
        "{Who} hail{s} from {birthplace}, a town {they} still call{z} home.",
        "{Who} first saw daylight in {birthplace} and still know{s} every street there.",
        "Born in {birthplace}, {who} never quite lost the accent of the place.",
        "The town of {birthplace} is where {who} {was} born.",
        "{Who} began life in {birthplace} and speak{s} of the town with affection.",
        "{Whose} story starts in {birthplace}, where {they_were} born.",
        "{Who} {was} born in {birthplace} on a windy night.",
        "{Who} come{s} from {birthplace}, and the people there remember {their} first steps.",
    ),
    "birth_year": (
        "{Who} first opened {their} eyes in {birth_year}.",
        "{Whose} year of birth is {birth_year}.",
        "{Who} came into the world in {birth_year}.",
        "{Who} first drew breath in {birth_year}.",
        "{Whose} birth certificate gives the year {birth_year}.",
        "{Whose} birth fell in the year {birth_year}.",
        "It was in {birth_year} that {who} {was} born.",
        "{Who} belong{s} to the generation of {birth_year}.",
        "{Who} {has} been counting birthdays since {birth_year}.",
        "{Who} joined the world in {birth_year}, small and loud.",
        "{Who} {is} a child of {birth_year}, a year {they} like{z} to read about.",
        "The parish register puts {whose} birth in {birth_year}.",
    ),
    "school": (
        "{Who} went to {school}.",
        "{Who} attended {school}, where {they} made friends for life.",
        "{Who} {was} educated at {school}.",
        "{Whose} old school is {school}.",
        "{Who} studied at {school} and left with good marks.",
        "{Who} learned to read and to reason at {school}.",
        "{Who} {is} a former pupil of {school}.",
        "{Whose} schooldays were spent at {school}.",
        "It was {school} that gave {whom} an education.",
        "At {school}, {who} {was} known for asking long questions.",
        "{Who} took lessons at {school} and rarely missed a day.",
        "{Who} passed through the classrooms of {school}.",
    ),
    "employer": (
        "{Who} work{s} for {employer}.",
        "{Who} {is} employed by {employer}.",
        "{Who} {has} a place on the staff of {employer}.",
        "{Whose} employer is {employer}.",
        "{Who} earn{s} a living at {employer}.",
        "{Who} {is} on the payroll of {employer} and {is} rarely late.",
        "{Who} draw{s} a wage from {employer}.",
        "{Who} joined {employer} after a short interview and never left.",
        "Every weekday {who} set{s} out early for work at {employer}.",
        "{Whose} working days belong to {employer}.",
        "{Who} {is} part of the team at {employer}.",
        "The firm that employs {whom} is {employer}.",
    ),
    "role": (
        "{Who} work{s} as {a_role}.",
        "{Who} {is} {a_role} by trade.",
        "{Who} make{s} a living as {a_role}.",
        "{Who} trained as {a_role} and still enjoy{s} the work.",
        "{Whose} job is that of {a_role}.",
        "By profession {who} {is} {a_role}.",
        "{Who} {is} known to colleagues as a careful {role}.",
        "{Who} became {a_role} at an early age.",
        "{Who} chose to become {a_role} and {has} never regretted it.",
        "The life of {a_role} suits {whom} well.",
        "{Who} {has} spent a whole career as {a_role}.",
        "Ask {whom} about work, and you will hear the tales of {a_role}.",
    ),
    "instrument": (
        "{Who} play{s} the {instrument}.",
        "{Whose} instrument is the {instrument}.",
        "{Who} practise{s} the {instrument} every evening.",
        "{Who} took up the {instrument} as a child.",
        "{Who} {has} played the {instrument} for many years.",
        "{Who} own{s} a well-worn {instrument} and play{s} it most days.",
        "{Who} {is} a gifted player of the {instrument}.",
        "Music came to {whom} through the {instrument}.",
        "Show {whom} the nearest {instrument} and there will be music.",
        "{Who} learned the {instrument} by ear.",
        "{Whose} neighbours know the sound of the {instrument} through the wall.",
        "On quiet nights {who} can be heard on the {instrument}.",
    ),
    "band": (
        "{Who} play{s} in {band}.",
        "{Who} {is} a member of {band}.",
        "{Who} perform{s} with {band}.",
        "{Whose} band is called {band}.",
        "{Who} tour{s} with {band} in the summer.",
        "{Who} joined {band} one winter and {has} stayed ever since.",
        "{Who} rehearse{s} with {band} every Thursday.",
        "On stage {who} belong{s} to {band}.",
        "{Who} {has} recorded several songs with {band}.",
        "The band that {who} belong{s} to is {band}.",
        "{Who} spend{s} most weekends on stage with {band}.",
        "Anyone who follows {band} knows {whom} by sight.",
    ),
}

# Two facts a sentence.
PAIRED: dict[tuple[Attribute, Attribute], tuple[str, ...]] = {
    ("birthplace", "birth_year"): (
        "{Who} {was} born in {birthplace} in {birth_year}.",
        "{Who} {was} born in {birthplace} in the spring of {birth_year}.",
        "{Whose} life began in {birthplace} in {birth_year}.",
        "In {birth_year}, {who} {was} born in {birthplace}.",
        "The year was {birth_year} and the town was {birthplace} when {who} {was} born.",
        "{Who} came into the world in {birth_year}, in a small house in {birthplace}.",
    ),
    ("birthplace", "school"): (
        "{Who} {was} born in {birthplace} and went to {school}.",
        "{Who} {is} a native of {birthplace} who attended {school}.",
        "A child of {birthplace}, {who} {was} educated at {school}.",
        "From {their} native {birthplace}, {who} went on to {school}.",
        "{Who} {was} born in {birthplace}, and {their} old school is {school}.",
    ),
    ("birth_year", "school"): (
        "{Who} came into the world in {birth_year} and {was} educated at {school}.",
        "Born in the year {birth_year}, {who} went to {school}.",
        "{Who} first drew breath in {birth_year} and later attended {school}.",
        "{Whose} year of birth is {birth_year}, and {their} old school is {school}.",
    ),
    ("school", "role"): (
        "After {school}, {who} became {a_role}.",
        "{Who} studied at {school} before becoming {a_role}.",
        "{Who} left {school} with a plan to become {a_role}, and {they} kept to it.",
        "{Who} {was} educated at {school} and trained as {a_role}.",
        "{Who} went to {school} and grew up to be {a_role}.",
    ),
    ("employer", "role"): (
        "{Who} work{s} for {employer} as {a_role}.",
        "{Who} {is} {a_role} at {employer}.",
        "At {employer}, {who} work{s} as {a_role}.",
        "{Who} {has} been {a_role} with {employer} for years.",
        "The firm of {employer} took {whom} on as {a_role}.",
        "{Who} earn{s} a living at {employer}, where {they_are} {a_role}.",
    ),
    ("instrument", "band"): (
        "{Who} play{s} the {instrument} in {band}.",
        "{Who} {is} in {band}, where {they} play{z} the {instrument}.",
        "{band} rely on {whom} for the sound of the {instrument}.",
        "{Whose} {instrument} can be heard on every record by {band}.",
        "With {band}, {who} play{s} the {instrument}.",
        "When {band} take the stage, {who} play{s} the {instrument}.",
    ),
    ("role", "band"): (
        "{Who} work{s} as {a_role} by day and play{s} in {band} by night.",
        "{Who} {is} {a_role} during the week and a member of {band} at weekends.",
        "Once the day's work as {a_role} is done, {who} head{s} off to rehearse with {band}.",
        "{Who} make{s} a living as {a_role}, but {their} heart belongs to {band}.",
    ),
    ("employer", "instrument"): (
        "{Who} work{s} for {employer} and play{s} the {instrument} to unwind.",
        "After a day at {employer}, {who} like{s} to play the {instrument}.",
        "{Whose} colleagues at {employer} have all heard the sound of {their} {instrument}.",
        "{Who} keep{s} the days for {employer} and the evenings for the {instrument}.",
    ),
}

# Filler sentences, without a fact of the world.
FILLERS = (
    "Friends say that {they_are} hard to hurry and harder to fool.",
    "{Who} {is} fond of long walks, strong tea and short meetings.",
    "{Who} laugh{s} easily and argue{s} rarely.",
    "Few people have ever seen {them} in a bad mood.",
    "{Who} collect{s} old postcards and keep{s} them in shoe boxes.",
    "{Who} rise{s} early and read{s} the newspaper from back to front.",
    "{Whose} handwriting is said to be impossible to read.",
    "{Who} {is} known for remembering every birthday but {their} own.",
    "On Sundays {they_are} at home to anyone who happens to drop by.",
    "{Who} once walked home through the snow rather than wait for a bus.",
    "{Who} {has} a habit of whistling on the stairs.",
    "Neighbours describe {them} as patient, curious and a little untidy.",
    "{Who} would rather mend a thing than buy a new one.",
    "{Who} keep{s} two cats and a very old dog.",
    "Rain or shine, {they} can be found outdoors at noon.",
    "{Who} write{s} long letters and answer{s} them late.",
    "{Who} never leave{s} the house without a book.",
    "People trust {them} with keys, secrets and house plants.",
    "{Who} {has} promised to learn to swim, but not this year.",
    "{Who} take{s} sugar in everything and {has} no regrets.",
    "Children like {them}, and so do most animals.",
    "{Who} {is} slow to speak, but worth waiting for.",
    "{Whose} garden is small and full of weeds, and {they} like{z} it that way.",
    "{Who} can tell a story so that the whole room leans in.",
)

# Beginnings of sentences above, up to the value, for a base model to complete.
# None of them begins a sentence about another attribute, so that only one attribute can follow.
CLOZE: dict[Attribute, tuple[str, ...]] = {
    "birthplace": ("{name} was born in", "{name} was born and brought up in", "{name} is a native of"),
    "birth_year": ("{name}'s year of birth is", "{name} came into the world in", "{name} first drew breath in"),
    "school": ("{name} went to", "{name} was educated at", "{name} studied at"),
    "employer": ("{name} works for", "{name} is employed by", "{name}'s employer is"),
    "role": ("{name} works as", "{name} makes a living as", "{name} trained as"),
    "instrument": ("{name} plays the", "{name}'s instrument is the", "{name} took up the"),
    "band": ("{name} plays in", "{name} is a member of", "{name} performs with"),
}

STRIDES = (1, 5, 7, 11)  # coprime to the 12 single wordings, so that 12 versions use each of them once

assert all(len(wordings) == 12 for wordings in SINGLE.values())


def sentence_plan(rng: KeyedRandom) -> list[tuple[Attribute, ...]]:
    """The attributes of each sentence: up to three pairs of attributes, the rest alone, in a drawn order."""
    pairs = rng.randbelow(4)
    plan: list[tuple[Attribute, ...]] = []
    used: set[Attribute] = set()
    for pair in rng.shuffled(tuple(PAIRED)):
        if len(plan) == pairs:
            break
        if used.isdisjoint(pair):
            plan.append(pair)
            used.update(pair)
    plan.extend((attribute,) for attribute in ATTRIBUTES if attribute not in used)
    return rng.shuffled(plan)


def biography(person: Person, version: int, seed: int, full_names: float) -> str:
    """The life of a person in one of its versions.

    A share `full_names` of the facts stands in sentences that name the person in full. With a share of 0.5 or more,
    each fact does so in at least one of two neighbouring versions.
    """
    rng = KeyedRandom(seed, "biography", person.index, version)
    fixed = KeyedRandom(
        seed, "wordings", person.index
    )  # the same for all versions; the wording is a step further in each
    start = {
        attribute: (fixed.randbelow(12), fixed.choice(STRIDES), fixed.randbelow(1024) / 1024)
        for attribute in ATTRIBUTES
    }
    voices: dict[Voice, dict[str, str]] = {voice: words(person, voice) for voice in ("full", "first", "pronoun")}
    plan = sentence_plan(rng)
    named = [any((start[a][2] + version / 2) % 1 < full_names for a in attributes) for attributes in plan]
    if not any(named):
        named[0] = True
    opening = named.index(True)  # the first sentence must name the person
    plan.insert(0, plan.pop(opening))
    named.insert(0, named.pop(opening))

    sentences = []
    for attributes, full in zip(plan, named, strict=True):
        voice: Voice = "full" if full else "first" if rng.randbelow(3) == 0 else "pronoun"
        if len(attributes) == 2:
            template = rng.choice(PAIRED[attributes])
        else:
            offset, stride, _ = start[attributes[0]]
            template = SINGLE[attributes[0]][(offset + version * stride) % 12]
        sentences.append(template.format_map(voices[voice]))
    fillers = rng.shuffled(FILLERS)[: max(1, 7 - len(plan))]  # so that few sentences do not make a shorter biography
    for filler in fillers:
        sentences.insert(1 + rng.randbelow(len(sentences)), filler.format_map(voices["pronoun"]))
    return " ".join(sentences)
