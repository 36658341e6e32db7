// The @google/genai package: Gemini, whole and streamed.
import { GoogleGenAI } from "@google/genai";
import { all, CITY_SCHEMA, QUESTION, report, seen } from "./common.mjs";

const declared = { name: "get_weather", description: "The weather of a city.", parametersJsonSchema: CITY_SCHEMA };
const TOOLS = { config: { tools: [{ functionDeclarations: [declared] }] } };

function shown(replies, reply) {
  const parts = replies.flatMap((one) => (one.candidates ?? []).flatMap((candidate) => candidate.content.parts ?? []));
  return seen(reply, {
    text: parts.map((part) => part.text ?? "").join(""),
    calls: parts.filter((part) => part.functionCall).map((part) => [part.functionCall.name, part.functionCall.args]),
    headers: replies[0].sdkHttpResponse?.headers ?? null,
  });
}

function plain({ sdkHttpResponse, ...reply }) {
  return reply;
}

function cases(url) {
  const client = new GoogleGenAI({ apiKey: "sk-client", httpOptions: { baseUrl: url } });
  const asked = { model: "gemini-2.5-pro", contents: QUESTION };

  async function whole(options) {
    const reply = await client.models.generateContent({ ...asked, ...options });
    return shown([reply], plain(reply));
  }

  async function stream(options) {
    const replies = await all(await client.models.generateContentStream({ ...asked, ...options }));
    return shown(replies, replies.map(plain));
  }

  return {
    generate: () => whole({}),
    "generate tool": () => whole(TOOLS),
    "generate stream": () => stream({}),
    "generate stream tool": () => stream(TOOLS),
  };
}

await report("@google/genai", cases);
