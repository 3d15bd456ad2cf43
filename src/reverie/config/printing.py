"""Printing the resolved configuration with the document and the origin of every option."""

import textwrap
from collections.abc import Iterator

from reverie.config.presets import sizes
from reverie.config.schema import Config
from reverie.config.syntax import yaml_text
from reverie.config.syntax.keys import entries

_WIDTH = 100

CHOSEN = frozenset([*sizes()["size1m"], "replay.size"])
"""Options that a run chooses by the machine where nothing has set them."""


def describe(config: Config) -> str:
    """The configuration as YAML with comments, which `--configs FILE.yaml` reads back.

    Above every option stand its document and what a valid value is; behind every value that is not
    the default stand what set it and the default. What a run is going to choose is a comment.
    """
    return "\n".join(_lines(config)).lstrip("\n") + "\n"


def _lines(config: Config) -> Iterator[str]:
    for key, entry in entries(Config).items():
        depth, name = key.count("."), key.rpartition(".")[2]
        indent = "  " * depth
        if isinstance(entry, str):
            if not depth:
                yield ""
            yield from _comment(entry, indent)
            yield f"{indent}{name}:"
            continue
        fixed = " Fixed once a run has begun." if entry.fixed else ""
        yield from _comment(f"{entry.doc} [{entry.expects}]{fixed}", indent)
        value, default = config.value(key), yaml_text.dump(entry.default, inline=True)
        line = f"{name}: {yaml_text.dump(value, inline=True)}"
        if value != entry.default:
            source = " ".join(config.sources.get(key, "code").split())
            yield f"{indent}{line}  # set by {source}; default {default}"
        elif key in CHOSEN and key not in config.sources:
            # Printed as a comment: a file that sets it would take the choice away from the run.
            yield f"{indent}# {line} or less, as the run chooses"
        else:
            yield f"{indent}{line}"


def _comment(content: str, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(content, _WIDTH, initial_indent=start, subsequent_indent=start)
