"""`python -m infra.cli`: the `fleet` command where it is not installed as one."""

from infra.cli import main

main()
