"""Beam's Python worker as a process that a cluster starts: `tango-beam-worker`.

What `--environment_type PROCESS` runs, beside a Flink TaskManager for one: Beam brings this command
in its container images only (`boot`, https://beam.apache.org/documentation/runtime/environments/).
It asks the cluster for the job's options and becomes Beam's own worker.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence

import grpc
from apache_beam.portability.api import (
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    endpoints_pb2,
)
from google.protobuf import json_format, text_format

_SECONDS_TO_ANSWER = 60


def environment(worker: str, info: beam_provision_api_pb2.ProvisionInfo) -> dict[str, str]:
    """The environment variables that Beam's worker reads.

    Args:
      worker: id by which the cluster knows it.
      info: what the cluster's provision service answers; its endpoints win over the command line's.
    """
    described = {
        "CONTROL_API_SERVICE_DESCRIPTOR": info.control_endpoint,
        "LOGGING_API_SERVICE_DESCRIPTOR": info.logging_endpoint,
    }
    if info.HasField("status_endpoint"):
        described["STATUS_API_SERVICE_DESCRIPTOR"] = info.status_endpoint
    return {
        "WORKER_ID": worker,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        "SEMI_PERSISTENT_DIRECTORY": tempfile.gettempdir(),
        **{name: text_format.MessageToString(at) for name, at in described.items()},
    }


def main(arguments: Sequence[str]) -> None:
    """Fetches the job's options and becomes Beam's worker; does not return."""
    parser = argparse.ArgumentParser(prog="tango-beam-worker", description=__doc__)
    parser.add_argument("--id", required=True)
    parser.add_argument("--provision_endpoint", required=True)
    parser.add_argument("--control_endpoint")
    parser.add_argument("--logging_endpoint")
    ours, _ = parser.parse_known_args(arguments)
    with grpc.insecure_channel(ours.provision_endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        info = service.GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(),
            metadata=[("worker_id", ours.id)],
            timeout=_SECONDS_TO_ANSWER,
        ).info
    for stated, endpoint in (
        (ours.control_endpoint, info.control_endpoint),
        (ours.logging_endpoint, info.logging_endpoint),
    ):
        if not endpoint.url and stated:
            endpoint.CopyFrom(endpoints_pb2.ApiServiceDescriptor(url=stated))
    command = [sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"]
    os.execve(sys.executable, command, {**os.environ, **environment(ours.id, info)})  # noqa: S606


def run() -> None:
    """The console script."""
    main(sys.argv[1:])


if __name__ == "__main__":
    run()
