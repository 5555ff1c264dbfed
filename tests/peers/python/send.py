"""Exports traces, metrics and logs with the official SDK, each to two places: straight to a receiver and through Spanbridge.

Both exporters get the very same SDK objects, so whatever the two receivers disagree about was changed on the way. Prints
one JSON line that lists what was sent, for the test to check that neither receiver missed anything.
"""

import argparse
import json
import logging
import sys

import grpc
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.span import TraceState

EXPORT_TIMEOUT_SECONDS = 20
SPANS_WITHOUT_DETAIL = 200


class Failures:
    """Exports that one of the two destinations did not take."""

    def __init__(self):
        self.seen = []

    def check(self, name, outcome, success):
        if outcome is not success:
            self.seen.append(f"{name}: {outcome}")


class BothSpans(SpanExporter):
    def __init__(self, exporters, failures):
        self._exporters, self._failures = exporters, failures

    def export(self, spans):
        for exporter in self._exporters:
            self._failures.check("spans", exporter.export(spans), SpanExportResult.SUCCESS)
        return SpanExportResult.SUCCESS

    def shutdown(self):
        for exporter in self._exporters:
            exporter.shutdown()


class BothMetrics(MetricExporter):
    def __init__(self, exporters, failures):
        super().__init__(preferred_temporality={Histogram: AggregationTemporality.DELTA})
        self._exporters, self._failures = exporters, failures

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        for exporter in self._exporters:
            outcome = exporter.export(metrics_data, timeout_millis=timeout_millis, **kwargs)
            self._failures.check("metrics", outcome, MetricExportResult.SUCCESS)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=10_000):
        return all(exporter.force_flush(timeout_millis) for exporter in self._exporters)

    def shutdown(self, timeout_millis=30_000, **kwargs):
        for exporter in self._exporters:
            exporter.shutdown(timeout_millis, **kwargs)


class BothLogs(LogRecordExporter):
    def __init__(self, exporters, failures):
        self._exporters, self._failures = exporters, failures

    def export(self, batch):
        for exporter in self._exporters:
            self._failures.check("logs", exporter.export(batch), LogRecordExportResult.SUCCESS)
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis=30_000):
        return True

    def shutdown(self):
        for exporter in self._exporters:
            exporter.shutdown()


ATTRIBUTES = {
    "text": "plain",
    "text.empty": "",
    "text.unicode": "naïve – 日本語 – 🚀",
    "flag": True,
    "whole": 42,
    "whole.min": -(2**63),
    "whole.max": 2**63 - 1,
    "real": 0.1,
    "real.tiny": 5e-324,
    "list.text": ["a", "", "ü"],
    "list.flag": [True, False],
    "list.whole": [1, -2, 3],
    "list.real": [1.5, -0.0],
}


def resource():
    attributes = {"service.name": "python-peer", "service.version": "1.2.3", "peer.list": ["x", "y"]}
    return Resource(attributes, schema_url="https://opentelemetry.io/schemas/1.30.0")


def send_spans(exporters, failures, sent):
    limits = SpanLimits(max_span_attributes=20, max_events=3)
    provider = TracerProvider(resource=resource(), span_limits=limits)
    provider.add_span_processor(BatchSpanProcessor(BothSpans(exporters, failures), max_export_batch_size=64))
    rich = provider.get_tracer("peer.rich", "0.1", "https://opentelemetry.io/schemas/1.29.0", {"scope.key": "v"})
    plain = provider.get_tracer("peer.plain")

    spans = []
    remote = trace.SpanContext(
        0x0102030405060708090A0B0C0D0E0F10,
        0x1112131415161718,
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
        trace_state=TraceState([("vendor", "one"), ("other", "two")]),
    )
    parent = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    for kind in SpanKind:
        with rich.start_as_current_span(f"rich {kind.name}", context=parent, kind=kind, attributes=ATTRIBUTES) as span:
            spans.append(span)
            for number in range(5):
                span.add_event(f"event {number}", {"number": number, "text": "ü"})
            span.add_link(remote, {"why": "link"})
            span.add_link(trace.SpanContext(1, 2, is_remote=False))
            with plain.start_as_current_span("child", attributes={f"k{i}": i for i in range(25)}) as child:
                spans.append(child)
                try:
                    raise ValueError("on purpose")
                except ValueError as error:
                    child.record_exception(error)
                    child.set_status(Status(StatusCode.ERROR, "it failed: ü"))
            span.set_status(Status(StatusCode.OK))
    for number in range(SPANS_WITHOUT_DETAIL):
        with plain.start_as_current_span(f"span {number}") as span:
            spans.append(span)
    provider.shutdown()
    sent["spans"] = [format(span.get_span_context().span_id, "016x") for span in spans]
    return remote


