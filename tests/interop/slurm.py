"""Knows how a real Slurm is started for tests: a controller and two nodes of this machine, with keys of their own.

Debian's packages slurm-wlm and munge (`make peers`). What is missing is skipped with its reason.
"""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.interop.peers import debian, free_port, process, until

_CONFIG = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1
SchedulerType=sched/builtin
MaxArraySize=6
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
NodeName=one NodeAddr=127.0.0.1 Port={one} CPUs=1 State=UNKNOWN
NodeName=two NodeAddr=127.0.0.1 Port={two} CPUs=1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """A Slurm of two nodes; the environment in which its commands reach it. Skips where it is not installed."""
    munged, controller, node = debian("munged"), debian("slurmctld"), debian("slurmd")
    for name in ("munge", "state"):
        (folder / name).mkdir(mode=0o755)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    ports = {name: free_port() for name in ("port", "one", "two")}
    config = folder / "slurm.conf"
    config.write_text(_CONFIG.format(folder=folder, user=getpass.getuser(), **ports))
    environment = {**os.environ, "SLURM_CONF": str(config)}
    own = [f"--{name}={folder}/munge/{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
    with ExitStack() as stack:

        def begin(*command: str) -> None:
            log = folder / f"{Path(command[0]).name}.{command[-1][-3:]}.out"
            stack.enter_context(process(list(command), log, SLURM_CONF=str(config)))

        begin(munged, "-F", "-f", f"--key-file={key}", *own)
        until(lambda: (folder / "munge" / "socket").exists(), "munged")
        begin(controller, "-D", "-f", str(config))
        for name in ("one", "two"):
            begin(node, "-D", "-f", str(config), "-N", name)

        def is_up() -> bool:
            told = subprocess.run(
                ["sinfo", "-h", "-N", "-o", "%T"], env=environment, capture_output=True, text=True
            )
            return told.stdout.split() == ["idle", "idle"]

        until(is_up, "two idle nodes")
        yield environment
