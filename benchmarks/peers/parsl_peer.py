"""Parsl: its high-throughput executor with two workers, nothing is stored."""

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

from benchmarks.peers.talk import no_op, serve, state_folder

if __name__ == "__main__":
    provider = LocalProvider(init_blocks=1, max_blocks=1)
    executor = HighThroughputExecutor(max_workers_per_node=2, cores_per_worker=0.1, provider=provider)
    config = Config(executors=[executor], run_dir=str(state_folder() / "parsl"), strategy="none")
    with parsl.load(config):
        app = parsl.python_app(no_op)
        app(0).result()
        serve(
            f"Parsl {parsl.__version__}",
            lambda count: [one.result() for one in [app(item) for item in range(count)]],
            lambda item: app(item).result(),
        )
