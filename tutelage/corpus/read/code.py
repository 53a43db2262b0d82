"""Reader of source trees: one document per file, with its language (by file name) and the licence of the tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from tutelage.corpus.licences import folder_licence, is_about_licences
from tutelage.corpus.read.reuse import TABLE, Annotation, file_licence, read_annotations
from tutelage.extras import load
from tutelage.files import DiskError
from tutelage.io.decode import decode, is_binary
from tutelage.io.open import open_bytes
from tutelage.ledger import Ledger
from tutelage.records import Document

MAX_SOURCE_BYTES = 1 << 20  # larger files are generated or data

# Folders of vendored code and build output.
NOT_OWN = frozenset(
    ".git .hg .svn node_modules bower_components jspm_packages vendor third_party third-party Godeps Pods "
    "site-packages __pycache__ .venv .tox dist build".split()
)

_BY_NAME = {
    "makefile": "Make", "gnumakefile": "Make", "dockerfile": "Dockerfile", "cmakelists.txt": "CMake",
    "rakefile": "Ruby", "gemfile": "Ruby", "build.gradle": "Gradle", "build": "Starlark", "build.bazel": "Starlark",
    "license": "Text", "copying": "Text", "readme": "Text", "meson.build": "Meson", "justfile": "Just",
}  # fmt: skip
_BY_SUFFIX = {
    "Ada": "adb ads", "Assembly": "asm s", "Bash": "sh bash zsh", "C": "c h", "C#": "cs",
    "C++": "cc cpp cxx hh hpp hxx",
    "Clojure": "clj cljs cljc", "CMake": "cmake", "COBOL": "cob cbl", "CSS": "css scss sass less", "CUDA": "cu cuh",
    "D": "d", "Dart": "dart", "Elixir": "ex exs", "Elm": "elm", "Erlang": "erl hrl", "F#": "fs fsi fsx",
    "Fortran": "f f77 f90 f95 f03 f08 for", "GLSL": "glsl vert frag", "Go": "go", "Gradle": "gradle",
    "GraphQL": "graphql gql", "Groovy": "groovy", "Haskell": "hs lhs", "HTML": "html htm", "Java": "java",
    "JavaScript": "js mjs cjs jsx", "JSON": "json", "Julia": "jl", "Jupyter": "ipynb", "Kotlin": "kt kts",
    "Lean": "lean", "Lisp": "lisp lsp cl", "Lua": "lua", "Markdown": "md markdown", "MATLAB": "m", "Nim": "nim",
    "Nix": "nix", "OCaml": "ml mli", "Pascal": "pas pp", "Perl": "pl pm", "PHP": "php", "PowerShell": "ps1 psm1",
    "Prolog": "pro", "Protocol Buffers": "proto", "Python": "py pyi pyw", "R": "r", "Racket": "rkt",
    "reStructuredText": "rst", "Ruby": "rb", "Rust": "rs", "Scala": "scala sc", "Scheme": "scm ss", "Solidity": "sol",
    "SQL": "sql", "Starlark": "bzl", "Swift": "swift", "SystemVerilog": "sv svh", "Tcl": "tcl", "Terraform": "tf",
    "TeX": "tex sty cls bib", "Text": "txt", "TOML": "toml", "TypeScript": "ts tsx mts cts", "Verilog": "v vh",
    "VHDL": "vhd vhdl", "Visual Basic": "vb bas", "Vue": "vue", "WebAssembly": "wat", "XML": "xml xsd xsl",
    "YAML": "yaml yml", "Zig": "zig",
}  # fmt: skip
_LANGUAGES = {suffix: language for language, suffixes in _BY_SUFFIX.items() for suffix in suffixes.split()}


def language_of(name: str) -> str | None:
    """The language of a file by its name; None if unknown."""
    base = PurePosixPath(name).name.lower()
    if base in _BY_NAME:
        return _BY_NAME[base]
    return _LANGUAGES.get(base.rpartition(".")[2]) if "." in base else None


def code_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """Every file of a source tree, sorted by name, or a single file. `meta` holds its path, its language and the
    licence that REUSE declares for the file, or else the nearest parent folder that declares one."""
    system, root = load("fsspec").core.url_to_fs(path)
    root = root.rstrip("/")
    found = system.find(root, detail=True)
    files = {
        name[len(root) :].lstrip("/") or name.rpartition("/")[2]: (
            name if "://" not in path else system.unstrip_protocol(name),
            about,
        )
        for name, about in sorted(found.items())
    }
    folders = _licences(files)
    tables = [each for inner in files if inner.rpartition("/")[2] == TABLE for each in _annotations(inner, files)]
    for inner, (full, about) in files.items():
        ledger.read()
        document = _source(full, inner, about, ledger)
        if isinstance(document, str):
            ledger.drop(document, where=f"{path}/{inner}")
            continue
        ledger.keep()
        named = file_licence(inner, files, lambda name: _text(files[name][0]) or "", tables)
        for parent in PurePosixPath(inner).parents if not named else ():
            if str(parent) in folders:
                named = folders[str(parent)]
                break
        yield replace(document, meta={**document.meta, "license": named}) if named else document


def _licences(files: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """The licence of each folder that has licence files; "" if these name no known licence."""
    texts: dict[str, dict[str, str]] = {}
    for inner, (full, about) in files.items():
        place = PurePosixPath(inner)
        own = is_about_licences(place.name) and not NOT_OWN.intersection(place.parts[:-1])
        if own and not _unread(about) and (text := _text(full)) is not None:
            texts.setdefault(str(place.parent), {})[place.name] = text
    found = {folder: folder_licence(own) for folder, own in texts.items()}
    return {folder: name for folder, name in found.items() if name is not None}


def _annotations(inner: str, files: Mapping[str, tuple[str, Mapping[str, Any]]]) -> list[Annotation]:
    full, about = files[inner]
    return [] if _unread(about) else read_annotations(PurePosixPath(inner), _text(full) or "")


def _text(path: str) -> str | None:
    """The text of a small file; None if it may not be read, or has gone."""
    try:
        with open_bytes(path) as file:
            return decode(file.read(MAX_SOURCE_BYTES))[0]
    except DiskError as error:
        if _is_closed(error):
            return None
        raise


def _is_closed(error: DiskError) -> bool:
    """Whether a file may not be read, or has gone; else a disk or the network failed."""
    return isinstance(error.__cause__, PermissionError | FileNotFoundError)


def _unread(about: Mapping[str, Any]) -> str:
    """The reason not to read a file; "" to read it."""
    size = about.get("size")
    if about.get("islink") or not isinstance(size, int):
        return "link or special file"
    return f"larger than {MAX_SOURCE_BYTES >> 20} MiB" if size > MAX_SOURCE_BYTES else ""


def _source(path: str, inner: str, about: Mapping[str, Any], ledger: Ledger) -> Document | str:
    if NOT_OWN.intersection(PurePosixPath(inner).parts[:-1]):
        return "vendored or build folder"
    language = language_of(inner)
    if language is None:
        return "unknown language"
    if problem := _unread(about):
        return problem
    try:
        with open_bytes(path) as file:
            content = file.read(MAX_SOURCE_BYTES + 1)
    except DiskError as error:
        if _is_closed(error):
            return "unreadable file"
        raise
    if len(content) > MAX_SOURCE_BYTES:  # it grew after it was listed
        return f"larger than {MAX_SOURCE_BYTES >> 20} MiB"
    if not content.strip():
        return "empty"
    if is_binary(content):
        return "not text"
    text, remark = decode(content)
    if remark:
        ledger.note(remark, where=inner)
    return Document(text, inner, {"path": inner, "language": language, "content_type": "text/x-source"})
