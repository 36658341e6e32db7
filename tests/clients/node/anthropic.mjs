// The @anthropic-ai/sdk package: messages, whole, as events, and through its accumulator.
import Anthropic from "@anthropic-ai/sdk";
import { all, CITY_SCHEMA, MESSAGES, report, seen } from "./common.mjs";

const ASKED = { model: "claude-opus-4-8", max_tokens: 64, messages: MESSAGES };
const TOOLS = [{ name: "get_weather", description: "The weather of a city.", input_schema: CITY_SCHEMA }];

function shown(message, headers) {
  const text = message.content.map((block) => block.text ?? "").join("");
  const calls = message.content
    .filter((block) => block.type === "tool_use")
    .map((block) => [block.name, block.input]);
  return seen(message, { text, calls, headers });
}

function cases(url) {
  const client = new Anthropic({ apiKey: "sk-client", baseURL: url, maxRetries: 0 });

  async function whole(options) {
    const { data, response } = await client.messages.create({ ...ASKED, ...options }).withResponse();
    return shown(data, response.headers);
  }

  async function stream(options) {
    const { data, response } = await client.messages.create({ ...ASKED, stream: true, ...options }).withResponse();
    const events = await all(data);
    const deltas = events.filter((event) => event.type === "content_block_delta").map((event) => event.delta);
    const given = deltas.map((delta) => delta.partial_json ?? "").join("");
    const blocks = events.filter((event) => event.type === "content_block_start").map((event) => event.content_block);
    return seen(events, {
      text: deltas.map((delta) => delta.text ?? "").join(""),
      calls: blocks.filter((block) => block.type === "tool_use").map((block) => [block.name, given]),
      headers: response.headers,
    });
  }

  async function helper(options) {
    const { data, response } = await client.messages.stream({ ...ASKED, ...options }).withResponse();
    return shown(await data.finalMessage(), response.headers);
  }

  return {
    messages: () => whole({}),
    "messages tool": () => whole({ tools: TOOLS }),
    "messages stream": () => stream({}),
    "messages stream tool": () => stream({ tools: TOOLS }),
    "messages helper": () => helper({}),
    "messages helper tool": () => helper({ tools: TOOLS }),
  };
}

await report("@anthropic-ai/sdk", cases);
