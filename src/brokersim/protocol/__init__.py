"""Floor 1: values and bytes. Messages, frames, topics, KVS objects, tree arithmetic; no clock, no socket."""
