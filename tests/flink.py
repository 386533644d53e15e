"""A real Flink cluster on this machine: a JobManager and TaskManagers, a process each."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

OPENED = (
    "java.lang java.lang.reflect java.io java.net java.nio sun.nio.ch java.text java.time "
    "java.util java.util.concurrent java.util.concurrent.atomic java.util.concurrent.locks"
)
MIB = 1 << 20
MEMORY = {
    "framework.heap.size": 128, "framework.off-heap.size": 128, "network.min": 128,
    "network.max": 128, "managed.size": 128, "task.heap.size": 384, "task.off-heap.size": 0,
    "jvm-metaspace.size": 256, "jvm-overhead.min": 192, "jvm-overhead.max": 192,
}  # fmt: skip

# What Python workers log, a TaskManager logs for them.
LOGGING = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.name = console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %-5p %c{1} %m%n
"""


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


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

    def _java(self, main, memory, options=(), before=()):
        logging = self.folder / "log4j2.properties"
        opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPENED.split()]
        command = [
            *before, "java", *memory, *opened, f"-Dlog4j.configurationFile={logging}",
            "-cp", f"{self._jars}/*", main, "--configDir", str(self.folder), *options,
        ]  # fmt: skip
        log = (self.folder / f"process-{len(self._processes)}.log").open("wb")
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._processes.append(process)
        return process

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
