"""A virtual environment of its own for a peer whose dependencies conflict with ours, made once and kept."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence

from tutelage.corpus.fetch import cache_folder


def python_of(name: str, requirements: Sequence[str]) -> str:
    """The Python of the environment `name`, which is made and filled where it does not stand yet."""
    folder = cache_folder() / "peers" / name
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists() or ready.read_text() != "\n".join(requirements):
        print(f"making an environment for {name} ...", file=sys.stderr, flush=True)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirements], check=True, stdout=sys.stderr)
        ready.write_text("\n".join(requirements))
    return str(python)


def datatrove() -> str:
    """The Python that has datatrove, and spaCy, with which it splits English."""
    return python_of("datatrove-0.10.1", ["datatrove==0.10.1", "spacy>=3.8", "nltk", "regex", "xxhash<4"])
