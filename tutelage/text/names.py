"""Names of people in a text, by the words beside them: an introduction ("My name is", "Je m'appelle"), a form of
address ("Mrs", "Herr"), or the end of a letter. Other names cannot be distinguished from other words."""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

_INTRODUCTIONS = (
    *("my name is", "my name's", "i am called", "mein name ist", "ich heiße", "ich heisse"),
    *("je m'appelle", "je m’appelle"),
    *("mon nom est", "me llamo", "mi nombre es", "mi chiamo", "il mio nome è", "meu nome é", "me chamo", "chamo-me"),
    *("mijn naam is", "ik heet", "jag heter", "mitt namn är", "jeg heter", "jeg hedder"),
    *("minun nimeni on", "nimeni on"),
    *("nazywam się", "mam na imię", "jmenuji se", "volám sa", "a nevem", "mă numesc", "benim adım", "adım", "με λένε"),
    *("меня зовут", "моё имя", "мое имя", "мене звати", "tên tôi là", "nama saya", "اسمي", "मेरा नाम"),
)
_TITLES = (
    *("Mr", "Mrs", "Ms", "Miss", "Mx", "Dr", "Prof", "Professor", "Herr", "Herrn", "Frau", "Monsieur", "Madame", "Mme"),
    *("Mlle", "Señor", "Señora", "Señorita", "Sr", "Sra", "Signor", "Signora", "Sig", "Senhor", "Senhora"),
    *("Dhr", "Mevr"),
    *("Mevrouw", "Pan", "Pani", "господин", "госпожа", "г-н", "г-жа"),
)
_ENDINGS = (
    *("(?:kind|best|warm|with kind|with best) regards", "yours (?:sincerely|faithfully|truly)", "sincerely(?: yours)?"),
    *("mit freundlichen grüßen", "mit freundlichen grüssen", "viele grüße", "liebe grüße"),
    *("cordialement", "bien à vous"),
    *("un saludo", "saludos(?: cordiales)?", "atentamente", "cordiali saluti", "distinti saluti", "atenciosamente"),
    *("met vriendelijke groet(?:en)?", "med vänliga hälsningar", "с уважением", "z poważaniem", "saygılarımla"),
)
_WORD = r"(?:[^\W\d_](?:\.|[\w'’-]*))"  # or an initial
_WORDS = rf"(?=((?:{_WORD}[ \u00a0]){{0,3}}{_WORD}))"
_LATIN = re.compile(
    rf"(?<!\w)(?:(?i:{'|'.join(map(re.escape, _INTRODUCTIONS))})[ \u00a0:]+"
    rf"|(?:{'|'.join(_TITLES)})\.?[ \u00a0]|(?i:{'|'.join(_ENDINGS)})[,.!]?[ \t]*\n\s*){_WORDS}"
)
# Chinese, Japanese and Korean introductions; a name ends where its sentence does.
_EASTERN = re.compile(
    r"(?:我叫|我的名字(?:是|叫)|我名叫)([\u4e00-\u9fff·]{2,8}?)(?=[，。！？,.!\s]|$)"
    r"|名前は([^\s、。]{2,12}?)(?:です|と申します|といいます)"
    r"|(?:제|내) 이름은 ([가-힣]{2,5}?)(?:입니다|이에요|예요|이야|야)"
)
_HINTS = re.compile(r"[叫字名이]")
_PARTICLES = frozenset("von van der den de del della da di do dos du la le bin ibn al el ter ten zu".split())
_NOBODY = frozenset("President Chairman Speaker Chancellor Minister Right Wrong Big Doktor Holmes Who No".split())
_CASELESS = re.compile(r"[\u0590-\u08ff\u0900-\u0dff]")  # Hebrew, Arabic, Indian scripts: no capitals


def find_names(text: str) -> Iterator[Span]:
    """The spans of names of people."""
    for match in _LATIN.finditer(text):
        words = match[1].split(" ")
        if _CASELESS.match(words[0]):
            words = words[:1]
        while words and not (words[-1][0].isupper() or _CASELESS.match(words[-1])):
            words.pop()
        count = next((n for n, word in enumerate(words) if not _of_name(word, n)), len(words))
        name = " ".join(words[:count])
        if name and words[0] not in _NOBODY:
            yield match.start(1), match.start(1) + len(name)
    if _HINTS.search(text):
        for match in _EASTERN.finditer(text):
            yield match.span(match.lastindex or 0)


def _of_name(word: str, place: int) -> bool:
    return word[0].isupper() or _CASELESS.match(word) is not None or (place > 0 and word in _PARTICLES)
