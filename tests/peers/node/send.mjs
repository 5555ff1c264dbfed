// Exports traces, metrics and logs with the official SDK, each to two places: straight to a receiver and through Spanbridge.
//
// Both exporters get the very same SDK objects, so whatever the two receivers disagree about was changed on the way. Prints
// one JSON line that lists what was sent, for the test to check that neither receiver missed anything. NODE_PATH tells
// where the packages are.

import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const require = createRequire(import.meta.url);
const { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, createTraceState, trace } = require("@opentelemetry/api");
const { SeverityNumber } = require("@opentelemetry/api-logs");
const { OTLPLogExporter } = require("@opentelemetry/exporter-logs-otlp-grpc");
const { OTLPMetricExporter } = require("@opentelemetry/exporter-metrics-otlp-grpc");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-grpc");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { BatchLogRecordProcessor, LoggerProvider } = require("@opentelemetry/sdk-logs");
const { AggregationType, MeterProvider, PeriodicExportingMetricReader } = require("@opentelemetry/sdk-metrics");
const { BasicTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-base");

const EXPORT_TIMEOUT_MILLIS = 20_000;
const SPANS_WITHOUT_DETAIL = 200;
const EXPORT_SUCCEEDED = 0;

const ATTRIBUTES = {
  text: "plain",
  "text.empty": "",
  "text.unicode": "naïve – 日本語 – 🚀",
  flag: true,
  whole: 42,
  "whole.max": Number.MAX_SAFE_INTEGER,
  real: 0.1,
  "real.tiny": 5e-324,
  "list.text": ["a", "", "ü"],
  "list.flag": [true, false],
  "list.whole": [1, -2, 3],
  "list.real": [1.5, 2.5],
};

/** Hands every export to both exporters and succeeds when both do. */
class Both {
  constructor(exporters) {
    this.exporters = exporters;
  }

  export(items, done) {
    const outcomes = [];
    for (const exporter of this.exporters) {
      exporter.export(items, (outcome) => {
        outcomes.push(outcome);
        if (outcome.code !== EXPORT_SUCCEEDED) failures.push(String(outcome.error));
        if (outcomes.length === this.exporters.length) done({ code: EXPORT_SUCCEEDED });
      });
    }
  }

  selectAggregationTemporality(instrument) {
    return this.exporters[0].selectAggregationTemporality(instrument);
  }

  async forceFlush() {
    await Promise.all(this.exporters.map((exporter) => exporter.forceFlush?.()));
  }

  async shutdown() {
    await Promise.all(this.exporters.map((exporter) => exporter.shutdown()));
  }
}

async function sendSpans(exporter, resource) {
  const provider = new BasicTracerProvider({
    resource,
    spanLimits: { attributeCountLimit: 20, eventCountLimit: 3 },
    spanProcessors: [new BatchSpanProcessor(exporter, { maxExportBatchSize: 64 })],
  });
  const rich = provider.getTracer("peer.rich", "0.1", { schemaUrl: "https://opentelemetry.io/schemas/1.29.0" });
  const plain = provider.getTracer("peer.plain");
  const remote = {
    traceId: "0102030405060708090a0b0c0d0e0f10",
    spanId: "1112131415161718",
    isRemote: true,
    traceFlags: TraceFlags.SAMPLED,
    traceState: createTraceState("vendor=one,other=two"),
  };
  const ids = [];
  for (const kind of Object.values(SpanKind).filter(Number.isInteger)) {
    const links = [{ context: remote, attributes: { why: "link" } }];
    const parent = trace.setSpanContext(ROOT_CONTEXT, remote);
    const span = rich.startSpan(`rich ${SpanKind[kind]}`, { kind, attributes: ATTRIBUTES, links }, parent);
    for (let number = 0; number < 5; number += 1) span.addEvent(`event ${number}`, { number, text: "ü" });
    const attributes = Object.fromEntries(Array.from({ length: 25 }, (_, i) => [`k${i}`, i]));
    const child = plain.startSpan("child", { attributes }, trace.setSpan(ROOT_CONTEXT, span));
    child.recordException(new Error("on purpose"));
    child.setStatus({ code: SpanStatusCode.ERROR, message: "it failed: ü" });
    child.end();
    span.setStatus({ code: SpanStatusCode.OK });
    span.end();
    ids.push(span.spanContext().spanId, child.spanContext().spanId);
  }
  for (let number = 0; number < SPANS_WITHOUT_DETAIL; number += 1) {
    const span = plain.startSpan(`span ${number}`);
    span.end();
    ids.push(span.spanContext().spanId);
  }
  await provider.shutdown();
  return ids;
}

async function sendMetrics(exporter, resource) {
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const views = [
    { instrumentName: "exponential", aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } },
  ];
  const provider = new MeterProvider({ resource, readers: [reader], views });
  const meter = provider.getMeter("peer.meter", "0.2");
  const counter = meter.createCounter("counter", { unit: "1", description: "A monotonic sum" });
  const upDown = meter.createUpDownCounter("up_down", { unit: "By" });
  const histogram = meter.createHistogram("histogram", { unit: "ms" });
  const exponential = meter.createHistogram("exponential", { unit: "s" });
  const gauge = meter.createGauge("gauge", { unit: "Cel" });
  meter.createObservableGauge("observed").addCallback((result) => result.observe(1.25, ATTRIBUTES));
  for (let number = 0; number < 50; number += 1) {
    const labels = { shard: number % 5, text: "ü" };
    counter.add(number, labels);
    upDown.add(-number, labels);
    histogram.record(number * 7.5, labels);
    exponential.record(1.1 ** number, labels);
    gauge.record(-number / 3, labels);
  }
  await provider.shutdown();
  return ["counter", "up_down", "histogram", "exponential", "gauge", "observed"];
}

async function sendLogs(exporter, resource) {
  const provider = new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor(exporter)] });
  const logger = provider.getLogger("peer.logger", "0.3");
  const bodies = ["text", "", 17, -0.5, true, new Uint8Array([0, 255]), ["a", 1, { k: "v" }], { deep: { deeper: [1, 2.5] } }];
  for (const [number, body] of bodies.entries()) {
    logger.emit({
      body,
      eventName: "peer.event",
      severityNumber: SeverityNumber.WARN2,
      severityText: "WARN",
      timestamp: new Date(1_700_000_000_000 + number),
      attributes: { ...ATTRIBUTES, number, map: { nested: [1, "two"] } },
    });
  }
  await provider.shutdown();
  return bodies.length;
}

const { values } = parseArgs({
  options: {
    direct: { type: "string" },
    via: { type: "string" },
    compression: { type: "string", default: "none" },
  },
});
const failures = [];
const both = (Exporter) =>
  new Both(
    [values.direct, values.via].map(
      (target) =>
        new Exporter({
          url: `http://${target}`,
          timeoutMillis: EXPORT_TIMEOUT_MILLIS,
          compression: values.compression,
        }),
    ),
  );
const resource = resourceFromAttributes({ "service.name": "node-peer", "service.version": "1.2.3", "peer.list": ["x", "y"] });
const sent = {
  spans: await sendSpans(both(OTLPTraceExporter), resource),
  metrics: await sendMetrics(both(OTLPMetricExporter), resource),
  logs: await sendLogs(both(OTLPLogExporter), resource),
};
console.log(JSON.stringify(sent));
if (failures.length > 0) {
  console.error(`exports failed: ${failures.join("; ")}`);
  process.exit(1);
}
