"""All measurements of a request, one after the other."""

from collections.abc import Callable
from typing import Any

from cases import Request
from machine import describe_machine
from processes import measure_policy, measure_train
from startup import measure_startup


def measure(request: Request, note: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measures everything that is asked for.

    Args:
        request: What to measure.
        note: Is told what is measured next.

    Returns:
        `machine`, see `describe_machine`; `train`, `policy` and `startup`, lists of records. All
        values can be written as JSON. Times are in seconds, memory in bytes.

    Raises:
        BenchError: If a measured process fails.
    """
    results: dict[str, Any] = {"machine": describe_machine(), "train": [], "policy": []}
    results["startup"] = []
    for case in request.train_cases():
        note(f"Updates of {case.name} ...")
        results["train"].append(measure_train(case))
    for case in request.policy_cases():
        note(f"Policy calls of {case.name} ...")
        results["policy"].append(measure_policy(case))
    for size in request.startup_sizes():
        note(f"Start-up of {size} ...")
        results["startup"].append(measure_startup(size, request.words))
    return results
