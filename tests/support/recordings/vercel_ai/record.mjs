// Records the spans that the Vercel AI SDK sends, with its calls going to the simulator.
//
//   npm install ai@6.0.326 @ai-sdk/openai@3.0.141 zod @opentelemetry/api \
//     @opentelemetry/sdk-trace-node @opentelemetry/otlp-transformer
//   node record.mjs OPENAI_URL KEY > ai-6.0.326.json
import { createOpenAI } from '@ai-sdk/openai';
import { ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
import { embed, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const [url, apiKey] = process.argv.slice(2);
const exporter = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
provider.register(); // with it comes the context that makes spans children of others
const experimental_telemetry = {
  isEnabled: true,
  tracer: provider.getTracer('ai'),
  functionId: 'support-bot',
  metadata: { sessionId: 'session-7', userId: 'user-3', plan: 'free' },
};
const openai = createOpenAI({ baseURL: url, apiKey });
const model = openai.chat('gpt-4o-mini');

await generateText({ model, system: 'You are terse.', prompt: 'Say hello to Vercel.', experimental_telemetry });
const streamed = streamText({ model, prompt: 'Stream something.', experimental_telemetry });
for await (const _ of streamed.textStream);
await generateText({
  model,
  prompt: 'What is the weather in Oslo?',
  tools: {
    get_weather: tool({
      description: 'The weather in a city.',
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => ({ city, sky: 'rain' }),
    }),
  },
  stopWhen: stepCountIs(2),
  prepareStep: ({ stepNumber }) => ({
    toolChoice: stepNumber === 0 ? { type: 'tool', toolName: 'get_weather' } : 'none',
  }),
  experimental_telemetry,
});
await embed({ model: openai.embedding('text-embedding-3-small'), value: 'one text', providerOptions: { openai: { dimensions: 4 } }, experimental_telemetry });
await generateText({ model: openai.chat('sim-fail-400'), prompt: 'Fail.', maxRetries: 0, experimental_telemetry }).catch(() => {});
process.stdout.write(Buffer.from(ProtobufTraceSerializer.serializeRequest(exporter.getFinishedSpans())).toString('base64'));
