"""The same work by processes of this machine and by a real Ray, which stands here with two processors."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tutelage.config import convert
from tutelage.corpus import engine as engines
from tutelage.corpus.curation import Curation
from tutelage.corpus.engine import engine
from tutelage.corpus.input_files import InputFile
from tutelage.corpus.input_shards import input_shards
from tutelage.corpus.pipeline import curate
from tutelage.corpus.shards import corpus_files, corpus_result, read_documents
from tutelage.corpus.working import Job
from tutelage.files import DiskError, write_json

SCORES = """
import os, time
def slow(texts):
    time.sleep(0.05)
    return [len(text) for text in texts]
def deadly(texts):
    if any("die of this" in text for text in texts):
        os._exit(7)
    return slow(texts)
def told(texts):
    return [float(os.environ["TUTELAGE_CACHE"])] * len(texts)
"""
STEPS: dict[str, Any] = {
    "lines": {"kind": "dedup_lines"},
    "slow": {"kind": "score", "function": "scores_of_a_test:slow"},
    "short": {"kind": "length", "shortest": 40},
    "near": {"kind": "dedup_minhash", "width": 1},
}
SHARDS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Pages in a file for each shard, and a module of steps beside them, importable here and in whatever is started."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "scores_of_a_test.py").write_text(SCORES)
    (folder / "in").mkdir()
    texts = [f"The menu\nSome text of page {'x ' * (n % 70)} {'y ' * (n % 40)}." for n in range(300)]
    for number in range(SHARDS):
        rows = [msgspec.json.encode({"text": text}) for text in texts[number::SHARDS]]
        (folder / "in" / f"{number:03d}.jsonl").write_bytes(b"\n".join(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[None]:
    import ray

    ray.init("local", num_cpus=2, object_store_memory=80 << 20, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def by_processes(folder: Path) -> Path:
    curate(recipe(folder, workers=1), folder / "by processes")
    return folder / "by processes"


def recipe(folder: Path, steps: dict[str, Any] = STEPS, **more: Any) -> Curation:
    table = {"name": "test", "input": f"{folder}/in/*.jsonl", "steps": steps, "workers": 2, "shard_mib": 1e-9, **more}
    return convert(table, Curation, "recipe")


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.zst"))}


def statistics(out: Path) -> list[dict[str, Any]]:
    figures = (
        {**one, "seconds": 0, "details": {**one["details"], "seconds": 0}} for one in corpus_result(out)["steps"]
    )
    return [*figures, corpus_result(out)["read"]]


def check_same(out: Path, other: Path) -> None:
    assert files(out) == files(other)
    assert statistics(out) == statistics(other)
    assert not (out / ".work").exists()


def jobs(folder: Path, out: Path, **more: Any) -> list[Job]:
    """The first pass of a recipe."""
    curation = recipe(folder, {"slow": STEPS["slow"]}, **more)
    shards = input_shards(curation)
    return [Job(curation, 0, shard.files, None, i, str(out / f"{i}")) for i, shard in enumerate(shards)]


@pytest.mark.usefixtures("cluster")
def test_ray_makes_the_same_corpus(folder: Path, by_processes: Path, tmp_path: Path, capfd: Any) -> None:
    curate(recipe(folder, engine="ray"), tmp_path / "by ray")
    check_same(tmp_path / "by ray", by_processes)
    said = capfd.readouterr()
    assert "pass 3 of 3: 12/12 shards" in said.err
    assert not any(word in (said.out + said.err).lower() for word in ("ray", "dataset", "executor"))
    finished = (tmp_path / "by ray" / "curation.json").stat().st_mtime_ns
    curate(recipe(folder), tmp_path / "by ray")  # it is the same corpus, whoever asks
    assert (tmp_path / "by ray" / "curation.json").stat().st_mtime_ns == finished


@pytest.mark.usefixtures("cluster")
def test_ray_goes_on_with_what_processes_have_begun(
    folder: Path, by_processes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Job] = []

    def interrupted(job: Job, work: Callable[[Job], None] = engines.work) -> None:
        if len(done) == SHARDS + 5:
            raise KeyboardInterrupt
        work(job)
        done.append(job)

    out = tmp_path / "out"
    monkeypatch.setattr(engines, "work", interrupted)
    with pytest.raises(KeyboardInterrupt):
        curate(recipe(folder, workers=1), out)
    monkeypatch.undo()
    times = [Path(job.out).stat().st_mtime_ns for job in done]
    seen: list[int] = []

    def looks(path: Path, *rest: Any, publish: Callable[..., None] = engines.shutil.rmtree, **more: Any) -> None:
        if path.name == ".work":  # all is done
            seen.extend(Path(job.out).stat().st_mtime_ns for job in done)
        publish(path, *rest, **more)

    monkeypatch.setattr(engines.shutil, "rmtree", looks)
    curate(recipe(folder, engine="ray"), out)
    assert seen == times  # none was made anew
    check_same(out, by_processes)


@pytest.mark.usefixtures("cluster")
def test_asked_to_stop_it_begins_no_more(folder: Path, tmp_path: Path) -> None:
    asked: list[Job] = []
    all_jobs = jobs(folder, tmp_path / "pass")
    with engine("ray", 2, lambda: bool(asked), 0) as run:
        for job in run(all_jobs):
            asked.append(job)
            assert (Path(job.out) / "stats.json").exists()
    assert 1 <= len(asked) < SHARDS
    assert {str(path) for path in (tmp_path / "pass").iterdir()} == {job.out for job in asked}


@pytest.mark.usefixtures("cluster")
def test_workers_know_where_trained_models_stand_and_paths_are_whole(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", "17")
    monkeypatch.chdir(tmp_path)  # after Ray's workers were given another folder to stand in
    steps = {"told": {"kind": "score", "function": "scores_of_a_test:told", "name": "told"}}
    curate(recipe(folder, steps, engine="ray"), Path("out"))
    kept = [document for file in corpus_files(tmp_path / "out") for document in read_documents(file)]
    assert len(kept) == 300 and all(document.facts["told"] == 17 for document in kept)


@pytest.mark.usefixtures("cluster")
def test_errors_of_workers_are_told_as_they_are(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Job(
        recipe(folder), 0, (InputFile(str(tmp_path / "gone.jsonl"), "gone"),), None, 0, str(tmp_path / "pass" / "0")
    )
    with engine("ray", 2, lambda: False, 0) as run:
        with pytest.raises(DiskError, match=r"^cannot read .*gone.jsonl: no such file or directory; check the path$"):
            list(run([missing]))
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "deadly.jsonl").write_text('{"text": "die of this"}')
        deadly = recipe(tmp_path, {"deadly": {"kind": "score", "function": "scores_of_a_test:deadly"}}, engine="ray")
        with pytest.raises(ValueError, match=r"has died \(3 times in a row, at .*deadly.jsonl\); it may have run out"):
            curate(deadly, tmp_path / "out")
    assert list((tmp_path / "pass").iterdir()) == []
    unseen = engines._attempt(pickle.dumps((sys.path, {}, missing)), str(tmp_path / "of another node"))
    raised, error = pickle.loads(unseen)
    assert raised and "all nodes must share out=" in str(error)


def test_without_ray_or_its_cluster() -> None:
    code = (
        "import sys; from pathlib import Path; from tutelage.corpus.engine import engine;"
        "sys.modules.update({'ray': None} if sys.argv[1] == 'no ray' else {})\n"
        "with engine('ray', 1, lambda: False, 0) as run:\n list(run([None]))"
    )
    told = {
        "no ray": r"ValueError: Ray cannot be imported \(.*\); run: pip install 'tutelage\[corpus,ray\]'",
        "no cluster": r"ValueError: no Ray cluster answers at 127.0.0.1:1 \(.*refused\); correct RAY_ADDRESS",
    }
    for case, sentence in told.items():
        environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
        done = subprocess.run([sys.executable, "-c", code, case], env=environment, capture_output=True, text=True)
        assert re.search(sentence, done.stderr), done.stderr


def left_of(run: str) -> list[int]:
    """The processes that have this mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if run.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue  # it has ended, or is another's
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="tells processes by /proc")
def test_stopped_and_killed_it_goes_on_and_no_process_is_left(folder: Path, by_processes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = (
        "import sys; from pathlib import Path; from tutelage.config import convert;"
        "from tutelage.files import read_json;"
        "from tutelage.corpus.curation import Curation; from tutelage.corpus.pipeline import curate;"
        "curate(convert(read_json(sys.argv[1]), Curation, ''), Path(sys.argv[2]))"
    )
    more = {"engine": "ray", "workers": 2, "shard_mib": 1e-9, "name": "test", "input": f"{folder}/in/*.jsonl"}
    write_json(tmp_path / "recipe.json", {**more, "steps": STEPS}, sort=False)
    mark = f"run-of-{tmp_path.name}-{os.getpid()}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MARK": mark}
    for number, (how, code_expected) in enumerate([(signal.SIGINT, 1), (signal.SIGKILL, -signal.SIGKILL)], 1):
        with (tmp_path / "said").open("w+") as said:
            command = [sys.executable, "-c", code, str(tmp_path / "recipe.json"), str(out)]
            running = subprocess.Popen(command, stderr=said, env=environment, start_new_session=True)
            while len(list((out / ".work").glob("pass*/[!.]*"))) < 4 * number and running.poll() is None:
                time.sleep(0.01)
            # As a terminal does, to the run and to all that it has started; a kill meets the run alone.
            os.killpg(running.pid, how) if how == signal.SIGINT else running.kill()
            assert running.wait() == code_expected, (tmp_path / "said").read_text()
            assert ("Stopped: interrupted in pass" in (tmp_path / "said").read_text()) == (how == signal.SIGINT)
        until = time.monotonic() + 180  # on a busy machine Ray's own watch over its workers takes its time
        while left_of(mark) and time.monotonic() < until:
            time.sleep(0.1)
        assert left_of(mark) == []
    assert list((out / ".work").glob("pass*/[!.]*"))
    curate(recipe(folder), out)
    check_same(out, by_processes)


