"""`python -m infra.bench [ROW ...]`: `fleet bench` where it is not installed as one."""

import typer

from infra.bench.report import bench

if __name__ == "__main__":
    typer.run(bench)
