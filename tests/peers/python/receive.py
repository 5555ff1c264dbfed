"""An OTLP/gRPC receiver on the generated Python stubs, independent of Spanbridge.

Prints `LISTENING <host:port>`, appends one JSON line a request to the file given, answers after the line is on disk, and
stops at the end of its standard input. A line is `{"signal", "metadata", "request"}`, with the request in protobuf's JSON.
"""

import argparse
import json
import sys
import threading
from concurrent import futures

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Ledger:
    """Requests in the order of their arrival, as JSON lines."""

    def __init__(self, path):
        self._file = open(path, "w", encoding="utf-8")
        self._lock = threading.Lock()

    def write(self, signal, request, context):
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        line = {"signal": signal, "metadata": metadata, "request": MessageToDict(request)}
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, ledger):
        self._ledger = ledger

    def Export(self, request, context):
        self._ledger.write("traces", request, context)
        return trace_service_pb2.ExportTraceServiceResponse()


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, ledger):
        self._ledger = ledger

    def Export(self, request, context):
        self._ledger.write("metrics", request, context)
        return metrics_service_pb2.ExportMetricsServiceResponse()


class Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self, ledger):
        self._ledger = ledger

    def Export(self, request, context):
        self._ledger.write("logs", request, context)
        return logs_service_pb2.ExportLogsServiceResponse()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out

    ledger = Ledger(out)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(ledger), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(ledger), server)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Logs(ledger), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"LISTENING 127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(grace=1).wait()


if __name__ == "__main__":
    main()
