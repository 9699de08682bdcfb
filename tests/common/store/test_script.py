"""Declarations of scripts: names that both sides know, and what is refused when a module is imported."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from common.store import script as scripting
from common.store import scripts
from common.store.keys import SymbolKeys
from common.store.script import Fields, Key, Keys, Rows, Script, Values, script

KEYS = SymbolKeys("V:A")
FOLDER = Path(inspect.getfile(scripts)).parent


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], object]:
    """Writes a script of the test's own, by its name."""
    monkeypatch.setattr(scripting, "_FOLDER", tmp_path)
    (tmp_path / "series.lua").write_text((FOLDER / "series.lua").read_text())
    return lambda name, text: (tmp_path / f"{name}.lua").write_text(text)


def test_every_file_is_declared_or_part_of_another() -> None:
    texts = {path.stem: path.read_text() for path in FOLDER.glob("*.lua")}
    declared = {each.name for each in vars(scripts).values() if isinstance(each, Script)}
    parts = {name for name in texts if any(f"-- with {name}.lua\n" in text for text in texts.values())}
    assert declared | parts | {"series"} == set(texts)
    assert not declared & parts


async def test_the_script_finds_what_it_is_told_by_name(client: Redis, write: Callable[[str, str], object]) -> None:
    text = """
        local function of(list)
          local found = {}
          for at = list.first, list.last do found[#found + 1] = ARGV[at] end
          return table.concat(found, ',')
        end
        return {state, late, KEYS[many.first] .. KEYS[many.last], text, number, none, yes and 'yes' or '',
          no and 'no' or '', of(values), of(rows), of(fields), of(empty)}
    """
    write("told", text)

    def told(
        *,
        late: Key,
        many: Keys,
        text: str,
        values: Values,
        number: int,
        yes: bool,
        empty: Values,
        none: int | None,
        rows: Rows,
        no: bool,
        fields: Fields,
    ) -> None: ...

    found = await script("state")(told).of(client, KEYS)(
        late="l",
        many=["m", "n"],
        text="t",
        values=["a", b"b"],
        number=1,
        yes=True,
        empty=(),
        none=None,
        rows=iter([(1, "x"), (2, "y")]),
        no=False,
        fields={"f": 1, "g": b"2"},
    )
    expected = [KEYS.state, "l", "mn", "t", "1", "", "yes", "", "a,b", "1,x,2,y", "f,1,g,2", ""]
    assert [value.decode() for value in found] == expected


async def test_the_series_of_minutes_come_with_their_keys(client: Redis, write: Callable[[str, str], object]) -> None:
    write("told", "return {manifest, all[1].name, all[1].floor, all[1].open, all[1].sealed, all[2].archived}")

    def told(*, manifest: Key) -> None: ...

    found = await script(series=True)(told).of(client, KEYS)(manifest="m")
    candles = [KEYS.candles, KEYS.sealed("candles"), KEYS.archived("footprints")]
    assert [value.decode() for value in found] == ["m", "candles", "candle_floor_ms", *candles]


def of_no_type(*, what: float) -> None: ...


def of_a_name(*, what: str) -> None: ...


@pytest.mark.parametrize(
    ("keys", "declared", "text", "error"),
    [
        (["stat"], of_a_name, "return {stat, what}", "declares stat, no key of a symbol"),
        ([], of_no_type, "return {what}", "declares what, no key of a symbol, or of no known type"),
        (["state"], of_a_name, "return {state} -- what", "does not use what"),
        (["state"], of_a_name, "return {what}", "does not use state"),
        ([], of_a_name, "return {what, ARGV[1]}", "by its number"),
        ([], of_a_name, "return {what, KEYS[1]}", "by its number"),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_declared(
    write: Callable[[str, str], object], keys: list[str], declared: Any, text: str, error: str
) -> None:
    write(declared.__name__, text)
    with pytest.raises(TypeError, match=error):
        script(*keys)(declared)
