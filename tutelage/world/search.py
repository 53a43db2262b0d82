"""Search over the world: exact names first, then by the rarest common words.

Uses the compact facts of all people, 10 bytes each, instead of an index over texts.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from tutelage.scoring.extract import normalise
from tutelage.world.entities import Entity
from tutelage.world.names import FIRST, LAST, MIDDLE, name_index, name_parts
from tutelage.world.people import fact_codes
from tutelage.world.values import ATTRIBUTES, VALUES

# The searchable words, by column: three parts of the name, then the attributes.
COLUMNS = (FIRST, MIDDLE, LAST, *(VALUES[attribute] for attribute in ATTRIBUTES))
IGNORED = frozenset(("a", "an", "and", "in", "is", "of", "the", "to", "was"))


@dataclass(frozen=True, eq=False, slots=True)
class SearchIndex:
    """Codes of all people (uint8 [people, columns]), the words of all entities, and the weight of each word."""

    codes: np.ndarray
    entities: tuple[tuple[str, frozenset[str]], ...]
    weights: dict[str, float]
    keys: tuple[tuple[int, int], ...]


def fact_table(seed: int, people: int) -> np.ndarray:
    """The position of each value in its list: uint8 [people, attributes]."""
    facts = b"".join(fact_codes(seed, index) for index in range(people))
    return np.frombuffer(facts, np.uint8).reshape(people, len(ATTRIBUTES))


def name_table(people: int, keys: tuple[tuple[int, int], ...]) -> np.ndarray:
    """The position of each part of the name in its list: uint8 [people, 3]."""
    parts = b"".join(bytes(name_parts(index, keys)) for index in range(people))
    return np.frombuffer(parts, np.uint8).reshape(people, 3)


def search_terms(text: str) -> frozenset[str]:
    """The searchable words of a text."""
    return frozenset(normalise(text).split()) - IGNORED


def build_index(facts: np.ndarray, entities: list[Entity], keys: tuple[tuple[int, int], ...]) -> SearchIndex:
    """The index over the people whose `fact_table` is given, and over the entities."""
    codes = np.concatenate([name_table(len(facts), keys), facts], axis=1)
    seen: dict[str, int] = defaultdict(int)
    for column, values in enumerate(COLUMNS):
        counts = np.bincount(codes[:, column], minlength=len(values))
        for value, count in zip(values, counts.tolist(), strict=True):
            for word in search_terms(value):
                seen[word] += count
    pages = []
    for entity in entities:
        words = search_terms(" ".join((entity.name, entity.kind, *entity.facts.values())))
        pages.append((normalise(entity.name), words))
        for word in words:
            seen[word] += 1
    total = len(facts) + len(entities)
    weights = {word: math.log1p(total / count) for word, count in seen.items() if count}
    return SearchIndex(codes, tuple(pages), weights, keys)


def people_named(words: list[str], keys: tuple[tuple[int, int], ...]) -> list[int]:
    """The indices of all full names in the words, whether such a person exists or not."""
    places = [{normalise(name): place for place, name in enumerate(names)} for names in (FIRST, MIDDLE, LAST)]
    indices = []
    for three in zip(words, words[1:], words[2:], strict=False):
        first, middle, last = (place.get(word) for place, word in zip(places, three, strict=True))
        if first is not None and middle is not None and last is not None:
            indices.append(name_index(first, middle, last, keys))
    return indices


def ranked(index: SearchIndex, query: str, limit: int) -> list[int]:
    """The best matches, best first: person i as i, entity j as people + j. Without a common word nothing matches."""
    text = normalise(query)
    people = len(index.codes)
    best = [person for person in people_named(text.split(), index.keys) if person < people]
    best += [people + j for j, (name, _) in enumerate(index.entities) if f" {name} " in f" {text} "]

    query_weights = {word: index.weights[word] for word in sorted(search_terms(query)) if word in index.weights}
    scores = np.zeros(people + len(index.entities))
    for column, values in enumerate(COLUMNS):
        value_scores = np.array(
            [sum(query_weights.get(word, 0.0) for word in sorted(search_terms(value))) for value in values]
        )
        if value_scores.any():
            scores[:people] += value_scores[index.codes[:, column]]
    scores[people:] = [sum(query_weights.get(word, 0.0) for word in sorted(words)) for _, words in index.entities]
    taken = set(best)
    order = np.argsort(-scores, kind="stable")[: limit + len(taken)].tolist()
    best += [place for place in order if scores[place] > 0 and place not in taken]
    return list(dict.fromkeys(best))[:limit]
