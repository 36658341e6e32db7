// The ollama package: chat, generate and embed, whole and streamed.
import { Ollama } from "ollama";
import { all, MESSAGES, report, seen, TOOLS } from "./common.mjs";

const MODEL = "llama3.2";

function shown(replies, reply) {
  const messages = replies.map((one) => one.message);
  const calls = messages.flatMap((message) => message.tool_calls ?? []).map((call) => call.function);
  return seen(reply, {
    text: messages.map((message) => message.content ?? "").join(""),
    calls: calls.map((call) => [call.name, call.arguments]),
  });
}

function cases(url) {
  const client = new Ollama({ host: url, headers: { authorization: "Bearer sk-client" } });

  async function chat(options) {
    const reply = await client.chat({ model: MODEL, messages: MESSAGES, ...options });
    return shown([reply], reply);
  }

  async function chatStream(options) {
    const replies = await all(await client.chat({ model: MODEL, messages: MESSAGES, stream: true, ...options }));
    return shown(replies, replies);
  }

  async function generate() {
    const reply = await client.generate({ model: MODEL, prompt: "The sky is" });
    return seen(reply, { text: reply.response });
  }

  async function generateStream() {
    const replies = await all(await client.generate({ model: MODEL, prompt: "The sky is", stream: true }));
    return seen(replies, { text: replies.map((reply) => reply.response).join("") });
  }

  return {
    chat: () => chat({}),
    "chat tool": () => chat({ tools: TOOLS }),
    "chat stream": () => chatStream({}),
    "chat stream tool": () => chatStream({ tools: TOOLS }),
    generate: () => generate(),
    "generate stream": () => generateStream(),
    embed: async () => seen(await client.embed({ model: MODEL, input: "sky" })),
  };
}

await report("ollama", cases);
