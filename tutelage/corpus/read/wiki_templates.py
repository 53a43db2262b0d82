"""Templates of MediaWiki that stand inside sentences, written out: numbers, units, dates, foreign words, quotations.

Templates of the English Wikipedia by name, with the most common names of other wikis. Of an unknown one inside a
sentence the first plain argument is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

HOLE = "\ue010"  # an unknown template without a plain argument: the sentence around it must go

_NUMBER = re.compile(r"[+\-−–]?\d[\d,. ]*(?:/\d+)?$")
_PLAIN_NUMBER = re.compile(r"([+\-−–]?)(\d+)(\.\d+)?$")
_RANGES = {
    "to": " to ", "and": " and ", "or": " or ", "by": " by ", "x": " × ", "×": " × ", "-": "–", "–": "–",
    "to(-)": " to ", "and(-)": " and ", "+/-": " ± ", "±": " ± ", "*": " × ", "to about": " to about ", "+": " + ",
    ",": ", ",
}  # fmt: skip
_UNITS = {
    "sqmi": "sq mi", "sqkm": "km²", "km2": "km²", "m2": "m²", "cm2": "cm²", "m3": "m³", "km3": "km³", "cm3": "cm³",
    "sqft": "sq ft", "sqin": "sq in", "sqyd": "sq yd", "cuft": "cu ft", "cuin": "cu in", "cumi": "cu mi", "C": "°C",
    "F": "°F", "kph": "km/h", "USgal": "US gal", "impgal": "imp gal", "lb-ft": "lb⋅ft", "°C": "°C",
}  # fmt: skip
_MONTHS = "January February March April May June July August September October November December".split()

# Footnotes, marks for editors, icons, sound, coordinates: nothing that a sentence needs.
_SILENT = re.compile(
    r"(?:cite|citation|cit|harv|sfn|efn|refn|ref|r|rp|sfnm|note|notelist|reflist|cn|fact|citation needed|quelle|refnec"
    r"|citation nécessaire|dubious|clarify|who|when|where|which|by whom|according to whom|page needed|verify"
    r"|better source|dead link|webarchive|failed|original research|stub|coord|audio|listen|ipa|ipac?-|respell|pron"
    r"|flag ?icon|icon|anchor|clear|clr|short description|use |italic title|displaytitle|defaultsort|main|see also"
    r"|further|about|distinguish|authority|commons|portal|update|explain|vague|weasel|peacock|nbsp?_?ref|#tag|#invoke"
    r"|dts|sort|hs|ntsh)\b",
    re.IGNORECASE,
)
_QUOTES = frozenset(
    "quote blockquote cquote quotation quotebox rquote poemquote bquote zitat cita citat citazione "
    "citation_début cytat цитата citaat citação".split()
) | {"quote box", "pull quote", "block quote", "poem quote", "centered pull quote", "quote frame", "citation bloc"}
_FIRST = frozenset(
    "nowrap nobr small big smaller larger em strong abbr tooltip mvar math sic kbd keypress key code tt mono var sc"
    " smallcaps vanchor ill link bigger resize nobold noitalic noitalics char tlx strikethrough ins del visibleanchor u"
    " dfn samp no_wrap nowr formatted 'nts nts number unité nombre".split()
) | {"visible anchor", "interlanguage link", "abbreviation", "font color", "small caps", "not a typo", "no wrap"}
_SIGNS = {
    "!": "|", "=": "=", "ndash": "–", "–": "–", "snd": " – ", "spnd": " – ", "spaced ndash": " – ", "mdash": "—",
    "—": "—", "dash": " – ", "dot": " · ", "·": " · ", "middot": " · ", "bull": " • ", "•": " • ", "nbsp": " ",
    "spaces": " ",
    "thinsp": " ", "thin space": " ", "hair space": " ", "hairsp": " ", "zwsp": "", "zwj": "", "shy": "", "wbr": "",
    "pi": "π", "times": "×", "minus": "−", "plusmn": "±", "±": "±", "deg": "°", "'": "'", '"': '"',
    "'-": "'", "-'": "'",
    "co2": "CO2", "h2o": "H2O", "c.": "c.", "circa": "c.", "okina": "ʻ", "ayin": "ʿ", "hamza": "ʾ", "!-": "|-",
    "(!": "{|",
    "'s": "'s", "`": "`", "ampersand": "&", "pipe": "|", "colon": ":", "gbp": "£", "euro": "€", "inr": "₹", "yen": "¥",
}  # fmt: skip
_CURRENCIES = {
    "us$": "US$", "usd": "US$", "$": "$", "£": "£", "gbp": "£", "€": "€", "eur": "€", "euro": "€", "¥": "¥", "jpy": "¥",
    "yen": "¥", "inr": "₹", "₹": "₹", "indian rupee": "₹", "a$": "A$", "aud": "A$", "c$": "C$", "cad": "C$",
    "isbn": "ISBN ",
}  # fmt: skip


class Template(NamedTuple):
    """A template in use: its name in lower case, its arguments by place, and those with a name."""

    name: str
    given: list[str]
    named: dict[str, str]


def parse(inner: str) -> Template:
    """The template of the text between two pairs of curly brackets, in which inner ones are written out already."""
    head, *rest = inner.split("|")
    name = " ".join(head.replace("_", " ").split()).lower()
    name = re.sub(r"^(?:template|subst|safesubst|msg)\s*:\s*", "", name)
    function, colon, argument = name.partition(":")
    if colon and not name.startswith("#"):
        name, rest = function.strip(), [head.partition(":")[2] if "template" not in head.lower() else argument, *rest]
    given: list[str] = []
    named: dict[str, str] = {}
    for part in rest:
        key, sign, value = part.partition("=")
        if sign and re.fullmatch(r"\s*[\w \-]+\s*", key) and "<" not in key:
            named[key.strip().lower()] = value.strip()
        else:
            given.append(part.strip())
    for place in range(1, 10):
        if str(place) in named:
            given[place - 1 :] = [*[""] * (place - 1 - len(given)), named.pop(str(place)), *given[place:]]
    return Template(name, given, named)


def written(inner: str, before: str, after: str) -> str:
    """What a reader sees of a template: "" for one that is no part of a sentence, HOLE where that cannot be told.

    before, after: the text of its line on either side.
    """
    use = parse(inner)
    if use.name in _QUOTES:
        return _quotation(use)
    if make := _MAKERS.get(use.name):
        return make(use, before)
    if use.name in _CURRENCIES and use.given:
        return _CURRENCIES[use.name] + use.given[0]
    if use.name in _SIGNS and not (use.given and use.name in ("circa", "c.")):
        return _SIGNS[use.name]
    if use.name in _FIRST:
        return use.given[0] if use.given else ""
    if use.name.startswith(("lang-", "langue", "lang ")):
        return use.given[-1] if use.given else ""
    if _SILENT.match(use.name) or not _in_sentence(inner, before, after):
        return ""
    if use.name.startswith("#"):
        return HOLE
    return next((value for value in use.given if _is_plain(value)), HOLE)


def _in_sentence(inner: str, before: str, after: str) -> bool:
    """Whether an unknown template is part of a sentence: others are footnotes at a word, or blocks."""
    if "\n" in inner.strip():
        return False
    if before.strip(" *#:;'\""):
        return before[-1].isspace() or before[-1] in "([{\"'“„«‘–—-/$£€\ue006"
    return bool(after[:1].isspace() and after.strip())


def _is_plain(value: str) -> bool:
    return "\n" not in value and any(map(str.isalnum, value))


def grouped(number: str) -> str:
    """A number with commas between thousands, where it is written without."""
    match = _PLAIN_NUMBER.match(number.strip())
    return f"{match[1]}{int(match[2]):,}{match[3] or ''}" if match and match[2][0] != "0" else number.strip()


def _formatted(use: Template, _before: str) -> str:
    raw = any(value.lower() in ("r", "nosep") for value in use.given[1:])
    return "" if not use.given else use.given[0] if raw else grouped(use.given[0])


def _converted(use: Template, _before: str) -> str:
    """The first quantity of a conversion: numbers with words of a range between them, and the unit."""
    text, at, given = "", 0, use.given
    while at < len(given) and _NUMBER.match(given[at]):
        text += grouped(given[at])
        following = given[at + 1] if at + 1 < len(given) else ""
        if following in _RANGES and at + 2 < len(given):
            text, at = text + _RANGES[following], at + 2
            continue
        unit = _UNITS.get(following, following)
        text = f"{text} {unit}" if unit else text
        at += 2
        if following in ("ft", "lb", "st", "mi", "yd", "ch") and at + 1 < len(given) and _NUMBER.match(given[at]):
            text += " "
        else:
            break
    return text or HOLE


def _valued(use: Template, _before: str) -> str:
    if not use.given:
        return HOLE
    number, *errors = use.given
    text = grouped(number)
    if len(errors) == 1:
        text += f" ± {errors[0]}"
    elif errors:
        text += f" +{errors[0].lstrip('+')} −{errors[1].lstrip('-−')}"
    if power := use.named.get("e"):
        text += f"×10^{power}"
    unit = use.named.get("u") or use.named.get("ul") or ""
    return f"{use.named.get('p', '')}{text}{' ' * bool(unit)}{unit}"


def _as_of(use: Template, before: str) -> str:
    if alternative := use.named.get("alt"):
        return alternative
    date = _date(use.given)
    if re.search(r"\b(?:in|of|by|since|from|until|as of)\s*$", before, re.IGNORECASE):
        return date
    word = "since" if use.named.get("since") else "as of"
    starts = not before.strip() or before.rstrip()[-1] in ".!?"
    return f"{word.capitalize() if starts and not use.named.get('lc') else word} {date}"


def _dated(use: Template, _before: str) -> str:
    return _date(use.given) or HOLE


def _date(parts: list[str]) -> str:
    year, month, day = [*parts, "", "", ""][:3]
    if month.isdigit() and 1 <= int(month) <= len(_MONTHS):
        month = _MONTHS[int(month) - 1]
    return " ".join(part for part in (day.lstrip("0"), month, year) if part)


def _about(use: Template, _before: str) -> str:
    return " – ".join(f"c. {value}" for value in use.given if value)


def _foreign(use: Template, _before: str) -> str:
    return use.given[1] if len(use.given) > 1 else use.named.get("text", use.given[-1] if use.given else "")


def _last(use: Template, _before: str) -> str:
    return next((value for value in reversed(use.given) if value), "")


def _values(use: Template, _before: str) -> str:
    named = [value for key, value in use.named.items() if value and key not in ("links", "labels", "first", "l")]
    return ", ".join([*filter(None, use.given), *named])


def _glossed(use: Template, _before: str) -> str:
    first, *rest = [*use.given, ""]
    inner = ", ".join(value for value in rest if value)
    return f"{first} ({inner})" if first and inner else first or inner


def _fraction(use: Template, _before: str) -> str:
    given = [value for value in use.given if value]
    if len(given) == 1:
        return f"1/{given[0]}"
    return f"{given[0]} {given[1]}/{given[2]}" if len(given) == 3 else "/".join(given)


def _joined(use: Template, _before: str) -> str:
    return "".join(use.given)


def _raised(tag: str) -> Callable[[Template, str], str]:
    return lambda use, _before: f"<{tag}>{''.join(use.given[:1])}</{tag}>"


def _power_of_ten(use: Template, _before: str) -> str:
    return f"×10^{use.given[0]}" if use.given else ""


def _case(change: Callable[[str], str]) -> Callable[[Template, str], str]:
    return lambda use, _before: change(use.given[0]) if use.given else ""


def _quotation(use: Template) -> str:
    text = next((use.named[key] for key in ("text", "quote", "zitat", "texto", "content") if use.named.get(key)), "")
    given = [value for value in use.given if value]
    if not text and given:
        text = given.pop(0)
    by = next((use.named[key] for key in ("author", "sign", "by", "autor", "source") if use.named.get(key)), "")
    by = by or (given[0] if given and "cquote" not in use.name else "")
    return f"\n{text}{' — ' * bool(by)}{by}\n" if text else ""


_MAKERS: dict[str, Callable[[Template, str], str]] = {
    "formatnum": _formatted, "nts": _formatted, "number": _formatted, "num": _formatted, "nombre": _formatted,
    "convert": _converted, "cvt": _converted, "cnv": _converted, "unité": _converted, "val": _valued,
    "as of": _as_of, "asof": _as_of, "circa": _about, "c.": _about, "ca": _about, "ca.": _about, "c": _about,
    "lang": _foreign, "langx": _foreign, "langue": _foreign, "transl": _last, "transliteration": _last, "script": _last,
    "nihongo": _glossed, "nihongo2": _last, "nihongo3": _glossed, "zh": _values, "lang-zh": _values, "korean": _values,
    "frac": _fraction, "sfrac": _fraction, "fraction": _fraction, "chem": _joined, "chem2": _joined, "e": _power_of_ten,
    "sup": _raised("sup"), "sub": _raised("sub"), "lc": _case(str.lower), "uc": _case(str.upper),
    "ucfirst": _case(lambda text: text[:1].upper() + text[1:]),
    "lcfirst": _case(lambda text: text[:1].lower() + text[1:]),
    **dict.fromkeys(
        ["birth date", "death date", "start date", "end date", "dob", "date", "birth date and age", "film date",
         "start date and age", "death date and age", "release date", "launch date"], _dated),
}  # fmt: skip
