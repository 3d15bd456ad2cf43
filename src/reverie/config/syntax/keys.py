"""The schema as a flat table: dotted key -> one option with its default, document and validator."""

import functools
import inspect
import re
import types
from collections.abc import Container, Iterator, Mapping
from typing import Annotated, Any, get_args

import yaml
from pydantic import AfterValidator, BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from reverie.config.nearest import shorten, suggestion
from reverie.config.syntax import yaml_text
from reverie.errors import ConfigError
from reverie.options import as_text, bare

_NAMES = {
    "integer": ("an integer", "integers"),
    "number": ("a number", "numbers"),
    "boolean": ("true or false", "true or false"),
    "string": ("text", "texts"),
}
_SIGNS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


class Leaf:
    """One option of the schema.

    Attributes:
        key: Dotted path, for example `agent.dyn.deter`.
        kind: Its bare type: `int`, `float`, `bool`, `str`, `tuple` or `dict`.
        doc: What the option does.
        fixed: Why it cannot change when a run is resumed; empty if it can.
        default: Its default value.
        path: Whether it is a path.
    """

    def __init__(self, key: str, field: FieldInfo):
        notes = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        self.key = key
        self.kind = bare(field.annotation)
        self.item = bare(get_args(field.annotation)[0]) if self.kind is tuple else self.kind
        self.doc = field.description or ""
        self.fixed = str(notes.get("fixed", ""))
        self.default = field.get_default(call_default_factory=True)
        self.path = any(getattr(note, "func", None) is as_text for note in field.metadata)
        self._field = field
        self._expects = str(notes.get("expects", ""))

    @functools.cached_property
    def expects(self) -> str:
        """What a valid value is, in words."""
        return self._expects or _expects(self._adapter.json_schema())

    @functools.cached_property
    def choices(self) -> tuple[str, ...]:
        """The only texts that it takes, by itself or in a list; empty where others are valid."""
        schema = self._adapter.json_schema()
        schema = schema.get("items", schema)
        return tuple(schema.get("enum", [schema["const"]] if "const" in schema else []))

    @property
    def plain(self) -> bool:
        """Whether it holds numbers, switches and choices, and no text of any content."""
        return self.item not in (dict, str) or bool(self.choices)

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
def entries(model: type[BaseModel]) -> types.MappingProxyType[str, Leaf | str]:
    """All options and the documents of all sections by dotted key, in the order of declaration."""
    return types.MappingProxyType(dict(_walk(model)))


@functools.cache
def leaves(model: type[BaseModel]) -> types.MappingProxyType[str, Leaf]:
    """All options below a schema class by dotted key."""
    table = {key: x for key, x in entries(model).items() if isinstance(x, Leaf)}
    return types.MappingProxyType(table)


@functools.cache
def groups(model: type[BaseModel]) -> types.MappingProxyType[str, str]:
    """All sections below a schema class: dotted key -> document."""
    table = {key: x for key, x in entries(model).items() if isinstance(x, str)}
    return types.MappingProxyType(table)


def flatten(
    content: Mapping[Any, Any], sections: Container[str] | None = None, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """The dotted keys and values in a mapping, which may be nested, dotted or both.

    Args:
        content: The mapping.
        sections: Keys whose mappings are nested, where those of others are values; None: all are.
        prefix: Key of the mapping with a dot behind it.
    """
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and (sections is None or key in sections):
            yield from flatten(value, sections, f"{key}.")
        else:
            yield key, value


def _walk(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Leaf | str]]:
    for name, field in model.model_fields.items():
        key, child = f"{prefix}{name}", field.annotation
        if isinstance(child, type) and issubclass(child, BaseModel):
            yield key, (field.description or str(inspect.getdoc(child))).partition("\n")[0]
            yield from _walk(child, f"{key}.")
        else:
            yield key, Leaf(key, field)


def _saved(value: dict[str, Any]) -> dict[str, Any]:
    """As a resume reads it from the run folder: lists for tuples, and no numbers of numpy."""
    try:
        return yaml_text.parse(yaml_text.dump(value))
    except yaml.YAMLError as error:
        raise ValueError(f"{error}, which the run folder keeps") from None


def _expects(schema: Mapping[str, Any], many: bool = False) -> str:
    """What pydantic's JSON schema of a value, or of many in a list, allows, in words."""
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if choices:
        return ("" if many else "one of ") + ", ".join(map(repr, choices))
    if schema["type"] == "object":
        return "a mapping"
    if schema["type"] == "array":
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        number = f"{least} " if least == most else "one or more " if least else ""
        (item, *_) = schema.get("prefixItems") or [schema["items"]]
        return f"a list of {number}{_expects(item, many=True)}"
    if schema.get("minLength"):
        return "text that is not empty"
    bounds = [f" {sign} {schema[name]}" for name, sign in _SIGNS.items() if name in schema]
    return _NAMES[schema["type"]][many] + " and".join(bounds)
