// The AI SDK over @ai-sdk/anthropic: messages.
import { createAnthropic } from "@ai-sdk/anthropic";
import { aiCases } from "./ai_calls.mjs";
import { report } from "./common.mjs";

await report("@ai-sdk/anthropic", (url) => {
  const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: "sk-client" });
  return aiCases("messages", anthropic("claude-opus-4-8"));
});
