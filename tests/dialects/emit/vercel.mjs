// The AI SDK of Vercel: version 6 with its own spans, version 7 with @ai-sdk/otel, which has the old ones too.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { NodeSDK } from '@opentelemetry/sdk-node';
import * as ai from 'ai';
import { readFileSync } from 'node:fs';

const major = Number(JSON.parse(readFileSync('node_modules/ai/package.json')).version.split('.')[0]);
const sdk = new NodeSDK({
  traceExporter: new OTLPTraceExporter({ url: process.env.RECORD_URL + '/v1/traces' }),
  autoDetectResources: false,
});
sdk.start();
let rounds = [undefined];
if (major >= 7) {
  const otel = await import('@ai-sdk/otel');
  rounds = [new otel.OpenTelemetry(), new otel.LegacyOpenTelemetry()];
}
const provider = createOpenAICompatible({
  name: 'stub', baseURL: process.env.OPENAI_BASE_URL, apiKey: 'none', includeUsage: true,
});
for (const integration of rounds) {
  const telemetry = {
    isEnabled: true, functionId: 'ask', metadata: { userId: 'u1', sessionId: 's1' },
    ...(integration ? { integrations: [integration] } : {}),
  };
  const settings = major >= 7 ? { telemetry, experimental_telemetry: telemetry } : { experimental_telemetry: telemetry };
  const model = provider('m-1');
  const prompt = process.env.RECORD_QUESTION;
  await ai.generateText({ model, prompt, temperature: 0.5, maxRetries: 0, ...settings });
  const streamed = ai.streamText({ model, prompt, maxRetries: 0, ...settings });
  for await (const _ of streamed.textStream);
  await ai.embed({ model: provider.textEmbeddingModel('embed-1'), value: 'words', ...settings });
  try {
    await ai.generateText({ model: provider('fail'), prompt, maxRetries: 0, ...settings });
  } catch (error) {
    console.log(error.name);
  }
}
await sdk.shutdown();
