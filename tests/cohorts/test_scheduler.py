"""Whoever does the tasks of a run, and in which order: the tables are the same to the last byte."""

import os
import shutil
import signal
import subprocess

import dask
import distributed
import pytest
from helpers import said, table_bytes, two_arms

from ranklsim.cohorts import open_run, run
from ranklsim.cohorts.running import execution, pieces, places, scheduler
from ranklsim.cohorts.running.execution import Interrupted
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.csr.report import write_report

PATIENTS = 60


@pytest.fixture(scope="module")
def trial_file(tmp_path_factory):
    return two_arms(tmp_path_factory.mktemp("trial"))


@pytest.fixture(scope="module")
def local(trial_file, tmp_path_factory):
    """The run by one thread, in one portion."""
    return run(trial_file, tmp_path_factory.mktemp("local"), patients=PATIENTS)


@pytest.fixture(autouse=True)
def small_portions(monkeypatch):
    monkeypatch.setattr(execution, "PORTION", 5)


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread each, that a nanny starts again if they die."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


class Backwards(scheduler.Threads):
    """Does the last task first."""

    def perform(self, job, tasks, progress, tell):
        yield from super().perform(job, tasks[::-1], progress, tell)


@pytest.mark.parametrize("workers", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_the_order_in_which_portions_are_done_changes_no_byte(trial_file, tmp_path, local, workers):
    other = run(trial_file, tmp_path / "b", patients=PATIENTS, scheduler=Backwards(workers))
    assert other.manifest["portion"] == 5
    assert table_bytes(other.folder) == table_bytes(local.folder)


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing_but_time(trial_file, tmp_path, local, cluster):
    with cluster.get_client() as client:
        workers = client.run(os.getpid)
        assert len(workers) == 2
        seen = []

        def kill_one(done, total):
            seen.append(done)
            if done and workers:
                os.kill(workers.popitem()[1], signal.SIGKILL)
                workers.clear()

        other = run(trial_file, tmp_path / "b", patients=PATIENTS, scheduler=client, progress=kill_one)
    assert not workers
    assert other.manifest["portion"] == 5
    assert seen[-1] == PATIENTS + 3 * 2
    assert table_bytes(open_run(other.folder).folder) == table_bytes(local.folder)


@pytest.mark.slow
def test_what_threads_began_a_cluster_ends_without_doing_it_again(trial_file, tmp_path, local, cluster, monkeypatch):
    perform, done = pieces.perform, []

    def some(job, task, **how):
        if len(done) == 20:  # twelve portions are drawn, eight simulated
            raise KeyboardInterrupt
        done.append(task.name)
        return perform(job, task, **how)

    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "perform", some)
        with pytest.raises(Interrupted, match="interrupted after 40 of 60 patients"):
            run(trial_file, tmp_path / "b", patients=PATIENTS)
    first = places.sha256(tmp_path / "b" / "chunks" / "000000.json")
    cluster.wait_for_workers(1)
    heard = []
    other = run(
        trial_file,
        tmp_path / "b",
        patients=PATIENTS,
        scheduler=cluster.scheduler_address,
        resume=True,
        tell=lambda text: heard.append((text, places.sha256(tmp_path / "b" / "chunks" / "000000.json"))),
    )
    assert heard == [(f"{tmp_path / 'b'}: 8 of 12 portions were complete.", first)]
    assert table_bytes(other.folder) == table_bytes(local.folder)


@pytest.mark.slow
def test_workers_that_do_not_see_the_folder_are_named(trial_file, cluster):
    with pytest.raises(BadInput, match=r"worker tcp://\S+ does not see memory://elsewhere/run"):
        run(trial_file, "memory://elsewhere/run", scheduler=cluster.scheduler_address)


@pytest.mark.slow
def test_a_worker_with_other_versions_is_refused(trial_file, tmp_path, cluster, monkeypatch):
    old = scheduler.versions() | {"numpy": "1.0"}
    monkeypatch.setattr(execution, "versions", lambda: old)
    with pytest.raises(BadInput, match=r"worker tcp://\S+ has numpy \S+, the run was started with 1\.0"):
        run(trial_file, tmp_path / "b", scheduler=cluster.scheduler_address)


