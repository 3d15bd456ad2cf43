"""Speed and memory of updates and policy calls, and the time until the first update of a run.

    python benchmarks/speed/bench.py                              # the standard rows
    python benchmarks/speed/bench.py --size size1m --obs vector   # one row
    python benchmarks/speed/bench.py --train --batch_size 32      # any option of `reverie config`

Updates are made on synthetic batches. Each row is measured in a process of its own; other programs
should rest meanwhile. What the columns mean is in benchmarks/record.md.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from cases import BenchError, Request, Section
from machine import describe_machine
from processes import measure_policy, measure_train
from rich.console import Console
from startup import measure_startup
from table import Record, render

from reverie.errors import ConfigError

SECTIONS: tuple[Section, ...] = ("train", "policy", "startup")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code, 2 for an error that was explained."""
    args, words = _parser().parse_known_args(argv)
    words += ["--jax.compute_dtype", args.dtype] * bool(args.dtype)
    words += ["--jax.devices", args.devices] * bool(args.devices)
    sections: list[Section] = [section for section in SECTIONS if getattr(args, section)]
    try:
        request = Request(_parts(args.size), _parts(args.obs), sections, args.updates, tuple(words))
        results = measure(request)
    except (BenchError, ConfigError) as error:
        _say("\n".join([str(error), getattr(error, "trace", "")]).strip())
        return 2
    if args.json:
        print(json.dumps(results))
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(render(results))
    return 0


def measure(request: Request) -> Record:
    """Measures everything that is asked for, one row after the other.

    Returns:
        `machine`, see `describe_machine`; `train`, `policy` and `startup`, lists of records. All
        values can be written as JSON. Times are in seconds, memory in bytes.

    Raises:
        BenchError: If a measured process fails.
    """
    results: Record = {"machine": describe_machine(), "train": [], "policy": [], "startup": []}
    for case in request.train_cases():
        _say(f"Updates of {case.name} ...")
        results["train"].append(measure_train(case))
    for case in request.policy_cases():
        _say(f"Policy calls of {case.name} ...")
        results["policy"].append(measure_policy(case))
    for size in request.startup_sizes():
        _say(f"Start-up of {size} ...")
        results["startup"].append(measure_startup(size, request.words))
    return results


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Without --train, --policy and --startup: updates, and if --size and --obs are left "
        "out policy calls. All other options are those of `reverie config`.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--size", default="", help="model sizes, such as size1m or size1m,size12m")
    add("--obs", default="", help="vector (24 numbers, 6 actions), image (64x64x3, 17 classes)")
    add("--train", action="store_true", help="measure updates")
    add("--policy", action="store_true", help="measure policy calls on one core")
    add(
        "--startup",
        action="store_true",
        help="measure the time from the command to the first update of a run in Crafter, with an "
        "empty and a filled compilation cache",
    )
    add("--updates", type=int, default=20, help="timed updates of each row, 20 by default")
    add("--dtype", default="", help="float32, bfloat16 or float16; as --jax.compute_dtype")
    add("--devices", default="", help="devices that share the batch, such as 0,1; as --jax.devices")
    add("--json", action="store_true", help="print one JSON document and nothing else")
    return parser


def _parts(text: str) -> list[str]:
    """The parts of a list with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


if __name__ == "__main__":
    sys.exit(main())
