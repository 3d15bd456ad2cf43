"""Printing the resolved configuration with the document and the origin of every option."""

import textwrap
from collections.abc import Iterator

from reverie.config import yaml_text
from reverie.config.keys import Leaf, groups, leaves
from reverie.config.presets import sizes
from reverie.config.schema import Config

_WIDTH = 100

CHOSEN = frozenset([*sizes()["size1m"], "replay.size"])
"""Options that a run chooses by the machine where nothing has set them."""


def describe(config: Config) -> str:
    """The configuration as YAML with comments, which `--configs FILE.yaml` reads back.

    Above every option stand its document and what a valid value is; behind every value that is not
    the default stand what set it and the default. What a run is going to choose is a comment.

    Args:
        config: A loaded configuration.

    Returns:
        The text, with a line break at the end.
    """
    lines = list(_lines(config))
    return "\n".join(lines).lstrip("\n") + "\n"


def _lines(config: Config) -> Iterator[str]:
    sections = groups(Config)
    opened: set[str] = set()
    for key, leaf in leaves(Config).items():
        parents = key.split(".")[:-1]
        for depth in range(len(parents)):
            name = ".".join(parents[: depth + 1])
            if name not in opened:
                opened.add(name)
                if not depth:
                    yield ""
                yield from _comment(sections[name], depth)
                yield f"{'  ' * depth}{parents[depth]}:"
        yield from _option(config, leaf, len(parents))


def _option(config: Config, leaf: Leaf, depth: int) -> Iterator[str]:
    value = config.value(leaf.key)
    fixed = " Fixed once a run has begun." if leaf.fixed else ""
    yield from _comment(f"{leaf.doc} [{leaf.expects}]{fixed}", depth)
    shown, default = (yaml_text.dump(each, inline=True) for each in (value, leaf.default))
    indent, line = "  " * depth, f"{leaf.key.rpartition('.')[2]}: {shown}"
    if value != leaf.default:
        source = " ".join(config.sources.get(leaf.key, "code").split())
        yield f"{indent}{line}  # set by {source}; default {default}"
    elif leaf.key in CHOSEN and leaf.key not in config.sources:
        # Printed as a comment: a file that sets it would take the choice away from the run.
        yield f"{indent}# {line} or less, as the run chooses"
    else:
        yield f"{indent}{line}"


def _comment(content: str, depth: int) -> list[str]:
    start = "  " * depth + "# "
    return textwrap.wrap(content, _WIDTH, initial_indent=start, subsequent_indent=start)
