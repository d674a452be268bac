"""The rehearsal: the production scheduler with a virtual clock, in a virtual cluster, fed with any workload.

Covers: clusters and workloads as people write them, readers of recorded ones (a cluster's own journal among them), the
loop of events in virtual time, and reports on what came of it. `world.py` is the page to read first; `kos sim` is the
command. `again.py` decides a journal's frames again (`kos journal rehearse`).
Does not cover: faults, messages, the engine (`sim`); what happens live.
May import: `scheduler`, `spec`, `journal`, `model`, `plugins`, and of the engine who asks plug-ins. Chance comes from
one seed, time from the workload: same inputs, same bytes.
"""
