"""A scheduler on Flux's own base class: of the jobs that wait, the shortest one that fits is next.

Knows nothing of protocols: `flux.scheduler` speaks with the job manager, its pool counts cores. The same file in both.
"""

import heapq

from flux.resource import InfeasibleRequest, InsufficientResources
from flux.scheduler import Scheduler


class Shortest(Scheduler):
    def schedule(self):
        """One pass: each job that fits gets its resources; those that don't stay, and nobody waits behind them."""
        for job in sorted(
            self._queue, key=lambda job: (-job.priority, job.resource_request.duration, job.jobid)
        ):
            try:
                taken = self.resources.alloc(job.jobid, job.resource_request)
            except InsufficientResources:
                continue
            except InfeasibleRequest as error:
                job.request.deny(str(error))
            else:
                job.request.success(taken, {"sched": {"resource_summary": taken.dumps()}})
            self._queue.remove(job)
            heapq.heapify(self._queue)
            yield  # let messages in; a new event starts the pass anew


def mod_main(h, *args):
    Shortest(h, *args).run()
