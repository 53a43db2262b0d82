"""MediaWiki markup to plain text: the text of an article without footnotes, files, tables and the templates that are no
part of a sentence.

Nested markup is parsed in one pass with a stack, so unclosed markup, accidental or malicious, costs no extra time.
"""

from __future__ import annotations

import html
import re

from tutelage.corpus.raised import lowered, raised
from tutelage.corpus.read.wiki_templates import HOLE, written

_TAGGED = re.compile(
    r"<(?P<end>/?)(?P<name>math|ref|gallery|timeline|imagemap|score|templatestyles|syntaxhighlight|source|pre|code|nowiki)\b(?P<rest>[^<>]*)>|<!--|-->",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\{\{|\}\}|\{\||\|\}(?!\})|\[\[|\]\]")
_CLOSES = {"}}": "{{", "|}": "{|", "]]": "[["}
_REACH = 8  # maximum unclosed brackets inside a closed one
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_OUTSIDE = re.compile(r"\[(?:https?:|ftp:)?//[^\s\[\]]+[ \t]*([^\[\]\n]*)\]")
_HEADING = re.compile(r"^(={1,6})[ \t]*(.+?)[ \t]*\1[ \t]*$", re.MULTILINE)
_QUOTES = re.compile(r"'{2,5}")
_BULLET = re.compile(r"^[*#:;]+[ \t]*", re.MULTILINE)
_SWITCHES = re.compile(r"__[A-Z]+__")
_EMPTY = re.compile(r"\n{3,}")
_CODE = ("syntaxhighlight", "source", "pre", "code", "nowiki")
_INNER_TAG = re.compile(r"</?(?:nowiki|pre|code)\b[^<>]*>", re.IGNORECASE)
_RAISED = re.compile(r"<(sup|sub)\b[^<>]*>([^<>]{1,40})</\1\s*>", re.IGNORECASE)
_MARKS = re.compile(r"<[^<>]*>|'{2,5}")
_BASE = 40  # characters of markup before a superscript that are looked at
_SENTENCE_GAP = re.compile(r"(?<=[.!?。！？])[ \t]+|(?<=[。！？])")
# The namespaces of files and categories are localised; these are the most common names.
_UNREAD = re.compile(
    r"\s*(file|image|category|media|datei|bild|kategorie|fichier|catégorie|archivo|categoría|файл|категория|categorie|bestand"
    r"|categoria|immagine|imagem|ficheiro|kategoria|plik|grafika|kategori|fil|kategorija|slika|kategória|súbor|soubor"
    r"|luokka|tiedosto|fájl|kép|dosya|категорія|κατηγορία|αρχείο|קטגוריה|קובץ|تصنيف|ملف|رده|پرونده|thể loại|tập tin"
    r"|หมวดหมู่|ไฟล์|カテゴリ|ファイル|画像|분류|파일|分类|分類|文件|檔案|श्रेणी|चित्र)\s*:",
    re.IGNORECASE,
)
_LANGUAGE_LINK = re.compile(r"(?:[a-z]{2,3}|simple|[a-z]{2,3}-[a-z-]{2,12})\s*:\S")
# Formulas contain brackets that must not be parsed as markup.
_HIDE = str.maketrans(
    "{}[]='<>&*#_:;|",
    "\ue001\ue002\ue003\ue004\ue005\ue006\ue007\ue008\ue009\ue00a\ue00b\ue00c\ue00d\ue00e\ue00f",
)
_SHOW = {new: old for old, new in _HIDE.items()}


def wiki_text(markup: str, unread: frozenset[str] = frozenset()) -> str:
    """The text of an article. Formulas are kept as TeX between dollar signs; headings are on lines of their own.
    `unread`: names of the wiki's namespaces, in lower case, whose links are left out: files and categories."""
    text = _without_nested(_without_tagged(markup), unread)
    text = _HEADING.sub(r"\n\2\n", _OUTSIDE.sub(r"\1", text))
    text = _RAISED.sub(_raised, text)
    text = _BULLET.sub(lambda found: "- " if found[0][0] in "*#" else "", text)
    text = _SWITCHES.sub("", _QUOTES.sub("", text))
    text = html.unescape(_TAG.sub("", text)).replace("\xa0", " ")
    text = "\n".join(_without_holes(line).rstrip() for line in text.splitlines())
    return _EMPTY.sub("\n\n", text).translate(_SHOW).strip()


