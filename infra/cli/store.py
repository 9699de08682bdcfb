"""`fleet store`: the store itself."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from common.errors import BadInput
from common.redact import redacted_url
from common.settings import load
from common.store.console import SUBSCRIBES, Console, console
from infra.cli.options import DataOption, store_url

app = typer.Typer(help="The store itself: its address, and any command of Redis on it.", no_args_is_help=True)

CLIENTS = ("valkey-cli", "redis-cli")


@app.command()
def url(data: DataOption = None) -> None:
    """Print the store's address, as REDIS_URL takes it.

    Example: `REDIS_URL=$(fleet store url) python docs/examples/redis_subscriber.py`
    """
    print(store_url(load(), data, whatever_it_is=True))


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def cli(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND...]", show_default=False, help="With its arguments. Default: those you type."),
    ] = None,
    data: DataOption = None,
) -> None:
    """Run a command of Redis on the store: by valkey-cli or redis-cli where one is installed, else by a plain client.

    Reading is always safe. Of what is written by hand no worker knows: docs/protocol.md says what may be.

    Examples:

    - `fleet store cli HGETALL '{SIMULATED:BTCUSD}:state'`
    - `fleet store cli SUBSCRIBE '{SIMULATED:BTCUSD}:candles:1m'`
    """
    place = store_url(load(), data, whatever_it_is=True)
    for name in CLIENTS:
        if found := shutil.which(name):
            where = ["-s", unquote(urlsplit(place).path)] if place.startswith("unix:") else ["-u", place]
            os.execv(found, [name, *where, *(command or [])])
    with console(place) as answered:
        for words in [command] if command else _typed(place):
            _run(answered, words)


def _run(answered: Console, words: list[str]) -> None:
    is_heard = words[0].upper() in SUBSCRIBES
    try:
        for answer in answered(words):
            for line in [answer.decode(errors="backslashreplace")] if is_heard else _lines(answer):
                print(line, flush=True)
    except BadInput as error:
        print(f"(error) {error}", flush=True)


def _typed(place: str) -> Iterator[list[str]]:
    prompt = f"{redacted_url(place)}> " if sys.stdin.isatty() else ""
    while True:
        try:
            words = shlex.split(input(prompt))
        except EOFError:
            return
        except ValueError as error:
            raise BadInput(f"the line can't be read: {error}") from None
        if words:
            yield words


def _lines(answer: Any) -> Iterator[str]:
    """As redis-cli shows it: lists numbered, texts in quotes."""
    if isinstance(answer, list):
        for number, each in enumerate(answer, 1):
            first, *rest = _lines(each)
            yield f"{number}) {first}"
            yield from (f"   {line}" for line in rest)
        if not answer:
            yield "(empty)"
    elif answer == b"OK":
        yield "OK"
    elif isinstance(answer, bytes):
        yield f'"{answer.decode(errors="backslashreplace")}"'
    elif isinstance(answer, int):
        yield f"(integer) {answer}"
    else:
        yield "(nil)" if answer is None else str(answer)
