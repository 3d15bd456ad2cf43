"""What a machine with a GPU reaches: one session of at most ten minutes.

    python benchmarks/gpu_session.py --out result           # result.json and result.md
    python benchmarks/gpu_session.py --out result --tiny    # on a CPU, only to try this program

Measured are updates in bfloat16 with and without each of `SETTINGS`, policy calls, memory beside
the estimate of `reverie plan --card`, and a run of Crafter's shapes. Every case is a process of its
own. Losses have to be finite and gradients in float32 those of the CPU, or the exit code is 1. What
does not fit into the time is left out, and named.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

Record = dict[str, Any]

_KERNELS = "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,DYNAMIC_SLICE_FUSION"

SETTINGS = {
    "defaults": "",
    # A command buffer (a CUDA graph) launches its kernels together. By default XLA records no
    # loops, where four fifths of the launches of a small update are, and no branches.
    "loops in graphs": f"--xla_gpu_enable_command_buffer={_KERNELS},WHILE,CONDITIONAL",
    # By default four kernels in a row are launched one by one.
    "short graphs": "--xla_gpu_graph_min_graph_size=1",
    "no graphs": "--xla_gpu_enable_command_buffer=",
    # Moves transfers between devices beside computation, of which one device has none.
    "latency hiding": "--xla_gpu_enable_latency_hiding_scheduler=true",
}
"""Name -> XLA_FLAGS, chosen by XLA's documentation and accepted by its compiler for a described
H100. What a card shows to be better becomes the default in `learner/compilation/programs.py`."""

SIZES = (("size1m", "vector"), ("size12m", "image"), ("size50m", "image"), ("size200m", "image"))
TINY = (("debug", "vector"),)
WARMUP = 3
"""Calls that are not timed."""

BOUND = 5e-3
"""Largest difference of a tensor's gradient from that of the CPU, relative to its norm."""


def main() -> int:
    """Measures all cases in turn, the most important ones first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="without its ending")
    parser.add_argument("--seconds", type=float, default=570, help="for all")
    parser.add_argument("--tiny", action="store_true", help="a model for tests, once each")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(CASES[args.case.split()[0]](*args.case.split()[1:])))
        return 0
    end = time.monotonic() + args.seconds
    results: list[Record] = []
    for case, setting in cases(args.tiny):
        left = end - time.monotonic()
        found = in_process(case, setting, left) if left > 0 else {"failed": "no time was left"}
        results.append({"case": case, "setting": setting, **found})
        # Written after every case: a session that is cut short leaves what it has.
        args.out.with_suffix(".json").write_text(json.dumps(results, indent=2))
        args.out.with_suffix(".md").write_text(render(results))
    print(render(results), end="")
    return int(any(result.get("failed") for result in results))


def cases(tiny: bool) -> list[tuple[str, str]]:
    """Words of a case, and the name of its setting."""
    sizes = TINY if tiny else SIZES
    first = " ".join(sizes[0])
    count = 2 if tiny else 20
    listed = [(f"gradients {first}", "defaults")]
    listed += [(f"update {size} {obs} {count}", "defaults") for size, obs in sizes]
    listed += [(f"policy {size} {obs}", "defaults") for size, obs in sizes[:2]]
    listed += [(f"run {'debug' if tiny else 'size12m'} {2 if tiny else 30}", "defaults")]
    others = list(SETTINGS)[1:2] if tiny else list(SETTINGS)[1:]
    listed += [(f"update {s} {o} {count}", name) for s, o in sizes[:2] for name in others]
    return listed


def in_process(case: str, setting: str, timeout: float) -> Record:
    """What a case gives, or why it failed."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} {SETTINGS[setting]}".strip()
    words = [sys.executable, __file__, "--out", "unused", "--case", case]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | {"XLA_FLAGS": flags},
        )
    except subprocess.TimeoutExpired:
        return {"failed": "no time was left"}
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1][:500]}
    return json.loads(done.stdout.splitlines()[-1])


def workload(size: str, obs: str, *words: str) -> Any:
    """An agent on the devices of this machine."""
    sys.path.insert(0, str(pathlib.Path(__file__).parent / "speed"))
    from workload import make_workload

    from reverie.config.load import load

    config = load(["--configs", size, "--jax.prealloc", "false", *words])
    return make_workload(config, obs, pathlib.Path(tempfile.mkdtemp()))


