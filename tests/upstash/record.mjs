// Makes calls at times of its own to the sliding window of @upstash/ratelimit, which counts in a real
// Redis, and writes what it decides. See `record`, which runs this.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Ratelimit } from "@upstash/ratelimit";

// The first window of the first trace begins here, in milliseconds since the epoch. It is a multiple
// of a minute.
const BEGIN_MS = 1_700_000_040_000;
const MINUTE_MS = 60_000;

// ---- The traces: `at(ms, client)` is a call, with times since the start of a window. ----

// Whole numbers from 0 on that look random and are the same in each run.
function random(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

// One client, a little faster than it may.
function steady(at) {
  const pick = random(1);
  for (let ms = 0, calls = 0; calls < 3_000; calls++) {
    at(ms, 0);
    ms += 400 + pick(300);
  }
}

// A full or half-full window, then one in which just so much is done that each further call is decided
// by what the window before still weighs: at the times when that weight is a whole number, and, with
// `offsetsMs`, right before and after them.
function wholeWeights(limit, windowMs, befores, offsetsMs) {
  return (at) => {
    let start = 0;
    for (const before of befores) {
      for (let n = 0; n < before; n++) at(start, 0);
      start += windowMs;
      for (let n = before; n < limit; n++) at(start, 0);
      for (let step = 0; step <= limit; step++) {
        for (const offsetMs of offsetsMs) {
          const ms = Math.floor((step * windowMs) / limit) + offsetMs;
          if (ms >= 0 && ms < windowMs) at(start + ms, 0);
        }
      }
      start += 3 * windowMs;
    }
  };
}

// Many calls within milliseconds around the end of a window.
function borders(at) {
  const pick = random(2);
  for (let window = 1; window <= 40; window++) {
    const calls = 40 + pick(120);
    const times = Array.from({ length: calls }, () => window * MINUTE_MS - 4 + pick(9));
    for (const ms of times.sort((a, b) => a - b)) at(ms, 0);
  }
}

// A few calls, then nothing for up to five windows.
function gaps(at) {
  const pick = random(3);
  for (let ms = 0, burst = 0; burst < 60; burst++) {
    for (let calls = 1 + pick(60); calls > 0; calls--) {
      at(ms, 0);
      ms += pick(40);
    }
    ms += pick(5 * MINUTE_MS);
  }
}

// Several clients, each a little faster than it may.
function interleaved(at) {
  const pick = random(4);
  for (let ms = 0, calls = 0; calls < 6_000; calls++) {
    at(ms, pick(7));
    ms += pick(140);
  }
}

// Calls at random, on average somewhat more than are allowed.
function restless(seed, calls, everyMs) {
  return (at) => {
    const pick = random(seed);
    for (let ms = 0; calls > 0; calls--) {
      at(ms, pick(3));
      ms += pick(everyMs);
    }
  };
}

const BEFORES = Array.from({ length: 36 }, (_, n) => [100, 99, 50, 75, 20, 10][n % 6] - Math.floor(n / 6));
const TRACES = [
  { limit: 100, windowMs: MINUTE_MS, calls: steady },
  { limit: 100, windowMs: MINUTE_MS, calls: wholeWeights(100, MINUTE_MS, BEFORES, [0]) },
  { limit: 100, windowMs: MINUTE_MS, calls: wholeWeights(100, MINUTE_MS, [100, 63, 50, 37], [-1, 0, 1]) },
  { limit: 100, windowMs: MINUTE_MS, calls: borders },
  { limit: 100, windowMs: MINUTE_MS, calls: gaps },
  { limit: 100, windowMs: MINUTE_MS, calls: interleaved },
  { limit: 10, windowMs: 10_000, calls: restless(5, 2_000, 500) },
  { limit: 10, windowMs: 10_000, calls: wholeWeights(10, 10_000, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1], [-1, 0, 1]) },
  { limit: 7, windowMs: MINUTE_MS, calls: restless(6, 2_000, 4_000) },
  { limit: 7, windowMs: MINUTE_MS, calls: wholeWeights(7, MINUTE_MS, [7, 6, 5, 4, 3, 2, 1], [-1, 0, 1]) },
];

// ---- Redis: a server of our own, and the two methods that the library calls. ----

