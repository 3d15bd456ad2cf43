"""Speed and memory of updates and policy calls, and the time until the first update of a run.

    python benchmarks/speed/bench.py                              # the standard rows
    python benchmarks/speed/bench.py --size size1m --obs vector   # one row
    python benchmarks/speed/bench.py --train --batch_size 32      # any option of `reverie config`

Updates are made on synthetic batches. Each row is measured in a process of its own; other programs
should rest meanwhile. What the columns mean is in docs/performance.md.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from cases import BenchError, Request
from measure import measure
from rich.console import Console
from table import render

from reverie.config import ConfigError

SECTIONS = ("train", "policy", "startup")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code, 2 for an error that was explained."""
    args, words = _parser().parse_known_args(argv)
    words += ["--jax.compute_dtype", args.dtype] * bool(args.dtype)
    words += ["--jax.devices", args.devices] * bool(args.devices)
    sections = [section for section in SECTIONS if getattr(args, section)]
    try:
        request = Request(_parts(args.size), _parts(args.obs), sections, args.updates, tuple(words))
        results = measure(request, note=lambda text: print(text, file=sys.stderr, flush=True))
    except (BenchError, ConfigError) as error:
        print("\n".join([str(error), getattr(error, "trace", "")]).strip(), file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(results))
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(render(results))
    return 0


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
