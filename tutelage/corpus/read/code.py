"""A tree of source code: a document a file, with its language by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from tutelage.corpus.extras import load
from tutelage.corpus.read.decode import decode, is_binary
from tutelage.corpus.read.source import open_bytes
from tutelage.ledger import Ledger
from tutelage.records import Document

MAX_SOURCE_BYTES = 1 << 20  # what is larger was written by a program, or is data

# Folders that hold what others wrote or what a build made.
NOT_OWN = frozenset(".git .hg .svn node_modules vendor third_party site-packages __pycache__ .venv dist build".split())

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
    """The language of a file by its name, None where no rule knows it."""
    base = PurePosixPath(name).name.lower()
    if base in _BY_NAME:
        return _BY_NAME[base]
    return _LANGUAGES.get(base.rpartition(".")[2]) if "." in base else None


def code_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """Every file of a folder and the folders in it, in the order of their names; `meta` says its path and language."""
    system, root = load("fsspec").core.url_to_fs(path)
    root = root.rstrip("/")
    found = system.find(root, detail=True)
    for name in sorted(found):
        inner = name[len(root) :].lstrip("/")
        ledger.read()
        document = _source(name if "://" not in path else system.unstrip_protocol(name), inner, found[name], ledger)
        if isinstance(document, Document):
            ledger.keep()
            yield document
        else:
            ledger.drop(document, where=f"{path}/{inner}")


def _source(path: str, inner: str, about: dict[str, object], ledger: Ledger) -> Document | str:
    if NOT_OWN.intersection(PurePosixPath(inner).parts[:-1]):
        return "in a folder of what others wrote or a build made"
    language = language_of(inner)
    if language is None:
        return "no language known by that name"
    size = about.get("size")
    if about.get("islink") or not isinstance(size, int):
        return "a link, or nothing to read"
    if size > MAX_SOURCE_BYTES:
        return f"larger than {MAX_SOURCE_BYTES >> 20} MiB"
    with open_bytes(path) as file:
        content = file.read(MAX_SOURCE_BYTES + 1)
    if not content.strip():
        return "empty"
    if is_binary(content):
        return "not text"
    text, exact = decode(content)
    if not exact:
        ledger.note("bytes in no known encoding, replaced", where=inner)
    return Document(text, inner, {"path": inner, "language": language, "content_type": "text/x-source"})
