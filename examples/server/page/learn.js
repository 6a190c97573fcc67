// What is learnt from answers: charts, streak, badges, reviews, cohort, and what is told as it happens.
// Loaded before app.js, whose functions it uses when it is called.
"use strict";

const CURSOR = "medcards.cursor";
/** How many days the chart shows, and how many specialties. */
const CHART_DAYS = 30;
const CHART_SPECIALTIES = 8;
/** How long a toast stays, and how many there are at once. */
const TOAST_MS = 12_000;
const TOASTS_MAX = 4;
/** How long to wait before the connection is tried again: doubled each time, and never quite the same. */
const RECONNECT_MS = 500;
const RECONNECT_MS_MAX = 30_000;
/** What is learnt follows an answer within a moment. Looking once leaves room in the quota of calls. */
const LEARN_AFTER_MS = 1_500;

/** What was shown last: badges by name, for the words of toasts. */
const learnt = { titles: new Map(), timer: null, off: false };

// --- Reading -------------------------------------------------------------------------------------

/** Shows all that is learnt; nothing, if the server learns nothing. */
async function learn() {
  if (learnt.off) return;
  try {
    const [dashboard, streak, badges, reviews] = await Promise.all([
      read("/v1/me/dashboard"), read("/v1/me/streak"), read("/v1/me/badges"), read("/v1/me/reviews?limit=5"),
    ]);
    drawSummary(dashboard, streak);
    drawDays(dashboard.days);
    drawSpecialties(dashboard.specialties);
    drawBadges(badges.items);
    drawReviews(reviews);
    show($("mine"), true);
    cohort();
  } catch (error) {
    learnt.off = error.code === "learning_disabled";
    if (learnt.off) show($("mine"), false);
  }
}

function learnSoon() {
  clearTimeout(learnt.timer);
  learnt.timer = setTimeout(learn, LEARN_AFTER_MS);
}

const percent = (part, whole) => (whole ? Math.round((100 * part) / whole) : 0);
const plural = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;

function drawSummary(dashboard, streak) {
  const { answered, correct } = dashboard.total;
  fill($("mine-streak"), plural(streak.days, "day"));
  const until = streak.at_risk_until && new Date(streak.at_risk_until);
  const risk = until && !streak.is_active_today
    ? `Answer a case before ${until.toLocaleString([], { weekday: "short", hour: "2-digit", minute: "2-digit" })} to keep it.`
    : `Longest ${plural(streak.longest, "day")}, ${plural(streak.freezes_left, "freeze")} left.`;
  fill($("mine-risk"), risk);
  fill($("mine-rate"), answered ? `${percent(correct, answered)} %` : "–");
  fill($("mine-cases"), `${plural(answered, "answer")} to ${plural(dashboard.cases, "case")}`);
  fill($("mine-peers"), dashboard.percentile === null ? "–" : `${Math.round(dashboard.percentile)} %`);
  fill($("mine-peers-said"), dashboard.percentile === null
    ? "Comes with a few more answers." : "of the others have a lower share of right answers.");
}

// --- Charts --------------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
function draw2d(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) { const title = document.createElementNS(SVG, "title"); title.textContent = text; node.append(title); }
  return node;
}

/** The same as a table, for who cannot see the chart. */
function drawTable(node, heads, rows) {
  const head = make("tr");
  head.append(...heads.map((text) => { const cell = make("th", "", text); cell.scope = "col"; return cell; }));
  node.replaceChildren(head, ...rows.map((row) => {
    const line = make("tr");
    line.append(...row.map((text) => make("td", "", text)));
    return line;
  }));
}

