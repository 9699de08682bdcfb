"""The order in which the files of an import are read, and where an interrupted one goes on."""

from collections.abc import Sequence
from dataclasses import dataclass

from workers.imports.files import Readable, recording


@dataclass(frozen=True, slots=True)
class Position:
    """Where an interrupted import goes on: the file to read first, and the last day that was written (-1: none)."""

    recording: str
    file: int = 0
    day_ms: int = -1

    @classmethod
    def of(cls, text: str, recording: str) -> "Position":
        """Of another recording, or none: from the beginning."""
        name, _, numbers = text.partition(":")
        if name != recording:
            return cls(recording)
        file, day_ms = map(int, numbers.split(":"))
        return cls(recording, file, day_ms)

    def __str__(self) -> str:
        return f"{self.recording}:{self.file}:{self.day_ms}"


@dataclass(frozen=True, slots=True)
class FileOrder:
    """Files by the time of their first good row, which is `first_ms`: -1 where none is near the file's beginning."""

    files: list[Readable]
    first_ms: list[int]
    recording: str

    def last_ms(self) -> int:
        """The newest time, as far as first rows and the end of the last file tell; -1 if nothing does."""
        return max([-1, *self.first_ms, *(file.last_ms() for file in self.files[-1:])])


def in_order(files: Sequence[Readable]) -> FileOrder:
    heads = ((file.first_ms(), str(file.path), file) for file in files)
    timed = sorted(((-1 if ms is None else ms, path, file) for ms, path, file in heads), key=lambda row: row[:2])
    order = [file for *_, file in timed]
    return FileOrder(order, [ms for ms, *_ in timed], recording(order))
