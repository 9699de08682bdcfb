"""Lua scripts as functions: keys and arguments by name, checked when the module that declares one is imported.

A script is declared by a function that is never called: it has the name of `scripts/<name>.lua`, and its parameters are
what the script takes (common.store.scripts has them all). The Lua finds each as a local of that name:

- a key: the attributes of SymbolKeys named in the decorator, and parameters of the type Key;
- a text or a number: as it was sent, '' for None. Numbers stay text: Lua 5.1 writes large ones with 14 digits;
- a flag (bool): true or false;
- a list (Values, Rows, Fields): where it lies, as in `for at = gap_puts.first, gap_puts.last, 2 do ... ARGV[at]`.

With `series=True` there is `all`, too: the series of minutes, with their keys (series.lua). With `levels` there is a
list of that name: of each level of tiles its `key`, `name`, `span_ms` and `source` (common.tiles).
"""

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, ParamSpec, Protocol, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from common.store.client import Argument, ask
from common.store.keys import SymbolKeys, series_arguments
from common.tiles import TileLevel

_FOLDER = Path(__file__).with_name("scripts")

# A key that is not named in the decorator, and keys of which there are as many as come: those last, and no series.
Key = Annotated[str, "key"]
Keys = Annotated[Sequence[str], "keys"]
# Lists of arguments: one by one, by groups of as many as the script says, and of a name and a value.
Values = Sequence[Argument]
Rows = Iterable[Sequence[Argument]]
Fields = Mapping[Any, Argument]

_SCALARS: tuple[Any, ...] = (str, bytes, int, Argument, str | None, int | None)
_LISTS: dict[Any, Callable[[Any], list[Argument]]] = {
    Values: list,
    Rows: lambda rows: list(chain.from_iterable(rows)),
    Fields: lambda fields: list(chain.from_iterable(fields.items())),
}
_LIST_FUNCTION = """\
local next_list = {at}
local function listed()
  local first = next_list + 1
  next_list = first + ARGV[next_list]
  return {{first = first, last = next_list - 1}}
end
"""

P = ParamSpec("P")


class Compiled(NamedTuple):
    """A script as a store knows it."""

    text: str
    # SHA-1.
    digest: str


class Runner(Protocol):
    """What sends a script to a store."""

    async def run(self, script: Compiled, keys: Sequence[str], arguments: Sequence[Argument]) -> list[Any]: ...


class Script(Generic[P]):
    """The declaration of `scripts/<name>.lua`. Its first lines tell what each name means, results and the data model.

    A line `-- with <other>.lua` stands for the text of that file: what several scripts do alike.
    """

    def __init__(
        self, declared: Callable[P, None], keys: Sequence[str], *, series: bool, levels: Sequence[TileLevel]
    ) -> None:
        self.name = declared.__name__.rstrip("_")
        self.keys = keys
        self.levels = levels
        self.series = series
        hints = {name: each.annotation for name, each in inspect.signature(declared).parameters.items()}
        self.own_keys = [name for name, hint in hints.items() if hint == Key]
        self.many_keys = [name for name, hint in hints.items() if hint == Keys]
        self.scalars = [name for name, hint in hints.items() if hint in _SCALARS]
        self.flags = [name for name, hint in hints.items() if hint is bool]
        self.lists = {name: _LISTS[hint] for name, hint in hints.items() if hint in _LISTS}
        self._check(hints)

    def of(self, client: Redis, keys: SymbolKeys | None = None) -> "Call[P]":
        """The script as a function. `keys`: what the keys of the decorator are attributes of."""
        return self.through(Alone(client), keys)

    def through(self, runner: Runner, keys: SymbolKeys | None = None) -> "Call[P]":
        return Call(self, runner, keys)

    def pack(self, *_: P.args, **named: P.kwargs) -> list[Argument]:
        """The arguments as `prelude` finds them: texts, flags, then the lists, each behind its length."""
        packed = ["" if named[name] is None else cast(Argument, named[name]) for name in self.scalars]
        packed += ["1" if named[name] else "" for name in self.flags]
        for name, flatten in self.lists.items():
            values = flatten(named[name])
            packed.append(len(values))
            packed += values
        return packed

    def prelude(self) -> str:
        """The Lua that gives each key and argument its name."""
        keys, arguments = [*self.keys, *self.own_keys], [*self.scalars, *self.flags]
        known = len(keys) + len(self.levels)
        lines = [f"local {', '.join(keys)} = unpack(KEYS)\n"] if keys else []
        lines += [f"local levels = {{{', '.join(self._levels(len(keys) + 1))}}}\n"] if self.levels else []
        lines += [f"local {name} = {{first = {known + 1}, last = #KEYS}}\n" for name in self.many_keys]
        if arguments:
            lines.append(f"local {', '.join(arguments)} = unpack(ARGV, 1, {len(arguments)})\n")
        lines += [f"{name} = {name} == '1'\n" for name in self.flags]
        if self.lists or self.series:
            lines.append(_LIST_FUNCTION.format(at=len(arguments) + 1))
            lines += [f"local {name} = listed()\n" for name in self.lists]
        if self.series:
            lines.append(f"{_text(_FOLDER, 'series')}local all = listed_series(listed())\n")
        return "".join(lines)

    def _levels(self, first_key: int) -> Iterator[str]:
        for at, level in enumerate(self.levels, start=first_key):
            told = f"name = '{level.name}', span_ms = {level.span_ms}, source = '{level.source}'"
            yield f"{{key = KEYS[{at}], {told}}}"

    def text(self) -> str:
        return self.prelude() + _text(_FOLDER, self.name)

    def compiled(self) -> Compiled:
        return _compiled(self.text())

    def _check(self, hints: Mapping[str, Any]) -> None:
        wrong = [name for name in self.keys if not hasattr(SymbolKeys, name)]
        told = {*self.own_keys, *self.many_keys, *self.scalars, *self.flags, *self.lists}
        wrong += [name for name in hints if name not in told]
        if wrong:
            raise TypeError(f"script {self.name} declares {', '.join(wrong)}, no key of a symbol, or of no known type")
        code = re.sub(r"--.*", "", _text(_FOLDER, self.name))
        named = (*self.keys, *hints, *(["levels"] if self.levels else []))
        unused = [name for name in named if not re.search(rf"\b{name}\b", code)]
        if unused:
            raise TypeError(f"{self.name}.lua does not use {', '.join(unused)}, which the script {self.name} declares")
        if re.search(r"\b(KEYS|ARGV)\[\d", code):
            raise TypeError(f"{self.name}.lua takes a key or an argument by its number, expected its name")


