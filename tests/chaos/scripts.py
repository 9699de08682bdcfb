"""Scripts with a guard cut out, for negative controls. The product has no such switch: only this process runs them."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.store import script


@contextmanager
def changed_script(name: str, change: Callable[[str], str]) -> Iterator[None]:
    """`change`: makes of the text of `scripts/<name>` the one that is run within."""
    was = script._FOLDER
    with tempfile.TemporaryDirectory() as folder:
        script._FOLDER = Path(shutil.copytree(was, Path(folder, "scripts")))
        changed = script._FOLDER / name
        changed.write_text(change(changed.read_text()))
        try:
            yield
        finally:
            script._FOLDER = was
