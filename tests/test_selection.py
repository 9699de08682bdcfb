"""The order in which tests run."""

import ast
from dataclasses import dataclass
from typing import Any

import pytest

from infra.paths import ROOT
from tests.kit.selection import LONGEST, longest_first


@dataclass(frozen=True)
class Named:
    nodeid: str


@pytest.mark.parametrize("name", LONGEST)
def test_the_longest_tests_are_there(name: str) -> None:
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    assert function in {getattr(node, "name", "") for node in tree.body}


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("others", [0, 7, 400])
def test_each_part_begins_with_its_share_of_the_longest_and_none_is_lost(parts: int, others: int) -> None:
    items: list[Any] = [Named(f"tests/test_a.py::test_{at}") for at in range(others)]
    items += [Named(f"{name}[{case}]") for name in LONGEST for case in range(2)]
    ordered = longest_first(items, parts)
    assert sorted(item.nodeid for item in ordered) == sorted(item.nodeid for item in items)
    longest = [f"{name}[{case}]" for name in LONGEST for case in range(2)]
    at, left = 0, len(items)
    for part in range(parts):
        size = left // (parts - part)
        mine = longest[part::parts]
        assert [item.nodeid for item in ordered[at : at + len(mine)]] == mine
        at, left = at + max(size, len(mine)), left - max(size, len(mine))
