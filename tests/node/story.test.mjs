// The official npm `openai` package, unchanged, against the emulator.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { WebSocket } from "ws";

const baseURL = process.env.BASE_URL;
const client = new OpenAI({ apiKey: "sk-test-0123456789", baseURL, maxRetries: 0 });

const fault = (text) =>
  fetch(`${process.env.CONTROL_URL}/faults`, { method: "POST", body: JSON.stringify({ fault: text }) });

/** A connection that keeps its events, and waits for those to come. */
async function connect(apiKey = client.apiKey) {
  const socket = new OpenAIRealtimeWS({ model: "gpt-realtime" }, new OpenAI({ apiKey, baseURL }));
  const events = [];
  const waiting = [];
  const tell = (event) => {
    events.push(event);
    waiting.splice(0).forEach((look) => look());
  };
  socket.on("event", tell);
  socket.on("error", () => {});
  const closed = new Promise((resolve) => socket.socket.on("close", (code, reason) => resolve([code, String(reason)])));
  const until = async (type) => {
    for (;;) {
      const at = events.findIndex((event) => event.type === type);
      if (at >= 0) return events.splice(0, at + 1);
      await new Promise((resolve) => waiting.push(resolve));
    }
  };
  await until("session.created");
  return { socket, until, closed, send: (event) => socket.send(event) };
}

const say = (text) => ({
  type: "conversation.item.create",
  item: { type: "message", role: "user", content: [{ type: "input_text", text }] },
});
const done = (events) => events.at(-1).response;
const textOnly = { type: "session.update", session: { type: "realtime", output_modalities: ["text"] } };

/** Half a second of a loud square wave, or of silence, as PCM16 at 24 kHz. */
function pcm(level) {
  const samples = new Int16Array(12_000);
  samples.forEach((_, n) => (samples[n] = (Math.floor(n / 27) % 2 ? -1 : 1) * level));
  return Buffer.from(samples.buffer).toString("base64");
}
const append = (level) => ({ type: "input_audio_buffer.append", audio: pcm(level) });

test("a key is minted and a text turn held", async () => {
  const secret = await client.realtime.clientSecrets.create({
    expires_after: { anchor: "created_at", seconds: 60 },
    session: { type: "realtime", model: "gpt-realtime", output_modalities: ["text"] },
  });
  assert.match(secret.value, /^ek_/);
  const { socket, send, until } = await connect(secret.value);
  send(say("Good morning"));
  send({ type: "response.create" });
  assert.equal(done(await until("response.done")).output[0].content[0].text, "Good morning");
  socket.close();
});

test("a spoken turn is answered in sound", async () => {
  const { socket, send, until } = await connect();
  send(append(8000));
  send(append(0));
  const events = await until("response.done");
  assert.equal(events[0].type, "input_audio_buffer.speech_started");
  assert.ok(events.some((event) => event.type === "response.output_audio.delta"));
  socket.close();
});

test("a turn is committed by hand", async () => {
  const { socket, send, until } = await connect();
  send({ type: "session.update", session: { type: "realtime", audio: { input: { turn_detection: null } } } });
  send(append(8000));
  send({ type: "input_audio_buffer.commit" });
  await until("input_audio_buffer.committed");
  send({ type: "response.create" });
  assert.equal(done(await until("response.done")).status, "completed");
  socket.close();
});

test("a function is called and its output told", async () => {
  const { socket, send, until } = await connect();
  send(textOnly);
  send(say("What is the weather?"));
  send({ type: "response.create" });
  const [call] = done(await until("response.done")).output;
  assert.deepEqual([call.name, JSON.parse(call.arguments)], ["get_weather", { city: "Paris" }]);
  const output = { type: "function_call_output", call_id: call.call_id, output: "sunny" };
  send({ type: "conversation.item.create", item: output });
  send({ type: "response.create" });
  assert.equal(done(await until("response.done")).output[0].content[0].text, "sunny");
  socket.close();
});

test("speaking over an answer stops it", async () => {
  const { socket, send, until } = await connect();
  send(say("a speech, please"));
  send({ type: "response.create" });
  await until("response.output_audio.delta");
  send(append(8000));
  const response = done(await until("response.done"));
  assert.deepEqual([response.status, response.status_details.reason], ["cancelled", "turn_detected"]);
  const item_id = response.output[0].id;
  send({ type: "conversation.item.truncate", item_id, content_index: 0, audio_end_ms: 10 });
  await until("conversation.item.truncated");
  socket.close();
});

test("an expired session says so and closes", async () => {
  const { until, closed } = await connect();
  await fault("live:expire");
  const events = await until("error");
  assert.equal(events.at(-1).error.code, "session_expired");
  assert.equal((await closed)[0], 1001);
});

test("a wrong event is an error and no more", async () => {
  const { socket, send, until } = await connect();
  send({ type: "input_audio_buffer.commit", event_id: "mine" });
  const error = (await until("error")).at(-1).error;
  assert.deepEqual([error.code, error.event_id], ["input_audio_buffer_commit_empty", "mine"]);
  socket.close();
});

test("a failed mint is the client's own error", async () => {
  await fault("mint:429:retry_after=2");
  await assert.rejects(client.realtime.clientSecrets.create({}), OpenAI.RateLimitError);
});

test("a browser brings its key as a subprotocol", async () => {
  const { value } = await client.realtime.clientSecrets.create({});
  const url = `${baseURL.replace("https", "wss")}/realtime?model=gpt-realtime`;
  const socket = new WebSocket(url, ["realtime", `openai-insecure-api-key.${value}`]);
  const first = await new Promise((resolve, reject) => socket.once("message", resolve).once("error", reject));
  assert.equal(JSON.parse(first).type, "session.created");
  assert.equal(socket.protocol, "realtime");
  socket.close();
});
