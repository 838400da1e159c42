"""A program of your own, no broker: counts, gauges and timings, one packet a second.

brokersim stats serve --console &
python examples/stats_client.py 127.0.0.1:8125
"""

import sys
import time

import trio

from brokersim.statsd import StatsClient
from brokersim.statsd_server.udp import UdpSink


class Every:
    """Repeating timers in a trio nursery: the client starts one when something is queued, and cancels it."""

    def __init__(self, nursery):
        self.nursery = nursery

    def __call__(self, period, tick):
        scope = trio.CancelScope()
        self.nursery.start_soon(self.run, scope, period, tick)
        return scope

    async def run(self, scope, period, tick):
        with scope:
            while True:
                await trio.sleep(period)
                tick()


async def main(address, rounds=30):
    sink = UdpSink(address)
    async with trio.open_nursery() as nursery:
        stats = StatsClient(sink.send, prefix="shop", start_timer=Every(nursery), clock=time.perf_counter)
        for number in range(rounds):
            with stats.timer("checkout"):  # every sample is sent, in milliseconds
                await trio.sleep(0.05)
            stats.inc("orders")
            stats.gauge_set("queue", number % 7 - 3)  # below 0 is no trap here
        stats.close()  # what is queued goes out
    print(stats.statistics())


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
