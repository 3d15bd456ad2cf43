"""Reading and writing YAML the way people expect numbers and words to be read.

Unlike YAML 1.1, `1e6` is a number, and `off`, `no` and `12:30` are text; a key that is given
twice in one mapping is an error.
"""

import os
import re
from collections.abc import Container, Mapping
from typing import Any

import yaml

from reverie.errors import ConfigError

_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("null", r"null|Null|NULL|~|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?"
        r"|[0-9][0-9_]*[eE][-+]?[0-9]+|\.?inf|\.?Inf|\.?INF)|\.nan|\.NaN|\.NAN",
        "-+.0123456789iI",
    ),
    ("merge", r"<<", "<"),
)
_MOST = 1 << 20
"""Characters of a saved configuration, which has some ten thousand."""

_CONSTRUCTION = (ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""What PyYAML lets through for explicit tags (`!!bool x`), endless digits and endless nesting."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # Counted before anchors are merged in, which may be overridden on purpose.
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"line {line} gives the key '{name}' a second time")
            seen.add(name)
        return super().construct_mapping(node, deep)


class _SavedLoader(_Loader):
    """For what `dump` wrote: nothing in it stands for something else, which could be endless."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ConfigError("it has a reference (*name), which no saved configuration has")
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    # Keeps the rules of YAML 1.1 as well, so that text is quoted if any reader needs it.
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # Only double quotes keep a line break on one line.
    style = '"' if "\n" in value else None
    return dumper.represent_scalar(f"{_TAG}str", value, style=style)


def _write_other(dumper: yaml.SafeDumper, value: Any) -> yaml.Node:
    """Numbers and arrays of numpy, and paths; there is no plain form of anything else."""
    if isinstance(value, os.PathLike):
        return dumper.represent_data(os.fspath(value))
    if hasattr(value, "tolist"):
        return dumper.represent_data(value.tolist())
    raise yaml.representer.RepresenterError(f"{value!r} cannot be written as YAML")


for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"{_TAG}{_name}",
            re.compile(f"^(?:{_pattern})$"),
            [first if first != "\0" else "" for first in _first],
        )
_Loader.add_constructor(f"{_TAG}merge", yaml.SafeLoader.construct_yaml_str)
_Dumper.add_representer(str, _write_text)
_Dumper.add_representer(tuple, yaml.SafeDumper.represent_list)
_Dumper.add_multi_representer(object, _write_other)


def parse(content: str, saved: bool = False) -> Any:
    """The value of a YAML text.

    Args:
        content: The text.
        saved: Whether it has to be as `dump` writes it, without references.

    Raises:
        ConfigError: It is not YAML; the message is one line without the place it came from.
    """
    try:
        return yaml.load(content, _SavedLoader if saved else _Loader)
    except ConfigError:
        raise
    except (yaml.YAMLError, *_CONSTRUCTION) as error:
        raise ConfigError("not valid YAML: " + " ".join(str(error).split())) from None


def read(path: str | os.PathLike[str], saved: bool = False) -> dict[Any, Any]:
    """The mapping in a YAML file; an empty one that a user wrote is an empty mapping.

    Args:
        path: The file.
        saved: Whether it was saved by a program, perhaps somebody else's.

    Raises:
        ConfigError: The file cannot be read or is no YAML mapping.
    """
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            content = parse(file.read(_MOST) if saved else file.read(), saved)
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration file {name}: {error.strerror}.") from None
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the configuration file {name}: {error}.") from None
    if content is None and saved:
        raise ConfigError(
            f"Cannot read the configuration file {name}: it is empty, as a full disk or an editor "
            "may leave it. Put it back from a copy of the folder, or start the run in another one."
        )
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"The configuration file {name} must hold keys and values, "
            f"got {type(content).__name__} {content!r}."
        )
    return content


def dump(value: Any, inline: bool = False) -> str:
    """YAML of nested dicts, lists and scalars; `inline` keeps it on one line."""
    text = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
        default_flow_style=True if inline else None,
    )
    return text.removesuffix("\n").removesuffix("\n...") if inline else text


def one_option_a_line(values: Mapping[str, Any], sections: Container[str], prefix: str = "") -> str:
    """YAML of options in sections, which is easy to compare line by line.

    Args:
        values: The options, nested.
        sections: Dotted keys of the sections; other mappings are values.
        prefix: Key of the section with a dot behind it.
    """
    text, indent = "", "  " * prefix.count(".")
    for name, value in values.items():
        if f"{prefix}{name}" in sections:
            inner = one_option_a_line(value, sections, f"{prefix}{name}.")
            text += f"{indent}{name}:\n{inner}"
        else:
            text += f"{indent}{dump({name: value}, inline=True)[1:-1]}\n"
    return text
