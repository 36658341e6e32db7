// What the client scripts share: each makes its calls at every address on its command line and prints one JSON document.
import { readFileSync } from "node:fs";

export const MESSAGES = [{ role: "user", content: "Why is the sky blue?" }];
export const QUESTION = "Why is the sky blue?";
export const CITY_SCHEMA = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
export const TOOLS = [
  {
    type: "function",
    function: { name: "get_weather", description: "The weather of a city.", parameters: CITY_SCHEMA },
  },
];

// One call as the client shows it: the whole reply (a list, if streamed), its text, its tool calls, our headers.
export function seen(reply, { text = "", calls = [], headers = null } = {}) {
  return {
    reply,
    text: text ?? "",
    calls: calls.map(([name, given]) => [name, typeof given === "string" ? JSON.parse(given) : given]),
    headers: headers === null ? null : ours(headers),
  };
}

// Headwater's headers among those of a reply.
export function ours(headers) {
  const pairs = typeof headers.entries === "function" ? [...headers.entries()] : Object.entries(headers);
  return Object.fromEntries(pairs.filter(([name]) => name.toLowerCase().startsWith("headwater-")));
}

// Streamed tool calls, each begun by its name and continued by pieces of its arguments.
export function merged(pieces) {
  const found = [];
  for (const [name, given] of pieces) {
    if (name) found.push([name, given ?? ""]);
    else if (given) found.at(-1)[1] += given;
  }
  return found;
}

export async function all(stream) {
  const found = [];
  for await (const part of stream) found.push(part);
  return found;
}

// Run the cases at each address; a case that throws has its stack under `error`.
export async function report(name, cases) {
  const manifest = new URL(`./node_modules/${name}/package.json`, import.meta.url);
  const runs = [];
  for (const url of process.argv.slice(2)) {
    const run = {};
    for (const [key, one] of Object.entries(cases(url))) {
      try {
        run[key] = await one();
      } catch (error) {
        run[key] = { error: error.stack ?? String(error) };
      }
    }
    runs.push(run);
  }
  process.stdout.write(JSON.stringify({ version: JSON.parse(readFileSync(manifest, "utf8")).version, runs }));
}
