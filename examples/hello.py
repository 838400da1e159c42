"""The smallest module: one request handler. Load it with ``brokersim module load ./examples/hello.py``."""

from brokersim.brokermod import BrokerModule, request_handler


class Hello(BrokerModule):
    @request_handler("info")
    def info(self, msg):
        self.handle.respond(msg, {"hello": self.name, "rank": self.handle.rank})
