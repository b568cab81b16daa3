"""The real data server process, killed, restarted, without space, and with clients that give up or are not entitled."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flops.adapters.flight import connect
from flops.data.catalogue import Catalogue
from flops.data.server import DataServer, write_address
from flops.errors import DataUnavailableError
from flops.wire.training_data import ADDRESS_FILE, DataServerAddress, PutPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NODE = "local"
DEADLINE_S = 20.0
SERVE = """
import signal, sys, threading
from pathlib import Path
from types import SimpleNamespace
from flops.data.service import run
from flops.endpoint import Endpoint
from flops.settings import Settings

stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())
identity = SimpleNamespace(node="local")
settings = Settings(home=Path(sys.argv[1]))
context = SimpleNamespace(identity=identity, settings=settings, stopping=stopping, endpoint=Endpoint())
sys.exit(run(context, lambda tags: print(sorted(tags.items()), flush=True)))
"""


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        os.sched_yield()


@contextlib.contextmanager
def _server_process(home: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(home)], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def _server(node_directory: Path) -> Iterator[DataServer]:
    with DataServer(Catalogue(node_directory / "data"), on_change=lambda: None) as server:
        write_address(server.address, node_directory)
        yield server


def _raw_put(address: DataServerAddress, order: PutPartition, schema: pa.Schema) -> fl.FlightStreamWriter:
    options = fl.FlightCallOptions(headers=[(b"authorization", address.authorization.encode())])
    client = fl.connect(address.url, generic_options=[("grpc.enable_http_proxy", 0)])
    writer, _ = client.do_put(fl.FlightDescriptor.for_command(order.encode()), schema, options=options)
    return writer


def _rows(count: int) -> pa.Table:
    return pa.table({"x": list(range(count))})


def test_a_server_killed_in_the_middle_of_a_put_keeps_the_old_content(tmp_path: Path) -> None:
    node_directory = tmp_path / "nodes" / NODE
    folder = node_directory / "data" / "t"
    new = _rows(200_000)
    with _server_process(tmp_path) as process:
        connect(node_directory, patience_s=DEADLINE_S).put("t", "p", _rows(10))
        order = PutPartition(tag="t", name="p", examples=new.num_rows)
        writer = _raw_put(DataServerAddress.read(node_directory), order, new.schema)
        writer.write_table(new.slice(0, 100_000))
        _wait_until(lambda: any(path.stat().st_size for path in folder.glob("*.unfinished")))
        process.send_signal(signal.SIGKILL)
        process.wait()
        with contextlib.suppress(fl.FlightError, pa.ArrowException, OSError):
            writer.close()
    assert list(folder.glob("*.unfinished"))

    with _server_process(tmp_path):
        training_data = connect(node_directory, patience_s=DEADLINE_S)
        assert training_data.fetch(["t"], share=0, shares=1).equals(_rows(10))
        assert [path.name for path in folder.iterdir()] == ["p.parquet"]
        training_data.put("t", "p", new)
        assert training_data.fetch(["t"], share=0, shares=1).equals(new)


def test_a_client_survives_the_restart_of_its_server_at_another_port(tmp_path: Path) -> None:
    with _server(tmp_path) as first:
        training_data = connect(tmp_path)
        training_data.put("t", "p", _rows(3))
    with _server(tmp_path) as second:
        assert second.address != first.address
        assert training_data.fetch(["t"], share=0, shares=1).num_rows == 3
        assert training_data.put("t", "q", _rows(4)).examples == 4
        assert len(training_data.partitions()) == 2
        assert training_data.delete("t") == 2


def test_the_announcement_follows_the_data_and_is_taken_back(tmp_path: Path) -> None:
    node_directory = tmp_path / "nodes" / NODE
    with _server_process(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "[]\n"
        training_data = connect(node_directory, patience_s=DEADLINE_S)
        training_data.put("a", "p", _rows(3))
        assert process.stdout.readline() == "[('a', 3)]\n"
        training_data.put("b", "p", _rows(4))
        assert process.stdout.readline() == "[('a', 3), ('b', 4)]\n"
        training_data.delete("a")
        assert process.stdout.readline() == "[('b', 4)]\n"
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    assert not (node_directory / ADDRESS_FILE).exists()


def test_without_a_server_the_error_names_the_node(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match=f"data server of node '{tmp_path.name}' does not answer"):
        connect(tmp_path, patience_s=0).partitions()
    with _server(tmp_path):
        pass
    with pytest.raises(DataUnavailableError, match="does not answer"):
        connect(tmp_path, patience_s=0).fetch(["t"], share=0, shares=1)


def test_a_damaged_address_is_no_address(tmp_path: Path) -> None:
    (tmp_path / ADDRESS_FILE).write_text('{"url": ')

    with pytest.raises(DataUnavailableError, match="has not announced its address"):
        connect(tmp_path, patience_s=0).partitions()


def test_only_the_holder_of_the_token_is_answered(tmp_path: Path) -> None:
    with _server(tmp_path) as server:
        connect(tmp_path).put("t", "p", _rows(3))
        forged = DataServerAddress(url=server.address.url, token="guessed")  # noqa: S106  no secret
        write_address(forged, tmp_path)
        with pytest.raises(DataUnavailableError, match="token"):
            connect(tmp_path, patience_s=0).partitions()
        with (
            fl.connect(server.address.url, generic_options=[("grpc.enable_http_proxy", 0)]) as client,
            pytest.raises(fl.FlightUnauthenticatedError),
        ):
            list(client.do_action(fl.Action("list", b"{}")))


def test_the_address_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    with _server(tmp_path):
        assert (tmp_path / ADDRESS_FILE).stat().st_mode & 0o777 == 0o600
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_client_that_stops_half_way_stores_nothing(tmp_path: Path) -> None:
    with _server(tmp_path) as server:
        training_data = connect(tmp_path)
        training_data.put("t", "p", _rows(3))
        writer = _raw_put(server.address, PutPartition(tag="t", name="p", examples=100), _rows(100).schema)
        writer.write_table(_rows(50))
        with pytest.raises(fl.FlightServerError, match=r"data\.unavailable"):
            writer.close()

        assert training_data.fetch(["t"], share=0, shares=1).num_rows == 3
        assert [path.name for path in (tmp_path / "data" / "t").iterdir()] == ["p.parquet"]


def test_a_disk_without_space_is_a_clear_error_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    with _server(tmp_path):
        training_data = connect(tmp_path)
        training_data.put("t", "p", _rows(3))
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
        try:
            with pytest.raises(DataUnavailableError, match=r"t/p cannot be stored: File too large.*space"):
                training_data.put("t", "p", _rows(1_000_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

        assert training_data.fetch(["t"], share=0, shares=1).num_rows == 3
        assert [path.name for path in (tmp_path / "data" / "t").iterdir()] == ["p.parquet"]
