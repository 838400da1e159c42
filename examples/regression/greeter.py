"""A module that greets in the words kept in the KVS under ``greeting``, and asks for them once."""

import msgspec

from brokersim.brokermod import BrokerModule, RequestError, request_handler, treeobj


class Hello(msgspec.Struct):
    """Payload of greeter.hello."""

    name: str


class Greeter(BrokerModule):
    words = None

    @request_handler("hello")
    async def hello(self, msg):
        name = msg.unpack(Hello).name
        if self.words is None:
            self.words = await self.ask()
        self.handle.respond(msg, {"text": f"{self.words} {name}"})

    async def ask(self):
        wanted = {"namespace": "primary", "flags": 0, "key": "greeting"}
        try:
            answer = await self.handle.call("kvs.lookup", wanted)
        except RequestError:
            return "Hello"
        return treeobj.val_bytes(answer["val"]).decode()
