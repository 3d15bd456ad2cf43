"""Speed and memory of updates and policy calls: `reverie bench` as a file.

    python benchmarks/train_step.py [--size size1m] [--obs vector] [--updates 20] [--json]

All options are those of `reverie bench --help`; docs/performance.md says what the numbers mean.
"""

import sys

from reverie.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
