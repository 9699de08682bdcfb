"""A process with a worker's settings, killed with the tests."""

import os
import subprocess
import sys

from infra.local import die_with_parent


def start(module: str = "workers", **environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, die_with_parent.__file__, str(os.getpid()), sys.executable, "-m", module]
    return subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True)
