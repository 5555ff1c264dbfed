// An OTLP/gRPC receiver on grpc-js and the SDK's own generated messages, independent of Spanbridge.
//
// Prints `LISTENING <host:port>`, appends one JSON line a request to the file given, answers after the line is on disk, and
// stops at the end of its standard input. A line is `{"signal", "metadata", "request"}`. NODE_PATH tells where the
// packages are.

import { appendFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const require = createRequire(import.meta.url);
const grpc = require("@grpc/grpc-js");
const { collector } = require(
  // Not an export of the package, so it is named by its file.
  `${packageFolder("@opentelemetry/otlp-transformer")}/build/src/generated/root`,
).opentelemetry.proto;

const SIGNALS = [
  ["traces", collector.trace.v1, "Trace"],
  ["metrics", collector.metrics.v1, "Metrics"],
  ["logs", collector.logs.v1, "Logs"],
];

function packageFolder(name) {
  const entry = require.resolve(name);
  return entry.slice(0, entry.lastIndexOf(name) + name.length);
}

function service(messages, name) {
  const request = messages[`Export${name}ServiceRequest`];
  const response = messages[`Export${name}ServiceResponse`];
  return {
    export: {
      path: `/opentelemetry.proto.collector.${name.toLowerCase()}.v1.${name}Service/Export`,
      requestStream: false,
      responseStream: false,
      requestSerialize: (value) => Buffer.from(request.encode(value).finish()),
      requestDeserialize: (bytes) => request.decode(bytes),
      responseSerialize: (value) => Buffer.from(response.encode(value).finish()),
      responseDeserialize: (bytes) => response.decode(bytes),
    },
  };
}

const { values } = parseArgs({ options: { out: { type: "string" } } });
writeFileSync(values.out, "");
const server = new grpc.Server({ "grpc.max_receive_message_length": 64 << 20 });
for (const [signal, messages, name] of SIGNALS) {
  const type = messages[`Export${name}ServiceRequest`];
  server.addService(service(messages, name), {
    export: (call, answer) => {
      const request = type.toObject(call.request, { longs: String, bytes: String, defaults: true });
      const line = { signal, metadata: call.metadata.getMap(), request };
      appendFileSync(values.out, `${JSON.stringify(line)}\n`);
      answer(null, {});
    },
  });
}
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`LISTENING 127.0.0.1:${port}`);
});
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
