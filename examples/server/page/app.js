// Texts of cases and feedback come from anywhere: they only ever go into textContent.
"use strict";

const $ = (id) => document.getElementById(id);
const TOKEN = "medcards.token";
const FILTERS = "medcards.filters";
/** How often a request is sent again by itself: a moment of bad network, not an outage. */
const TRIES_MAX = 3;
/** The longest wait that the server may ask for before the student is asked instead. */
const WAIT_MS_MAX = 10_000;
/** Pages of cases that are read to suggest specialties: the built-in deck and some more. */
const SUGGESTION_PAGES_MAX = 3;

/** How long a point may take to the board: the server looks for new ones each second. */
const BOARD_LAG_MS = 1_500;

/** What is on the page: one case, and what was done with it. */
const now = { shown: null, answered: null, pending: null, sure: null, reading: null, list: null, board: null };
/** What the last answer gave to be seen by later reads; null if it gave nothing. */
let consistency = null;
/** Counts what was asked for, so that a late reply to an old wish is dropped. */
let wish = 0;

// --- Talking to the server -------------------------------------------------------------------

class Refusal extends Error {
  constructor(status, problem, waitMs) {
    super(problem.detail || problem.title || `The server answered ${status}.`);
    this.status = status;
    this.code = problem.code || "";
    this.waitMs = waitMs;
  }
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function send(path, { method = "GET", body, accept = "application/json", signal, bare = false } = {}) {
  const headers = { accept };
  if (!bare) headers.authorization = `Bearer ${await token()}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  if (method === "GET" && consistency) headers["medcards-consistency"] = consistency;
  const reply = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
  if (reply.ok) return reply;
  const problem = await reply.json().catch(() => ({}));
  const waitMs = Number(reply.headers.get("retry-after")) * 1000 || 0;
  throw new Refusal(reply.status, problem, waitMs);
}

/** Sends, and sends again what may succeed then. Only what is safe to repeat comes through here. */
async function persist(path, options = {}) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await send(path, options);
    } catch (error) {
      if (error.name === "AbortError" || tries >= TRIES_MAX) throw error;
      if (error instanceof Refusal) {
        if (error.status === 401 && tries === 1 && wasGuest()) { forgetToken(); continue; }
        if (error.status < 500 && error.status !== 429) throw error;
        if (error.waitMs > WAIT_MS_MAX) throw error;
      }
      await sleep(error.waitMs || 300 * 2 ** tries);
    }
  }
}

const read = async (path) => (await persist(path)).json();

const keep = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private window */ } };
const kept = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
let held = null;

function heldToken() {
  if (!held) { try { held = JSON.parse(kept(TOKEN)); } catch { held = null; } }
  return held;
}
const wasGuest = () => Boolean(heldToken()?.guest);
function useToken(value, guest) { held = { token: value, guest }; consistency = null; keep(TOKEN, JSON.stringify(held)); }
function forgetToken() { held = null; consistency = null; keep(TOKEN, "null"); }

let becoming = null;
async function token() {
  if (heldToken()?.token) return held.token;
  becoming ??= send("/v1/guest", { method: "POST", bare: true })
    .then((reply) => reply.json())
    .then((guest) => useToken(guest.token, true))
    .finally(() => { becoming = null; });
  await becoming;
  return held.token;
}

// --- Saying things -----------------------------------------------------------------------------

function fill(node, text) { node.textContent = text ?? ""; return node; }
function make(tag, name, text) { const node = document.createElement(tag); if (name) node.className = name; return fill(node, text); }
function show(node, yes) { node.hidden = !yes; }
function say(text) { fill($("said"), text); }
function notice(text) { fill($("notice"), text); show($("notice"), Boolean(text)); }

function explain(error) {
  if (!navigator.onLine) return "You are offline. Nothing is lost: it goes on when you are back.";
  if (!(error instanceof Refusal)) return "The server cannot be reached. Is it running?";
  if (error.status === 429) return `Too many requests. Try again in ${Math.ceil(error.waitMs / 1000) || "a few"} seconds.`;
  return error.message;
}

function failed(error) {
  if (error.name === "AbortError") return;
  if (error instanceof Refusal && (error.status === 401 || error.code === "guests_disabled")) {
    show($("access"), true);
    fill($("empty"), "A token is needed to show cases.");
    $("access-token").focus();
    return;
  }
  notice(explain(error));
}

// --- The case ----------------------------------------------------------------------------------

const filters = () => ({ specialty: $("specialty").value.trim(), lang: $("lang").value });
function query(values) {
  const pairs = Object.entries(values).filter(([, value]) => value);
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

async function open(path, skipped) {
  const mine = ++wish;
  now.reading?.abort();
  notice("");
  $("case").setAttribute("aria-busy", "true");
  try {
    let shown = await read(path);
    if (shown.id === skipped) shown = (await another(skipped)) ?? shown;
    if (mine === wish) draw(shown);
  } catch (error) {
    if (mine !== wish) return;
    if (error.code === "no_case_left") { none(); } else { failed(error); }
  } finally {
    if (mine === wish) $("case").setAttribute("aria-busy", "false");
  }
}

/** The server proposes a case until it is answered: who asks for the next one skips it. */
const next = () => open(`/v1/cases/next${query(filters())}`, now.answered ? null : now.shown?.id);
const openCase = (id) => open(`/v1/cases/${encodeURIComponent(id)}`);

/** Some other case that fits the filters, if there is one. */
async function another(skipped) {
  const { items } = await read(`/v1/cases${query({ ...filters(), limit: 100 })}`);
  const others = items.filter(({ id }) => id !== skipped);
  const other = others[Math.floor(Math.random() * others.length)];
  return other && read(`/v1/cases/${encodeURIComponent(other.id)}`);
}

function none() {
  now.shown = null;
  show($("card"), false);
  show($("empty"), true);
  fill($("empty"), "No case fits these filters. Widen them, or import more cases.");
}

function draw(shown) {
  Object.assign(now, { shown, answered: null, pending: null, sure: null });
  timer.start();
  history.replaceState(null, "", `#${shown.id}`);
  suggest([shown]);
  const because = shown.because ?? "";
  fill($("because"), because && `${because[0].toUpperCase()}${because.slice(1)}.`);
  show($("because"), Boolean(because));
  $("chips").replaceChildren(...chips(shown));
  $("vignette").replaceChildren(...(shown.vignette ?? []).flatMap((part) =>
    [part.label && make("dt", "", part.label), make("dd", "", part.text)].filter(Boolean)));
  drawMedia(shown.media ?? []);
  fill($("stem"), shown.stem);
  $("card").lang = shown.lang ?? "";
  fill($("hint"), shown.multi ? "Choose all that are right." : "");
  $("options").replaceChildren(...shown.options.map((option, at) => drawOption(option, at, shown.multi)));
  $("card").classList.remove("answered");
  $("fieldset").disabled = false;
  fill($("sure-said"), "not said");
  $("sure").value = 50;
  fill($("submit"), "Submit answer");
  $("submit").disabled = true;
  show($("submit-row"), true);
  show($("outcome"), false);
  show($("empty"), false);
  show($("card"), true);
  $("case").focus({ preventScroll: true });
  window.scrollTo({ top: 0 });
  say("A new case.");
}

function chips(shown) {
  const difficulty = shown.difficulty && `${shown.difficulty[0].toUpperCase()}${shown.difficulty.slice(1)}`;
  const texts = [shown.specialty, shown.topic, difficulty, shown.source?.name, shown.reason === "longest_ago" && "Seen before"];
  return texts.filter(Boolean).map((text, at) => make("li", at === 0 && shown.specialty ? "strong" : "", text));
}

function drawMedia(media) {
  const safe = media.filter(({ url }) => /^https?:\/\//i.test(url));
  $("media").replaceChildren(...safe.map(({ url, alt }) => {
    const link = make("a", "", `${alt} (opens elsewhere)`);
    Object.assign(link, { href: url, target: "_blank", rel: "noopener noreferrer" });
    const item = make("li");
    item.append(link);
    return item;
  }));
  show($("media"), safe.length > 0);
}

function drawOption(option, at, several) {
  const item = make("li");
  const label = make("label", several ? "option several" : "option");
  const input = make("input");
  Object.assign(input, { type: several ? "checkbox" : "radio", name: "option", value: option.key });
  // The letter is that of the place: the key stays with the option when they are shuffled.
  label.append(input, make("span", "letter", String.fromCharCode(65 + at)), make("span", "text", option.text), make("span", "mark"));
  item.append(label);
  return item;
}

const inputs = () => [...$("options").querySelectorAll("input")];
const chosen = () => inputs().filter((input) => input.checked).map((input) => input.value);

/** The time a student looked at a case: a page in the background does not count. */
const timer = {
  start() { this.sum = 0; this.since = document.hidden ? null : performance.now(); },
  pause() { if (this.since !== null) { this.sum += performance.now() - this.since; this.since = null; } },
  resume() { this.since ??= performance.now(); },
  read() { return Math.round(this.sum + (this.since === null ? 0 : performance.now() - this.since)); },
};
timer.start();

/** A UUID of version 7: made here, so that sending the answer again records it once. */
function uuidV7() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const instant = Date.now();
  for (let at = 0; at < 6; at += 1) bytes[at] = Math.floor(instant / 2 ** (8 * (5 - at))) % 256;
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

async function submit() {
  if (!now.shown || now.answered || $("submit").dataset.busy) return;
  const options = chosen();
  if (!options.length) return;
  const mine = wish;
  now.pending ??= { id: uuidV7(), time_to_answer_ms: timer.read() };
  const body = { ...now.pending, options, case_version: now.shown.version, ...(now.sure === null ? {} : { confidence: now.sure }) };
  $("submit").dataset.busy = "yes";
  $("submit").disabled = true;
  $("fieldset").disabled = true;
  fill($("submit"), "Sending…");
  try {
    const path = `/v1/cases/${encodeURIComponent(now.shown.id)}/answers`;
    const reply = await persist(path, { method: "POST", body });
    // One of an earlier answer does not cover this one: without any, reads are as fresh as can be.
    consistency = reply.headers.get("medcards-consistency");
    const answered = await reply.json();
    if (mine !== wish) return;
    notice("");
    drawOutcome(answered);
    stats();
    if (answered.is_correct) boardSoon();
    learnSoon();
    figures(answered, now.shown);
    feedback();
  } catch (error) {
    if (mine !== wish) return;
    failed(error);
    // A refused answer is not stored: the next is a new one. One that may be stored keeps its id
    // and its choice.
    if (error instanceof Refusal && error.status < 500 && error.status !== 429) {
      now.pending = null;
      $("fieldset").disabled = false;
    }
    fill($("submit"), "Send again");
    $("submit").disabled = false;
  } finally {
    delete $("submit").dataset.busy;
  }
}

function drawOutcome(answered) {
  now.answered = answered;
  $("card").classList.add("answered");
  const mine = new Set(answered.options);
  const right = new Set(answered.correct_options);
  const why = new Map(answered.explanations.map((one) => [one.key, one.text]));
  for (const input of inputs()) {
    const label = input.closest("label");
    const [isMine, isRight] = [mine.has(input.value), right.has(input.value)];
    input.checked = isMine;
    label.classList.toggle("good", isRight);
    label.classList.toggle("bad", isMine && !isRight);
    const mark = isRight ? (isMine ? "✓ Your choice, right" : "✓ Right") : (isMine ? "✗ Your choice" : "");
    fill(label.querySelector(".mark"), mark);
    if (why.get(input.value)) label.append(make("span", "why", why.get(input.value)));
  }
  show($("submit-row"), false);
  const verdict = answered.is_correct ? "Right." : right.size > 1 && [...mine].some((key) => right.has(key)) ? "Not quite." : "Not right.";
  fill($("verdict"), verdict).className = answered.is_correct ? "good" : "bad";
  const references = answered.references ?? [];
  fill($("explanation"), answered.explanation);
  $("references").replaceChildren(...references.map((text) => make("li", "", text)));
  show($("more"), Boolean(answered.explanation) || references.length > 0);
  $("more").open = false;
  show($("outcome"), true);
  $("outcome").focus({ preventScroll: true });
  $("verdict").scrollIntoView({ block: "nearest" });
  say(verdict);
}

async function stats() {
  try {
    const { answered, correct } = await read("/v1/me/stats");
    fill($("score-answered"), answered);
    fill($("score-correct"), correct);
    fill($("score-rate"), answered ? `${Math.round((100 * correct) / answered)} %` : "–");
  } catch { /* The score is not worth a message. */ }
}

/** Shows the first of this week, and where I stand. */
async function board() {
  try {
    const [top, mine] = await Promise.all([
      read("/v1/leaderboards/week"),
      read("/v1/me/leaderboards/week?neighbours=0"),
    ]);
    $("board-top").replaceChildren(...top.standings.map(standing));
    const rank = mine.me ? `You are number ${mine.me.rank} of ${mine.members}.` : "A right answer puts you on the board.";
    fill($("board-mine"), rank);
    show($("board"), mine.members > 0);
  } catch { show($("board"), false); }
}

function standing(one) {
  const line = make("li", one.is_me ? "me" : "");
  const name = one.is_me ? `${one.alias} (you)` : one.alias;
  const points = `${one.points} right`;
  line.append(make("span", "rank", one.rank), make("span", "", name), make("span", "points", points));
  return line;
}

/** The board follows the log: a moment after the answer it has the point. */
function boardSoon() {
  clearTimeout(now.board);
  now.board = setTimeout(board, BOARD_LAG_MS);
}

// --- Feedback, as it arrives -------------------------------------------------------------------

/** Reads server-sent events from a body, as the HTML standard parses them. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", name = "", data = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (data.length) yield { name: name || "message", data: data.join("\n") };
        name = ""; data = [];
      } else if (!line.startsWith(":")) {
        const [, field, text] = /^([^:]*):? ?([^]*)$/.exec(line);
        if (field === "event") name = text;
        if (field === "data") data.push(text);
      }
    }
  }
}

async function feedback() {
  const answered = now.answered;
  const reading = new AbortController();
  now.reading = reading;
  show($("feedback-again"), false);
  $("facts").replaceChildren();
  for (let tries = 1; tries <= TRIES_MAX; tries += 1) {
    try {
      fill($("feedback"), "").classList.add("writing");
      const end = await stream(answered.feedback_url, reading.signal);
      if (reading.signal.aborted) return;
      fill($("feedback"), end.text).classList.remove("writing");
      $("facts").replaceChildren(...facts(end));
      fill($("feedback-said"), `Feedback: ${end.text}`);
      return;
    } catch (error) {
      if (reading.signal.aborted) return;
      const final = error instanceof Refusal && error.status < 500 && error.status !== 429;
      if (final || tries === TRIES_MAX) {
        $("feedback").classList.remove("writing");
        fill($("feedback"), `${explain(error)} Your answer is recorded.`);
        show($("feedback-again"), true);
        return;
      }
      await sleep(300 * 2 ** tries);
    }
  }
}

async function stream(path, signal) {
  const reply = await persist(path, { accept: "text/event-stream", signal });
  if (!reply.headers.get("content-type")?.startsWith("text/event-stream")) return reply.json();
  let end = null;
  for await (const event of events(reply.body)) {
    const data = JSON.parse(event.data);
    if (event.name === "delta") $("feedback").append(data.text);
    if (event.name === "end") end = data;
  }
  if (!end) throw new Error("the stream broke off");
  return end;
}

function facts(end) {
  const dollars = (micros) => micros >= 10_000 ? `$${(micros / 1e6).toFixed(2)}` : `$${(micros / 1e6).toFixed(6).replace(/0+$/, "").replace(/\.$/, "")}`;
  const time = end.latency_us >= 1_000 ? `${(end.latency_us / 1_000).toFixed(end.latency_us >= 10_000 ? 0 : 1)} ms` : `${end.latency_us} µs`;
  const texts = [end.tier, end.model, time, `cost ${dollars(end.cost_microdollars)}`,
    end.saved_microdollars > 0 && `saved ${dollars(end.saved_microdollars)}`,
    end.freshness && end.freshness !== "fresh" && end.freshness.replaceAll("_", " ")];
  return texts.filter(Boolean).map((text, at) => make("li", at === 0 ? "strong" : "", text));
}

// --- Finding cases -----------------------------------------------------------------------------

function suggest(items) {
  const known = new Set([...$("specialties").options].map((option) => option.value));
  for (const { specialty, lang } of items) {
    if (specialty && !known.has(specialty)) { known.add(specialty); $("specialties").append(new Option(specialty, specialty)); }
    if (lang && ![...$("lang").options].some((option) => option.value === lang)) $("lang").append(new Option(lang, lang));
  }
}

async function suggestions() {
  let cursor = null;
  try {
    for (let page = 0; page < SUGGESTION_PAGES_MAX; page += 1) {
      const list = await read(`/v1/cases${query({ limit: 100, cursor })}`);
      suggest(list.items);
      cursor = list.next_cursor;
      if (!cursor) return;
    }
  } catch { /* The field takes any specialty without them. */ }
}

