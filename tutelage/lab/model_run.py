"""Measure a finding on a published checkpoint, and write the result beside those of the lab's own models."""

from __future__ import annotations

import time
from pathlib import Path

from tutelage import __version__
from tutelage.lab.catalogue import find, find_measurement
from tutelage.lab.page import write_page
from tutelage.lab.results import FindingResult, file_stem, read_result, write_result
from tutelage.lab.run import CACHE, ENVIRONMENT, QUICK, RESULTS, check_quick
from tutelage.lab.verdict import decide
from tutelage.model.hub import load_model
from tutelage.model.weights import tensor_files, weights_fingerprint
from tutelage.process import environment

SEEDS = "One checkpoint is one draw of weights: instead of seeds three disjoint thirds of the items must agree in sign."


def measure_on_model(
    number: str, folder: Path, cache: Path = CACHE, results: Path | None = None, quick: bool = False
) -> FindingResult:
    """Measure a finding on the model in a folder, by whose name it is known; write the result and the page of all
    results, and return the result. `quick` measures a few items, and writes to `cache`/quick/results.

    Raises:
        ValueError: there is no such finding or measurement, the folder is no model, or a quick run would replace a full
            result.
    """
    finding, measurement = find(number), find_measurement(number)
    results = results or (cache / QUICK / "results" if quick else RESULTS)
    path = results / f"{file_stem(number, finding.name)}-model.json"
    if quick:
        check_quick(path)
    model, name, start = load_model(folder), folder.absolute().name, time.process_time()
    conclusion = measurement.measure(model, quick)
    verdict, reason = decide(conclusion.primary, conclusion.control, conclusion.needed)
    parameters, machine = sum(tensor.numel() for tensor in model.model.parameters()), environment()
    result = FindingResult(
        number=number,
        name=finding.name,
        claim=measurement.claim,
        source=measurement.source,
        published=measurement.published,
        setup=f"{name} ({parameters / 1e6:.3g}M parameters, in float32). {measurement.setup} {SEEDS}",
        quick=quick,
        recipe="",
        settings={"model": {"parameters": parameters, "weights": weights_fingerprint(tensor_files(folder))}},
        stages=[],
        table=conclusion.table,
        plots=conclusion.plots,
        primary=conclusion.primary,
        control=conclusion.control,
        needed=conclusion.needed,
        verdict=verdict,
        reason=reason,
        command=f"tutelage lab {number} --model DIR{' --quick' if quick else ''}",
        seconds=time.process_time() - start,
        reused_stages=0,
        version=__version__,
        environment={key: machine[key] for key in ENVIRONMENT},
        model=name,
    )
    write_result(results, result)
    write_page(results)
    return read_result(path)
