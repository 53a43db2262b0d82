"""The kinds of constraints of IFEval (arXiv 2311.07911, Table 1): arguments to a check of a whole answer.

Kinds and arguments have the names of the published prompts. Checks follow what the paper's checker counts: a word is a
run of letters and digits, a bullet is a line that begins with "* " or "-".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence

from tutelage.text.language import identifier

Check = Callable[[str], bool]
_RELATIONS: Mapping[str, Callable[[int, int], bool]] = {
    "less than": lambda count, bound: count < bound,
    "at least": lambda count, bound: count >= bound,
}
RESPONSES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
# A sentence ends after . ! or ? with closing marks, before white space; not after an initial or an abbreviation. The
# next one begins with a capital, unless the whole text has none: an instruction may forbid them.
_MARK = r"(?<!\b[A-Za-z])(?<!\b(?:Mr|Ms|Dr|St|vs|Jr|Sr|No))(?<!\b(?:Mrs|etc|e\.g|i\.e|Inc|Ltd))[.!?][\"'”’)\]*]*"
_SENTENCE_END = re.compile(_MARK + r"(?=\s+[^\sa-z])")
_LOWER_CASE_SENTENCE_END = re.compile(_MARK + r"(?=\s+\S)")
# Of one kind each: runs of letters and digits, of other signs.
_TOKENS = re.compile(r"[\w'’-]+|[^\w\s]+")


def _relation(relation: str, bound: int) -> Callable[[int], bool]:
    if relation not in _RELATIONS:
        raise TypeError(f"relation is {relation!r}; it is 'less than' or 'at least'")
    return lambda count: _RELATIONS[relation](count, int(bound))


def _language(text: str) -> str:
    """The language of a text in lower case: the identifier knows few texts in capitals."""
    return identifier()[0]([text.lower()]).languages[0]


def number_words(relation: str, num_words: int) -> Check:
    """Runs of letters and digits."""
    meets = _relation(relation, num_words)
    return lambda text: meets(len(re.findall(r"\w+", text)))


def number_sentences(relation: str, num_sentences: int) -> Check:
    """Ends of sentences, as `_SENTENCE_END` finds them."""
    meets = _relation(relation, num_sentences)

    def check(text: str) -> bool:
        ends = _LOWER_CASE_SENTENCE_END if text.islower() else _SENTENCE_END
        return meets(sum(bool(part.strip()) for part in ends.split(text)))

    return check


def number_paragraphs(num_paragraphs: int) -> Check:
    """Paragraphs are divided by "***"; an empty one between others is a mistake."""

    def check(text: str) -> bool:
        parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
        return all(parts[1:-1]) and sum(bool(part) for part in parts) == num_paragraphs

    return check


def nth_paragraph_first_word(num_paragraphs: int, nth_paragraph: int, first_word: str) -> Check:
    """Paragraphs are divided by an empty line."""

    def check(text: str) -> bool:
        parts = [part.strip() for part in text.split("\n\n")]
        if sum(bool(part) for part in parts) != num_paragraphs or nth_paragraph > len(parts):
            return False
        words = re.split(r"[.,?!'\"\s]", parts[nth_paragraph - 1].lstrip("'\" "), maxsplit=1)
        return words[0].lower() == first_word.lower()

    return check


def number_placeholders(num_placeholders: int) -> Check:
    """At least so many texts in square brackets."""
    return lambda text: len(re.findall(r"\[.*?\]", text)) >= num_placeholders


def postscript(postscript_marker: str) -> Check:
    """The marker, with or without spaces in it."""
    spaced = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    pattern = spaced.get(postscript_marker.strip(), re.escape(postscript_marker.strip().lower()))
    return lambda text: re.search(pattern, text.lower()) is not None


def number_bullet_lists(num_bullets: int) -> Check:
    """Exactly so many lines that begin with an asterisk or a dash."""
    bullet = re.compile(r"^\s*(?:\*[^*].*|-.*)$", re.MULTILINE)
    return lambda text: len(bullet.findall(text)) == num_bullets


def constrained_response() -> Check:
    """One of the answers of RESPONSES."""
    return lambda text: any(response in text for response in RESPONSES)


def number_highlighted_sections(num_highlights: int) -> Check:
    """At least so many texts between asterisks that are not empty."""

    def check(text: str) -> bool:
        marked = [*re.findall(r"\*[^\n*]*\*", text), *re.findall(r"\*\*[^\n*]*\*\*", text)]
        return sum(bool(part.strip("* ")) for part in marked) >= num_highlights

    return check


def multiple_sections(section_spliter: str, num_sections: int) -> Check:
    """At least so many numbered headings."""
    heading = re.compile(rf"\s?{re.escape(section_spliter.strip())}\s?\d+\s?")
    return lambda text: len(heading.findall(text)) >= num_sections


def json_format() -> Check:
    """All of it is JSON, perhaps in a fenced block."""

    def check(text: str) -> bool:
        inner = re.sub(r"\A\s*```(?:json)?|```\s*\Z", "", text.strip(), flags=re.IGNORECASE)
        try:
            json.loads(inner)
        except ValueError:
            return False
        return True

    return check


def title() -> Check:
    """A title in double angle brackets that is not empty."""
    return lambda text: any(part.strip("<> ") for part in re.findall(r"<<[^\n]+>>", text))


def existence(keywords: Sequence[str]) -> Check:
    """Each keyword, a pattern without case."""
    patterns = [re.compile(word, re.IGNORECASE) for word in keywords]
    return lambda text: all(pattern.search(text) for pattern in patterns)


def frequency(relation: str, keyword: str, frequency: int) -> Check:
    """How often a keyword occurs, a pattern without case."""
    meets, pattern = _relation(relation, frequency), re.compile(keyword, re.IGNORECASE)
    return lambda text: meets(len(pattern.findall(text)))


def forbidden_words(forbidden_words: Sequence[str]) -> Check:
    """None of the words, without case."""
    patterns = [re.compile(rf"\b{word}\b", re.IGNORECASE) for word in forbidden_words]
    return lambda text: not any(pattern.search(text) for pattern in patterns)


def letter_frequency(let_relation: str, letter: str, let_frequency: int) -> Check:
    """How often a letter occurs, without case."""
    meets = _relation(let_relation, let_frequency)
    return lambda text: meets(text.lower().count(letter.lower()))


def english_capital() -> Check:
    """English, in capitals alone."""
    return lambda text: text.isupper() and _language(text) == "en"


def english_lowercase() -> Check:
    """English, without capitals."""
    return lambda text: text.islower() and _language(text) == "en"


def capital_word_frequency(capital_relation: str, capital_frequency: int) -> Check:
    """Words in capitals alone."""
    meets = _relation(capital_relation, capital_frequency)
    return lambda text: meets(sum(token.isupper() for token in _TOKENS.findall(text)))


def response_language(language: str) -> Check:
    """The language, by its ISO 639 code."""
    return lambda text: _language(text) == language


def repeat_prompt(prompt_to_repeat: str) -> Check:
    """Begins with a text, without case."""
    return lambda text: text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def two_responses() -> Check:
    """Divided by six asterisks, and not equal."""

    def check(text: str) -> bool:
        parts = [part.strip() for part in text.split("******")]
        kept = [part for part in parts if part]
        return all(parts[1:-1]) and len(kept) == 2 and kept[0] != kept[1]

    return check


def end_checker(end_phrase: str) -> Check:
    """Ends with a phrase, without case."""
    return lambda text: text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def quotation() -> Check:
    """All of it between double quotation marks."""

    def check(text: str) -> bool:
        inner = text.strip()
        return len(inner) > 1 and inner[0] == inner[-1] == '"'

    return check


def no_comma() -> Check:
    """No comma."""
    return lambda text: "," not in text


CONSTRAINTS: Mapping[str, Callable[..., Check]] = {
    "length_constraints:number_words": number_words,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:json_format": json_format,
    "detectable_format:title": title,
    "keywords:existence": existence,
    "keywords:frequency": frequency,
    "keywords:forbidden_words": forbidden_words,
    "keywords:letter_frequency": letter_frequency,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
    "change_case:capital_word_frequency": capital_word_frequency,
    "language:response_language": response_language,
    "combination:repeat_prompt": repeat_prompt,
    "combination:two_responses": two_responses,
    "startend:end_checker": end_checker,
    "startend:quotation": quotation,
    "punctuation:no_comma": no_comma,
}
