"""TOML files to typed settings: defaults < file < dotted overrides. Every mistake is reported in one sentence.

Settings are subclasses of `Settings`, declared beside the code that uses them. A choice of kinds is a union of
settings, each with a tag: `class World(Settings, tag="world", tag_field="kind")`.
"""

from __future__ import annotations

import copy
import datetime
import difflib
import hashlib
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import msgspec

from tutelage.files import explain, to_json

T = TypeVar("T")


class SettingsError(ValueError):
    """An invalid setting. `str(error)` is one sentence: what is wrong, where, and what to write instead."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all settings: immutable, and unknown names are an error."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """The choice with the spelling closest to `word`, or "" where none is close."""
    lowered = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.65)
    return lowered[close[0]] if close else ""


def suggest(word: str, choices: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the nearest choice, or all of them where none is close."""
    choices = list(choices)
    best = nearest(word, choices)
    if best:
        return f"; did you mean '{best}'?"
    return f"; choose one of {', '.join(choices)}" if choices else ""


def read_toml(path: str | Path) -> dict[str, Any]:
    """Reads a TOML file; raises SettingsError, with the line where it is not valid TOML."""
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        folder = path.parent
        near = nearest(path.name, [p.name for p in folder.iterdir() if p.is_file()]) if folder.is_dir() else ""
        hint = f"did you mean {folder / near}?" if near else "check the path"
        raise SettingsError(f"there is no file {path}; {hint}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).removesuffix(")").rpartition(" (at ")
        raise SettingsError(f"{path}, {place}: invalid TOML ({reason}); correct it there") from error
    except OSError as error:
        raise SettingsError(str(explain(error, path, "read"))) from error


def recipes_folder() -> Path:
    """The folder of the recipes that come with Tutelage: inside an installed package, beside it in a checkout."""
    installed = Path(__file__).with_name("recipes")
    return installed if installed.is_dir() else Path(__file__).parents[1] / "recipes"


def apply_overrides(table: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of the table with each `dotted.key=value` applied, in order. The value is TOML; a bare word is a string.

    Missing tables are created; `convert` checks whether a key exists.
    Raises SettingsError for an invalid override.
    """
    result: dict[str, Any] = copy.deepcopy(dict(table))
    for override in overrides:
        dotted, equals, text = override.partition("=")
        *parents, last = dotted.strip().split(".")
        if not equals or not all([*parents, last]):
            raise SettingsError(f"'{override}' is not an override; write dotted.key=value, e.g. stages.base.epochs=3")
        inner = result
        for depth, key in enumerate(parents, start=1):
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                name = ".".join(parents[:depth])
                raise SettingsError(f"'{override}' cannot be set, because {name} is {_show(inner)} and not a table")
        inner[last] = _parse_value(text.strip(), override)
    return result


def _parse_value(text: str, override: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        # A text that starts like a TOML string, list or table is not a bare word.
        if text and text[0] not in "\"'[{" and "\n" not in text:
            return text
        reason = str(error).partition(" (at ")[0].lower()
        raise SettingsError(
            f"'{override}' has no readable value ({reason}); write a number, true, false, a word or a TOML list"
        ) from error
    if set(parsed) != {"value"}:
        raise SettingsError(f"'{override}' has more than one setting; use one override for each")
    value = parsed["value"]
    # No setting is a date; a name or a path that resembles one is text.
    return text if isinstance(value, datetime.date | datetime.time) else value


def convert(table: Any, kind: type[T], where: str = "") -> T:
    """Plain data as typed settings; raises SettingsError, whose sentence starts with the place of the mistake.

    `where` is the place of the table: its file, and its dotted path ("recipes/demo.toml: stages.base").
    """
    try:
        settings = msgspec.convert(table, kind, str_keys=True)  # TOML keys are strings
    except msgspec.ValidationError as error:
        raise SettingsError(_find_mistake(table, kind, where) or f"{where}: {error}") from error
    _refuse_nan(table, where)
    return settings


def to_plain(settings: Any) -> Any:
    """Settings as plain data (dicts, lists, numbers, text) with defaults filled in; the inverse of `convert`."""
    return msgspec.to_builtins(settings)


def to_toml(table: Mapping[str, Any]) -> str:
    """Plain data as TOML; what is None is left out, as TOML has no word for it."""
    return "\n\n".join(_toml_tables(table, "")) + "\n"


def _toml_tables(table: Mapping[str, Any], name: str) -> Iterator[str]:
    """A table and the tables in it; one that is empty, or holds no table, is written on one line within its parent."""
    lines = [f"[{name}]"] if name else []
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping) and (not name or _is_deep(value))}
    lines += [
        f"{_toml_key(key)} = {to_toml_value(value)}"
        for key, value in table.items()
        if key not in inner and value is not None
    ]
    if lines and not (len(lines) == 1 and inner):
        yield "\n".join(lines)
    for key, value in inner.items():
        yield from _toml_tables(value, f"{name}.{_toml_key(key)}" if name else _toml_key(key))


def _is_deep(table: Mapping[str, Any]) -> bool:
    return len(table) > 6 or any(isinstance(value, Mapping) and value for value in table.values())


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def to_toml_value(value: Any) -> str:
    """A value as TOML, on one line."""
    if isinstance(value, Mapping):
        cells = ", ".join(f"{_toml_key(key)} = {to_toml_value(v)}" for key, v in value.items() if v is not None)
        return f"{{ {cells} }}" if cells else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(to_toml_value, value))}]"
    if isinstance(value, float):
        return repr(value)  # inf and nan are TOML too
    return json.dumps(value)


def fingerprint(*objects: Any) -> str:
    """A hash of plain data or settings, 16 hexadecimal digits; independent of the machine and of the order of keys."""
    return hashlib.sha256(to_json(objects, indent=None)).hexdigest()[:16]


# msgspec reports neither the key of a dictionary nor the right spelling. So once it has refused a table, its parts are
# converted one by one, down to the smallest part that fails, and the sentence is made there.


def _find_mistake(value: Any, kind: Any, where: str) -> str | None:
    """The sentence for the first mistake in `value`, or None where it is a valid `kind`."""
    try:
        msgspec.convert(value, kind)
        return None
    except msgspec.ValidationError as error:
        reason = str(error).partition(" - at `")[0]
    if isinstance(value, str) and any(_valid_unquoted(value, member) for member in _members(kind)):
        return _wrong_type(value, kind, where, reason)
    kind = _choose_member(value, kind)
    if isinstance(kind, list):
        return _wrong_kind(value, kind, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal and type(value) in {type(choice) for choice in arguments}:
        hint = suggest(str(value), map(str, arguments))
        return f"{_place(where)} cannot be {_show(value)}{hint}"
    deeper: list[tuple[Any, Any, str]] = []
    if _is_settings(kind) and isinstance(value, dict):
        names = _names_mistake(value, kind, where)
        if names:
            return names
        fields = [field for field in msgspec.structs.fields(kind) if field.encode_name in value]
        deeper = [(value[f.encode_name], f.type, _join(where, f.encode_name)) for f in fields]
    elif origin is dict and isinstance(value, dict):
        deeper = [(item, arguments[1], _join(where, key)) for key, item in value.items()]
    elif origin in (list, tuple, set, frozenset) and isinstance(value, list):
        fixed = origin is tuple and ... not in arguments
        kinds = arguments if fixed else [arguments[0]] * len(value)
        if len(kinds) != len(value):
            return _wrong_type(value, kind, where, reason)
        deeper = [(item, each, f"{where}[{i}]") for i, (item, each) in enumerate(zip(value, kinds, strict=True))]
    else:
        return _wrong_type(value, kind, where, reason)
    mistakes = (_find_mistake(item, each, place) for item, each, place in deeper)
    return next((m for m in mistakes if m), f"{_place(where)} cannot be used: {reason[:1].lower()}{reason[1:]}")


def _choose_member(value: Any, kind: Any) -> Any:
    """The member of a union that `value` is probably meant for; a list of settings where its `kind` is none of them."""
    if not _is_union(_without_bounds(kind)):
        return kind
    members = [member for member in _members(kind) if member is not types.NoneType]
    if isinstance(value, dict):
        tagged = [member for member in members if _is_settings(member)]
        named = [member for member in tagged if member.__struct_config__.tag == value.get("kind")]
        if named or len(tagged) == 1:
            return (named or tagged)[0]
        if tagged:
            return tagged
    containers = [dict] if isinstance(value, dict) else [list, tuple, set, frozenset] if isinstance(value, list) else []
    matches = [member for member in members if typing.get_origin(member) in containers]
    if not matches and isinstance(value, str):
        matches = [member for member in members if typing.get_origin(member) is Literal]
    return matches[0] if matches else members[0] if len(members) == 1 else kind


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (Union, types.UnionType)


def _is_settings(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _wrong_kind(value: dict[str, Any], members: list[Any], where: str) -> str:
    """The sentence for a table whose `kind` is missing or is no member of a union."""
    kinds = [str(member.__struct_config__.tag) for member in members]
    if "kind" not in value:
        return f"{_place(where)} needs a kind: one of {', '.join(kinds)}"
    return f"{_place(_join(where, 'kind'))} cannot be {_show(value['kind'])}{suggest(str(value['kind']), kinds)}"


def _names_mistake(value: dict[str, Any], kind: Any, where: str) -> str | None:
    """The sentence for an unknown name, or for a required one that is missing."""
    fields, tag = msgspec.structs.fields(kind), kind.__struct_config__.tag
    known = [field.encode_name for field in fields]
    if tag is not None and value.get("kind", tag) != tag:
        return _wrong_kind(value, [kind], where)
    unknown = [key for key in value if key not in known and not (key == "kind" and tag is not None)]
    if unknown:
        return f"{_place(where)} has no setting '{unknown[0]}'{suggest(unknown[0], known)}"
    missing = [field.encode_name for field in fields if field.required and field.encode_name not in value]
    if missing:
        return f"{_place(where)} needs '{missing[0]}', and it is not set"
    return None


_TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "a table",
    list: "a list",
}


def _type_name(kind: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    if _is_union(kind):
        names = dict.fromkeys(_type_name(member) for member in arguments if member is not types.NoneType)
        return " or ".join(names)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if _is_settings(kind) or origin is dict:
        return "a table"
    if origin in (list, set, frozenset, tuple):
        fixed = origin is tuple and ... not in arguments
        return f"a list of {len(arguments)}" if fixed else "a list"
    return _TYPE_NAMES.get(kind, getattr(kind, "__name__", str(kind)))


def _wrong_type(value: Any, kind: Any, where: str, reason: str) -> str:
    """The sentence for a single value of the wrong type or outside its bounds."""
    plain = _without_bounds(kind)
    right_type = isinstance(value, plain) if isinstance(plain, type) else False
    if (right_type and not isinstance(value, bool)) or (plain is float and type(value) is int):
        wanted = re.sub(r"^Expected `\w+` ", "must be ", reason)  # e.g. "Expected `int` >= 1"
        return f"{_place(where)} {wanted}, and is {_show(value)}"
    hint = ""
    if isinstance(value, str) and any(_valid_unquoted(value, each) for each in _members(plain)):
        hint = f"; drop the quotes: {value.strip()}"
    elif isinstance(value, float) and int in _members(plain) and value.is_integer():
        hint = f"; write {int(value)}"
    elif type(value) in (int, float) and str in _members(plain):
        hint = f'; put it in quotes: "{value}"'
    return f"{_place(where)} must be {_type_name(kind)}, and {_show(value)} is not{hint}"


def _without_bounds(kind: Any) -> Any:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind


def _members(kind: Any) -> tuple[Any, ...]:
    kind = _without_bounds(kind)
    return typing.get_args(kind) if _is_union(kind) else (kind,)


def _valid_unquoted(text: str, kind: Any) -> bool:
    """Whether a text in quotes would be valid without them."""
    try:
        msgspec.convert(tomllib.loads(f"value = {text}")["value"], kind)
        return True
    except (tomllib.TOMLDecodeError, msgspec.ValidationError):
        return False


def _refuse_nan(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_nan(item, _join(where, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _refuse_nan(item, f"{where}[{i}]")
    elif isinstance(value, float) and math.isnan(value):
        raise SettingsError(f"{_place(where)} must be a number, and nan is not one")


def _join(where: str, key: str) -> str:
    if not where or where.endswith(":"):
        return f"{where} {key}".strip()
    # "demo.toml" is a file and takes a colon; "demo.toml: stages.base" is a place in it and takes a dot.
    return f"{where}: {key}" if where.endswith(".toml") else f"{where}.{key}"


def _place(where: str) -> str:
    return where or "the table"


def _show(value: Any) -> str:
    """A value as it was written, shortened where it is long."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = str(value).lower() if isinstance(value, bool) else f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
