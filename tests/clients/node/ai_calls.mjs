// The calls that are made with every model of the AI SDK. A streamed reply is what the SDK makes of the whole stream.
import { generateText, jsonSchema, streamText, tool } from "ai";
import { CITY_SCHEMA, QUESTION, seen } from "./common.mjs";

const TOOLS = {
  get_weather: tool({ description: "The weather of a city.", inputSchema: jsonSchema(CITY_SCHEMA) }),
};

async function shown(result) {
  const [text, toolCalls, usage, finishReason, providerMetadata, response] = await Promise.all([
    result.text,
    result.toolCalls,
    result.usage,
    result.finishReason,
    result.providerMetadata,
    result.response,
  ]);
  const calls = toolCalls.map((call) => [call.toolName, call.input]);
  return seen({ text, calls, usage, finishReason, providerMetadata }, { text, calls, headers: response.headers });
}

export function aiCases(api, model) {
  const fail = ({ error }) => {
    throw error;
  };
  const whole = async (options) => shown(await generateText({ model, prompt: QUESTION, maxRetries: 0, ...options }));
  const stream = async (options) => {
    const result = streamText({ model, prompt: QUESTION, maxRetries: 0, onError: fail, ...options });
    await result.consumeStream({ onError: fail });
    return shown(result);
  };
  return {
    [api]: () => whole({}),
    [`${api} tool`]: () => whole({ tools: TOOLS }),
    [`${api} helper asked`]: () => stream({}),
    [`${api} helper asked tool`]: () => stream({ tools: TOOLS }),
  };
}
