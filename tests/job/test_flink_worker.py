"""The worker that a cluster starts: it asks for the job's options and becomes Beam's own."""

import json
import os
import sys
from concurrent import futures

import grpc
import pytest
from apache_beam.portability.api import (
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    endpoints_pb2,
)
from google.protobuf import struct_pb2, text_format

from tango_beam.job import flink_worker


def at(url):
    return endpoints_pb2.ApiServiceDescriptor(url=url)


class Provision(beam_provision_api_pb2_grpc.ProvisionServiceServicer):
    """A cluster's provision service with one answer; it notes which worker asked."""

    def __init__(self, info):
        self.info, self.asked = info, []

    def GetProvisionInfo(self, request, context):  # noqa: N802 - gRPC's name
        self.asked += [value for key, value in context.invocation_metadata() if key == "worker_id"]
        return beam_provision_api_pb2.GetProvisionInfoResponse(info=self.info)


@pytest.fixture
def provision():
    options = struct_pb2.Struct()
    options.update({"beam:option:job_name:v1": "mine"})
    info = beam_provision_api_pb2.ProvisionInfo(
        pipeline_options=options,
        runner_capabilities=["a", "b"],
        control_endpoint=at("here:1"),
    )
    service, server = Provision(info), grpc.server(futures.ThreadPoolExecutor(1))
    beam_provision_api_pb2_grpc.add_ProvisionServiceServicer_to_server(service, server)
    service.address = f"localhost:{server.add_insecure_port('localhost:0')}"
    server.start()
    yield service
    server.stop(None)


def test_it_becomes_beams_worker_with_what_the_cluster_answers(provision, monkeypatch):
    became = []
    monkeypatch.setattr(os, "execve", lambda *given: became.append(given))
    given = ["--id", "7-1", "--provision_endpoint", provision.address, "--semi_persist_dir", "/x"]
    endpoints = ["--control_endpoint", "elsewhere:9", "--logging_endpoint", "here:2"]
    flink_worker.main([*given, *endpoints])
    ((program, command, environment),) = became
    assert provision.asked == ["7-1"]
    assert program == sys.executable
    assert command[1:] == ["-m", "apache_beam.runners.worker.sdk_worker_main"]
    assert environment["WORKER_ID"] == "7-1"
    assert json.loads(environment["PIPELINE_OPTIONS"]) == {"beam:option:job_name:v1": "mine"}
    assert environment["RUNNER_CAPABILITIES"] == "a b"
    assert environment["PATH"] == os.environ["PATH"]
    for name, url in {"CONTROL": "here:1", "LOGGING": "here:2"}.items():
        stated = environment[f"{name}_API_SERVICE_DESCRIPTOR"]
        # What the cluster answers wins over the command line, which fills in what it leaves out.
        assert text_format.Parse(stated, endpoints_pb2.ApiServiceDescriptor()).url == url
    assert "STATUS_API_SERVICE_DESCRIPTOR" not in environment
