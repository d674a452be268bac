"""The `kos` command: what people type.

Covers: arguments, texts, tables, `--json`, live progress and exit codes; one file per noun.
Does not cover: any logic. What a command does is one call of the client; what it shows is one call of `observe`.
May import: `model`, `spec`, `observe`, `client`, `runtime.connect`, typer, rich. Everything heavy is imported inside of
the commands, so that `kos --help` answers at once.
"""
