"""What one update launches on a GPU, counted without a GPU.

    python benchmarks/gpu_program.py --size size1m --obs vector --dtype bfloat16 [--json]
    python benchmarks/gpu_program.py --program policy --envs 16

XLA compiles for a card that is only described (`h100.txtpb`); nothing runs. Small models are bound
by launches, about two microseconds each, whatever they compute. The plugin comes with the extra
`card` (`pip install -c constraints.txt -e '.[card]'`). Every option of `reverie config` works too.

The time is an estimate from published peaks, good for comparing two programs and not for promising
a speed: launches that follow each other, plus the longer of moving the bytes and of the products.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies

from reverie.config.load import load
from reverie.config.schema import Config
from reverie.extras import install
from reverie.learner.compilation.programs import compiler_options
from reverie.run.parts import build
from reverie.run.planning.card import CARDS, LAUNCH, batch, shapes
from reverie.run.planning.flops import count_flops

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "speed"))

from cases import SPACES  # noqa: E402

MISSING = f"The CUDA plugin of JAX is missing (no GPU is needed): {install('card')}"
H100 = CARDS["h100"]
FLOPS_S = {"bfloat16": H100.flops, "float16": H100.flops, "float32": 67e12}
"""Published peaks of an H100 SXM, without sparsity; float32 without TF32."""

SILENT = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "copy-done",
    "partition-id", "replica-id", "opt-barrier",
}  # fmt: skip
"""Instructions that launch nothing."""

WIDTHS = {"pred": 1, "bf16": 2, "f16": 2}


@dataclasses.dataclass
class Cost:
    """Launches by kind, and bytes read and written."""

    launches: collections.Counter
    bytes: float = 0

    def add(self, other: "Cost", times: int = 1) -> None:
        """Adds what another program costs that runs this often."""
        self.launches.update({k: n * times for k, n in other.launches.items()})
        self.bytes += other.bytes * times


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table of one program.

    Args:
        argv: Words of the command line; None for those of the process.

    Returns:
        Exit code.
    """
    parser = argparse.ArgumentParser(description="What one update launches on a GPU.")
    parser.add_argument("--size", default="size1m", help="block of the model size")
    parser.add_argument("--obs", default="vector", choices=sorted(SPACES))
    parser.add_argument("--dtype", default="bfloat16", choices=sorted(FLOPS_S))
    parser.add_argument("--program", default="update", choices=("update", "report", "policy"))
    parser.add_argument("--envs", type=int, default=16, help="environments of a policy call")
    parser.add_argument("--hlo", type=pathlib.Path, help="file for the compiled program's text")
    parser.add_argument("--json", action="store_true", help="one document for programs")
    options, words = parser.parse_known_args(argv)
    try:
        place = card()
    except ImportError:
        print(MISSING, file=sys.stderr)
        return 1
    words = ["--configs", *options.size.split(","), "--jax.compute_dtype", options.dtype, *words]
    program = inputs(load(words), options.obs, options.program, options.envs)
    result = {"size": options.size, "obs": options.obs, "dtype": options.dtype}
    result |= measure(program, place, options.dtype, options.hlo)
    print(json.dumps(result) if options.json else render(result))
    return 0


