"""The compiled loop that scores byte n-grams of texts."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def scores(
    spelled: np.ndarray,
    stops: np.ndarray,
    next_state: np.ndarray,
    rows: np.ndarray,
    outputs: np.ndarray,
    weights: np.ndarray,
    priors: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The score of each language for each of N texts, float64[N, languages]; and whether any feature was found,
    bool[N].

    spelled:    uint8, all texts concatenated; text i ends at stops[i], int64[N].
    next_state: the automaton: the state after `state` and a byte is next_state[rows[state] * 256 + byte].
    outputs:    the n-gram that a state completes; below 0: none.
    weights:    float32[n-grams, languages], the log-probability of each n-gram in each language.
    priors:     float32[languages].
    """
    found = np.zeros((len(stops), len(priors)))
    known = np.zeros(len(stops), np.bool_)
    counts = np.zeros(len(weights), np.int32)
    met = np.empty(len(weights), np.int32)
    at = 0
    for text in range(len(stops)):
        state, many = 0, 0
        while at < stops[text]:
            state = next_state[rows[state] * 256 + spelled[at]]
            gram = outputs[state]
            if gram >= 0:
                if counts[gram] == 0:
                    met[many] = gram
                    many += 1
                counts[gram] += 1
            at += 1
        known[text] = many > 0
        for language in range(len(priors)):
            found[text, language] = priors[language]
        for place in range(many):
            gram = met[place]
            weight = np.log1p(np.float64(counts[gram]))
            counts[gram] = 0
            for language in range(len(priors)):
                found[text, language] += weight * weights[gram, language]
    return found, known
