"""Where things lie on this machine."""

from pathlib import Path

# The project's folder: the Procfile is here, and relative data folders start here.
ROOT = Path(__file__).resolve().parent.parent


def data_folder(data_dir: Path) -> Path:
    """The absolute data folder. A relative one starts at the project, so that every shell means the same store."""
    return ROOT / data_dir.expanduser()
