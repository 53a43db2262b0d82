"""The script of a text, and its language: identified by the bundled model of py3langid (140 languages, byte n-grams,
naive Bayes), which runs in a compiled loop over its tables with the same result, or by a fastText model."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tutelage.extras import load
from tutelage.text import language_kernels

UNKNOWN = "und"  # ISO 639 "undetermined": no feature of any language in the text
_FASTTEXT_LABEL = "__label__"
TOO_SHORT = "too short to tell"
_MIN_CHARS = 30  # of a text whose language is identified
HEAD = 120  # characters of a text that are inspected
_MIN_LETTERS = 16  # a Chinese sentence may have as few
PURE = 0.95  # of the letters: a text of one script, but for a name

# The first code point of each script's block; gaps between scripts are "other".
_BLOCKS: tuple[tuple[int, str], ...] = (
    (0x0000, "Latin"),
    (0x0370, "Greek"),
    (0x0400, "Cyrillic"),
    (0x0530, "Armenian"),
    (0x0590, "Hebrew"),
    (0x0600, "Arabic"),
    (0x0700, "other"),
    (0x0750, "Arabic"),
    (0x0780, "other"),
    (0x0900, "Devanagari"),
    (0x0980, "Bengali"),
    (0x0A00, "other"),
    (0x0B80, "Tamil"),
    (0x0C00, "other"),
    (0x0E00, "Thai"),
    (0x0E80, "other"),
    (0x10A0, "Georgian"),
    (0x1100, "Hangul"),
    (0x1200, "other"),
    (0x1E00, "Latin"),
    (0x1F00, "Greek"),
    (0x2000, "other"),
    (0x2C60, "Latin"),
    (0x2C80, "other"),
    (0x3040, "Kana"),
    (0x3100, "other"),
    (0x3400, "Han"),
    (0xA000, "other"),
    (0xA720, "Latin"),
    (0xA800, "other"),
    (0xAC00, "Hangul"),
    (0xD7B0, "other"),
    (0xF900, "Han"),
    (0xFB00, "Latin"),
    (0xFB1D, "Hebrew"),
    (0xFB50, "Arabic"),
    (0xFE00, "other"),
    (0xFE70, "Arabic"),
    (0xFF00, "Latin"),
    (0xFF66, "Kana"),
    (0xFFA0, "other"),
    (0x20000, "Han"),
    (0x33480, "other"),
)
_BEGINS = [begin for begin, _ in _BLOCKS]
SCRIPTS = ("", *dict.fromkeys(name for _, name in _BLOCKS))
NOT_LATIN = re.compile(
    "[\u0370-\u1dff\u1f00-\u1fff\u2c80-\ua71f\ua800-\ufaff\ufb1d-\ufeff\uff66-\uff9f\U00020000-\U0003347f]"
)


def scripts(text: str) -> Counter[str]:
    """The letters at the beginning of a text by script; Han among Kana is Japanese, and counts as Kana."""
    head = text[:HEAD]
    if not NOT_LATIN.search(head):
        return Counter(Latin=sum(map(str.isalpha, head)))
    counts = Counter(map(_script, head))
    counts.pop("", None)
    if counts["Kana"] > 0.1 * counts.total():
        counts["Kana"] += counts.pop("Han", 0)
    return counts


@cache
def _script(character: str) -> str:
    """The script of a letter; "" for any other character."""
    return _BLOCKS[bisect_right(_BEGINS, ord(character)) - 1][1] if character.isalpha() else ""


def script_of(text: str, share: float = 0.5) -> str:
    """The script of more than this share of the letters at the beginning of a text; "" where there is none, or where
    there are too few letters."""
    if len(text) < _MIN_LETTERS:
        return ""
    counts = scripts(text)
    main, count = counts.most_common(1)[0] if counts else ("", 0)
    return main if count > share * counts.total() and count >= _MIN_LETTERS and main != "other" else ""


def languages(texts: Sequence[str]) -> tuple[dict[str, float], str]:
    """The share of each language among texts, most frequent first, and what detected them: py3langid where it is
    installed, else the script alone."""
    if importlib.util.find_spec("py3langid"):
        names = [
            name if len(text) >= _MIN_CHARS else ""
            for text, name in zip(texts, identifier()[0](texts).languages, strict=True)
        ]
        detected_by = "py3langid"
    else:
        names, detected_by = [script_of(text) for text in texts], "script"
    counts = Counter(name or TOO_SHORT for name in names)
    return {name: count / len(texts) for name, count in counts.most_common()}, detected_by


class Found(NamedTuple):
    """The language of each of N texts, and its probability, float64[N]."""

    languages: list[str]
    confidences: np.ndarray


Identify = Callable[[Sequence[str]], Found]


@lru_cache(maxsize=4)
def identifier(model: Path | None = None) -> tuple[Identify, frozenset[str]]:
    """A function that identifies languages, and the languages that it knows.

    model: of fastText; default: that of py3langid.

    Raises:
        ValueError: the model is unreadable, or a package is missing.
    """
    return _of_py3langid() if model is None else _of_fasttext(model)


def _of_py3langid() -> tuple[Identify, frozenset[str]]:
    loaded = load("py3langid.langid")
    model = loaded.LanguageIdentifier.from_model_file(loaded.MODEL_FILE, norm_probs=True)
    labels = list(dict.fromkeys(model.nb_classes))
    # A language may occur more than once, for two scripts: add their probabilities.
    of_label = np.array([labels.index(code) for code in model.nb_classes])
    tables = (
        np.asarray(model.tk_nextmove), np.asarray(model.tk_row, np.int64), np.asarray(model.tk_output, np.int64),
        model.nb_ptc.astype(np.float32), model.nb_pc.astype(np.float32),
    )  # fmt: skip

    def identify(texts: Sequence[str]) -> Found:
        spelled = [_spell(text) for text in texts]
        stops = np.cumsum([len(text) for text in spelled], dtype=np.int64)
        scores, known = language_kernels.scores(np.frombuffer(b"".join(spelled), np.uint8), stops, *tables)
        # py3langid is calibrated with this temperature: the square root of the number of bytes.
        scores /= np.sqrt(np.maximum(np.diff(stops, prepend=0), 1))[:, None]
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        merged = np.zeros((len(texts), len(labels)))
        np.add.at(merged.T, of_label, shares.T)
        best = merged.argmax(axis=1)
        languages = [labels[number] if sure else UNKNOWN for number, sure in zip(best, known, strict=True)]
        return Found(languages, np.where(known, merged[np.arange(len(texts)), best], 0.0))

    return identify, frozenset(labels)


def _spell(text: str) -> bytes:
    return unicodedata.normalize("NFC", text.lower() if text.isupper() else text).encode("utf-8", "surrogatepass")


def _of_fasttext(path: Path) -> tuple[Identify, frozenset[str]]:
    model = load_fasttext(path)

    def identify(texts: Sequence[str]) -> Found:
        found, confidences = model.predict([" ".join(text.split()) for text in texts]) if texts else ([], [])
        languages = [one[0].removeprefix(_FASTTEXT_LABEL) if one else UNKNOWN for one in found]
        return Found(languages, np.array([min(float(one[0]), 1.0) if len(one) else 0.0 for one in confidences]))

    return identify, frozenset(label.removeprefix(_FASTTEXT_LABEL) for label in model.get_labels())


def load_fasttext(path: Path) -> Any:
    """The fastText model in a file. Raises ValueError if it is missing or not one."""
    if not path.is_file():
        raise ValueError(f"model: there is no file {path}; name a fastText model (.bin or .ftz)")
    try:
        return load("fasttext").load_model(str(path))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"model: {path} is not a fastText model ({error})") from error
