"""What is known of a Ray head before Ray is asked."""

import socket

import pytest

from kos_ray.model.errors import ClusterUnreachable
from kos_ray.runtime import connect
from kos_ray.runtime.head import free_port, nobody_at


def test_an_address_at_which_nobody_listens_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert nobody_at(f"127.0.0.1:{server.getsockname()[1]}") == ""
    address = f"127.0.0.1:{free_port()}"
    assert "refused" in nobody_at(address)
    assert nobody_at("127.0.0.1:99999")
    with pytest.raises(ClusterUnreachable, match=f"no Ray cluster answers at {address}: Connection refused"):
        connect.attach(address)


@pytest.mark.parametrize("address", ["auto", "local", "ray://10.0.0.1:10001"])
def test_what_is_no_host_and_port_is_left_to_ray(address: str) -> None:
    assert nobody_at(address) == ""
