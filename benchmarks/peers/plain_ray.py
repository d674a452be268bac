"""Plain Ray tasks: nothing is stored."""

import ray

from benchmarks.peers.talk import no_op, serve

if __name__ == "__main__":
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="error")
    task = ray.remote(no_op)
    ray.get([task.remote(item) for item in range(1_000)])
    serve(
        f"Ray {ray.__version__}",
        lambda count: ray.get([task.remote(item) for item in range(count)]),
        lambda item: ray.get(task.remote(item)),
    )
    ray.shutdown()