/** A bar for each day: the answers, and in front of them the right ones. */
function drawDays(days) {
  const by = new Map(days.map((day) => [day.date, day]));
  const [height, step] = [64, 10];
  const most = Math.max(1, ...days.map((day) => day.answered));
  const bars = [];
  const rows = [];
  for (let back = CHART_DAYS - 1; back >= 0; back -= 1) {
    const date = new Date(Date.now() - back * 86_400_000).toISOString().slice(0, 10);
    const { answered, correct } = by.get(date) ?? { answered: 0, correct: 0 };
    const x = (CHART_DAYS - 1 - back) * step;
    const said = `${date}: ${plural(answered, "answer")}, ${correct} right`;
    const bar = (count, name) => {
      const size = (count / most) * height;
      return draw2d("rect", { class: name, x: x + 1, y: height - size, width: step - 2, height: size, rx: 1 }, said);
    };
    bars.push(draw2d("rect", { class: "ground", x: x + 1, y: height, width: step - 2, height: 1 }, said));
    if (answered) { bars.push(bar(answered, "all"), bar(correct, "right")); rows.push([date, answered, correct]); }
  }
  const chart = $("chart-days");
  chart.setAttribute("viewBox", `0 0 ${CHART_DAYS * step} ${height + 1}`);
  chart.setAttribute("aria-label", `Answers of the last ${CHART_DAYS} days: ${rows.length ? `on ${plural(rows.length, "day")}, at most ${most} a day` : "none"}.`);
  chart.replaceChildren(...bars);
  drawTable($("table-days"), ["Day", "Answers", "Right"], rows);
}

/** A bar for each specialty: how much of it is right. */
function drawSpecialties(specialties) {
  const shown = specialties.slice(0, CHART_SPECIALTIES);
  $("chart-specialties").replaceChildren(...shown.map(({ name, total, mastery }) => {
    const rate = percent(total.correct, total.answered);
    const item = make("li");
    const bar = draw2d("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" });
    bar.append(draw2d("rect", { class: "all", width: 100, height: 6, rx: 3 }), draw2d("rect", { class: "right", width: rate, height: 6, rx: 3 }));
    item.append(make("span", "name", name || "Without a specialty"), make("span", "figure", `${mastery.replace("_", " ")} · ${rate} % of ${total.answered}`), bar);
    return item;
  }));
  show($("no-specialties"), !shown.length);
}

// --- Badges, reviews, cohort ---------------------------------------------------------------------

function drawBadges(items) {
  learnt.titles = new Map(items.map(({ badge, title }) => [badge, title]));
  const share = ({ progress }) => (progress ? progress.have / progress.need : 0);
  const had = items.filter((item) => item.awarded_at);
  // Of those that are missing, the nearest ones.
  const missing = items.filter((item) => !item.awarded_at).sort((a, b) => share(b) - share(a)).slice(0, 6);
  $("badges").replaceChildren(...[...had, ...missing].map((item) => {
    const line = make("li", item.awarded_at ? "had" : "");
    line.append(make("span", "title", item.title));
    if (item.awarded_at) {
      line.append(make("span", "hint", `since ${new Date(item.awarded_at).toLocaleDateString()}`));
    } else if (item.progress) {
      const { have, need } = item.progress;
      const bar = make("progress");
      Object.assign(bar, { max: need, value: Math.min(have, need) });
      bar.setAttribute("aria-label", item.title);
      line.append(bar, make("span", "hint", `${have} of ${need}`));
    }
    return line;
  }));
}

function drawReviews({ items, has_more: more }) {
  fill($("reviews-said"), items.length ? `${plural(items.length, "case")}${more ? " and more" : ""} to see again.` : "Nothing is due. It comes when you are about to forget it.");
  $("reviews").replaceChildren(...items.map((one) => {
    const item = make("li");
    const button = make("button");
    button.type = "button";
    const about = [one.topic ?? one.specialty, `you know it with ${Math.round(one.recall * 100)} %`].filter(Boolean).join(" · ");
    button.append(make("span", "stem", one.stem), make("span", "hint", about));
    button.addEventListener("click", () => openCase(one.case_id));
    item.append(button);
    return item;
  }));
}

async function cohort() {
  try {
    const { number, standings } = await read("/v1/me/cohort");
    show($("cohort"), Boolean(number));
    if (number) $("cohort-top").replaceChildren(...standings.map(standing));
  } catch { show($("cohort"), false); }
}

