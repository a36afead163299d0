"""A real S3 server for the length of one command: Ceph's object gateway, in memory, on loopback.

    python -m tests.servers.s3_server python -m pytest tests/data -k s3

Installs Debian's packages where they are missing and may be installed; where not, says why and leaves with success, so
that a machine without them skips what needs them. One monitor, one object store in memory, one gateway; free ports;
all of it in a temporary folder that goes at the end. The command sees the server in AWS_ENDPOINT_URL, with credentials
beside it, and ERRATA_TEST_S3 is the store that tests may fill: s3://errata-test. ERRATA_TEST_S3_<ROLE> are the keys,
`access:secret`, of users that have no right but what a bucket's policy gives them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = {"ceph-mon": "ceph-mon", "ceph-osd": "ceph-osd", "ceph": "ceph-common", "radosgw": "radosgw"}
BUCKET = "errata-test"
SETTINGS = {
    "mon_initial_members": "a",
    "mon_allow_pool_size_one": "true",
    "mon_warn_on_pool_no_redundancy": "false",
    "osd_objectstore": "memstore",
    "memstore_device_bytes": str(2 * 2**30),
    "osd_crush_chooseleaf_type": "0",
    "osd_pool_default_size": "1",
    "osd_pool_default_min_size": "1",
    "osd_pool_default_pg_num": "1",
    "osd_pool_default_pgp_num": "1",
    "osd_pool_default_pg_autoscale_mode": "off",
    "ms_bind_ipv6": "false",
    "public_addr": "127.0.0.1",
    "rgw_thread_pool_size": "64",
}


ROLES = (
    "reporter",
    "client",
    "service",
    "worker",
    "operator",
    "auditor",
)  # users without any right but what a policy gives


class UnavailableError(Exception):
    """Why no server can be had on this machine."""


def install() -> None:
    """See to it that Ceph's programs are there; raises UnavailableError."""
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise UnavailableError(f"{', '.join(missing)} not installed, and only root on Debian can install them")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *missing]):
        done = subprocess.run(["apt-get", *arguments], stdout=sys.stderr, env=environment, check=False)
        if done.returncode:
            raise UnavailableError(f"apt-get {arguments[0]} failed, so {', '.join(missing)} cannot be had")


def new_keys() -> tuple[str, str]:
    """An access key and its secret."""
    return f"TEST{secrets.token_hex(8).upper()}", secrets.token_hex(20)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Cluster:
    """The three daemons in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.monitor_port, self.port = free_ports(2)
        self.access, self.secret = new_keys()
        self.roles = {role: new_keys() for role in ROLES}
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to know."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": self.access,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "ERRATA_TEST_S3": f"s3://{BUCKET}",
            **{f"ERRATA_TEST_S3_{role.upper()}": ":".join(keys) for role, keys in self.roles.items()},
        }

    def start(self) -> None:
        """Lay the cluster out and bring it up, one daemon after the other; raises UnavailableError."""
        identity, address = str(uuid.uuid4()), f"v2:127.0.0.1:{self.monitor_port}"
        for name in ("monitor", "objects", "state"):
            (self.folder / name).mkdir()
        places = {
            "fsid": identity,
            "mon_host": f"[{address}]",
            "keyring": f"{self.folder}/keyring",
            "mon_data": f"{self.folder}/monitor",
            "osd_data": f"{self.folder}/objects",
            "rgw_data": f"{self.folder}/state",
            "run_dir": f"{self.folder}/state",
            "admin_socket": f"{self.folder}/state/$name.socket",
            "log_file": f"{self.folder}/$name.log",
            "rgw_frontends": f"beast endpoint=127.0.0.1:{self.port}",
        }
        lines = [f"{name.replace('_', ' ')} = {value}" for name, value in (SETTINGS | places).items()]
        self._conf.write_text("\n".join(["[global]", *lines, ""]))
        self._make_keys()
        monmap = str(self.folder / "monmap")
        self._do("monmaptool", "--create", "--fsid", identity, "--addv", "a", f"[{address}]", monmap)
        self._do("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", f"{self.folder}/keyring")
        self._run("ceph-mon", "-i", "a", "-f", up=lambda: self._answers("status"))
        disk = str(uuid.uuid4())
        self._do("ceph", "osd", "new", disk, "0")
        self._do("ceph", "auth", "import", "-i", f"{self.folder}/keyring")
        self._do("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._run("ceph-osd", "-i", "0", "-f", up=lambda: "1 up" in (self._answers("osd", "stat") or ""))
        keys = [f"--access-key={self.access}", f"--secret={self.secret}"]
        self._do("radosgw-admin", "user", "create", "--uid=errata", "--display-name=errata", *keys)
        for role, (access, secret) in self.roles.items():
            keys = [f"--access-key={access}", f"--secret={secret}"]
            self._do("radosgw-admin", "user", "create", f"--uid={role}", f"--display-name={role}", *keys)
        self._run("radosgw", "-n", "client.gateway", "-f", up=self._listens)

    def stop(self) -> None:
        """End what was started, last first."""
        for process in reversed(self._running):
            process.kill()
            process.wait()

    @property
    def _conf(self) -> Path:
        return self.folder / "ceph.conf"

    def _make_keys(self) -> None:
        everything = {"mon": "allow *", "osd": "allow *"}
        owners = {"mon.": {"mon": "allow *"}, "client.admin": everything, "client.gateway": everything}
        for owner, rights in {**owners, "osd.0": {"mon": "allow profile osd", "osd": "allow *"}}.items():
            caps = [word for daemon, right in rights.items() for word in ("--cap", daemon, right)]
            keyring = self.folder / "keyring"
            create = [] if keyring.exists() else ["--create-keyring"]
            self._do("ceph-authtool", *create, str(keyring), "--gen-key", "-n", owner, *caps)

    def _do(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [program, "-c", str(self._conf), *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise UnavailableError(f"{program} {arguments[0]}: {(done.stderr or done.stdout)[-500:].strip()}")
        return done.stdout

    def _answers(self, *question: str) -> str | None:
        try:
            return self._do("ceph", "--connect-timeout", "3", *question)
        except UnavailableError:
            return None

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def _run(self, program: str, *arguments: str, up: Callable[[], object]) -> None:
        command = [program, "-c", str(self._conf), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._running.append(process)
        end = time.monotonic() + 90
        while not up():
            if process.poll() is not None or time.monotonic() > end:
                raise UnavailableError(f"{program} does not come up on this machine")
            time.sleep(0.2)


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """A running server with an empty bucket; what a client's environment needs. Raises UnavailableError."""
    install()
    with tempfile.TemporaryDirectory(prefix="errata-s3-") as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.start()
            yield cluster.environment
        finally:
            cluster.stop()


def main(command: list[str]) -> int:
    """Run `command` beside a server; its exit status, or 0 with a reason if no server can be had."""
    try:
        with s3_server() as environment:
            import boto3  # noqa: PLC0415

            os.environ.update(environment)
            boto3.client("s3").create_bucket(Bucket=BUCKET)
            return subprocess.run(command, check=False).returncode
    except UnavailableError as reason:
        print(f"skipped, no S3 server here: {reason}", file=sys.stderr)
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
