"""What infra/deploy holds for machines that keep processes running: units, an image, rules of alerts."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from infra.local import procfile
from infra.paths import ROOT

DEPLOY = ROOT / "infra" / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not on PATH")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong_with_a_unit_but_that_it_is_not_installed_here(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "is not executable: No such file" not in line]
    assert said == []


def test_there_is_a_unit_for_each_kind_of_process() -> None:
    commands = set(procfile.read(ROOT / "Procfile").values())
    started = {re.search(r"^ExecStart=.*/python (-m .*)$", unit.read_text(), re.MULTILINE) for unit in UNITS}
    assert {f"python {found[1]}" for found in started if found} == commands


def test_the_image_has_the_packages_and_a_command_that_no_shell_stands_before() -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert all((ROOT / each).exists() for each in copied)
    assert {"common", "workers", "feed", "infra"} <= set(copied)
    (command,) = (line.removeprefix("CMD ") for line in lines if line.startswith("CMD"))
    assert json.loads(command) == ["python", "-m", "feed"]


def test_alerts_ask_for_metrics_that_there_are() -> None:
    rules = [rule for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
    source = (ROOT / "feed" / "metrics.py").read_text()
    for rule in rules:
        (name,) = set(re.findall(r"\b(?:fleet|feed)_[a-z_]+", rule["expr"]))
        assert f'"{name.removesuffix("_total")}"' in source, name
        assert rule["annotations"]["summary"]
