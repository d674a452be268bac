"""kos_ray: every job and outcome synced to disk before it counts."""

from benchmarks.jobs import two_cpus, warm
from benchmarks.peers.talk import no_op, serve
from kos_ray import __version__

if __name__ == "__main__":
    with two_cpus() as (client, _):
        serve(
            f"kos_ray {__version__}",
            lambda count: client.map(no_op, range(count)).results(300),
            lambda item: client.submit(no_op, item).result(60),
            warm=lambda: warm(client),
        )
