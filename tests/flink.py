"""A real Flink cluster on this machine: JobManager, TaskManagers, job server; a process each."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

OPENED = (
    "java.lang java.lang.reflect java.io java.net java.nio sun.nio.ch java.text java.time "
    "java.util java.util.concurrent java.util.concurrent.atomic java.util.concurrent.locks"
)
MIB = 1 << 20
MEMORY = {
    "framework.heap.size": 128,
    "framework.off-heap.size": 128,
    "network.min": 128,
    "network.max": 128,
    "managed.size": 128,
    "task.heap.size": 384,
    "task.off-heap.size": 0,
    "jvm-metaspace.size": 256,
    "jvm-overhead.min": 192,
    "jvm-overhead.max": 192,
}

# What Python workers log, a TaskManager logs for them.
LOGGING = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.name = console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %-5p %c{1} %m%n
"""


ENDED = {"FINISHED", "CANCELED", "FAILED"}


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def listens(port):
    """Whether somebody answers on a port of this machine."""
    with socket.socket() as tried:
        return tried.connect_ex(("localhost", port)) == 0


class Cluster:
    """Starts with TaskManagers of one slot each; `with` ends every process of it.

    Args:
      jars: of Flink.
      folder: for its configuration and logs.
      cores: one for each TaskManager and its workers, which are held to it; None for two
        TaskManagers that run where they like.
    """

    def __init__(self, jars: Path, folder: Path, cores=None):
        self.folder, self.port, self._cores = folder, free_port(), cores or [None, None]
        self._jars, self._processes, self._managers = jars, [], 0
        folder.mkdir(parents=True, exist_ok=True)
        rpc = free_port()
        here, fixed = "localhost", {"attempts": 5, "delay": "2 s"}
        config = {  # YAML reads JSON
            "jobmanager": {
                "bind-host": here,
                "rpc": {"address": here, "port": rpc},
                "memory": {"process": {"size": "1600m"}},
            },
            "taskmanager": {"bind-host": here, "host": here, "numberOfTaskSlots": 1},
            "rest": {"address": here, "bind-address": here, "port": self.port},
            "restart-strategy": {"type": "fixed-delay", "fixed-delay": fixed},
            "heartbeat": {"interval": 2000, "timeout": 10000},
            "io": {"tmp": {"dirs": str(folder)}},
        }
        (folder / "config.yaml").write_text(json.dumps(config))
        (folder / "log4j2.properties").write_text(LOGGING)

    def __enter__(self):
        self._java(
            "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", ["-Xmx1g"]
        )
        self.managers = [self.add_manager(core) for core in self._cores]
        count = len(self._cores)
        self.wait_for(lambda: self.get("/overview")["taskmanagers"] >= count, 90)
        return self

    def __exit__(self, *_):
        for process in self._processes:
            kill(process)

    def add_manager(self, core=None):
        """Starts one more TaskManager, held to a core if one is given; returns its process."""
        self._managers += 1
        given = [f"-Dtaskmanager.memory.{name}={size * MIB}b" for name, size in MEMORY.items()]
        given += [
            f"-Dtaskmanager.resource-id=manager-{self._managers}",
            "-Dtaskmanager.cpu.cores=1.0",
        ]
        flat = [part for option in given for part in ("-D", option[2:])]
        main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        held = [] if core is None else ["taskset", "-c", str(core)]
        return self._java(main, ["-Xmx700m", "-XX:MaxDirectMemorySize=600m"], flat, held)

    def job_server(self, jar: Path):
        """Starts Beam's job server for this cluster; returns its address, for `--job_endpoint`.

        Without one, every driver starts its own.
        """
        port = free_port()
        server = ["--job-port", str(port), "--artifact-port", "0", "--expansion-port", "0"]
        server += ["--flink-master", f"localhost:{self.port}"]
        server += ["--artifacts-dir", str(self.folder / "artifacts")]
        self._start(["java", "-jar", str(jar), *server])
        self.wait_for(lambda: listens(port), 120)
        return f"localhost:{port}"

    def _java(self, main, memory, options=(), before=()):
        logging = self.folder / "log4j2.properties"
        opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPENED.split()]
        jvm = [*memory, *opened, f"-Dlog4j.configurationFile={logging}", "-cp", f"{self._jars}/*"]
        return self._start([*before, "java", *jvm, main, "--configDir", str(self.folder), *options])

    def _start(self, command):
        log = (self.folder / f"process-{len(self._processes)}.log").open("wb")
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._processes.append(process)
        return process

    def clear(self):
        """Stops what still runs and fills up the TaskManagers, so that the next job finds slots.

        A job whose driver has given up goes on, and holds its slots.
        """
        for job in self.get("/jobs")["jobs"]:
            if job["status"] not in ENDED:
                self._cancel(job["id"])
        try:
            self.wait_for(lambda: set(self.jobs()) <= ENDED, 30)
        except AssertionError:
            # A task that waits for a worker hears nothing: it goes with its process.
            for manager in self.managers:
                kill(manager)
        self.managers = [one for one in self.managers if one.poll() is None]
        while len(self.managers) < len(self._cores):
            self.managers.append(self.add_manager())
        self.wait_for(lambda: self.get("/overview")["slots-available"] == len(self._cores), 120)

    def _cancel(self, job):
        url = f"http://localhost:{self.port}/jobs/{job}?mode=cancel"
        with contextlib.suppress(urllib.error.HTTPError):  # it ended meanwhile
            urllib.request.urlopen(urllib.request.Request(url, method="PATCH"), timeout=10)

    def logged(self, pattern):
        """What a pattern's group matches in the logs of all processes, in their order."""
        logs = sorted(self.folder.glob("process-*.log"))
        return [
            match.groups()
            for log in logs
            for match in re.finditer(pattern, log.read_text(errors="replace"))
        ]

    def get(self, path):
        with urllib.request.urlopen(f"http://localhost:{self.port}{path}", timeout=10) as answer:
            return json.load(answer)

    def jobs(self):
        return [job["status"] for job in self.get("/jobs")["jobs"]]

    def wait_for(self, condition, seconds):
        """Waits until a condition holds; says what the cluster logged when it never does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if condition():
                    return
            except OSError:
                pass
            time.sleep(0.3)
        logs = [path.read_text()[-1500:] for path in sorted(self.folder.glob("process-*.log"))]
        raise AssertionError("\n".join(["waited in vain", *logs]))


def kill(process):
    """SIGKILL to a process and all of its children."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def has_java():
    return shutil.which("java") is not None
