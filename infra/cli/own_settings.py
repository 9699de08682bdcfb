"""Where a command's settings come from: its environment, else the file of its data folder, or one that is named."""

import os
from collections.abc import Sequence
from pathlib import Path

from common.settings import Settings, variable
from infra import settings_file
from infra.paths import data_folder


def take_in(chosen: Path | None, arguments: Sequence[str]) -> None:
    """Take in the settings of the file that --env named, else of the data folder, which the arguments may name.

    Raises OperatorError.
    """
    if chosen:
        settings_file.take_in(chosen, must_be_there=True)
    else:
        settings_file.take_in(data_folder(_named(arguments) or _usual()) / settings_file.NAME)


def _usual() -> Path:
    return Path(os.environ.get(variable("data_dir")) or str(Settings.model_fields["data_dir"].default))


def _named(arguments: Sequence[str]) -> Path | None:
    """What --data says: asked before the command reads its arguments, for it may read settings while it does."""
    for at, each in enumerate(arguments):
        name, given, value = each.partition("=")
        if name == "--data":
            value = value if given else "".join(arguments[at + 1 : at + 2])
            return Path(value).expanduser().resolve() if value else None
    return None