@pytest.mark.slow
def test_a_fault_of_a_portion_reaches_the_user_in_its_own_words(trial_file, tmp_path, cluster, monkeypatch):
    def full(job, task):
        raise RunFailed("no space left")

    monkeypatch.setattr(scheduler, "perform_elsewhere", full)
    with pytest.raises(RunFailed, match=r"^no space left$"):
        run(trial_file, tmp_path / "b", scheduler=cluster.scheduler_address)


@pytest.mark.slow
def test_the_command_line_takes_the_address_of_a_cluster(trial_file, tmp_path, cluster, capsys, monkeypatch):
    words = ("run", trial_file, "-o", tmp_path / "b", "--no-report", "--scheduler")
    assert said(capsys, *words, cluster.scheduler_address) == (0, [str(tmp_path / "b")], [])
    monkeypatch.setattr(scheduler, "TIMEOUT", 1)
    code, out, err = said(capsys, *words[:3], tmp_path / "c", *words[4:], "tcp://127.0.0.1:9")
    assert (code, out) == (2, [])
    assert err[0].startswith("no Dask scheduler answers at tcp://127.0.0.1:9 (")
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_a_run_behind_a_url_has_the_same_bytes_and_a_report(trial_file, local):
    url = "memory://bucket/run"
    there = run(trial_file, url, patients=PATIENTS)
    assert {name: file["sha256"] for name, file in there.manifest["files"].items()} == {
        name: file["sha256"] for name, file in local.manifest["files"].items()
    }
    assert open_run(url).visits.equals(local.visits)
    assert not (there.folder / "chunks").exists()
    page = write_report(url, brief=True)
    assert str(page) == f"{url}/report/index.html"
    assert "ranklsim-report" in page.read_text(encoding="utf-8")[:2000]
    assert list((there.folder / "report" / "tables").iterdir())


def test_a_run_behind_a_url_goes_on_where_it_stopped(trial_file, local, monkeypatch):
    url = "memory://bucket/stopped"

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pieces.portion, "portion", stop)
        with pytest.raises(Interrupted):
            run(trial_file, url, patients=PATIENTS)
    with pytest.raises(BadInput, match="not finished"):
        open_run(url)
    there = run(trial_file, url, patients=PATIENTS, resume=True)
    assert there.manifest["files"]["visits.parquet"] == local.manifest["files"]["visits.parquet"]


def test_file_urls_are_paths(tmp_path):
    assert places.place(f"file://{tmp_path}/a%20b") == tmp_path / "a b"


@pytest.mark.parametrize(
    ("url", "message"),
    [("nothing://x/y", "is no URL that fsspec knows"), ("s3://x/y", "s3:// needs another library")],
)
def test_a_url_that_cannot_be_used_is_refused(trial_file, url, message):
    with pytest.raises(BadInput, match=message):
        run(trial_file, url)


@pytest.fixture
def authority(tmp_path):
    """Function that makes a certificate which vouches for itself, as configuration of Dask: an authority of its own."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates")

    def made(name):
        key, cert = tmp_path / f"{name}-key.pem", tmp_path / f"{name}-cert.pem"
        words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
        words = [*words.split(), "-keyout", str(key), "-out", str(cert)]
        subprocess.run(words, check=True, capture_output=True)
        own = {"cert": str(cert), "key": str(key)}
        return {
            "distributed.comm.require-encryption": True,
            "distributed.comm.tls.ca-file": str(cert),
            **{f"distributed.comm.tls.{who}": own for who in ("scheduler", "worker", "client")},
        }

    return made


@pytest.mark.slow
def test_a_cluster_over_tls_gives_the_same_bytes_and_refuses_whoever_has_no_certificate(
    trial_file, tmp_path, local, authority
):
    with dask.config.set(authority("ours")):
        security = distributed.Security()
        with distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, protocol="tls", security=security, silence_logs=50,
            dashboard_address=None,
        ) as made:  # fmt: skip
            assert made.scheduler_address.startswith("tls://127.0.0.1")
            other = run(trial_file, tmp_path / "b", patients=PATIENTS, scheduler=made.scheduler_address)
            assert table_bytes(other.folder) == table_bytes(local.folder)
            with (
                dask.config.set(authority("theirs")),
                pytest.raises(BadInput, match="no Dask scheduler answers at tls"),
            ):
                run(trial_file, tmp_path / "c", patients=PATIENTS, scheduler=made.scheduler_address)
