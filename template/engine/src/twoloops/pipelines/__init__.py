"""The graph of dvc.yaml, and what runs it: this machine here, platforms in their own rooms.

`graph` reads it. `local` runs it on this machine. `remote` says what a run elsewhere has to be handed, and runs one
step there; each platform adds how its own service is told of steps and of their order.
"""
