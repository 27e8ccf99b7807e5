// Sends spans, log records or metrics through the official SDK and exporters. The packages are in $PACKAGES.
//
// On stdin one JSON document:
//   endpoint   http://host:port
//   signal     traces | logs | metrics
//   transport  proto | json (both over HTTP) | grpc
//   gzip       whether the exporter compresses
//   resource   attributes of the resource
//   scope      {name, version}
//   spans      [{name, kind, begin, end, attributes, events, links, status, state, parent}]
//              `kind` counts from 0, internal. `parent` and the `to` of a link are indexes of earlier spans. `state` is
//              the trace state of a parent elsewhere.
//   records    [{time, observed, severity, text, body, attributes, event, span}], `span` being {trace, span, flags}
//   metrics    [{instrument, name, unit, description, int, bounds, exponential, values: [[value, attributes], …]}]
//   delta      whether counters and histograms say what was added since the last export, rather than since the begin
// Times are [seconds, nanoseconds]. {"$number": "NaN"} is a number that JSON does not know, {"$bytes": "00ff"} bytes.
//
// On stdout one JSON document: for spans [[trace id, span id, parent span id], …], else null. Whatever the SDK complains
// of goes to stderr, and the exit code is 1.

import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const load = createRequire(`${process.env.PACKAGES}/`);
const api = load('@opentelemetry/api');
const { resourceFromAttributes } = load('@opentelemetry/resources');

let complaints = 0;
function complain(...what) {
  complaints += 1;
  console.error(...what);
}
const silent = () => {};
api.diag.setLogger(
  { error: complain, warn: complain, info: silent, debug: silent, verbose: silent },
  { logLevel: api.DiagLogLevel.WARN },
);

const order = JSON.parse(readFileSync(0, 'utf8'), (key, value) => {
  if (value !== null && typeof value === 'object' && '$number' in value) return Number(value.$number);
  if (value !== null && typeof value === 'object' && '$bytes' in value) return Uint8Array.from(Buffer.from(value.$bytes, 'hex'));
  return value;
});
const resource = resourceFromAttributes(order.resource);

const signals = {
  traces: { packages: 'trace', exporter: 'OTLPTraceExporter', send: sendSpans },
  logs: { packages: 'logs', exporter: 'OTLPLogExporter', send: sendRecords },
  metrics: { packages: 'metrics', exporter: 'OTLPMetricExporter', send: sendMetrics },
};
const signal = signals[order.signal];

function exporter(options = {}) {
  const suffix = { proto: 'proto', json: 'http', grpc: 'grpc' }[order.transport];
  const Exporter = load(`@opentelemetry/exporter-${signal.packages}-otlp-${suffix}`)[signal.exporter];
  const url = order.transport === 'grpc' ? order.endpoint : `${order.endpoint}/v1/${order.signal}`;
  return new Exporter({ url, compression: order.gzip ? 'gzip' : 'none', timeoutMillis: 20000, ...options });
}

async function sendSpans() {
  const { BasicTracerProvider, BatchSpanProcessor } = load('@opentelemetry/sdk-trace-base');
  const provider = new BasicTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(exporter())] });
  const tracer = provider.getTracer(order.scope.name, order.scope.version);
  const made = [];
  for (const wanted of order.spans) {
    let context = api.ROOT_CONTEXT;
    if (wanted.state) {
      context = api.trace.setSpanContext(context, {
        traceId: 'abcdefabcdefabcdefabcdefabcdefab',
        spanId: 'fedcbafedcbafedc',
        traceFlags: 1,
        isRemote: true,
        traceState: api.createTraceState(wanted.state),
      });
    }
    if (wanted.parent !== null) context = api.trace.setSpan(context, made[wanted.parent]);
    const links = wanted.links.map((link) => ({ context: made[link.to].spanContext(), attributes: link.attributes }));
    const span = tracer.startSpan(
      wanted.name,
      { kind: wanted.kind, startTime: wanted.begin, attributes: wanted.attributes, links },
      context,
    );
    for (const event of wanted.events) span.addEvent(event.name, event.attributes, event.time);
    if (wanted.status) span.setStatus(wanted.status);
    span.end(wanted.end);
    made.push(span);
    // The queue holds 2,048, and what is over is dropped.
    if (made.length % 2000 === 0) await provider.forceFlush();
  }
  await provider.shutdown();
  return made.map((span) => [span.spanContext().traceId, span.spanContext().spanId, span.parentSpanContext?.spanId ?? '']);
}

async function sendRecords() {
  const { LoggerProvider, BatchLogRecordProcessor } = load('@opentelemetry/sdk-logs');
  const provider = new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor({ exporter: exporter() })] });
  const logger = provider.getLogger(order.scope.name, order.scope.version);
  for (const wanted of order.records) {
    let context = api.ROOT_CONTEXT;
    if (wanted.span) {
      const { trace, span, flags } = wanted.span;
      context = api.trace.setSpanContext(context, { traceId: trace, spanId: span, traceFlags: flags });
    }
    logger.emit({
      timestamp: wanted.time,
      observedTimestamp: wanted.observed,
      severityNumber: wanted.severity,
      severityText: wanted.text,
      body: wanted.body,
      attributes: wanted.attributes,
      eventName: wanted.event,
      context,
    });
  }
  await provider.shutdown();
  return null;
}

async function sendMetrics() {
  const { MeterProvider, PeriodicExportingMetricReader, AggregationType } = load('@opentelemetry/sdk-metrics');
  const views = order.metrics
    .filter((metric) => metric.exponential)
    .map((metric) => ({ instrumentName: metric.name, aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }));
  const reader = new PeriodicExportingMetricReader({
    exporter: exporter({ temporalityPreference: order.delta ? 0 : 1 }),
    exportIntervalMillis: 3600000,
  });
  const provider = new MeterProvider({ resource, readers: [reader], views });
  const meter = provider.getMeter(order.scope.name, order.scope.version);
  for (const { instrument, name, unit, description, bounds, int, values } of order.metrics) {
    const advice = bounds ? { advice: { explicitBucketBoundaries: bounds } } : {};
    const made = meter[`create${instrument}`](name, { unit, description, valueType: int ? api.ValueType.INT : api.ValueType.DOUBLE, ...advice });
    for (const [value, attributes] of values) {
      if (made.add) made.add(value, attributes);
      else made.record(value, attributes);
    }
  }
  await provider.shutdown();
  return null;
}

const answer = await signal.send();
console.log(JSON.stringify(answer));
process.exitCode = complaints ? 1 : 0;
