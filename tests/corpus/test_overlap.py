from __future__ import annotations

import random

import numpy as np

from tutelage.corpus.minhash import token_hashes
from tutelage.corpus.overlap import COMMON, Examined, coverage, examined


def cover(texts: list[str], wanted: Examined) -> tuple[list[float], list[int]]:
    share, which = coverage(token_hashes(texts), wanted)
    return [round(float(one), 3) for one in share], which.tolist()


def text(seed: int, length: int = 40) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abcdefghij", k=6)) for _ in range(length))


def test_a_text_within_another_is_found_whatever_its_case_and_spacing() -> None:
    wanted = examined([[text(0), text(1)], [text(2)]])
    around = f"{text(10)} {text(2).upper().replace(' ', '  ')} {text(11)}"
    assert cover([around, text(12), text(0)], wanted) == ([1.0, 0.0, 1.0], [2, -1, 0])


def test_half_a_text_is_half_covered() -> None:
    words = text(3, 53).split()  # 41 runs of 13 tokens
    share, which = cover([" ".join(words[:33])], examined([[" ".join(words)]]))
    assert (share, which) == ([round(21 / 41, 3)], [0])


def test_what_all_examined_texts_share_is_their_form() -> None:
    form = text(4, 30)
    wanted = examined([[f"{form} {text(100 + n)}" for n in range(COMMON + 1)]])
    assert cover([form], wanted) == ([0.0], [-1])
    share, which = cover([f"{form} {text(103)}"], wanted)
    assert (share, which) == ([1.0], [3])


def test_a_short_text_is_found_only_whole_and_a_very_short_one_never() -> None:
    short, very_short = text(5, 10), text(6, 4)
    wanted = examined([[short, very_short]])
    found = cover([short, f"{short} more", very_short], wanted)
    assert found == ([1.0, 0.0, 0.0], [0, -1, -1])


def test_nothing_to_look_for_and_nothing_to_look_in() -> None:
    assert cover(["a text of some words"], examined([])) == ([0.0], [-1])
    share, which = coverage(token_hashes([]), examined([[text(7)]]))
    assert (len(share), len(which)) == (0, 0)
    assert np.diff(examined([[text(8), text(8)]]).grams.astype(object)).tolist().count(0) == 28  # of both texts
