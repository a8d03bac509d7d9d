"""Command-line options made from the fields of vgan.config, so that each is defined once."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from vgan.config import Spec, build


class PlainHelp(TyperCommand):
    """A command whose help is plain lines.

    Typer's tables give an option's name a share of the line and cut off the rest of it.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings | {"rich_markup_mode": None})


def with_config(
    parameter: str, kind: type[Spec], *, prefix: str = "", leave_out: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Replace `parameter` of a command by one option for each field of `kind`.

    Args:
        parameter: keyword of the command that receives the built configuration.
        prefix: put before each option's name where two configurations have equal fields.
        leave_out: fields that keep their default and get no option.
    """
    fields = {f"{prefix}{name}": (name, field) for name, field in kind.model_fields.items() if name not in leave_out}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            given = {name: arguments.pop(option) for option, (name, _) in fields.items()}
            built = build(kind, given, lambda name: option_name(f"{prefix}{name}"))
            return command(**arguments, **{parameter: built})

        signature = inspect.signature(command, eval_str=True)
        kept = [p for name, p in signature.parameters.items() if name != parameter]
        added = [_option(option, name, field) for option, (name, field) in fields.items()]
        new = signature.replace(parameters=[*kept, *added])
        call.__name__, call.__doc__ = command.__name__, command.__doc__
        call.__signature__ = new  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in new.parameters.values()}
        return call

    return decorate


def option_name(parameter: str) -> str:
    """The option as it is typed."""
    return f"--{parameter.replace('_', '-')}"


def _option(option: str, name: str, field: FieldInfo) -> inspect.Parameter:
    """One keyword-only parameter that Typer turns into an option with bounds in its help."""
    bounds = {key: getattr(m, key) for m in field.metadata for key in ("ge", "le") if hasattr(m, key)}
    kind, optional = _plain_type(field.annotation)
    numeric = kind in (int, float)
    settings = typer.Option(
        option_name(option),
        help=field.description,
        min=bounds.get("ge") if numeric else None,
        max=bounds.get("le") if numeric else None,
        show_default=field.default is not None,
    )
    annotation = Annotated[kind | None if optional else kind, settings]
    return inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)


def _plain_type(annotation: Any) -> tuple[Any, bool]:
    """The bare type behind Annotated and Optional, and whether None is allowed."""
    if get_origin(annotation) is Annotated:
        return _plain_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        (kind,) = (a for a in get_args(annotation) if a is not type(None))
        return _plain_type(kind)[0], True
    if get_origin(annotation) is Literal:
        return annotation, False
    return annotation, False
