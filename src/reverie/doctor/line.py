"""What the doctor says, and how it is shown."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Literal

Level = Literal["healthy", "warning", "sick", "unknown"]

_CODES: dict[Level, int] = {"unknown": 0, "healthy": 0, "warning": 1, "sick": 2}


@dataclasses.dataclass(frozen=True)
class Line:
    """One thing that was looked at.

    Args:
        about: What was looked at, in a few words.
        level: How it is; `unknown` where there is no data to tell.
        says: What was found, with its number.
        advice: What to try; empty where nothing has to be done.
    """

    about: str
    level: Level
    says: str
    advice: str = ""


def graded(
    about: str,
    says: str,
    *,
    warning: bool,
    sick: bool = False,
    advice: str = "",
) -> Line:
    """A line whose level follows from two conditions; healthy lines have no advice."""
    level: Level = "sick" if sick else "warning" if warning else "healthy"
    return Line(about, level, says, "" if level == "healthy" else advice)


def exit_code(lines: Sequence[Line]) -> int:
    """0 if nothing is wrong, 1 with warnings, 2 if something is sick."""
    return max((_CODES[line.level] for line in lines), default=0)


def as_text(lines: Sequence[Line]) -> str:
    """Two columns, with advice below what it is for, and a last line that sums up."""
    width = max(len(line.about) for line in lines)
    text = []
    for line in lines:
        text.append(f"{line.level:8} {line.about:{width}}  {line.says}")
        if line.advice:
            text.append(f"{'':8} {'':{width}}  -> {line.advice}")
    counts = {level: sum(line.level == level for line in lines) for level in reversed(_CODES)}
    shown = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    return "\n".join([*text, f"{_VERDICTS[exit_code(lines)]} ({shown})"])


def as_json(lines: Sequence[Line]) -> str:
    """The same for programs: `verdict`, `exit_code` and the lines."""
    code = exit_code(lines)
    content = {
        "verdict": ("healthy", "warning", "sick")[code],
        "exit_code": code,
        "lines": [dataclasses.asdict(line) for line in lines],
    }
    return json.dumps(content, indent=2)


_VERDICTS = (
    "No problem was found in what can be judged.",
    "There are warnings.",
    "Something is sick.",
)