class Call(Generic[P]):
    """A script with its store and the keys that stay the same. It returns what the script does, once sent."""

    def __init__(self, script: Script[P], runner: Runner, keys: SymbolKeys | None) -> None:
        self._script = script
        self._compiled = script.compiled()
        self._runner = runner
        # Put together once, and not with every call.
        self._keys: list[str] = [getattr(keys, name) for name in script.keys]
        self._level_keys = [keys.tiles(level) for level in script.levels] if keys else []
        self._series_keys = keys.of_series() if keys and script.series else []
        series = series_arguments()
        self._series: list[Argument] = [len(series), *series] if script.series else []

    async def __call__(self, *args: P.args, **named: P.kwargs) -> list[Any]:
        own_keys = [cast(str, named[name]) for name in self._script.own_keys]
        keys = [*self._keys, *own_keys, *self._level_keys, *self._series_keys]
        for name in self._script.many_keys:
            keys += cast(Sequence[str], named[name])
        arguments = self._script.pack(*args, **named)
        arguments += self._series
        return await self._runner.run(self._compiled, keys, arguments)


class Alone:
    """Sends a script by its digest; a store that has lost its script cache (restart, failover) gets the text again."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def run(self, script: Compiled, keys: Sequence[str], arguments: Sequence[Argument]) -> list[Any]:
        command = "EVALSHA", script.digest, len(keys), *keys, *arguments
        result: list[Any]
        try:
            result = await ask(self._client, *command)
        except NoScriptError:
            # Not run.
            await self._client.script_load(script.text)
            result = await ask(self._client, *command)
        return result


def script(
    *keys: str, series: bool = False, levels: Sequence[TileLevel] = ()
) -> Callable[[Callable[P, None]], Script[P]]:
    """Declare a script. `keys`: attributes of SymbolKeys; `series`: the keys and names of all series come, too.

    `levels`: and those of these levels of tiles.
    """
    return lambda declared: Script(declared, keys, series=series, levels=levels)


@cache
def _text(folder: Path, name: str) -> str:
    """Read once, with the texts of the others that it names."""
    text = (folder / f"{name}.lua").read_text("utf-8")
    return re.sub(r"^-- with (\w+)\.lua$", lambda found: _text(folder, found[1]), text, flags=re.MULTILINE)


@cache
def _compiled(text: str) -> Compiled:
    """One for all symbols of a process."""
    return Compiled(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
