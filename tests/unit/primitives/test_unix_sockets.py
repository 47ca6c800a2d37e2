"""Unix sockets below paths of any length."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from keylease.primitives.unix_sockets import LONGEST, socket_name


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no name for a descriptor")
@pytest.mark.parametrize("depth", [1, 8])
def test_a_socket_is_bound_and_reached_at_any_depth(tmp_path: Path, depth: int) -> None:
    directory = tmp_path.joinpath(*["a-directory-of-a-test"] * depth)
    directory.mkdir(parents=True)
    path = directory / "control.sock"
    assert depth == 1 or len(str(path)) > LONGEST
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        with socket_name(path) as name:
            listener.bind(name)
        listener.listen()
        assert path.is_socket()
        with socket_name(path) as name:
            client.connect(name)
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"here")
        assert client.recv(10) == b"here"


def test_a_missing_directory_is_an_error_of_the_system(tmp_path: Path) -> None:
    far = tmp_path.joinpath(*["nowhere"] * 20) / "control.sock"
    with pytest.raises(OSError, match="No such file"), socket_name(far) as name:
        Path(name).stat()
