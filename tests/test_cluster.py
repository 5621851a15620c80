"""Painting on a Ray cluster of two workers on this machine: the same files as here, whatever happens to the workers."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from clips import Clip, film

from stdvid import journal
from stdvid.batch import Archive, stylize_all
from stdvid.cluster import Cluster, _fitting, moved
from stdvid.config import StylizeConfig
from stdvid.errors import ClusterError, Interrupted, ModelError, UsageError
from stdvid.following import Trail
from stdvid.painter import Handed
from stdvid.schema import merge
from stdvid.stylize import Job, plan, run

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """A cluster: a head that works on nothing, and two workers of one CPU each."""
    from ray.cluster_utils import Cluster as Machines

    cluster = Machines(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def cluster(machines: Any) -> Iterator[Cluster]:
    with Cluster(machines.address) as connected:
        yield connected


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of several threads may be rounded otherwise than those of one."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def job(source: Path, style: Path, output: Path, mode: str = "full", **options: Any) -> Job:
    sections = {
        "sampling": {"steps": 2, "style_guidance": 2},
        "video": {"size": 32, "window": 4, "overlap": 2, "consistency": mode},
        "encode": {"enc": {"preset": "ultrafast"}},
    }
    config = merge(StylizeConfig(), sections)
    return Job(**{"source": source, "styles": (style,), "output": output, "config": config, "threads": 1, **options})


@pytest.mark.parametrize("address", ["", "foo", "ray://", "127.0.0.1", "host:port"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=f"--ray '{address}' is no address; HOST:PORT"), Cluster(address):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "no such host:1"])
def test_where_no_cluster_is_it_is_said_at_once(address: str) -> None:
    with pytest.raises(ClusterError, match=f"--ray {address}: no cluster there"), Cluster(address):
        pass


@pytest.mark.parametrize(
    "mode",
    [pytest.param("none", marks=pytest.mark.slow), pytest.param("noise", marks=pytest.mark.slow), "flow", "full"],
)
def test_the_same_file_as_here(clip: Clip, style: Path, tmp_path: Path, cluster: Cluster, mode: str) -> None:
    source = film(clip)
    here, there = (job(source, style, tmp_path / f"{name}.mkv", mode) for name in ("here", "there"))
    run(plan(here))
    result = run(plan(there, cluster.devices()), cluster=cluster)
    assert result.frames == 16
    assert result.network_seconds > 0
    assert there.output.read_bytes() == here.output.read_bytes()


def test_a_run_begun_on_a_cluster_can_be_ended_here(clip: Clip, style: Path, tmp_path: Path, cluster: Cluster) -> None:
    source, stop = film(clip, 24), threading.Event()
    whole, parts = (job(source, style, tmp_path / f"{name}.mp4") for name in ("whole", "parts"))
    with pytest.raises(Interrupted, match="frames are kept"):
        run(plan(parts), lambda now: stop.set(), stop, cluster)
    result = run(plan(parts))
    run(plan(whole), cluster=cluster)
    assert 0 < result.resumed < 24
    assert parts.output.read_bytes() == whole.output.read_bytes()


def test_many_items_one_of_them_bad(clip: Clip, style: Path, tmp_path: Path, cluster: Cluster) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    sources = [film(clip), bad, film(clip, 9), style]
    jobs = [job(source, style, tmp_path / "out" / f"{n}{source.suffix}") for n, source in enumerate(sources)]
    outcomes = list(stylize_all(jobs, Archive(None), threading.Event(), cluster=cluster))
    assert {outcome.job.output.name: outcome.status for outcome in outcomes} == {
        "0.mp4": "done",
        "1.mp4": "failed",
        "2.mp4": "done",
        f"3{style.suffix}": "done",
    }
    for item in (jobs[0], jobs[3]):
        alone = dataclasses.replace(item, output=tmp_path / item.output.name)
        run(plan(alone))
        assert alone.output.read_bytes() == item.output.read_bytes()


def test_workers_of_another_version_are_refused(
    clip: Clip, style: Path, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stdvid.cluster.__version__", "0.0.1")
    wanted = job(film(clip), style, tmp_path / "out.mkv")
    with pytest.raises(ModelError, match=r"0\.0\.1 is needed, as here"):
        run(plan(wanted), cluster=cluster)
    assert not any(thread.name == "stdvid-decode" for thread in threading.enumerate())
    assert not journal.folder_of(wanted.output).exists()


def test_where_no_worker_is_large_enough_it_ends(clip: Clip, style: Path, tmp_path: Path, cluster: Cluster) -> None:
    wanted = job(film(clip), style, tmp_path / "out.mkv", threads=64)
    wanted = dataclasses.replace(wanted, limits=dataclasses.replace(wanted.limits, stall=1))
    with pytest.raises(ClusterError, match=r"no worker with 64 CPUs, \d+ MiB in 1 s; .*lower --threads"):
        run(plan(wanted), cluster=cluster)


def test_a_lost_worker_costs_time_and_no_frames(
    clip: Clip, style: Path, tmp_path: Path, machines: Any, cluster: Cluster
) -> None:
    """Last of the tests with this cluster: it is killed in part, in the middle of a run."""
    source, killed = film(clip, 24), list(machines.worker_nodes)[:1]
    here, there = (job(source, style, tmp_path / f"{name}.mkv") for name in ("here", "there"))

    def kill(now: Any) -> None:
        if killed and now.frames_done > 5:
            machines.remove_node(killed.pop(), allow_graceful=False)

    result = run(plan(there), kill, cluster=cluster)
    run(plan(here))
    assert not killed
    assert result.frames == 24
    assert there.output.read_bytes() == here.output.read_bytes()


def test_without_ray_its_option_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'stdvid\[ray\]'"):
        Cluster("auto")


def test_tensors_move_wherever_they_are() -> None:
    trail = Trail(torch.zeros(1).numpy(), torch.zeros(1).numpy(), memory={(3, "a"): torch.ones(2)})
    handed = Handed(torch.zeros(1).numpy(), trail)
    there = moved((handed, [torch.ones(1)], "name", None), torch.device("meta"))
    assert there[0].trail.memory[3, "a"].device.type == there[1][0].device.type == "meta"
    assert there[0].painted is handed.painted
    assert there[2:] == ("name", None)


@pytest.mark.parametrize(
    ("there", "needs", "fits"),
    [
        ({"CPU": 16.0, "memory": 8e9}, (1, 1000, 0), 7),
        ({"CPU": 16.0, "memory": 64e9}, (4, 1000, 0), 4),
        ({"CPU": 16.0, "memory": 64e9, "GPU": 2.0}, (1, 1000, 1), 2),
        ({"CPU": 16.0, "memory": 64e9}, (1, 1000, 1), 0),
        ({"CPU": 1.0, "memory": 64e9}, (2, 1000, 0), 0),
        ({}, (1, 1000, 0), 0),
    ],
)
def test_tasks_fit_by_what_they_need(there: dict[str, float], needs: tuple[int, int, int], fits: int) -> None:
    assert _fitting(there, *needs) == fits
