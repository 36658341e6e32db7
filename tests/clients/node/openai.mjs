// The openai package: chat, legacy completions, embeddings, Responses; whole, as chunks, and through its accumulators.
import OpenAI from "openai";
import { all, CITY_SCHEMA, merged, MESSAGES, QUESTION, report, seen, TOOLS } from "./common.mjs";

const MODEL = "gpt-4o";
const ASKED = { stream_options: { include_usage: true } };
const RESPONSES_TOOLS = [{ type: "function", name: "get_weather", parameters: CITY_SCHEMA, strict: false }];

function cases(url) {
  const client = new OpenAI({ apiKey: "sk-client", baseURL: `${url}/v1`, maxRetries: 0 });
  const chats = client.chat.completions;
  const callsOf = (message) => (message.tool_calls ?? []).map((call) => [call.function.name, call.function.arguments]);

  async function chat(options) {
    const { data, response } = await chats.create({ model: MODEL, messages: MESSAGES, ...options }).withResponse();
    const message = data.choices[0].message;
    return seen(data, { text: message.content, calls: callsOf(message), headers: response.headers });
  }

  async function chatStream(options) {
    const asked = { model: MODEL, messages: MESSAGES, stream: true, ...options };
    const { data, response } = await chats.create(asked).withResponse();
    const chunks = await all(data);
    const deltas = chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta));
    const pieces = deltas.flatMap((delta) => delta.tool_calls ?? []).map((call) => call.function);
    return seen(chunks, {
      text: deltas.map((delta) => delta.content ?? "").join(""),
      calls: merged(pieces.map((piece) => [piece.name, piece.arguments])),
      headers: response.headers,
    });
  }

  async function chatHelper(options) {
    const final = await chats.stream({ model: MODEL, messages: MESSAGES, ...options }).finalChatCompletion();
    const message = final.choices[0].message;
    return seen(final, { text: message.content, calls: callsOf(message) });
  }

  async function completion() {
    const asked = { model: MODEL, prompt: "The sky is" };
    const { data, response } = await client.completions.create(asked).withResponse();
    return seen(data, { text: data.choices[0].text, headers: response.headers });
  }

  async function completionStream(options) {
    const asked = { model: MODEL, prompt: "The sky is", stream: true, ...options };
    const { data, response } = await client.completions.create(asked).withResponse();
    const chunks = await all(data);
    const text = chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.text)).join("");
    return seen(chunks, { text, headers: response.headers });
  }

  async function embedding() {
    const asked = { model: MODEL, input: "sky", encoding_format: "float" };
    const { data, response } = await client.embeddings.create(asked).withResponse();
    return seen(data, { headers: response.headers });
  }

  function answered(final, reply, headers) {
    const calls = final.output
      .filter((item) => item.type === "function_call")
      .map((item) => [item.name, item.arguments]);
    const parts = final.output.flatMap((item) => item.content ?? []);
    return seen(reply, { text: parts.map((part) => part.text ?? "").join(""), calls, headers });
  }

  async function responses(options) {
    const asked = { model: MODEL, input: QUESTION, ...options };
    const { data, response } = await client.responses.create(asked).withResponse();
    return answered(data, data, response.headers);
  }

  async function responsesStream(options) {
    const asked = { model: MODEL, input: QUESTION, stream: true, ...options };
    const { data, response } = await client.responses.create(asked).withResponse();
    const events = await all(data);
    return answered(events.at(-1).response, events, response.headers);
  }

  async function responsesHelper(options) {
    const final = await client.responses.stream({ model: MODEL, input: QUESTION, ...options }).finalResponse();
    return answered(final, final, null);
  }

  return {
    chat: () => chat({}),
    "chat tool": () => chat({ tools: TOOLS }),
    "chat stream": () => chatStream({}),
    "chat stream tool": () => chatStream({ tools: TOOLS }),
    "chat stream asked": () => chatStream(ASKED),
    "chat stream asked tool": () => chatStream({ tools: TOOLS, ...ASKED }),
    "chat helper": () => chatHelper({}),
    "chat helper asked": () => chatHelper(ASKED),
    "chat helper asked tool": () => chatHelper({ tools: TOOLS, ...ASKED }),
    completions: () => completion(),
    "completions stream": () => completionStream({}),
    "completions stream asked": () => completionStream(ASKED),
    embeddings: () => embedding(),
    responses: () => responses({}),
    "responses tool": () => responses({ tools: RESPONSES_TOOLS }),
    "responses stream": () => responsesStream({}),
    "responses stream tool": () => responsesStream({ tools: RESPONSES_TOOLS }),
    "responses helper": () => responsesHelper({}),
    "responses helper tool": () => responsesHelper({ tools: RESPONSES_TOOLS }),
  };
}

await report("openai", cases);
