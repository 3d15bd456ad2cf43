"""Rates and the use of the machine, and that the package starts light."""

import json
import subprocess
import sys

from reverie.track.rates import Rates


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_rates_since_the_last_result():
    clock = Clock()
    rates = Rates(clock)
    for _ in range(4):
        rates.count(policy=10)
        rates.count(train=1024, updates=2)
    clock.now += 20
    speeds = {"fps/policy": 2.0, "fps/train": 204.8, "fps/update": 0.4}
    assert rates.result() == {**speeds, "train/update_ratio": 0.2}
    rates.count(policy=5)
    clock.now += 1
    speeds = {"fps/policy": 5.0, "fps/train": 0.0, "fps/update": 0.0}
    assert rates.result() == {**speeds, "train/update_ratio": 0.0}
    assert rates.result() == dict.fromkeys(speeds, 0.0)


USAGE = """
import json, os, subprocess, sys
from reverie.track.usage import usage
found = [usage()]
start = sum(os.times()[:2])
while sum(os.times()[:2]) - start < 0.05:
    sum(range(1000))
code = "import sys; print('up', flush=True); sys.stdin.read()"
words = [sys.executable, "-c", code]
with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
    child.stdout.readline()
    found.append(usage())
print(json.dumps([*found, usage()]))
"""


def test_usage_sees_memory_workers_and_work():
    # In a process of its own: that of the tests may have others, such as those of a browser.
    said = subprocess.run([sys.executable, "-c", USAGE], capture_output=True, text=True, check=True)
    before, used, after = json.loads(said.stdout)
    assert all(key.startswith("usage/") for key in used)
    assert 0.01 < used["usage/rss_gb"] < 100
    counts = [each["usage/workers"] for each in (before, used, after)]
    assert counts == [0, 1, 0]
    assert used["usage/workers_rss_gb"] > 0.001
    assert used["usage/threads"] >= 1
    assert used["usage/cpu_percent"] > 0
    assert 0 < used["usage/ram_percent"] <= 100


def test_importing_the_package_loads_nothing_heavy():
    names = ("pictures.curve", "pictures.openloop", "encoding.video", "runs.status", "logger")
    names += ("stats", "sinks.registry", "sinks.terminal")
    modules = [f"reverie.track.{name}" for name in names]
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(modules) <= set(loaded)
    assert not {"matplotlib", "PIL", "jax", "imageio_ffmpeg", "gymnasium"} & set(loaded)
