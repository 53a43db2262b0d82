"""Virtual environments of peers whose dependencies conflict with ours; each is created once and kept."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tutelage.corpus.fetch import cache_folder

NAME = "datatrove-0.10.1"
REQUIREMENTS = [
    "datatrove==0.10.1", "spacy>=3.8", "nltk", "regex", "xxhash<4", "tokenizers",  # filters, duplicates
    "trafilatura==1.11.0", "lxml_html_clean", "warcio", "faust-cchardet", "python-magic", "orjson",  # WARC to text
]  # fmt: skip


def datatrove() -> str:
    """The Python interpreter of an environment with datatrove and its optional dependencies; see `interpreter`."""
    return interpreter(NAME, REQUIREMENTS)


def interpreter(name: str, requirements: list[str]) -> str:
    """The Python interpreter of an environment with these packages.

    Creates the environment, with pip and the network, if it does not exist yet: in $TUTELAGE_CACHE or the user's cache.
    Exits with one sentence if that fails.
    """
    folder = cache_folder() / "peers" / name
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists() or ready.read_text() != "\n".join(requirements):
        print(f"creating an environment for {name} in {folder} ...", file=sys.stderr, flush=True)
        venv.create(folder, clear=True, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", *requirements]
        if subprocess.run(install, stdout=sys.stderr).returncode:
            sys.exit(f"the peer {name} could not be installed into {folder}; see pip's output above")
        ready.write_text("\n".join(requirements))
    return str(python)


def run_with_datatrove(script: str, *arguments: str) -> list[str]:
    """Run a script of this folder in datatrove's environment; the lines that it prints."""
    command = [datatrove(), str(Path(__file__).with_name(script)), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def run_on_documents(script: str, *arguments: str, texts: list[str]) -> list[str]:
    """The same, with a JSONL file of these texts as the last argument."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "documents.jsonl"
        path.write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
        return run_with_datatrove(script, *arguments, str(path))