def _raised(found: re.Match[str]) -> str:
    before = _MARKS.sub("", found.string[max(0, found.start() - _BASE) : found.start()])
    inner, after = _QUOTES.sub("", found[2]), found.string[found.end() : found.end() + 1]
    return raised(before, inner, after) if found[1].lower() == "sup" else lowered(before, inner)


def _without_holes(line: str) -> str:
    """A line without the sentences in which a template could not be written out."""
    if HOLE not in line:
        return line
    return " ".join(sentence for sentence in _SENTENCE_GAP.split(line) if HOLE not in sentence)


def _without_tagged(markup: str) -> str:
    """The markup without comments, footnotes and galleries; formulas between dollar signs."""
    parts: list[str] = []
    at, opened = 0, None
    for tag in _TAGGED.finditer(markup):
        name = (tag["name"] or "!").lower()
        if opened is None:
            parts.append(markup[at : tag.start()])
            at = tag.end()
            if not tag["end"] and tag[0] != "-->" and not (tag["rest"] or "").endswith("/"):
                opened = name
        elif name == opened and (tag["end"] or tag[0] == "-->"):
            if name == "math":
                parts.append(f"${markup[at : tag.start()].strip().translate(_HIDE)}$")
            elif name in _CODE:
                parts.append(_code(markup[at : tag.start()], name))
            at, opened = tag.end(), None
    parts.append(markup[at:])  # unclosed markup is text
    return "".join(parts)


def _code(text: str, name: str) -> str:
    """Code as it is written, hidden from the rest of the parser."""
    if name in ("code", "pre", "nowiki"):
        text = html.unescape(_INNER_TAG.sub("", text))
    return text.translate(_HIDE)


def _without_nested(text: str, unread: frozenset[str]) -> str:
    """The text without tables; templates are written out or left out, links are replaced by their label."""
    frames: list[tuple[str, list[str]]] = [("", [])]
    at = 0
    for bracket in _BRACKETS.finditer(text):
        frames[-1][1].append(text[at : bracket.start()])
        at = bracket.end()
        opener = _CLOSES.get(bracket[0])
        if opener is None:
            frames.append((bracket[0], []))
            continue
        depth = next((n for n in range(1, min(_REACH, len(frames) - 1) + 1) if frames[-n][0] == opener), 0)
        if not depth:
            continue
        _flatten(frames, depth - 1)
        inner = "".join(frames.pop()[1])
        if opener == "[[":
            frames[-1][1].append(_shown(inner, unread))
        elif opener == "{{":
            end = text.find("\n", at)
            frames[-1][1].append(
                written(inner, _line_end(frames[-1][1]), text[at : end if end >= 0 else len(text)][:_BASE])
            )
    frames[-1][1].append(text[at:])
    _flatten(frames, len(frames) - 1)
    return "".join(frames[0][1])


def _line_end(parts: list[str]) -> str:
    """What stands at the end of a text, of its last line, up to _BASE characters."""
    found = ""
    for part in reversed(parts[-_BASE:]):
        line = part.rpartition("\n")[2]
        found = line[-_BASE:] + found
        if len(line) < len(part) or len(found) >= _BASE:
            break
    return found[-_BASE:]


def _flatten(frames: list[tuple[str, list[str]]], count: int) -> None:
    """Merge the last `count` frames, which were never closed, into the frame before them."""
    if count:
        unclosed = frames[-count:]
        del frames[-count:]
        frames[-1][1].extend(part for _, parts in unclosed for part in parts)


def _shown(link: str, unread: frozenset[str]) -> str:
    target, _, label = link.partition("|")
    namespace = target.partition(":")[0].strip().lower()
    if namespace in unread or _UNREAD.match(target) or (not label and _LANGUAGE_LINK.match(target)):
        return ""
    return label.rpartition("|")[2] if label else target.strip().lstrip(":")
