"""`fleet token`: who may ask the feed."""

from enum import Enum
from typing import Annotated

import typer

from common.access import Role, new_token, parse_tokens
from common.errors import BadInput
from common.settings import load, variable

app = typer.Typer(help="Tokens for the feed.", no_args_is_help=True)


class RoleChoice(Enum):
    READ = "read"
    DRAW = "draw"
    TRADE = "trade"
    ADMIN = "admin"


@app.callback()
def group() -> None:
    """Tokens for the feed."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is: 1 to 32 of A-Z a-z 0-9 _ . -")],
    role: Annotated[
        RoleChoice, typer.Option(help="What it allows; each includes those before it. Reading is all there is yet.")
    ] = RoleChoice.READ,
) -> None:
    """Make a token and print it, this once, with the line to set for the feed: its SHA-256, not the token.

    The line keeps the tokens that are set in this shell. Taking one out of it takes the token back.

    Example:

    - `fleet token new alice --role read`
    """
    known = parse_tokens(load().api_tokens)
    try:
        token, kept = new_token(name, Role[role.name])
    except ValueError as error:
        raise BadInput(str(error)) from None
    if any(each.name == name for each in known):
        raise BadInput(f"name {name!r} has a token already: take it out of FLEET_API_TOKENS, or choose another name")
    print(f"the token of {name}, shown this once (FLEET_TOKEN, or the header 'Authorization: Bearer TOKEN'):")
    print(f"{token}")
    print("to be set for the feed:")
    print(f"{variable('api_tokens')}={','.join(map(str, (*known, kept)))}")
