"""The OpenAPI document against a feed that runs: what it allows is answered as it says, what it forbids is refused."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.books import example_chunk, put_book, put_chunks
from tests.kit.processes.feed import running_feed
from tests.kit.writer import INSTRUMENT, Writer, random_step
from tests.scale import SCALE, scaled

SEED = 14
EXAMPLES = 20
# Every value at and beyond its bounds is some 2,000 requests: with all that is counted.
PHASES = "coverage,fuzzing" if SCALE >= 1 else "fuzzing"
# A symbol is one that is registered: others are in the tests of bad input. And what a schema can't say of a value, such
# as a start behind an end, is refused as any bad input is.
CONFIG = f"""
[parameters]
"path.symbol" = "{INSTRUMENT.symbol}"

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "404", "429"]
"""


@pytest.mark.process
@pytest.mark.timeout(300)
async def test_a_running_feed_is_as_its_document_says(writer: Writer, redis_url: str, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    for _ in range(60):
        await random_step(writer, rng)
    await put_book(writer)
    await put_chunks(writer, example_chunk())
    async with running_feed(redis_url, tmp_path) as feed:
        done = await asyncio.to_thread(schemathesis, feed.port, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def schemathesis(port: int, folder: Path) -> "subprocess.CompletedProcess[str]":
    (folder / "schemathesis.toml").write_text(CONFIG, "utf-8")
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"http://127.0.0.1:{port}/openapi.json"]
    options = ["--seed", str(SEED), "--max-examples", str(scaled(EXAMPLES)), "--phases", PHASES, "--no-color"]
    return subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True)
