"""Commands that are imported when they are run: until then a name and a sentence stand for each of them.

So a help loads none, and a command only what itself needs: some bring Polars, the feed or the clients of all venues,
each half a second.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class LazyCommand(NamedTuple):
    """`place`: a function, or the Typer of a group, as `module:name`. `summary`: as its own help begins."""

    place: str
    summary: str


def lazy_group(
    listed: Mapping[str, LazyCommand],
    callback: Callable[..., None],
    begin: Callable[[Mapping[str, Any], list[str]], None],
    **options: Any,
) -> typer.Typer:
    """Return a group of these commands, by their names. `options`: those of Typer.

    `callback`: has the options of the group itself. `begin` is called before a command is, once that is imported,
    with the group's options and the command's own arguments.
    """

    class Group(TyperGroup):
        def __init__(self, **made: Any) -> None:
            super().__init__(**made)
            for name, command in listed.items():
                self.add_command(TyperCommand(name, help=command.summary))

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            name, named, rest = super().resolve_command(ctx, args)
            loaded = _loaded(name, listed[name].place, options) if name else named
            begin(ctx.params, rest)
            return name, loaded, rest

    return _group(options, callback, cls=Group)


def _loaded(name: str, place: str, options: Mapping[str, Any]) -> Any:
    module, _, attribute = place.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    parent = _group(options, lambda: None)
    if isinstance(found, typer.Typer):
        parent.add_typer(found, name=name)
    else:
        parent.command(name)(found)
    made = typer.main.get_command(parent)
    assert isinstance(made, TyperGroup)
    return made.commands[name]


def _group(options: Mapping[str, Any], callback: Callable[..., None], **more: Any) -> typer.Typer:
    """A group, however few commands there are."""
    made = typer.Typer(**options, **more)
    made.callback()(callback)
    return made
