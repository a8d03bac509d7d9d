"""The base of every configuration, names, and a value that is refused in a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from ..errors import ConfigError

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


def _for_people(schema: dict[str, Any]) -> None:
    """Make a form of a schema: fields in the order in which they are defined, and their bounds in words.

    A database may keep the fields of a schema in another order, and a form may not show bounds.
    """
    for position, field in enumerate(schema["properties"].values()):
        field["position"] = position
        if bounds := _bounds(next((kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"), field)):
            field["description"] += f" {bounds}"


def _bounds(field: dict[str, Any]) -> str:
    least, most, below = field.get("minimum"), field.get("maximum"), field.get("exclusiveMaximum")
    above, step = field.get("exclusiveMinimum"), field.get("multipleOf")
    most = below - 1 if below is not None and field["type"] == "integer" else most
    words = [f"{least:,} to {most:,}"] if least is not None and most is not None else []
    words += [f"more than {above:,}, at most {most:,}"] if above is not None and most is not None else []
    words += [f"a multiple of {step}"] if step is not None else []
    return ", ".join(words).capitalize() + "." if words else ""


class Spec(BaseModel):
    """Base of every configuration: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_for_people)


SpecT = TypeVar("SpecT", bound=Spec)


Name = Annotated[
    str,
    Field(
        pattern=NAME_PATTERN,
        description="Small letters, digits, '-' and '_', at most 63; names the dataset and the registered model.",
    ),
]


def build(kind: type[SpecT], values: dict[str, Any], called: Callable[[str], str] | None = None) -> SpecT:
    """Validate `values`.

    Args:
        kind: of the configuration.
        values: by field.
        called: what the person who gave them calls a field, such as its option; None for its name.

    Raises:
        ConfigError: naming each bad field, what it allows and what it got.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        problems = "; ".join(_problem(item, called or str) for item in error.errors())
        raise ConfigError(f"bad value{'' if called else f' in {kind.__name__}'}: {problems}") from error


def _problem(item: ErrorDetails, called: Callable[[str], str]) -> str:
    """A bad field with its value; what several fields do wrong together names them in `backticks`."""
    said = re.sub(r"`(\w+)`", lambda name: called(name[1]), item["msg"].removeprefix("Value error, "))
    if not item["loc"]:
        return said
    first, *inner = map(str, item["loc"])
    return f"{'.'.join([called(first), *inner])}: {said} (got {item['input']!r})"
