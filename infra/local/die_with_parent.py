"""Run a command that does not outlive its parent: python die_with_parent.py PARENT_PID COMMAND [ARGUMENT ...]

A launcher that was killed can't stop anybody, and workers without one would run on for ever, unseen. So the kernel is
asked to send SIGKILL when the parent is gone: SIGKILL, since no process is left to follow up a SIGTERM, and the commit
protocol covers it. Linux only; elsewhere the command just runs.

The kernel means the parent's *thread*: start this from a main thread. A program of its own and not `preexec_fn`, as
that runs Python between fork and exec, which may hang in a parent with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def main() -> None:
    parent_pid, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent_pid):
            sys.exit("the parent was gone before the command could start")
    # Python ignores it, and the command would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