async function startRedis() {
  const folder = mkdtempSync(join(tmpdir(), "upstash-"));
  const socket = join(folder, "socket");
  const options = ["--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder];
  const server = spawn("redis-server", options, { stdio: "ignore" });
  process.on("exit", () => {
    server.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });
  server.on("error", (why) => {
    throw new Error("there is no redis-server", { cause: why });
  });
  for (let tries = 0; ; tries++) {
    try {
      return await connect(socket);
    } catch (why) {
      if (tries === 200) throw why;
      await sleep(25);
    }
  }
}

function connect(path) {
  return new Promise((resolve, reject) => {
    const waiting = [];
    let received = Buffer.alloc(0);
    const connection = createConnection(path);
    connection.on("error", reject);
    connection.on("connect", () => resolve({ command, end: () => connection.end() }));
    connection.on("data", (bytes) => {
      received = Buffer.concat([received, bytes]);
      for (let read; (read = parse(received, 0)); ) {
        received = received.subarray(read.end);
        const { resolve, reject } = waiting.shift();
        if (read.value instanceof Error) reject(read.value);
        else resolve(read.value);
      }
    });
    function command(...words) {
      const bulk = words.map((word) => `$${Buffer.byteLength(`${word}`)}\r\n${word}\r\n`);
      connection.write(`*${words.length}\r\n${bulk.join("")}`);
      return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
    }
  });
}

// One reply of Redis that begins at this byte, or nothing if it is not all there.
function parse(bytes, begin) {
  const lineEnd = bytes.indexOf("\r\n", begin);
  if (lineEnd < 0) return undefined;
  const kind = String.fromCharCode(bytes[begin]);
  const line = bytes.toString("utf8", begin + 1, lineEnd);
  let end = lineEnd + 2;
  if (kind === "+") return { value: line, end };
  if (kind === "-") return { value: new Error(line), end };
  if (kind === ":") return { value: Number(line), end };
  const length = Number(line);
  if (length < 0) return { value: null, end };
  if (kind === "$") {
    const value = bytes.toString("utf8", end, end + length);
    return bytes.length < end + length + 2 ? undefined : { value, end: end + length + 2 };
  }
  const value = [];
  for (let n = 0; n < length; n++) {
    const element = parse(bytes, end);
    if (!element) return undefined;
    value.push(element.value);
    end = element.end;
  }
  return { value, end };
}

// What the library takes for a client of Upstash. The flag in the first line of its scripts is known
// to Upstash's own servers only; it says nothing about what the script does.
function clientOf(redis) {
  const shas = new Map();
  return {
    async eval(script, keys, args) {
      const plain = script.replace(/^#!lua flags=allow-key-locking\n/, "#!lua\n");
      const sha = await redis.command("SCRIPT", "LOAD", plain);
      shas.set(createHash("sha1").update(script).digest("hex"), sha);
      return redis.command("EVALSHA", sha, keys.length, ...keys, ...args);
    },
    async evalsha(sha, keys, args) {
      if (!shas.has(sha)) throw new Error("NOSCRIPT");
      return redis.command("EVALSHA", shas.get(sha), keys.length, ...keys, ...args);
    },
  };
}

// ---- The recording: `trace,LIMIT,WINDOW_MS,BEGIN_MS`, then a line for each call: how many milliseconds
// after the one before, of which client, and what remains, or `-` if it is refused. ----

const redis = await startRedis();
const client = clientOf(redis);
const lines = [];
let nowMs = BEGIN_MS;
Date.now = () => nowMs;

for (const [number, { limit, windowMs, calls }] of TRACES.entries()) {
  const limiter = new Ratelimit({
    redis: client,
    limiter: Ratelimit.slidingWindow(limit, `${windowMs} ms`),
    prefix: `trace${number}`,
    ephemeralCache: false,
    analytics: false,
    timeout: 0,
  });
  const planned = [];
  calls((ms, who) => planned.push([ms, who]));
  const beginMs = Math.ceil(nowMs / MINUTE_MS + 2) * MINUTE_MS;
  lines.push(`trace,${limit},${windowMs},${beginMs}`);
  let lastMs = beginMs;
  for (const [ms, who] of planned) {
    nowMs = beginMs + ms;
    if (nowMs < lastMs) throw new Error(`trace ${number} goes back in time`);
    const { success, remaining, limit: told } = await limiter.limit(`${who}`);
    if (told !== limit || (!success && remaining !== 0)) throw new Error("an unknown kind of answer");
    lines.push(`${nowMs - lastMs},${who},${success ? remaining : "-"}`);
    lastMs = nowMs;
  }
}
redis.end();
console.log(lines.join("\n"));
process.exit(0);
