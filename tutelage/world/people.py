"""The people of the world, and the slots of sentence templates about a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from tutelage.records import Split
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.names import FIRST, LAST, MIDDLE, SHE, THEY, name_parts
from tutelage.world.values import ATTRIBUTES, VALUES, Attribute, with_article

Voice = Literal["full", "first", "pronoun"]  # how a sentence names the person: Mira Tolvane Askew, Mira, she

PRONOUNS = {
    "she": ("she", "her", "her", "herself"),
    "he": ("he", "him", "his", "himself"),
    "they": ("they", "them", "their", "themselves"),
}


@dataclass(frozen=True, slots=True)
class Person:
    """A person; `pronoun` is she, he or they, and `facts` has a value for each of ATTRIBUTES."""

    index: int
    first: str
    middle: str
    last: str
    pronoun: str
    facts: Mapping[Attribute, str]

    @property
    def name(self) -> str:
        """The full name, which is unique."""
        return f"{self.first} {self.middle} {self.last}"


def fact_codes(seed: int, index: int) -> bytes:
    """The position of each attribute's value in VALUES, one byte an attribute: 5 bits choose one of 32 values."""
    digest = blake2b(b"%d facts %d" % (seed, index), digest_size=len(ATTRIBUTES)).digest()
    return bytes(byte & 31 for byte in digest)


def make_person(seed: int, index: int, keys: tuple[tuple[int, int], ...]) -> Person:
    """Person `index` of the world with this seed; `keys` are the `rounds` of its names."""
    first, middle, last = name_parts(index, keys)
    pronoun = "she" if first < len(SHE) else "they" if first >= len(FIRST) - len(THEY) else "he"
    codes = fact_codes(seed, index)
    facts = {attribute: VALUES[attribute][code] for attribute, code in zip(ATTRIBUTES, codes, strict=True)}
    return Person(index, FIRST[first], MIDDLE[middle], LAST[last], pronoun, facts)


def split_of(seed: int, index: int) -> Split:
    """The split of a person: of each two consecutive people, one is drawn for training."""
    return "train" if index & 1 == KeyedRandom(seed, "split", index // 2).randbelow(2) else "held_out"


def words(person: Person, voice: Voice) -> dict[str, str]:
    """The slots of a sentence template, for a voice in which it refers to the person.

    {who} {whom} {whose} name the person in that voice, with the verb forms {s} {is} {was} {has}; {Who} {Whose} open a
    sentence. {they} {them} {their} {themselves} are always pronouns, with {z} {they_are} {they_were} {they_have}.
    {name} is always the full name; each attribute gives its value, and {a_role} the role with its article.
    """
    they, them, their, themselves = PRONOUNS[person.pronoun]
    plural = person.pronoun == "they"
    are, were, have, z = ("are", "were", "have", "") if plural else ("is", "was", "has", "s")
    if voice == "pronoun":
        who, whom, whose = they, them, their
        s, is_, was, has = z, are, were, have
    else:
        who = whom = person.name if voice == "full" else person.first
        whose = who + "'s"
        s, is_, was, has = "s", "is", "was", "has"
    slots = {"who": who, "whom": whom, "whose": whose, "s": s, "is": is_, "was": was, "has": has}
    slots["Who"], slots["Whose"] = who[0].upper() + who[1:], whose[0].upper() + whose[1:]
    slots |= {"they": they, "them": them, "their": their, "themselves": themselves, "z": z, "name": person.name}
    slots |= {"they_are": f"{they} {are}", "they_were": f"{they} {were}", "they_have": f"{they} {have}"}
    slots |= {str(attribute): value for attribute, value in person.facts.items()}
    return slots | {"a_role": with_article(person.facts["role"])}
