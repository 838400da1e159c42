"""Knows what a task finds in its environment and the folder a job may write to; not what is run there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brokersim.brokermod import Handle, jobid

from .plan import RunPlan, environment_of


def task_environment(
    handle: Handle, plan: RunPlan, jobspec: Mapping[str, Any], job: int, tmpdir: str
) -> dict[str, str]:
    """The jobspec's environment and what flux-core's shell adds; without one the broker's own. Raises ValueError."""
    asked = environment_of(jobspec)
    uri = handle.attr_get("local-uri")
    own = os.environ if asked is None else asked
    return {
        **own,
        # It may be that of the machine from which the job was submitted.
        **({"HOSTNAME": os.uname().nodename} if "HOSTNAME" in own else {}),
        **({"FLUX_URI": uri, "BROKERSIM_URI": uri} if uri else {}),
        **({"FLUX_JOB_TMPDIR": tmpdir} if tmpdir else {}),
        "FLUX_KVS_NAMESPACE": f"job-{job}",
        "FLUX_JOB_ID": jobid.encode(job),
        "FLUX_JOB_ID_PATH": f"/{jobid.encode(job)}",
        "FLUX_JOB_SIZE": str(plan.ntasks),
        "FLUX_JOB_NNODES": str(plan.nnodes),
    }


def make_tmpdir(handle: Handle, job: int) -> str:
    """The job's own folder below the instance's; ``""`` for an instance without one."""
    rundir = handle.attr_get("rundir")
    if not rundir:
        return ""
    folder = Path(rundir) / f"jobtmp-0-{jobid.encode(job)}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return str(folder)


def drop_tmpdir(folder: str) -> None:
    """With all that is in it."""
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
