"""The text that `kos init` writes."""

STARTER = """\
# A workflow for kos_ray. Check it with `kos validate kos.yaml`, run it with `kos submit kos.yaml --wait`.
# Jobs are named starter/prepare, starter/work.0, ...: names are unique, so change `name` before you submit it again.
name: starter

jobs:
  # A command for the shell. A list such as ["python", "train.py"] is run without a shell.
  - id: prepare
    run: echo "prepared on $(hostname)"
    timeout: 1m            # it is ended after that; 30s, 5m, 2h
    retry: 2               # tried again after a failure, with a pause that grows
    backoff: {first: 1s, factor: 2, max: 1m}

  # An array: eight jobs of one kind, each with a state and a result of its own.
  - id: work
    entry: "random:random" # a Python function, "module:function", of this folder or one that every node has
    count: 8
    after: [prepare]       # starts when prepare has succeeded
    priority: low          # critical, high, interactive, normal, low, background; or 0 to 5
    resources: {cpu: 0.5}  # also gpu: 1, memory: 512MiB, custom: {licence: 1}

  # Takes the list of their results as its argument, which makes it wait for them.
  - id: mean
    entry: "statistics:fmean"
    args: [{from: work}]
    tags: [report]

  # Runs however the others ended: ok, any and not_ok say what a job waits for.
  - id: goodbye
    run: ["echo", "done"]
    after: {any: [mean]}
"""
