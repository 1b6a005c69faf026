// Turns a scripted server into checks by OpenAI's official client for JavaScript.
//
//     node openai.mjs --base-url http://127.0.0.1:8080/v1 --api-key KEY
//
// The server plays answers.json: `myriad serve script:answers.json`. Ends with 0 if all holds.

import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const options = { "base-url": { type: "string" }, "api-key": { type: "string" } };
const { values } = parseArgs({ options });
const settings = { baseURL: values["base-url"], apiKey: values["api-key"], maxRetries: 0 };
const client = new OpenAI(settings);
const model = (await client.models.list()).data[0].id;

const tools = [
  {
    type: "function",
    function: {
      name: "temperature",
      description: "How warm a place is",
      parameters: {
        type: "object",
        properties: { city: { type: "string" }, unit: { type: "string" } },
        required: ["city"],
      },
    },
  },
];
const ask = (content, fields = {}) =>
  client.chat.completions.create({ model, messages: [{ role: "user", content }], ...fields });

async function wholeAnswers() {
  const answer = await ask("Hello?");
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.choices[0].message.content, "Hello there.");
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
}

async function streams() {
  const stream = await ask("Count.", { stream: true, stream_options: { include_usage: true } });
  let [text, usage, finish] = ["", null, null];
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, "one two three four five six seven eight nine ten");
  assert.equal(finish, "stop");
  assert.ok(usage.completion_tokens > 0);
}

/** The client's own loop: it calls the function, sends the result, and asks again. */
async function toolLoops() {
  const asked = [];
  const temperature = ({ city, unit }) => {
    asked.push([city, unit]);
    return "18 degrees";
  };
  for (const stream of [false, true]) {
    const runner = client.chat.completions.runTools({
      model,
      stream,
      messages: [{ role: "user", content: "How is it in Köln?" }],
      tools: [
        { type: "function", function: { ...tools[0].function, function: temperature, parse: JSON.parse } },
      ],
    });
    assert.equal(await runner.finalContent(), "It is 18 degrees in Köln.");
  }
  assert.deepEqual(asked, [["Köln", "°C"], ["Köln", "°C"]]);
}

async function structuredAnswers() {
  const shape = z.object({ colour: z.enum(["red", "blue"]) });
  const answer = await client.chat.completions.parse({
    model,
    messages: [{ role: "user", content: "Name a colour." }],
    response_format: zodResponseFormat(shape, "colour"),
  });
  assert.deepEqual(answer.choices[0].message.parsed, { colour: "blue" });
}

async function errors() {
  const raised = async (promise, kind, code) => {
    const error = await promise.then(() => null, (error) => error);
    assert.ok(error instanceof kind, `${error}`);
    assert.equal(error.code, code);
    assert.ok(error.requestID);
  };
  await raised(ask("x", { temperature: 7 }), OpenAI.BadRequestError, "invalid_value");
  await raised(ask("x", { model: "nobody" }), OpenAI.NotFoundError, "model_not_found");
  const stranger = new OpenAI({ ...settings, apiKey: "wrong" });
  await raised(stranger.models.list(), OpenAI.AuthenticationError, "invalid_api_key");
}

/** A client that goes away stops the work; the next one is served. */
async function cancellation() {
  const controller = new AbortController();
  const messages = [{ role: "user", content: "Count." }];
  const stream = await client.chat.completions.create(
    { model, messages, stream: true },
    { signal: controller.signal },
  );
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content) {
      controller.abort();
      break;
    }
  }
  assert.ok(controller.signal.aborted);
  await wholeAnswers();
}

async function crowds() {
  const answers = await Promise.all(Array.from({ length: 32 }, () => ask("Hello?")));
  assert.ok(answers.every((answer) => answer.choices[0].message.content === "Hello there."));
}

for (const check of [wholeAnswers, streams, toolLoops, structuredAnswers, errors, cancellation, crowds]) {
  await check();
}
console.log(`openai (JavaScript): all checks passed on ${model}`);
