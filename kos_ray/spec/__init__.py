"""What people write: job documents, workflows and recorded workflow traces, and their way into the model.

Covers: units, the schemas of jobs in all forms that they are written in (`forms` makes house jobs of them), that
documents are read with, YAML and JSON with file:line errors, the JSON Schema for editors, the WfFormat importer, and
lowering to drafts: the model's specs with payloads, ready for a client to give them ids and send them.
Does not cover: ids and sending (`client`), running (`worker`), and whether a cluster has the room (`scheduler`).
May import: `model`, `timing`, pydantic, yaml. `replay` runs inside workers and imports the standard library only.
"""