async function find(more = false) {
  const wanted = { ...filters(), q: $("search").value.trim(), limit: 20 };
  try {
    notice("");
    const list = await read(`/v1/cases${query({ ...wanted, cursor: more ? now.list : null })}`);
    now.list = list.next_cursor;
    suggest(list.items);
    const rows = list.items.map(drawFound);
    if (more) $("found-list").append(...rows); else $("found-list").replaceChildren(...rows);
    if (!more && !rows.length) $("found-list").replaceChildren(make("li", "hint", "Nothing found. Each word must begin a word of the case."));
    fill($("found-title"), wanted.q ? `Cases with “${wanted.q}”` : "Cases");
    show($("found-more"), Boolean(now.list));
    show($("found"), true);
    say(`${$("found-list").querySelectorAll("button").length} cases listed.`);
  } catch (error) { failed(error); }
}

function drawFound(shown) {
  const item = make("li");
  const button = make("button");
  button.type = "button";
  button.lang = shown.lang ?? "";
  const story = shown.vignette?.[0]?.text;
  if (story) button.append(make("span", "story", story));
  button.append(make("span", "stem", shown.stem), make("span", "hint", [shown.specialty, shown.topic, shown.lang].filter(Boolean).join(" · ")));
  button.addEventListener("click", () => { show($("found"), false); openCase(shown.id); });
  item.append(button);
  return item;
}

