"""The schema as a flat table: dotted key -> one option with its default, document and validator."""

import functools
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
import yaml
from pydantic import AfterValidator, BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from reverie.config import yaml_text
from reverie.config.errors import ConfigError, shorten, suggestion
from reverie.options import as_text, bare

_NAMES = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    str: ("text", "texts"),
}


class Leaf:
    """One option of the schema.

    Attributes:
        key: Dotted path, for example `agent.dyn.deter`.
        kind: Its bare type: `int`, `float`, `bool`, `str`, `tuple` or `dict`.
        doc: What the option does.
        expects: What a valid value is, in words.
        fixed: Why it cannot change when a run is resumed; empty if it can.
        default: Its default value.
        path: Whether it is a path.
        plain: Whether it holds numbers, switches and choices, and no text of any content.
    """

    def __init__(self, key: str, field: FieldInfo):
        notes = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        self.key = key
        self.kind = bare(field.annotation)
        self.item = bare(get_args(field.annotation)[0]) if self.kind is tuple else self.kind
        self.doc = field.description or ""
        self.expects = str(notes.get("expects") or _expects(field.annotation, field.metadata))
        self.fixed = str(notes.get("fixed", ""))
        self.default = field.get_default(call_default_factory=True)
        self.plain = self.item is not dict and not (self.item is str and _is_text(field.annotation))
        self.path = any(getattr(note, "func", None) is as_text for note in field.metadata)
        self._field = field

    @functools.cached_property
    def _adapter(self) -> TypeAdapter:
        # A bare type without bounds has nothing to annotate.
        annotation: Any = self._field.annotation
        for note in self._field.metadata:
            annotation = Annotated[annotation, note]
        if self.kind is dict:
            annotation = Annotated[annotation, AfterValidator(_saved)]
        return TypeAdapter(annotation)

    def is_default(self, value: Any) -> bool:
        """Whether a value as it stands in a file is the default."""
        return value == (list(self.default) if self.kind is tuple else self.default)

    def validate(self, value: Any, source: str, shown: str | None = None) -> Any:
        """The value in the option's own type.

        Args:
            value: Any Python or YAML value.
            source: Where it came from, for the message.
            shown: How the user wrote it, if not as `repr(value)`.

        Raises:
            ConfigError: It has the wrong type or lies outside the bounds.
        """
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            # Pydantic's own words repeat `expects`; those of a validator of ours add to it.
            first = error.errors()[0]
            cause = first.get("ctx", {}).get("error")
            detail = f" ({cause})" if cause else ""
            shown = shorten(repr(value) if shown is None else shown)
            # For a name out of several, pydantic lists them in quotes.
            known = re.findall("'([^']*)'", str(first.get("ctx", {}).get("expected", "")))
            raise ConfigError(
                f"Option {self.key} = {shown} from {source}: expected {self.expects}{detail}."
                f"{suggestion(str(first['input']), known)}"
            ) from None


@functools.cache
def leaves(model: type[BaseModel]) -> types.MappingProxyType[str, Leaf]:
    """All options below a schema class by dotted key, in the order of declaration."""
    table = {key: Leaf(key, field) for key, field, group in _walk(model) if not group}
    return types.MappingProxyType(table)


@functools.cache
def groups(model: type[BaseModel]) -> types.MappingProxyType[str, str]:
    """All sections below a schema class: dotted key -> document."""
    table = {key: field.description or "" for key, field, group in _walk(model) if group}
    return types.MappingProxyType(table)


def _walk(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo, bool]]:
    for name, field in model.model_fields.items():
        child = field.annotation
        if isinstance(child, type) and issubclass(child, BaseModel):
            yield prefix + name, field, True
            yield from _walk(child, f"{prefix}{name}.")
        else:
            yield prefix + name, field, False


def _saved(value: dict[str, Any]) -> dict[str, Any]:
    try:
        yaml_text.dump(value)
    except yaml.YAMLError as error:
        raise ValueError(f"{error}, which the run folder keeps") from None
    return value


def _is_text(annotation: Any) -> bool:
    """Whether a type of texts, or of lists of them, takes any text and not certain ones alone."""
    if get_origin(annotation) is tuple:
        return _is_text(get_args(annotation)[0])
    return get_origin(annotation) is not Literal


def _expects(annotation: Any, metadata: list[Any]) -> str:
    kind = bare(annotation)
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(annotation))
    if kind is dict:
        return "a mapping"
    if kind is tuple:
        return _expects_list(annotation, metadata)
    if kind is str and any(getattr(note, "min_length", 0) for note in metadata):
        return "text that is not empty"
    return _NAMES[kind][0] + _bounds(metadata)


def _expects_list(annotation: Any, metadata: list[Any]) -> str:
    items = get_args(annotation)
    item, bounds = items[0], ""
    if get_origin(item) is Annotated:
        item, *notes = get_args(item)
        bounds = _bounds(notes)
    if get_origin(item) is Literal:
        return "a list of " + ", ".join(repr(choice) for choice in get_args(item))
    names = _NAMES[bare(item)][1] + bounds
    if items[-1] is not Ellipsis:
        return f"a list of {len(items)} {names}"
    filled = any(isinstance(note, annotated_types.MinLen) for note in metadata)
    return f"a list of {'one or more ' if filled else ''}{names}"


def _bounds(metadata: list[Any]) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    found = []
    for note in metadata:
        # A reusable type carries its bounds in a nested field.
        notes = note.metadata if isinstance(note, FieldInfo) else [note]
        for name, sign in signs.items():
            found += [f" {sign} {getattr(n, name)}" for n in notes if hasattr(n, name)]
    return " and".join(found)
