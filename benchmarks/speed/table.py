"""Results as tables for the terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Record = dict[str, Any]

BUSY = 0.3
"""Load per core from which other programs disturb the measurement."""


def render(results: Record) -> RenderableType:
    """What `measure` returned, for `rich.print`."""
    parts: list[RenderableType] = [Text(_machine(results))]
    if results["train"]:
        parts.append(_train(results["train"]))
    if results["policy"]:
        parts.append(_policy(results["policy"]))
    if results["startup"]:
        parts.append(_startup(results["startup"]))
    return Group(*parts)


def _machine(results: Record) -> str:
    machine = results["machine"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; "
        f"reverie {machine['reverie']}, jax {machine['jax']}, Python {machine['python']}"
    ]
    rows = results["train"] + results["policy"]
    devices = {f"{row['device']} ({row['platform']})" for row in rows if row["platform"] != "cpu"}
    lines += [f"Device: {device}" for device in sorted(devices)]
    if results["train"]:
        times = [row["g_s"] for row in results["train"]]
        shown = " to ".join(f"{1000 * g:.3g}" for g in sorted({min(times), max(times)}))
        lines.append(f"G, a float32 product of 2048x2048 matrices: {shown} ms")
    if (machine["load"] or 0) > BUSY * machine["cores"]:
        lines.append(
            f"Other programs were running (load {machine['load']:.1f}): the times are too long."
        )
    return "\n".join(lines)


def _train(rows: list[Record]) -> Table:
    table = _table(
        "train step", "parameters", "GFLOP", "seconds", "in G", "limit", "share", "TFLOP/s",
        "compile s", "memory GB",
    )  # fmt: skip
    for row in rows:
        memory = [row["memory_bytes_cold"], row["memory_bytes_warm"], row["device_memory_bytes"]]
        table.add_row(
            f"{row['name']}\n{row['dtype']}",
            f"{row['parameters']:,}",
            _short(row["flops"] / 1e9),
            _short(row["update_s"]),
            _short(row["update_g"]),
            _short(row["limit_g"]),
            f"{row['share']:.0%}",
            _short(row["flops_s"] / 1e12) + _of_peak(row),
            f"{row['compile_s_cold']:.1f} / {row['compile_s_warm']:.1f}",
            " / ".join(f"{size / 1e9:.2f}" for size in memory if size is not None),
        )
    return table


def _of_peak(row: Record) -> str:
    """On accelerators, the share of what large products reach in the compute dtype."""
    return f"\n{row['flops_s'] / row['peak_flops_s']:.0%} of peak" if "peak_flops_s" in row else ""


def _policy(rows: list[Record]) -> Table:
    table = _table("policy call", "ms", "fastest ms")
    for row in rows:
        table.add_row(row["name"], f"{1e3 * row['call_s']:.3g}", f"{1e3 * row['call_min_s']:.3g}")
    return table


def _startup(rows: list[Record]) -> Table:
    table = _table("start-up", "cache", "first step s", "first update s", "in G", "at step", "G")
    for row in rows:
        for state in ("cold", "warm"):
            run = row[state]
            times = (f"{run[key]:.1f}" for key in ("first_step_s", "first_update_s"))
            in_g = _short(run["first_update_s"] / run["g_s"])
            unit = f"{1e3 * run['g_s']:.0f} ms"
            table.add_row(row["size"], state, *times, in_g, f"{run['steps']:,}", unit)
    return table


def _table(first: str, *names: str) -> Table:
    table = Table(first)
    for name in names:
        table.add_column(name, justify="right")
    return table


def _short(value: float) -> str:
    """Three significant digits, or a whole number."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