/** How others answered the case that was just answered. */
async function figures(answered, shown) {
  if (learnt.off) return;
  await sleep(LEARN_AFTER_MS);
  try {
    const path = `/v1/cases/${encodeURIComponent(shown.id)}/figures${query({ version: shown.version, answer: answered.id })}`;
    const { options, band } = await read(path);
    if (now.answered !== answered) return;
    for (const { key, percent: share } of options ?? []) {
      const input = inputs().find((one) => one.value === key);
      input?.closest("label").append(make("span", "share", `${Math.round(share)} % chose this`));
    }
    if (band) $("chips").append(make("li", "", `Difficulty ${band} of 5`));
  } catch { /* The case is answered without it. */ }
}

// --- What is told as it happens ------------------------------------------------------------------

const live = { socket: null, cursor: null, fails: 0, timer: null, of: null };

/** Connects, and comes back to where it was whenever the connection drops. */
async function follow() {
  clearTimeout(live.timer);
  if (learnt.off || live.socket) return;
  let bearer;
  try { bearer = await token(); } catch { return again(); }
  if (live.socket) return;
  if (live.of !== bearer) {
    live.of = bearer;
    let last = null;
    try { last = JSON.parse(kept(CURSOR)); } catch { /* From now on, then. */ }
    live.cursor = last?.of === bearer.slice(-16) ? last.cursor : null;
  }
  const address = new URL("/v1/me/live", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  if (live.cursor) address.searchParams.set("after", live.cursor);
  const socket = new WebSocket(address, ["medcards", `bearer.${bearer}`]);
  live.socket = socket;
  socket.addEventListener("message", ({ data }) => {
    const message = JSON.parse(data);
    live.fails = 0;
    live.cursor = message.cursor;
    keep(CURSOR, JSON.stringify({ of: bearer.slice(-16), cursor: message.cursor }));
    if (message.type === "notice") told(message);
  });
  socket.addEventListener("close", async ({ code }) => {
    live.socket = null;
    live.fails += 1;
    // What is wrong with the token, or the cursor, a request finds out.
    if (code === 4401 || live.fails % 3 === 0) {
      live.cursor = live.fails > 3 ? null : live.cursor;
      await read("/v1/me").catch(() => {});
    }
    again();
  });
}

function again() {
  const wait = Math.min(RECONNECT_MS * 2 ** live.fails, RECONNECT_MS_MAX);
  clearTimeout(live.timer);
  live.timer = setTimeout(follow, wait * (0.5 + Math.random()));
}

function told(notice) {
  const words = {
    badge: () => ["New badge", learnt.titles.get(notice.badge) ?? notice.badge],
    rank: () => ["You rose in your cohort", `Number ${notice.rank} with ${plural(notice.points, "point")}.`],
    regraded: () => ["A case you answered was corrected", notice.is_correct ? "Your answer is right now." : "Your answer is not right any more."],
    streak: () => ["Your streak grows", `${plural(notice.days, "day")} in a row.`],
  }[notice.kind];
  // A kind that this page does not know.
  if (words) toast(...words());
  learnSoon();
}

function toast(title, text) {
  const item = make("li", "toast");
  const close = make("button", "quiet", "Close");
  close.type = "button";
  close.setAttribute("aria-label", `Close: ${title}`);
  const words = make("div");
  words.append(make("strong", "", title), make("p", "", text));
  item.append(words, close);
  let timer;
  const leave = () => { clearTimeout(timer); item.remove(); };
  const wait = () => { clearTimeout(timer); timer = setTimeout(leave, TOAST_MS); };
  close.addEventListener("click", leave);
  // One that somebody reads or is about to close stays.
  for (const name of ["pointerenter", "focusin"]) item.addEventListener(name, () => clearTimeout(timer));
  for (const name of ["pointerleave", "focusout"]) item.addEventListener(name, wait);
  wait();
  $("toasts").append(item);
  while ($("toasts").children.length > TOASTS_MAX) $("toasts").firstElementChild.remove();
}