// --- Hands -------------------------------------------------------------------------------------

$("options").addEventListener("change", () => { $("submit").disabled = !chosen().length; });
$("answer").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
$("sure").addEventListener("input", () => { now.sure = Number($("sure").value); fill($("sure-said"), `${now.sure} %`); });
$("next").addEventListener("click", next);
$("next-below").addEventListener("click", next);
$("feedback-again").addEventListener("click", feedback);
$("tools").addEventListener("submit", (event) => { event.preventDefault(); find(); });
$("found-close").addEventListener("click", () => show($("found"), false));
$("found-more").addEventListener("click", () => find(true));
for (const id of ["specialty", "lang"]) {
  $(id).addEventListener("change", () => keep(FILTERS, JSON.stringify(filters())));
}
$("access-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const value = $("access-token").value.trim();
  if (!value) return;
  useToken(value, false);
  live.socket?.close();
  show($("access"), false);
  begin();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const writing = event.target.closest?.("input:not([type=radio], [type=checkbox], [type=range]), select, textarea");
  if (writing || !now.shown) return;
  if (/^[1-9]$/.test(event.key) && !now.answered) {
    const input = inputs()[Number(event.key) - 1];
    if (input && !$("fieldset").disabled) { input.click(); input.focus(); event.preventDefault(); }
  } else if (event.key === "Enter" && !event.target.closest?.("button, a, summary, form")) {
    event.preventDefault();
    if (now.answered) next(); else submit();
  }
});
document.addEventListener("visibilitychange", () => { if (document.hidden) timer.pause(); else timer.resume(); });
window.addEventListener("offline", () => notice("You are offline. Nothing is lost: it goes on when you are back."));
window.addEventListener("online", () => {
  notice("");
  follow();
  if (!now.shown) begin();
  // The same id goes out again, so it counts once whether or not the first try arrived.
  else if (now.pending) submit();
});

async function begin() {
  const asked = /^#([0-9a-f-]{36})$/i.exec(location.hash)?.[1];
  await (asked ? openCase(asked) : next());
  // A link to a case of another server is no reason to show nothing.
  if (asked && !now.shown && navigator.onLine) await next();
  if (!now.shown) return;
  stats();
  board();
  suggestions();
  await learn();
  follow();
}

try {
  const { specialty, lang } = JSON.parse(kept(FILTERS)) ?? {};
  $("specialty").value = specialty ?? "";
  $("lang").value = lang ?? "";
  // A language that only an import has is not among the choices yet.
  if (lang && $("lang").value !== lang) { $("lang").append(new Option(lang, lang)); $("lang").value = lang; }
} catch { /* No filters, then. */ }
begin();
