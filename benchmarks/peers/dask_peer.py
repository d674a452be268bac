"""Dask distributed: two worker processes, nothing is stored."""

import distributed

from benchmarks.peers.talk import no_op, serve

if __name__ == "__main__":
    with distributed.Client(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as client:
        client.gather(client.map(no_op, range(100), pure=False))
        serve(
            f"Dask {distributed.__version__}",
            lambda count: client.gather(client.map(no_op, range(count), pure=False)),
            lambda item: client.submit(no_op, item, pure=False).result(),
        )
