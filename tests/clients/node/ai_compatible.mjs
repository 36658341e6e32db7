// The AI SDK over @ai-sdk/openai-compatible: chat completions.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { aiCases } from "./ai_calls.mjs";
import { report } from "./common.mjs";

await report("@ai-sdk/openai-compatible", (url) => {
  const options = { name: "served", baseURL: `${url}/v1`, apiKey: "sk-client", includeUsage: true };
  return aiCases("chat", createOpenAICompatible(options).chatModel("gpt-4o"));
});
