"""What `fleet replay` and `fleet import` end with where a trade came under the id of another one."""

from pathlib import Path

import pytest

from tests.infra.cli.test_symbols import Fleet, fleet

__all__ = ["fleet"]

HEADER = "ts_ms,price,size,side,id"
LINES = [f"{1_700_000_000_000 + 1_000 * n},100.25,0.5,buy,{n}" for n in range(10)]
OTHER = LINES[7].replace("100.25", "100.5")
SYMBOL = ("--symbol", "TEST:X", "--price-decimals", "2", "--size-decimals", "4")
BEFORE = "(their ids had been applied before)"


def written(path: Path, *lines: str) -> str:
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return str(path)


@pytest.mark.parametrize("command", [("replay",), ("import", "trades")])
def test_another_trade_under_an_id_is_exit_code_3_with_both_and_the_same_one_again_is_none(
    fleet: Fleet, tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = fleet(*command, written(tmp_path / "a.csv", *LINES[:8], OTHER, *LINES[5:]), *SYMBOL, "--ids", "contiguous")
    assert (done.code, done.err.count("Traceback")) == (3, 0)
    lines = done.out.splitlines()[-4:]
    assert lines == [
        "refused so far: 1 conflict",
        f"refused so far: 3 duplicate {BEFORE}",
        "refused now, as another trade had been applied under the id: 1",
        "  id 7: applied 1700000007000 buy 0.5 at 100.25, refused 1700000007000 buy 0.5 at 100.5",
    ]
    again = fleet(*command, written(tmp_path / "b.csv", LINES[8], LINES[9]), *SYMBOL, "--ids", "contiguous")
    assert again.code == 0 and f"refused so far: 5 duplicate {BEFORE}" in again.out and "  id " not in again.out
    new = LINES[7].replace("7000,", "9999,").replace(",7", ",10")
    more = fleet(*command, written(tmp_path / "c.csv", new, new.replace("0.5", "0.6")), *SYMBOL, "--ids", "contiguous")
    assert more.code == 3 and more.out.splitlines()[-1].startswith("  id 10: applied 1700000009999 buy 0.5 at 100.25, ")
