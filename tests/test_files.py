from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage import files
from tutelage.files import (
    DiskError,
    atomic_file,
    atomic_folder,
    explain,
    locked,
    read_json,
    resolve_folder,
    to_json,
    write_bytes,
    write_json,
    write_text,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_to_json_is_valid_json(value: object) -> None:
    assert json.loads(to_json(value)) == value
    assert json.loads(to_json(value, indent=None)) == value
    assert b"\n" not in to_json(value, indent=None)


@given(st.dictionaries(st.text(), st.integers(0, 9), max_size=6))
def test_to_json_does_not_depend_on_the_order_of_keys(table: dict[str, int]) -> None:
    assert to_json(dict(reversed(table.items()))) == to_json(table)


def test_to_json_accepts_numpy_and_writes_null_for_nan() -> None:
    value = {"loss": float("nan"), "best": np.float32("inf"), "counts": np.arange(2), "n": np.int64(3), 7: Path("a/b")}
    assert json.loads(to_json(value)) == {"loss": None, "best": None, "counts": [0, 1], "n": 3, "7": "a/b"}
    with pytest.raises(TypeError, match="object has no JSON form"):
        to_json({"x": object()})


def test_files_are_written_and_no_temporary_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"b": 1, "a": [1.5]})
    assert path.read_text() == '{\n  "a": [\n    1.5\n  ],\n  "b": 1\n}\n'
    assert read_json(path) == {"a": [1.5], "b": 1}
    write_bytes(path, b"\x00\xff")
    write_text(tmp_path / "new" / "b.txt", "ä\r\n")
    assert path.read_bytes() == b"\x00\xff"
    assert (tmp_path / "new" / "b.txt").read_bytes() == "ä\r\n".encode()
    assert sorted(os.listdir(tmp_path / "new")) == ["a.json", "b.txt"]


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError, match="half way"), atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("ne")
        raise RuntimeError("half way")
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_unreadable_json_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(ValueError, match=r"a\.json is not valid JSON .*; remove it and make it again"):
        read_json(tmp_path / "a.json")
    with pytest.raises(DiskError, match=r"cannot read .*b\.json: no such file or directory; check the path"):
        read_json(tmp_path / "b.json")


def fill(folder: Path, content: str) -> None:
    with atomic_folder(folder) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "weights").write_text(content)


def test_a_folder_is_complete_and_replaces_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "step-100"
    fill(folder, "old")
    (folder / "extra").touch()
    fill(folder, "new")
    assert (folder / "inner" / "weights").read_text() == "new"
    assert not (folder / "extra").exists()
    assert os.listdir(tmp_path / "runs") == ["step-100"]


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()])
def test_a_failed_folder_leaves_the_old_one(tmp_path: Path, error: BaseException) -> None:
    fill(tmp_path / "model", "old")
    with pytest.raises(type(error)), atomic_folder(tmp_path / "model") as temporary:
        (temporary / "weights").touch()
        raise error
    assert os.listdir(tmp_path) == ["model"]
    assert (tmp_path / "model" / "inner" / "weights").read_text() == "old"


def test_a_kill_at_any_instant_leaves_a_complete_folder_and_the_next_write_cleans_up(tmp_path: Path) -> None:
    # The child replaces the folder and kills itself at its n-th call to the system that changes a name or a file.
    child = textwrap.dedent("""
        import os, signal, sys
        from tutelage.files import atomic_folder

        left = int(sys.argv[2])

        def count(event, arguments):
            global left
            if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        with atomic_folder(sys.argv[1]) as temporary:
            (temporary / "a").write_text("new")
            (temporary / "b").write_text("new")
    """)
    folder = tmp_path / "model"
    seen, instant, code = set(), 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        instant += 1
        with atomic_folder(folder) as temporary:
            (temporary / "a").write_text("old")
            (temporary / "b").write_text("old")
        code = subprocess.run([sys.executable, "-c", child, str(folder), str(instant)], check=False).returncode
        contents = {(resolve_folder(folder) / name).read_text() for name in "ab"}
        assert len(contents) == 1
        seen |= contents
    assert code == 0
    assert instant > 8
    assert seen == {"old", "new"}
    assert os.listdir(tmp_path) == ["model"]


def test_a_file_with_the_name_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("mine")
    with pytest.raises(DiskError, match="a file has the name of the folder"):
        fill(tmp_path / "model", "new")
    with pytest.raises(DiskError, match=r"cannot write .*model/inner/a: not a directory; check the path"):
        write_text(tmp_path / "model" / "inner" / "a", "new")
    assert (tmp_path / "model").read_text() == "mine"


def test_a_full_disk_is_one_sentence_whichever_writer_finds_it(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    foreign = RuntimeError(f"Error while serializing: I/O error: {os.strerror(errno.ENOSPC)} (os error 28)")
    for error in (full, foreign):
        with pytest.raises(DiskError) as caught, atomic_folder(tmp_path / "model"):
            raise error
        assert str(caught.value).startswith(f"cannot write {tmp_path / 'model'}: the disk is full (")
        assert str(caught.value).endswith("MiB free); free some space and rerun")
    assert os.listdir(tmp_path) == []


def test_other_errors_of_the_caller_are_not_changed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "model"):
        (tmp_path / "missing").read_text()


def test_permission_denied_is_one_sentence() -> None:
    sentence = str(explain(PermissionError(errno.EACCES, "Permission denied"), Path("/data/x")))
    assert sentence == "cannot write /data/x: permission denied; choose another folder or change its permissions"


def test_a_second_run_waits_for_the_lock_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.05)
    out = tmp_path / "runs" / "one"
    with locked(out, "choose another folder: --out DIR"):
        expected = f"^another run is writing to {out}; wait for it, or choose another folder: --out DIR$"
        with pytest.raises(ValueError, match=expected), locked(out, "choose another folder: --out DIR"):
            pass
        with locked(tmp_path / "runs" / "two", ""):
            pass
    with locked(out, ""):
        pass


def test_a_lock_ends_with_the_process_that_holds_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from tutelage.files import locked\nwith locked(sys.argv[1], ''): print('in', flush=True); "
    )
    held = subprocess.Popen([sys.executable, "-c", f"{code}time.sleep(60)", str(tmp_path)], stdout=subprocess.PIPE)
    assert held.stdout is not None
    assert held.stdout.readline() == b"in\n"
    held.kill()
    with locked(tmp_path, ""):
        pass
    held.wait()
    held.stdout.close()


def test_a_folder_that_cannot_be_made_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="file is a file; name a folder"), locked(tmp_path / "file", ""):
        pass
    with pytest.raises(DiskError, match=r"cannot write .*run/\.lock: "), locked(tmp_path / "file" / "run", ""):
        pass
