"""The virtual environment of datatrove, whose dependencies conflict with ours, made once and kept."""

from __future__ import annotations

import subprocess
import sys
import venv

from tutelage.corpus.fetch import cache_folder

NAME = "datatrove-0.10.1"
REQUIREMENTS = [
    "datatrove==0.10.1", "spacy>=3.8", "nltk", "regex", "xxhash<4", "tokenizers",  # filters, duplicates
    "trafilatura==1.11.0", "lxml_html_clean", "warcio", "faust-cchardet", "python-magic", "orjson",  # WARC to text
]  # fmt: skip


def datatrove() -> str:
    """The Python that has datatrove and all that the benchmarks use of it; made and filled where it does not stand yet,
    in the folder that $TUTELAGE_CACHE names, or the user's cache."""
    folder = cache_folder() / "peers" / NAME
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists() or ready.read_text() != "\n".join(REQUIREMENTS):
        print(f"making an environment for {NAME} ...", file=sys.stderr, flush=True)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True, stdout=sys.stderr)
        ready.write_text("\n".join(REQUIREMENTS))
    return str(python)
