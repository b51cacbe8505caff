"""Become PostgreSQL: leave root behind, die with the parent, then exec. Run as a script, never imported.

Not a `preexec_fn`: that runs Python between fork and exec of a process with threads, where it can deadlock.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, uid: int, gid: int, at_death: int, command: list[str]) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After the change of user, which makes the kernel forget the wish.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, at_death)
    if os.getppid() != parent:  # the parent died before the wish was made
        sys.exit(1)
    os.umask(0o077)
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    ours, user, group, number = map(int, sys.argv[1:5])
    main(ours, user, group, number, sys.argv[5:])
