"""Services in the foreground, against `make up-infra`: for whoever works on them."""

import os
import signal
import subprocess
from collections.abc import Sequence

from deploy.local.mesh import ROOT
from deploy.local.program import Program


def run(programs: Sequence[Program]) -> int:
    """Runs them with this terminal as theirs until Ctrl-C or until one ends, then ends the rest and waits for them.

    Returns the exit status of the first to end.
    """
    # The shell's variables for whoever debugs, but no credentials for the executor, and nothing set to nothing.
    environment = {name: value for name, value in os.environ.items() if value and not name.endswith("_URL")}
    running = [
        subprocess.Popen(program.command, cwd=ROOT, env={**environment, **program.environment}) for program in programs
    ]
    try:
        first, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        for process in running:
            if process.pid == first:
                process.returncode = code
    except KeyboardInterrupt:
        # The terminal has sent SIGINT to the children too.
        code = 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(timeout=45)
        except subprocess.TimeoutExpired:
            process.kill()
    return code