@pytest.mark.slow
@pytest.mark.timeout(1000)  # Ray takes its time to notice
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="tells processes by /proc")
@pytest.mark.parametrize("killed", ["worker node", "head node"])
def test_a_killed_ray_node_costs_nothing_or_the_run_publishes_nothing(
    killed: str, folder: Path, by_processes: Path, tmp_path: Path
) -> None:
    """Two local nodes. Without one the run completes on the other; without the head it fails, and a rerun resumes."""
    out = tmp_path / "out"
    table = {"engine": "ray", "workers": 2, "shard_mib": 1e-9, "name": "test", "input": f"{folder}/in/*.jsonl"}
    write_json(tmp_path / "recipe.json", {**table, "steps": STEPS}, sort=False)
    mark = f"run-of-{tmp_path.name}-{os.getpid()}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MARK": mark}
    command = [sys.executable, "-c", TWO_NODES, str(tmp_path / "recipe.json"), str(out), killed]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    finally:
        for process in left_of(mark):  # those of the killed node
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    assert "killed after" in done.stdout, done.stderr
    if killed == "worker node":
        assert done.returncode == 0, done.stderr
    elif done.returncode:
        assert not (out / "curation.json").exists() and not list(out.glob("*.zst"))
        curate(recipe(folder), out)
    check_same(out, by_processes)


# A cluster of two nodes; one is killed once shards are being worked on.
TWO_NODES = """
import os, sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
from tutelage.config import convert
from tutelage.corpus.curation import Curation
from tutelage.corpus.pipeline import curate
from tutelage.files import read_json
soon = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3, "health_check_timeout_ms": 5000}
head = {"num_cpus": 1, "object_store_memory": 80 << 20, "_system_config": soon}
cluster = Cluster(initialize_head=True, head_node_args=head)
other = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
cluster.wait_for_nodes()
os.environ["RAY_ADDRESS"] = cluster.address
out = Path(sys.argv[2])
def kill():
    while len(list((out / ".work").glob("pass*/[!.]*/stats.json"))) < 3:
        time.sleep(0.02)
    print("killed after", len(list((out / ".work").glob("pass*/[!.]*/stats.json"))), "shards", flush=True)
    node = other if sys.argv[3] == "worker node" else cluster.head_node
    node.kill_all_processes(check_alive=False, allow_graceful=False)
threading.Thread(target=kill, daemon=True).start()
try:
    curate(convert(read_json(Path(sys.argv[1])), Curation, ""), out)
    code = 0
except ValueError as error:
    print("failed:", error, file=sys.stderr)
    code = 1
os._exit(code)
"""
