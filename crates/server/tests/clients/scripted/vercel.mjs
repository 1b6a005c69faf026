// Turns a scripted server into checks by the Vercel AI SDK.
//
//     node vercel.mjs --base-url http://127.0.0.1:8080/v1 --api-key KEY
//
// The server plays answers.json: `myriad serve script:answers.json`. Ends with 0 if all holds.

import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

const options = { "base-url": { type: "string" }, "api-key": { type: "string" } };
const { values } = parseArgs({ options });
const provider = createOpenAICompatible({
  name: "myriad",
  baseURL: values["base-url"],
  apiKey: values["api-key"],
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = provider("scripted");
const temperature = tool({
  description: "How warm a place is",
  inputSchema: z.object({ city: z.string(), unit: z.string().optional() }),
  execute: async ({ city, unit }) => {
    assert.deepEqual([city, unit], ["Köln", "°C"]);
    return "18 degrees";
  },
});

async function wholeAnswers() {
  const answer = await generateText({ model, prompt: "Hello?" });
  assert.equal(answer.text, "Hello there.");
  assert.equal(answer.finishReason, "stop");
  assert.ok(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0);
}

async function streams() {
  const answer = streamText({ model, prompt: "Count." });
  let pieces = 0;
  let text = "";
  for await (const piece of answer.textStream) {
    pieces += 1;
    text += piece;
  }
  assert.equal(text, "one two three four five six seven eight nine ten");
  assert.ok(pieces > 5, `${pieces} pieces`);
  assert.ok((await answer.usage).outputTokens > 0);
}

async function toolLoops() {
  const asked = { model, prompt: "How is it in Köln?", tools: { temperature }, stopWhen: isStepCount(5) };
  const answer = await generateText(asked);
  assert.equal(answer.text, "It is 18 degrees in Köln.");
  assert.equal(answer.steps.length, 2);
  assert.equal(answer.steps[0].finishReason, "tool-calls");
  assert.equal(answer.steps[0].reasoningText.trim(), "I have to look.");
  const streamed = streamText(asked);
  await streamed.consumeStream();
  assert.equal(await streamed.text, "It is 18 degrees in Köln.");
}

async function structuredAnswers() {
  const schema = z.object({ colour: z.enum(["red", "blue"]) });
  const answer = await generateText({ model, prompt: "Name a colour.", output: Output.object({ schema }) });
  assert.deepEqual(answer.output, { colour: "blue" });
}

async function errors() {
  const wrong = createOpenAICompatible({ name: "myriad", baseURL: values["base-url"], apiKey: "wrong" });
  const asked = generateText({ model: wrong("scripted"), prompt: "Hello?", maxRetries: 0 });
  const error = await asked.then(() => null, (error) => error);
  assert.equal(error.statusCode, 401);
  assert.match(error.message, /Incorrect API key/);
}

async function cancellation() {
  const controller = new AbortController();
  const answer = streamText({ model, prompt: "Count.", abortSignal: controller.signal });
  for await (const _ of answer.textStream) {
    controller.abort();
  }
  await wholeAnswers();
}

for (const check of [wholeAnswers, streams, toolLoops, structuredAnswers, errors, cancellation]) {
  await check();
}
console.log("Vercel AI SDK: all checks passed");
