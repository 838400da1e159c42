"""Floor 4: a module lives: its handle, life, loop, hooks and handlers, in our process or in one of its own."""