def send_metrics(exporters, failures, sent, context):
    reader = PeriodicExportingMetricReader(BothMetrics(exporters, failures), export_interval_millis=3_600_000)
    views = [View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())]
    provider = MeterProvider([reader], resource=resource(), views=views)
    meter = provider.get_meter("peer.meter", "0.2", attributes={"scope.key": 7})

    counter = meter.create_counter("counter", "1", "A monotonic sum")
    up_down = meter.create_up_down_counter("up_down", "By")
    histogram = meter.create_histogram("histogram", "ms")
    exponential = meter.create_histogram("exponential", "s")
    gauge = meter.create_gauge("gauge", "Cel")
    meter.create_observable_gauge("observed", [lambda _: [Observation(1.25, {"of": "gauge"})]])
    meter.create_observable_counter("observed.sum", [lambda _: [Observation(2**62, ATTRIBUTES)]])
    current = trace.set_span_in_context(trace.NonRecordingSpan(context))
    for number in range(50):
        labels = {"shard": number % 5, "text": "ü"}
        counter.add(number, labels, context=current)
        up_down.add(-number, labels)
        histogram.record(number * 7.5, labels, context=current)
        exponential.record(1.1**number, labels)
        gauge.set(-number / 3, labels)
    provider.shutdown()
    sent["metrics"] = ["counter", "up_down", "histogram", "exponential", "gauge", "observed", "observed.sum"]


def send_logs(exporters, failures, sent, context):
    provider = LoggerProvider(resource=resource())
    provider.add_log_record_processor(SimpleLogRecordProcessor(BothLogs(exporters, failures)))
    logger = provider.get_logger("peer.logger", "0.3")
    bodies = ["text", "", 17, -0.5, True, b"\x00\xff", ["a", 1, {"k": "v"}], {"deep": {"deeper": [1, 2.5, None]}}, None]
    current = trace.set_span_in_context(trace.NonRecordingSpan(context))
    for number, body in enumerate(bodies):
        logger.emit(
            LogRecord(
                timestamp=1_700_000_000_000_000_000 + number,
                observed_timestamp=1_700_000_000_000_000_100 + number,
                context=current if number % 2 else None,
                severity_text="WARN",
                severity_number=SeverityNumber.WARN2,
                body=body,
                attributes={**ATTRIBUTES, "number": number, "map": {"nested": [1, "two"]}},
                event_name="peer.event",
            )
        )
    provider.shutdown()
    sent["logs"] = len(bodies)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--direct", required=True)
    parser.add_argument("--via", required=True)
    parser.add_argument("--compression", choices=["gzip", "none"], default="none")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)

    compression = {"gzip": grpc.Compression.Gzip, "none": grpc.Compression.NoCompression}[options.compression]

    def pair(kind):
        return [
            kind(endpoint=endpoint, insecure=True, timeout=EXPORT_TIMEOUT_SECONDS, compression=compression)
            for endpoint in (options.direct, options.via)
        ]

    failures, sent = Failures(), {}
    context = send_spans(pair(OTLPSpanExporter), failures, sent)
    send_metrics(pair(OTLPMetricExporter), failures, sent, context)
    send_logs(pair(OTLPLogExporter), failures, sent, context)
    print(json.dumps(sent), flush=True)
    if failures.seen:
        sys.exit("exports failed: " + "; ".join(failures.seen))


if __name__ == "__main__":
    main()
