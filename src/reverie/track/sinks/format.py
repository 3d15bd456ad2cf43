"""Numbers and times as short texts for people."""

import math


def format_number(value: int | float | str) -> str:
    """Formats a metric with three or four digits: `0.0312`, `4.20`, `980`, `12.35k`, `1.5M`."""
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return str(float(value))
    size = abs(value)
    if size == 0 or (isinstance(value, int) and size < 10_000):
        return str(int(value))
    if size >= 1e15 or size < 1e-3:
        return f"{value:.1e}"
    # 999.95 is the smallest number that would be printed as 1000.0.
    for unit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if size >= unit * 0.99995:
            return f"{value / unit:.4g}{suffix}"
    if size >= 9999.5:
        return f"{value / 1e3:.4g}k"
    if size >= 99.95:
        return f"{value:.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.9995 else f"{value:.3g}"


def format_duration(seconds: float) -> str:
    """Formats a time with its two largest units: `12s`, `3m20s`, `2h05m`, `4d11h`."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02d}h"


def short_name(key: str) -> str:
    """Shortens a metric's name: `train/opt/lr` to `opt lr`, `episode/score` to `score`."""
    short = {
        "fps/policy": "steps/s",
        "fps/train": "replayed steps/s",
        "fps/update": "updates/s",
        "replay/replay_ratio": "replay ratio",
        "train/update_ratio": "updates/step",
    }
    if key in short:
        return short[key]
    return key.removeprefix("train/").replace("episode/", "").replace("/", " ", 1)