def card() -> jax.sharding.SingleDeviceSharding:
    """A sharding on a card that is only described.

    Raises:
        ImportError: If the CUDA plugin is not installed.
    """
    import jax_plugins.xla_cuda13 as plugin

    jax.config.update("jax_platforms", "cpu")  # Else JAX looks for a card that can run.
    tools = pathlib.Path(plugin.__file__).parents[2] / "nvidia" / "cu13" / "bin"  # ptxas, nvlink
    os.environ["PATH"] = f"{tools}:{os.environ['PATH']}"
    topology = topologies.get_topology_desc(
        "h100",
        platform="cuda",
        target_config=(HERE / "h100.txtpb").read_text(),
        topology="1x1x1",
    )
    return jax.sharding.SingleDeviceSharding(topology.devices[0])


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of the agent, shapes for its arguments, and which of them it may overwrite."""

    function: Any
    arguments: tuple[Any, ...]
    donated: tuple[int, ...] = ()


def inputs(config: Config, obs: str, name: str, envs: int) -> Program:
    """A program of the agent that a configuration describes."""
    obs_space, act_space = SPACES[obs]
    agent = build.agent(config, obs_space, act_space, "gpu")
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(agent.init, key)
    if name == "policy":
        seen = shapes(obs_space, envs) | {"is_first": jax.ShapeDtypeStruct((envs,), bool)}
        carry = jax.eval_shape(lambda: agent.init_carry(envs))
        return Program(agent.policy, (state.params, carry, seen, key))
    carry = jax.eval_shape(lambda: agent.init_carry(config.batch_size))
    arguments = (state, carry, batch(config, agent), key)
    if name == "report":
        return Program(agent.report, arguments)
    return Program(agent.train, arguments, (0, 1))


def compile_for(program: Program, place: Any) -> Any:
    """The program for the card: `as_text()` and `memory_analysis()` work as always."""
    spec = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)  # noqa: E731
    arguments = jax.tree.map(spec, program.arguments)
    # Without a card there is nothing to time kernels on.
    options = compiler_options("gpu", False) | {"xla_gpu_autotune_level": 0}
    jitted = jax.jit(program.function, donate_argnums=program.donated, compiler_options=options)
    return jitted.lower(*arguments).compile()


def measure(
    program: Program, place: Any, dtype: str, hlo: pathlib.Path | None = None
) -> dict[str, Any]:
    """Launches, memory and an estimate of the time of a program on a card."""
    compiled = compile_for(program, place)
    text, memory = compiled.as_text(), compiled.memory_analysis()
    if hlo:
        hlo.write_text(text)
    cost, loops = count(text)
    flops = count_flops(program.function, *program.arguments)
    launches = cost.launches.total()
    return {
        "launches": launches,
        "kinds": dict(cost.launches.most_common()),
        "loops": loops,
        "temporary_bytes": memory.temp_size_in_bytes,
        "argument_bytes": memory.argument_size_in_bytes,
        "bytes": cost.bytes,
        "flops": flops,
        "estimated_s": launches * LAUNCH + max(cost.bytes / H100.bandwidth, flops / FLOPS_S[dtype]),
    }


def count(text: str) -> tuple[Cost, list[dict[str, Any]]]:
    """Cost of one call, and its loops: what they come from, trips, launches per trip.

    A loop counts as often as XLA knows that it runs, a branch as its most expensive side.
    """
    bodies, entry = _computations(text)
    known: dict[tuple[str, int], Cost] = {}
    loops = []

    def cost_of(name: str, trips: int = 1) -> Cost:
        if (name, trips) in known:
            return known[name, trips]
        total, sizes = Cost(collections.Counter()), {}
        for result, kind, line in bodies[name]:
            sizes[line.removeprefix("ROOT ").split(" = ")[0]] = _size(result, trips)
            if kind == "while":
                repeats = int(_find(r'"known_trip_count":\{"n":"(\d+)"\}', line, "1"))
                inner = cost_of(_find(r"body=(%?[\w.\-]+)", line), repeats)
                origin, launches = _find(r'op_name="([^"]*)"', line), inner.launches.total()
                loops.append({"origin": origin, "trips": repeats, "launches": launches})
                total.add(inner, repeats)
            elif kind == "call":
                total.add(cost_of(_find(r"to_apply=(%?[\w.\-]+)", line), trips))
            elif kind == "conditional":
                sides = re.findall(
                    r"%[\w.\-]+", line.split("computation", 1)[1].split("metadata")[0]
                )
                costs = [cost_of(side, trips) for side in sides if side in bodies]
                total.add(max(costs, key=lambda cost: cost.launches.total()))
            elif kind not in SILENT:
                total.launches[kind] += 1
                words = re.findall(r"%[\w.\-]+", line.split(f" {kind}(", 1)[1].split(")")[0])
                total.bytes += sizes[line.removeprefix("ROOT ").split(" = ")[0]]
                total.bytes += sum(sizes.get(operand, 0) for operand in words)
        known[name, trips] = total
        return total

    return cost_of(entry), loops


def _find(pattern: str, line: str, otherwise: str = "") -> str:
    match = re.search(pattern, line)
    return match[1] if match else otherwise


def _computations(text: str) -> tuple[dict[str, list[tuple[str, str, str]]], str]:
    """Instructions of every computation: type of the result, kind, line. And the entry's name."""
    text = re.sub(r"/\*.*?\*/", "", text)
    bodies, entry, current = {}, "", None
    for line in text.splitlines():
        if match := re.match(r"^(ENTRY )?(%?[\w.\-]+) \(.*\) -> .* \{$", line):
            current = bodies.setdefault(match[2], [])
            entry = match[2] if match[1] else entry
        elif current is not None and " = " in line:
            line = line.strip()
            if match := re.match(r"(\([^=]*?\)|\S+)\s+([\w\-]+)\(", line.split(" = ", 1)[1]):
                current.append((match[1], match[2], line))
    return bodies, entry


def _size(result: str, trips: int) -> float:
    """Bytes of a result. A loop touches one slice per trip of an array with an axis for trips."""
    total = 0.0
    for dtype, shape in re.findall(r"(\w+)\[([\d,]*)\]", result):
        axes = [int(axis) for axis in shape.split(",") if axis]
        width = WIDTHS.get(dtype) or int(re.sub(r"\D", "", dtype) or 32) // 8
        whole = np.prod(axes, dtype=float) * width
        total += whole / trips if trips > 1 and axes and axes[0] == trips else whole
    return total


def render(result: dict[str, Any]) -> str:
    """The result as text."""
    lines = [
        f"{result['size']} {result['obs']} {result['dtype']}, on an H100 that is only described",
        f"launches           {result['launches']:>9,}",
    ]
    for loop in result["loops"]:
        origin = loop["origin"].removesuffix("/while").split("/")[-3:]
        lines.append(f"  {loop['trips']:>5} x {loop['launches']:<5} {'/'.join(origin)}")
    inside = sum(loop["trips"] * loop["launches"] for loop in result["loops"])
    lines += [
        f"  outside loops    {result['launches'] - inside:>9,}",
        f"temporary memory   {result['temporary_bytes'] / 1e9:>9.2f} GB",
        f"arguments          {result['argument_bytes'] / 1e9:>9.2f} GB",
        f"bytes moved        {result['bytes'] / 1e9:>9.2f} GB",
        f"products           {result['flops'] / 1e9:>9.1f} GFLOP",
        f"estimated time     {result['estimated_s'] * 1e3:>9.1f} ms (an estimate, not measured)",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
