"""Times policy calls. Runs in the measured process, which is bound to one core."""

import pathlib
import statistics
import time
from typing import Any

from cases import PolicyCase
from product import Product
from workload import make_workload

WARMUP = 20
"""Calls that are not timed."""


def measure_policy_calls(case: PolicyCase, scratch: pathlib.Path) -> dict[str, Any]:
    """Times calls from arrays on the host to actions on the host.

    Returns:
        Times in seconds. G is measured before and after the calls and not in between, because its
        matrices would empty the caches that a policy lives in.
    """
    work = make_workload(case.config(), case.obs, scratch)
    policy = work.policy()
    device = policy.device
    product = Product(device)
    inputs = [work.obs(case.envs, seed) for seed in range(4)]
    carry = policy.init(case.envs)
    products = [product.seconds() for _ in range(3)]
    times = []
    for i in range(WARMUP + case.calls):
        start = time.perf_counter()
        carry, _, _ = policy.act(carry, inputs[i % len(inputs)])
        times.append(time.perf_counter() - start)
    products += [product.seconds() for _ in range(3)]
    times = times[WARMUP:]
    return {
        "dtype": work.dtype,
        "platform": device.platform,
        "device": device.device_kind,
        "calls": case.calls,
        "g_s": statistics.median(products),
        "call_s": statistics.median(times),
        "call_min_s": min(times),
    }
