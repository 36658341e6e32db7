// The AI SDK over @ai-sdk/openai: chat completions and Responses.
import { createOpenAI } from "@ai-sdk/openai";
import { aiCases } from "./ai_calls.mjs";
import { report } from "./common.mjs";

await report("@ai-sdk/openai", (url) => {
  const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "sk-client" });
  return { ...aiCases("chat", openai.chat("gpt-4o")), ...aiCases("responses", openai.responses("gpt-4o")) };
});
