"""What an option is: value types, the section base and the `option` field.

It stands below all packages, so that suites from elsewhere can use it too.
"""

import numbers
import os
import re
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
)

KINDS = (int, float, bool, str, tuple, dict)
"""What options are made of."""


def bare(annotation: Any) -> Any:
    """The type behind bounds and choices: `int`, `float`, `bool`, `str`, `tuple` or `dict`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return bare(get_args(annotation)[0])
    return str if origin is Literal else origin or annotation


class Section(BaseModel):
    """A frozen group of options; unknown names are errors and defaults are validated too.

    The first line of a subclass's docstring says what they are for, as `reverie config` prints it.
    A group inside another one is a field whose default is an instance.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        for name, field in cls.model_fields.items():
            kind = bare(field.annotation)
            if kind not in KINDS and not (isinstance(kind, type) and issubclass(kind, Section)):
                raise TypeError(
                    f"{cls.__name__}.{name} is no type of an option: expected one of those in "
                    "reverie.options, a Literal of texts or a tuple of them."
                )


def option(default: Any, doc: str, *, fixed: str = "", expects: str = "", **bounds: Any) -> Any:
    """A documented option of a section.

    Args:
        default: Value when nothing sets it.
        doc: What the option does, with its unit; shown by `reverie config`.
        fixed: Why the value cannot change when a run is resumed; empty if it can.
        expects: What a valid value is, where the type and the bounds do not say it.
        **bounds: `ge`, `gt`, `le`, `lt`, `min_length`, `max_length` or `pattern`.
    """
    notes: dict[str, Any] = {
        name: text for name, text in (("fixed", fixed), ("expects", expects)) if text
    }
    return Field(default, description=doc, json_schema_extra=notes or None, **bounds)


def _whole(value: Any) -> Any:
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    # Step counts are written as 1e6 or 1.1e8, which YAML and Python read as floats.
    value = _real(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _real(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return value
    try:
        return float(value)
    except OverflowError:
        return value


def as_text(value: Any) -> Any:
    """A path as text; anything else as it is."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(str(error)) from error
    return value


def _resize(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(value) not in (0, 2):
        raise ValueError(f"got {len(value)}")
    return value


def _distinct(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(value)) != len(value):
        raise ValueError("an entry is repeated")
    return value


Int = Annotated[int, Strict(), BeforeValidator(_whole)]
"""A whole number; 1e6 counts as one, true and text do not."""

Float = Annotated[float, Strict(), BeforeValidator(_real), AllowInfNan(False)]
"""A finite number."""

FloatOrInf = Annotated[float, Strict(), BeforeValidator(_real)]
"""A number that may be infinite."""

Bool = Annotated[bool, Strict()]
"""true or false, and nothing that merely looks like it."""

Text = Annotated[str, Strict()]
"""A string."""

PathText = Annotated[str, Strict(), BeforeValidator(as_text)]
"""A string or a path object, kept as a string."""

Regex = Annotated[str, Strict(), AfterValidator(_regex)]
"""A string that compiles as a regular expression."""

Keywords = dict[str, Any]
"""Keyword arguments, of values that a file can hold, with lists in place of tuples."""

Count = Annotated[int, Field(ge=1), Strict(), BeforeValidator(_whole)]
"""A whole number of at least one."""

Side = Annotated[int, Field(ge=3, le=4096), Strict(), BeforeValidator(_whole)]
"""Height or width of an image in pixels."""

Size = tuple[Side, Side]
"""Height and width of an image in pixels."""

OptionalSize = Annotated[tuple[Side, ...], AfterValidator(_resize)]
"""Height and width of an image in pixels, or nothing to keep the size as it is."""

Indices = Annotated[
    tuple[Annotated[int, Field(ge=0), Strict(), BeforeValidator(_whole)], ...],
    AfterValidator(_distinct),
]
"""Distinct numbers counted from zero."""


SPACES = "it changes the spaces that model and replay were built for"
TASK = "it changes the task that the agent has learnt"
"""Why an option of a suite is `fixed`."""


Names = tuple[Annotated[Text, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")], ...]
"""Classes or functions, as `module:Class`."""


class ForeignConfig(Section):
    """What environments share that any package may define."""

    kwargs: Keywords = option({}, "Keyword arguments that build the environment.", fixed=SPACES)
    size: OptionalSize = option(
        (),
        "Height and width to which image observations are resized; empty: as they are.",
        fixed=SPACES,
        expects="two integers (height, width) from 3 to 4096, or an empty list",
    )
    bounds: Literal["warn", "error", "ignore"] = option(
        "warn",
        "What happens when an observation leaves the bounds that its space declares; warn: one "
        "line for each key, and it is let through.",
    )