def update(size: str, obs: str, count: str) -> Record:
    """Milliseconds of an update that is waited for, and memory beside its estimate."""
    from reverie.run.planning.card import CARDS, estimate

    work = workload(size, obs, "--jax.compute_dtype", "bfloat16")
    learner, batch = work.learner, work.batch(0)
    times = []
    for _ in range(WARMUP + int(count)):
        start = time.perf_counter()
        learner.update(batch)
        learner.synchronize()  # An update that is not finite ends the case.
        times.append(time.perf_counter() - start)
    loss = learner.pop_metrics()[-1]["opt/loss"]
    device = learner.placement.training[0]
    kind = device.device_kind.lower().replace(" ", "")
    card = next((name for name in CARDS if name in kind), "h100")
    found = estimate(work.config, learner.agent, CARDS[card])
    return {
        "device": device.device_kind,
        "loss": loss,
        "ms": 1e3 * statistics.median(times[WARMUP:]),
        "first_s": times[0],
        "estimated_ms": 1e3 * found.update,
        "gb": learner.memory_needs()["train"] / 1e9,
        "peak_gb": (device.memory_stats() or {}).get("peak_bytes_in_use", 0) / 1e9,
        "estimated_gb": found.program / 1e9,
    }


def policy(size: str, obs: str) -> Record:
    """Milliseconds in which the actions of 16 environments are chosen."""
    work = workload(size, obs, "--jax.compute_dtype", "bfloat16")
    chooser, seen = work.policy(), work.obs(16, 0)
    carry, times = chooser.init(16), []
    for _ in range(WARMUP + 50):
        start = time.perf_counter()
        carry, *_ = chooser.act(carry, seen, "train")
        times.append(time.perf_counter() - start)
    return {"ms": 1e3 * statistics.median(times[WARMUP:])}


def gradients(size: str, obs: str) -> Record:
    """Largest relative difference of a tensor's gradient from that of the CPU, in float32."""
    import jax
    import numpy as np

    from reverie.agent.agent import Agent
    from reverie.learner.compilation.programs import compiler_options
    from reverie.nn.draws import Draws

    class Blind(Draws):
        """Samples do not depend on probabilities: rounding would turn some into others."""

        def categorical(self, noise, probs):
            return (noise * probs.shape[-2]).astype(jax.numpy.int32)

    work = workload(size, obs)
    config, spaces = work.config, (work.obs_space, work.act_space)
    agent = Agent(config.agent, *spaces, context=config.replay_context, draws=Blind())
    batch = work.batch(0) | {
        key: space.zeros(config.batch_size, config.replay_context)
        for key, space in agent.latent_spaces.items()
    }
    found = []
    for device in (jax.devices("cpu")[0], work.learner.placement.training[0]):
        with jax.default_device(device), jax.default_matmul_precision("highest"):
            state = jax.device_put(agent.init(jax.random.key(0)), device)
            carry = agent.init_carry(config.batch_size)
            options = compiler_options(device.platform, fast=device.platform == "cpu")
            grad = jax.jit(jax.grad(agent.loss, has_aux=True), compiler_options=options)
            grads, _ = grad(state.params, state.states, carry, batch, jax.random.key(1))
            found.append(jax.device_get(jax.tree.leaves(grads)))
    pairs = zip(*found, strict=True)
    apart = max(float(np.linalg.norm(b - a) / max(np.linalg.norm(a), 1e-6)) for a, b in pairs)
    result = {"difference": apart}
    # Not `>`: that would let a NaN pass.
    return result if apart <= BOUND else result | {"failed": f"{apart:.2g} from the CPU's"}


def run(size: str, seconds: str) -> Record:
    """A whole run of 16 environments with images, as `speed/whole_run.py` measures it."""
    sys.path.insert(0, str(pathlib.Path(__file__).parent / "speed"))
    from whole_run import measure

    words = ["--configs", size, "--task", "dummy_disc", "--run.envs", "16"]
    return measure([*words, "--run.train_ratio", "32"], float(seconds))


CASES = {f.__name__: f for f in (update, policy, gradients, run)}


def render(results: list[Record]) -> str:
    """A table: a row for each case, with all numbers that it gave."""
    names = list(dict.fromkeys(k for row in results for k in row if k not in ("case", "setting")))
    lines = ["| " + " | ".join(["case", "setting", *names]) + " |"]
    lines += ["|" + "---|" * (2 + len(names))]
    for row in results:
        values = [row["case"], row["setting"], *(row.get(name, "") for name in names)]
        texts = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in values]
        lines.append("| " + " | ".join(text.replace("|", "/") for text in texts) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
