"use strict";
const K = JSON.parse(document.getElementById("config").textContent);
const $ = (id) => document.getElementById(id);
const NAMES = "ABCD", ADDED = ["srankl-selective", "mrankl-selective", "denosumab", "placebo"], SPARE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#4D4D4D"];
const DASHES = ["", "6 6", "2 5", "9 4 2 4"];  // gaps as wide as dashes: a curve below the other is seen
const SOURCES = { osteocyte: "osteocytes", osteoblast: "osteoblasts", marrow: "marrow cells", lymphocyte: "lymphocytes" };
const DAYS = 30.4375, UNITS = { day: 1 / DAYS, wk: 7 / DAYS, mo: 1, yr: 12 };
const INTERVALS = ["1day", "1wk", "2wk", "4wk", "1mo", "2mo", "3mo", "4mo", "6mo", "9mo", "12mo", "18mo", "24mo"];
const LENGTHS = [1, 2, 3, 6, 9, 12, 18, 24, 30, 36, 42, 48, 54, 60, 72, 84, 96, 108, 120];
const FACTORS = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4];
const PANELS = [
  { key: "BMD_LS_pct", name: "Lumbar spine BMD", unit: "% change", rest: 0 },
  { key: "BMD_TH_pct", name: "Total hip BMD", unit: "% change", rest: 0 },
  { key: "CTX_pct", name: "CTX", unit: "% of baseline", rest: 100, floor: 0 },
  { key: "P1NP_pct", name: "P1NP", unit: "% of baseline", rest: 100, floor: 0 },
  { key: "OCC_mRANKL", name: "RANKL on cells bound by drug", unit: "%", range: [0, 100] },
  { key: "OCC_sRANKL", name: "Soluble RANKL bound by drug", unit: "%", range: [0, 100] },
  { key: "source", name: "RANKL bound by drug on", unit: "%", range: [0, 100] },
  { key: "RISK_vertebral", name: "Vertebral fracture so far", unit: "% of such women", floor: 0 },
  { key: "RISK_hip", name: "Hip fracture so far", unit: "% of such women", floor: 0 },
];
const agents = Object.fromEntries(K.agents.map((a) => [a.name, a]));
const controls = Object.fromEntries(K.controls.map((c) => [c.symbol, c]));
const state = start();
const known = new Map();  // what was answered, by request
let shown = [], less = [], cohorts = [], notes = [], faults = [], open = new Set([0]), running = false, again = false;

function start() {
  return { r: [...K.regimens], m: 60, set: {}, at: 36, of: "BMD_LS", above: 3, pop: "postmenopausal-osteoporosis", source: "osteocyte", vs: "" };
}

// --- text of a regimen and its parts ---

const esc = (s) => String(s).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const num = (x, d = 1) => (Math.abs(x) < 0.5 * 10 ** -d ? 0 : x).toFixed(d).replace("-", "−");
const months = (text) => { const f = /^([\d.]+)\s*(day|wk|mo|yr)$/.exec(text); return f ? f[1] * UNITS[f[2]] : NaN; };
const tidy = (x) => String(Number(x.toPrecision(3)));

function partsOf(text) {  // null where a part is beyond the sliders
  const parts = [];
  for (const piece of text.split(",").map((s) => s.trim())) {
    const gap = /^nothing ([\d.]+)\s?mo$/i.exec(piece);
    if (gap) { parts.push({ gap: Number(gap[1]) }); continue; }
    const f = /^([\w-]+)(?: ([\d.]+)\s?(mg|ug))?(?: every ([\d.]+)\s?(day|wk|mo|yr))?(?: [x×]\s?(\d+)| for ([\d.]+)\s?(mo|yr))?$/.exec(piece);
    if (!f || !agents[f[1]]) return null;
    const usual = usualOf(f[1]), every = f[4] ? f[4] + f[5] : usual.every;
    const length = f[7] ? f[7] * UNITS[f[8]] : (f[6] || 1) * months(every);
    if ((!f[2]) !== (agents[f[1]].kind === "none") || Math.abs(length - Math.round(length)) > 0.3) return null;
    parts.push({ agent: f[1], dose: Number(f[2] || 0), unit: f[3] || usual.unit, every, length: Math.round(length) });
  }
  return parts;
}
function textOf(parts) {
  return parts.map((p) => p.gap !== undefined ? `nothing ${p.gap}mo`
    : `${p.agent}${p.dose ? ` ${tidy(p.dose)}${p.unit}` : ""} every ${p.every} for ${p.length}mo`).join(", ");
}
function usualOf(name) {
  const f = /^(?:([\d.]+) (\w+) )?every ([\d.]+) (\w+)/.exec(agents[name].regimen);
  return { dose: Number(f[1] || 0), unit: f[2] || "mg", every: f[3] + f[4] };
}
const usualPart = (name, length) => ({ agent: name, ...usualOf(name), length });

// --- controls ---

function slider(label, value, values, words, move, symbol = "") {  // a range over a list of values
  const list = values.some((v) => same(v, value)) ? values : [...values, value].sort((a, b) => (months(a) || a) - (months(b) || b));
  const box = document.createElement("label");
  box.className = "slider";
  box.innerHTML = `<span>${label}${symbol && ` <code>${symbol}</code>`}</span><span class="out"></span><input type="range" min="0" max="${list.length - 1}" step="1" aria-label="${symbol && `${symbol}: `}${label}">`;
  const [out, input] = [box.querySelector(".out"), box.querySelector("input")];
  const say = () => { const w = words(list[input.value]); out.textContent = w; input.setAttribute("aria-valuetext", w); };
  input.value = list.findIndex((v) => same(v, value));
  input.oninput = () => { say(); move(list[input.value]); };
  say();
  return box;
}
const same = (a, b) => a === b || (typeof a === "number" && Math.abs(a - b) < 1e-9 * Math.abs(a));

function drawRegimens() {
  const box = $("regimens");
  box.replaceChildren(...state.r.map((text, i) => {
    const card = document.createElement("details"), parts = partsOf(text);
    card.className = "card";
    card.open = open.has(i);
    card.ontoggle = () => (card.open ? open.add(i) : open.delete(i));
    card.innerHTML = `<summary><b>${NAMES[i]}</b> <span class="title"></span></summary>`;
    const rewrite = (redraw) => { state.r[i] = textOf(parts); card.querySelector("textarea").value = state.r[i]; changed(redraw); };
    (parts || []).slice(0, K.grid ? 1 : undefined).forEach((part, k) => card.append(partBox(part, k, parts, i, rewrite)));
    if (K.grid) card.append(thenBox(i, text));
    const row = document.createElement("p");
    row.className = "row";
    if (parts && !K.grid) row.append(button("Then…", () => { parts.push(usualPart(agents.zoledronate ? "zoledronate" : K.agents[0].name, 12)); rewrite(true); }, `Then… add a treatment after regimen ${NAMES[i]}`));
    if (state.r.length < K.most) row.append(button("Copy", () => insert(i + 1, state.r[i]), `Copy regimen ${NAMES[i]}`));
    if (state.r.length > 1) row.append(button("Remove", () => { open = new Set([0]); state.r.splice(i, 1); changed(true); $("add").focus(); }, `Remove regimen ${NAMES[i]}`));
    const label = document.createElement("label");
    label.className = "field";
    label.innerHTML = `As text${parts ? "" : " (written by hand: without sliders)"}<textarea rows="2" spellcheck="false" maxlength="1000"></textarea>`;
    label.lastChild.value = text;
    label.lastChild.onchange = (e) => { state.r[i] = e.target.value.trim(); changed(true); };
    label.hidden = !!K.grid;
    card.append(row, label);
    return card;
  }));
  $("add").disabled = state.r.length >= K.most;
  $("most").textContent = $("add").disabled ? `The page shows ${K.most} regimens at most; remove one to add another.` : "";
  titles();
}
function partBox(part, k, parts, i, rewrite) {
  const box = document.createElement("fieldset"), options = K.grid ? K.grid.agents[part.agent] : { factors: FACTORS, every: INTERVALS, length: LENGTHS };
  box.innerHTML = `<legend class="hidden">Regimen ${NAMES[i]}, part ${k + 1}</legend>`;
  const row = document.createElement("div"), pick = document.createElement("select");
  row.className = "part";
  pick.setAttribute("aria-label", `Agent of part ${k + 1} of regimen ${NAMES[i]}`);
  pick.innerHTML = (k ? '<option value="">nothing</option>' : "") + (K.grid ? Object.keys(K.grid.agents) : Object.keys(agents)).map((a) => `<option value="${esc(a)}">${esc(agents[a].label)}</option>`).join("");
  pick.value = part.agent || "";
  pick.onchange = () => {
    const length = part.length || part.gap || 12;
    parts[k] = pick.value ? usualPart(pick.value, length) : { gap: length };
    rewrite(true);
    $("regimens").children[i].querySelectorAll("fieldset select")[k].focus();
  };
  if (k) row.append("then ");
  row.append(pick);
  if (k && !K.grid) row.append(button("✕", () => { parts.splice(k, 1); rewrite(true); }, `Remove part ${k + 1} of regimen ${NAMES[i]}`, "x"));
  box.append(row);
  if (part.gap !== undefined) {
    box.append(slider("for", part.gap, LENGTHS, (v) => `${v} months`, (v) => { part.gap = v; rewrite(); }));
    return box;
  }
  const usual = usualOf(part.agent), doses = options.factors.map((f) => Number(tidy(f * usual.dose)));
  if (usual.dose) box.append(slider("Dose", part.dose, doses, (v) => `${v} ${part.unit}`, (v) => { part.dose = v; rewrite(); }));
  box.append(slider("Every", part.every, options.every, everyWords, (v) => {
    part.every = v;
    const least = Math.ceil(months(v) - 1e-9), more = part.length < least;
    if (more) part.length = options.length.find((l) => l >= least) ?? least;
    rewrite(more);
  }));
  box.append(slider("For", part.length, options.length.filter((l) => l > months(part.every) - 1e-9), (v) => {
    const n = Math.floor(v / months(part.every) * (1 + 1e-12));
    return `${v} months, ${n} dose${n === 1 ? "" : "s"}`;
  }, (v) => { part.length = v; rewrite(); }));
  return box;
}
function thenBox(i, text) {  // of a file: what may follow
  const box = document.createElement("label"), [first, ...rest] = text.split(", ");
  box.className = "field";
  box.innerHTML = `then <select>${K.grid.then.map((t) => `<option value="${esc(t)}">${esc(t || "nothing")}</option>`).join("")}</select>`;
  box.lastChild.value = rest.join(", ");
  box.lastChild.onchange = (e) => { state.r[i] = [state.r[i].split(", ")[0], e.target.value].filter(Boolean).join(", "); changed(); };
  return box;
}
const everyWords = (v) => v.replace(/^([\d.]+)(\w+)$/, (_, n, u) => `${n} ${{ day: "day", wk: "week", mo: "month", yr: "year" }[u]}${n === "1" ? "" : "s"}`);
function button(text, press, label, style = "") {
  const b = document.createElement("button");
  Object.assign(b, { type: "button", textContent: text, onclick: press, className: style });
  if (label) b.setAttribute("aria-label", label);
  return b;
}

function drawUnknowns() {
  const used = new Set(state.r.flatMap((t) => t.match(/[A-Za-z][\w-]*/g) || []));
  const list = K.controls.filter((c) => K.grid ? K.grid.set[c.symbol] : !c.group || used.has(c.group));
  const groups = [...new Set(list.map((c) => c.group))].sort((a, b) => (a === "") - (b === ""));
  const before = new Set([...$("unknowns").querySelectorAll("details[open]")].map((d) => d.dataset.group));
  $("unknowns").replaceChildren(...groups.map((g) => {
    const box = document.createElement("details");
    box.className = "group";
    box.dataset.group = g;
    box.open = before.has(g) || list.some((c) => c.group === g && c.symbol in state.set) || !!K.grid;
    box.innerHTML = `<summary>${g ? `${esc(agents[g].label)}: affinity, shedding, reach` : "The biology"}</summary>`;
    box.append(...list.filter((c) => c.group === g).map(unknown));
    return box;
  }));
}
function unknown(c) {
  const n = 40, grid = K.grid ? K.grid.set[c.symbol] : Array.from({ length: n + 1 }, (_, k) => {
    const v = c.log ? c.low * (c.high / c.low) ** (k / n) : c.low + (c.high - c.low) * k / n;
    return Math.min(c.high, Math.max(c.low, Number(v.toPrecision(3))));
  });
  const unit = c.unit === "1" ? "" : ` ${c.unit}`, at = state.set[c.symbol] ?? c.value;
  const mark = (box, v) => box.classList.toggle("moved", !same(v, c.value));
  const box = slider(esc(c.meaning), at, [...new Set([...grid, c.value])].sort((a, b) => a - b),
    (v) => `${tidy(v)}${unit}${same(v, c.value) ? " (default)" : ""}`, (v) => {
      if (same(v, c.value)) delete state.set[c.symbol]; else state.set[c.symbol] = v;
      mark(box, v);
      changed();
    }, esc(c.symbol));
  mark(box, at);
  return box;
}

// --- asking ---

const settings = () => Object.entries(state.set).sort(([a], [b]) => (a < b ? -1 : 1));
function request(kind, i) {
  const q = new URLSearchParams({ r: state.r[i], m: state.m });
  if (kind === "difference") q.set("against", state.r[NAMES.indexOf(state.vs)]);
  if (kind === "cohort") { q.set("pop", state.pop); q.set("at", state.at); }
  settings().forEach(([s, v]) => q.append("set", `${s}:${v}`));
  return `${kind}?${q}`;
}
async function get(kind, i) {
  if (K.grid) return fromGrid(kind, i);
  const key = request(kind, i);
  if (known.has(key)) return known.get(key);
  let answer;
  try {
    const reply = await fetch(key);
    answer = await reply.json();
  } catch (fault) { throw ["the server does not answer; start `ranklsim explore` again and reload the page."]; }
  if (answer.faults) throw answer.faults;
  if (known.size > 400) known.clear();
  known.set(key, answer);
  return answer;
}
const cells = K.grid && (async () => {
  const packed = Uint8Array.from(atob(K.grid.cells), (c) => c.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
})();
async function fromGrid(kind, i) {
  const all = await cells, set = settings().map(([s, v]) => `|${K.grid.set[s].findIndex((g) => same(g, v))}`).join("");
  const cell = all[state.r[i] + set], month = String(Math.max(1, Math.floor(state.at / K.grid.read_off)) * K.grid.read_off);
  if (!cell) throw [`this file does not hold "${state.r[i].slice(0, 200)}"; \`ranklsim explore\` computes it.`];
  if (kind === "course") return cell;
  const women = cell.women && (cell.women[month] || cell.women[Object.keys(cell.women).at(-1)]);
  return women ? { at: month, ...women } : null;
}
async function refresh() {  // one round at a time: a slider that moves on is asked for once, at its last place
  if (running) { again = true; return; }
  running = true;
  document.body.classList.add("busy");
  const began = performance.now();
  if (NAMES.indexOf(state.vs) >= state.r.length || K.grid) state.vs = "";
  const found = await Promise.allSettled(state.r.map((_, i) => get("course", i)));
  shown = found.flatMap((f, i) => f.value ? [{ ...f.value, i, name: NAMES[i] }] : []);
  const other = shown.find((c) => c.name === state.vs);
  less = other ? await Promise.all(shown.map((c) => c === other ? null : get("difference", c.i).catch(() => null))) : [];
  faults = found.map((f) => f.status === "rejected" ? said(f.reason) : []);
  complain();
  document.body.classList.toggle("none", !shown.length);
  if (shown.length) paint(); else titles();
  document.body.dataset.ms = Math.round(performance.now() - began);
  document.body.classList.remove("busy");
  running = false;
  if (again) { again = false; refresh(); return; }
  if (shown.length) countWomen();
}
const said = (reason) => Array.isArray(reason) ? reason : [`a fault of the page: ${reason}`];
function complain() {  // what several regimens have in common is said once
  const texts = [...new Set(faults.flat())].map((t) => {
    const names = [...NAMES].filter((_, i) => faults[i]?.includes(t));
    return names.length > 1 && names.length === state.r.length ? t : `${names.join(", ")}: ${t}`;
  });
  $("fault").innerHTML = [...notes, ...texts].slice(0, 6).map((t) => `<p>${esc(t)}</p>`).join("");
}
let turn = 0;
async function countWomen() {
  const mine = ++turn;
  $("cohort").setAttribute("aria-busy", "true");
  await new Promise((done) => setTimeout(done, 200));
  if (mine !== turn || running) return;
  let found = [];
  for (const { i } of shown) {  // one after another, so that curves are never kept waiting for long
    try { found.push(await get("cohort", i)); } catch (fault) { faults[i] = said(fault); complain(); found = []; }
    if (mine !== turn) return;
    if (!found.length) break;
  }
  cohorts = found;
  $("cohort").setAttribute("aria-busy", "false");
  paintCohort();
}
let timer;
function changed(redraw = false) {
  turn++;
  notes = [];
  if (redraw) { drawRegimens(); drawUnknowns(); }
  history.replaceState(null, "", `#${link()}`);
  refresh();
  clearTimeout(timer);
  timer = setTimeout(() => { if (!$("fault").textContent) $("status").textContent = `Updated. ${spoken()}`; }, 1200);
}

// --- the state as a link ---

function link() {
  const q = new URLSearchParams({ v: K.state });
  state.r.forEach((t) => q.append("r", t));
  settings().forEach(([s, v]) => q.append("set", `${s}:${v}`));
  for (const name of ["m", "at", "of", "above", "pop", "source", "vs"]) q.set(name, state[name]);
  return q.toString();
}
function restore() {
  Object.assign(state, start());
  const text = location.hash.slice(1);
  if (!text) return [];
  const q = new URLSearchParams(text), faults = [], version = q.get("v");
  if (version !== String(K.state)) return [`this link is of version ${esc(String(version)).slice(0, 20)}, and this page reads version ${K.state}; the page begins anew.`];
  const r = q.getAll("r").map((t) => t.trim().slice(0, 1001)).filter(Boolean);
  if (r.length > K.most) faults.push(`the link has ${r.length} regimens; the first ${K.most} are shown.`);
  if (r.length) state.r = r.slice(0, K.most);
  for (const [name, low, high] of [["m", 12, K.longest], ["at", 0, K.longest], ["above", -100, 1000]]) {
    const v = q.get(name);
    if (v === null) continue;
    if (v.trim() && Number(v) >= low && Number(v) <= high) state[name] = Number(v);
    else faults.push(`the link has ${name} = "${v.slice(0, 40)}", which is not a number from ${low} to ${high}; ${state[name]} stands for it.`);
  }
  for (const [name, all] of [["of", ["BMD_LS", "BMD_TH"]], ["pop", K.populations.map((p) => p.name)], ["source", Object.keys(SOURCES)], ["vs", ["", ...NAMES]]]) {
    const v = q.get(name);
    if (v !== null && all.includes(v)) state[name] = v;
    else if (v !== null) faults.push(`the link has ${name} = "${v.slice(0, 40)}", which is none of ${all.join(", ")}; ${state[name]} stands for it.`);
  }
  for (const one of q.getAll("set").slice(0, 40)) {
    const [symbol, value] = one.split(":"), c = controls[symbol];
    if (c && value && Number(value) >= c.low && Number(value) <= c.high) state.set[symbol] = Number(value);
    else faults.push(`the link sets "${one.slice(0, 60)}", which is no parameter of this page with a value in its range; it is left out.`);
  }
  return faults;
}

// --- pictures ---

const valueAt = (course, key, month, k = 0) => {
  const x = course.months, y = course.curves[key][k];
  let j = x.findIndex((t) => t >= month - 1e-9);
  if (j < 0) return null;
  if (j === 0 || x[j] - month < 1e-9) return y[j];
  return y[j - 1] + (y[j] - y[j - 1]) * (month - x[j - 1]) / (x[j] - x[j - 1]);
};
function colors() {
  const taken = [];
  return shown.map((c) => {
    const color = taken.includes(c.color) ? SPARE.find((s) => !taken.includes(s) && !shown.some((o) => o.color === s)) || SPARE.find((s) => !taken.includes(s)) : c.color;
    taken.push(color);
    return color;
  });
}
function ticks(low, high, most) {
  const step = [1, 2, 2.5, 5, 10].map((f) => f * 10 ** Math.floor(Math.log10((high - low) / most))).find((s) => (high - low) / s <= most) || (high - low);
  const out = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + 1e-9 * step; v += step) out.push(Number(v.toPrecision(12)));
  return out;
}
function frame(xs, ys, x, y, W, H, L, B, xname) {
  let s = "";
  for (const v of ys) s += `<line x1="${L}" x2="${W - 16}" y1="${y(v)}" y2="${y(v)}" stroke="#e4e9ee"/><text x="${L - 5}" y="${y(v) + 3.5}" font-size="10.5" text-anchor="end">${num(v, v % 1 ? 1 : 0)}</text>`;
  for (const v of xs) s += `<line x1="${x(v)}" x2="${x(v)}" y1="${H - B}" y2="${H - B + 4}" stroke="#7b8794"/><text x="${x(v)}" y="${H - B + 15}" font-size="10.5" text-anchor="middle">${num(v, v % 1 ? 1 : 0)}</text>`;
  return s + `<line x1="${L}" x2="${W - 16}" y1="${H - B}" y2="${H - B}" stroke="#7b8794"/><text x="${(W + L) / 2}" y="${H - 2}" font-size="10.5" text-anchor="middle">${xname}</text>`;
}
function apart(places, gap, low, high) {  // heights that do not touch
  const order = places.map((p, i) => [p, i]).sort((a, b) => a[0] - b[0]), out = [];
  order.forEach(([p], k) => { order[k][0] = Math.max(p, k ? order[k - 1][0] + gap : low); });
  for (let k = order.length - 1; k >= 0; k--) order[k][0] = Math.min(order[k][0], k === order.length - 1 ? high : order[k + 1][0] - gap);
  order.forEach(([p, i]) => { out[i] = p; });
  return out;
}
function chart(panel, tints, end) {
  const key = panel.key === "source" ? `OCC_mRANKL_${state.source}` : panel.key;
  const W = 320, H = 196, L = 36, T = 6, B = 30, curves = shown.map((c) => c.curves[key]);
  const dots = shown.flatMap((c, i) => c.published.filter((p) => p.of === key && p.month <= end).map((p) => ({ ...p, i })));
  const seen = new Set(), points = dots.filter((p) => { const id = [p.study, p.arm, p.month, p.statistic].join(); return !seen.has(id) && seen.add(id); });
  let all = curves.flatMap((c) => [...c[1], ...c[2], ...c[0]]).concat(points.map((p) => p.value), panel.rest ?? []);
  let [low, high] = panel.range || [Math.min(...all, panel.floor ?? Infinity), Math.max(...all)];
  if (!panel.range) { const pad = (high - low || 1) * 0.05; high += pad; low = panel.floor === undefined ? low - pad : panel.floor; }
  const x = (m) => L + m / end * (W - 16 - L), y = (v) => Math.max(T, Math.min(H - B, T + (high - v) / (high - low) * (H - B - T)));
  const f = (n) => n.toFixed(1);
  let s = frame(monthTicks(end), ticks(low, high, 5), x, y, W, H, L, B, "months");
  if (panel.rest !== undefined) s += `<line x1="${L}" x2="${W - 16}" y1="${y(panel.rest)}" y2="${y(panel.rest)}" stroke="#7b8794"/>`;
  shown.forEach((c, i) => c.doses.forEach(([a, b]) => { s += `<rect x="${f(x(a))}" width="${f(Math.max(1.5, x(Math.min(b, end)) - x(a)))}" y="${H - B - 3 - 3 * i}" height="2" fill="${tints[i]}"/>`; }));
  curves.forEach((c, i) => { const m = shown[i].months; s += `<path d="M${m.map((t, k) => `${f(x(t))} ${f(y(c[2][k]))}`).join("L")}L${m.map((t, k) => `${f(x(t))} ${f(y(c[1][k]))}`).reverse().join("L")}Z" fill="${tints[i]}" fill-opacity=".15"/>`; });
  const alike = shown.map((one) => shown.filter((c) => c === one || coincide(one, c, key, (high - low) / 50)));
  curves.forEach((c, i) => {
    const n = alike[i].length, before = alike[i].indexOf(shown[i]), long = 12;  // of one curve for several: their colours alternate
    const dashes = n === 1 ? DASHES[shown[i].i] : before ? `${long} ${long * (n - 1)}" stroke-dashoffset="${-long * before}` : "";
    s += `<path d="M${shown[i].months.map((t, k) => `${f(x(t))} ${f(y(c[0][k]))}`).join("L")}" fill="none" stroke="${tints[i]}" stroke-width="2" stroke-dasharray="${dashes}"/>`;
  });
  for (const p of points) {
    const tip = `${p.study}, ${p.arm}${p.n ? `, n ${p.n}` : ""}: ${num(p.value)} (${p.statistic}) at month ${num(p.month, p.month % 1 ? 1 : 0)}`;
    if (p.low !== null) s += `<line x1="${f(x(p.month))}" x2="${f(x(p.month))}" y1="${f(y(p.low))}" y2="${f(y(p.high))}" stroke="${tints[p.i]}" stroke-width="1"/>`;
    s += `<circle cx="${f(x(p.month))}" cy="${f(y(p.value))}" r="2.8" fill="#fff" stroke="${tints[p.i]}" stroke-width="1.4"><title>${esc(tip)}</title></circle>`;
  }
  const ends = apart(curves.map((c) => y(c[0].at(-1))), 11, T + 4, H - B - 4);
  ends.forEach((p, i) => { s += `<text x="${W - 13}" y="${f(p + 4)}" font-size="11" font-weight="700">${shown[i].name}</text>`; });
  s += `<line class="cursor" x1="${f(x(state.at))}" x2="${f(x(state.at))}" y1="${T}" y2="${H - B}" stroke="#1f2933" stroke-dasharray="3 3"/>`;
  const name = panel.key === "source" ? `RANKL of ${SOURCES[state.source]} bound by drug` : panel.name;
  const values = shown.map((c) => `${c.name} ${num(valueAt(c, key, state.at), digits(key))}`).join(", ");
  return { svg: `<svg viewBox="0 0 ${W} ${H}" role="img" aria-label="${esc(`${name}, ${panel.unit}, from month 0 to ${end}. At month ${state.at}: ${values}.${points.length ? ` ${points.length} published figures.` : ""}`)}" data-end="${end}" data-left="${L / W}" data-right="${(W - 16) / W}">${s}</svg>`, points: points.length, alike: alike.filter((all) => all.length > 1 && new Set(all[0].curves[key][0]).size > 1).map((all) => all.map((c) => c.name).join(" and ")) };
}
const coincide = (one, other, key, most) => months0(one).every(([m, k]) => { const v = valueAt(other, key, m); return v === null || Math.abs(v - one.curves[key][0][k]) <= most; });
const digits = (key) => key.startsWith("BMD") || key.startsWith("RISK") ? 1 : 0;
const monthTicks = (end) => { const step = [1, 3, 6, 12, 24, 36, 48, 60].find((t) => end / t <= 6) || 60; return Array.from({ length: Math.floor(end / step) + 1 }, (_, k) => k * step); };

function cell(c, key, signed) {
  const [v, low, high] = [0, 1, 2].map((k) => valueAt(c, key, state.at, k)), d = digits(key);
  return v === null ? "<td>–</td>" : `<td>${signed && v > 0 ? "+" : ""}${num(v, d)} <span>(${num(low, d)} to ${num(high, d)})</span></td>`;
}
const tableKeys = [["BMD_LS_pct", "Spine BMD,&nbsp;%"], ["BMD_TH_pct", "Hip BMD,&nbsp;%"], ["CTX_pct", "CTX, % of baseline"], ["P1NP_pct", "P1NP, % of baseline"], ["RISK_vertebral", "Vertebral fracture, %"]];
const keyOf = (i, tints) => `<span class="key" style="background:${tints[i]}">${shown[i].name}</span>`;
function titles() {
  const tints = colors();
  [...$("regimens").children].forEach((card, i) => {
    const k = shown.findIndex((c) => c.i === i && c.regimen === state.r[i].split(/\s+/).join(" "));
    card.style.setProperty("--c", tints[k] || "#888");
    card.querySelector(".title").textContent = shown[k]?.label || state.r[i].slice(0, 90);
  });
}
function paint() {
  const end = Math.max(...shown.map((c) => c.until)), tints = colors();
  titles();
  $("at").max = Math.floor(end);
  if (state.at > end) state.at = Math.floor(end);
  $("at").value = state.at;
  $("at-name").textContent = state.at;
  $("at-out").textContent = state.at;
  $("now").innerHTML = `<thead><tr><th scope="col">Regimen</th>${tableKeys.map(([, n]) => `<th scope="col">${n}</th>`).join("")}</tr></thead><tbody>${shown.map((c, i) => `<tr><th scope="row">${keyOf(i, tints)}${esc(c.label)}${c.hypothetical ? " (hypothetical)" : ""}${less[i] ? `, less ${state.vs}` : ""}</th>${tableKeys.map(([k]) => cell(less[i] || c, k, less[i])).join("")}</tr>`).join("")}</tbody>`;
  $("vs").innerHTML = `<option value="">the values</option>${shown.map(({ name }) => `<option value="${name}">differences from ${name}</option>`).join("")}`;
  $("vs").value = less.length ? state.vs : "";
  $("vs").parentElement.hidden = !!K.grid || shown.length < 2;
  let published = 0;
  const alike = new Set();
  for (const panel of PANELS) {
    let box = $(`chart-${panel.key}`);
    if (!box) {
      box = document.createElement("figure");
      box.id = `chart-${panel.key}`;
      box.className = "chart";
      const pick = panel.key === "source" ? ` <select id="source" aria-label="Source of the RANKL">${Object.entries(SOURCES).map(([s, cells]) => `<option value="${s}">${cells}</option>`).join("")}</select>` : "";
      box.innerHTML = `<figcaption><h3>${panel.name}${pick}</h3>${panel.unit}</figcaption><div></div>`;
      $("charts").append(box);
      if (pick) $("source").onchange = (e) => { state.source = e.target.value; changed(); };
    }
    const made = chart(panel, tints, end);
    box.lastChild.innerHTML = made.svg;
    published += made.points;
    made.alike.forEach((pair) => alike.add(pair));
  }
  $("source").value = state.source;
  $("published-note").textContent = published
    ? "Circles are published figures of study arms that had been given the same doses until then, with 95 % intervals where known; hold the pointer over one. They are of groups of women who differ from the typical one."
    : "No published study arm was given one of these regimens.";
  $("alike-note").textContent = alike.size ? `${[...alike].join("; ")} have nearly the same curve in some figures; their colours alternate along it.` : "";
  paintNumbers(end);
  paintRepeat(end);
}
function paintCohort() {
  if (cohorts.length && cohorts.length !== shown.length) return;
  $("cohort").classList.toggle("empty", !cohorts[0]);
  if (!cohorts[0]) { $("cohort-note").textContent = cohorts.length ? "This file holds the women for the default values only." : "The women cannot be counted; the message above says why."; return; }
  const tints = colors(), W = 420, H = 240, L = 40, T = 8, B = 32, key = `${state.of}_pct`, n = cohorts[0][`${state.of}_pct`].length, step = Math.ceil(n / 125);
  const sets = cohorts.map((c) => c[key]), low = Math.min(-2, ...sets.map((v) => v[Math.floor(n * 0.01)])), high = Math.max(6, ...sets.map((v) => v[Math.floor(n * 0.99)]));
  const x = (v) => L + (Math.min(high, Math.max(low, v)) - low) / (high - low) * (W - 16 - L), y = (p) => T + (100 - p) / 100 * (H - B - T);
  let s = frame(ticks(low, high, 7), [0, 25, 50, 75, 100], x, y, W, H, L, B, `gain of at least, % at month ${cohorts[0].at}`);
  sets.forEach((v, i) => { s += `<path d="M${L} ${y(100)}L${v.filter((_, k) => k % step === 0).map((g, k) => `${x(g).toFixed(1)} ${y(100 - 100 * step * k / n).toFixed(1)}`).join("L")}L${x(v.at(-1)).toFixed(1)} ${y(0)}" fill="none" stroke="${tints[i]}" stroke-width="2" stroke-dasharray="${DASHES[shown[i].i]}"/>`; });
  s += `<line x1="${x(state.above)}" x2="${x(state.above)}" y1="${T}" y2="${H - B}" stroke="#1f2933" stroke-dasharray="3 3"/>`;
  const share = (v) => 100 * v.filter((g) => g >= state.above).length / n;
  const told = sets.map((v, i) => `${shown[i].name} ${num(share(v))} %`).join(", ");
  $("cohort-chart").innerHTML = `<figcaption>Women who gain at least that much, %</figcaption><svg viewBox="0 0 ${W} ${H}" role="img" aria-label="${esc(`Percent of ${K.patients} women whose BMD gains at least so much by month ${cohorts[0].at}. At least ${state.above} %: ${told}.`)}">${s}</svg>`;
  $("shares").innerHTML = `<thead><tr><th scope="col">Regimen</th><th scope="col">Women, %</th><th scope="col">Median gain, %</th><th scope="col">Middle 90 %</th></tr></thead><tbody>${sets.map((v, i) => `<tr><th scope="row">${keyOf(i, tints)}</th><td>${num(share(v))}</td><td>${num((v[Math.ceil(n / 2) - 1] + v[Math.floor(n / 2)]) / 2)}</td><td>${num(v[Math.floor(n * 0.05)])} to ${num(v[Math.floor(n * 0.95)])}</td></tr>`).join("")}</tbody>`;
  $("cohort-note").textContent = `${K.patients} simulated women, the same ones under every regimen, at month ${cohorts[0].at}. They differ in age, bone and drug handling; the unknowns are at the values of the sliders. Chance alone moves a percentage by up to 3 points.`;
}

// --- numbers, and how to get them again ---

const columns = ["BMD_LS_pct", "BMD_TH_pct", "CTX_pct", "P1NP_pct", "OCC_mRANKL", "OCC_sRANKL", ...Object.keys(SOURCES).map((s) => `OCC_mRANKL_${s}`), "RISK_vertebral", "RISK_hip"];
const months0 = (c) => c.months.map((m, k) => [m, k]).filter(([m]) => Number.isInteger(m));
function paintNumbers(end) {
  const step = end <= 24 ? 3 : end <= 60 ? 6 : 12, tints = colors();
  const rows = shown.flatMap((c, i) => months0(c).filter(([m]) => m % step === 0).map(([m, k]) => `<tr><th scope="row">${keyOf(i, tints)}${m}</th>${columns.slice(0, 6).concat(["RISK_vertebral", "RISK_hip"]).map((n) => { const d = digits(n), [v, a, b] = c.curves[n]; return `<td>${num(v[k], d)} <span>${num(a[k], d)} to ${num(b[k], d)}</span></td>`; }).join("")}</tr>`));
  const names = ["Spine BMD,&nbsp;%", "Hip BMD,&nbsp;%", "CTX, %", "P1NP, %", "mRANKL bound, %", "sRANKL bound, %", "Vertebral fracture, %", "Hip fracture, %"];
  $("numbers").innerHTML = `<thead><tr><th scope="col">Month</th>${names.map((n) => `<th scope="col">${n}</th>`).join("")}</tr></thead><tbody>${rows.join("")}</tbody>`;
}
function csvText() {
  const quote = (t) => `"${(/^[=+\-@]/.test(t) ? "'" : "") + t.replace(/"/g, '""')}"`;
  const head = ["name", "regimen", "month", ...columns.flatMap((n) => [n, `${n}_low`, `${n}_high`])].join(",");
  const rows = shown.flatMap((c) => months0(c).map(([m, k]) => [c.name, quote(c.regimen), m, ...columns.flatMap((n) => c.curves[n].map((v) => v[k]))].join(",")));
  return [head, ...rows, ""].join("\n");
}
function fill(template, values) { return template.replace(/\{\{|\}\}|\{(\w+)[^{}]*\}/g, (m, name) => name ? values[name] : m[0]); }
function repeats() {
  const set = settings(), end = Math.ceil(Math.max(...shown.map((c) => c.until), state.at) - 1e-9), csv = ["symbol,value", ...set.map(([s, v]) => `${s},${v}`)].join("\\n");
  const file = set.length ? `printf '${csv}\\n' > settings.csv\n` : "", option = set.length ? " --parameters settings.csv" : "";
  const named = (t, c, p) => t.replace("@NAME@", c.name).replace("@PARAMETERS@", p);
  const visits = [...new Set([...Array.from({ length: Math.floor(end / K.visits) + 1 }, (_, k) => k * K.visits), end, state.at])].sort((a, b) => a - b);
  const several = shown.length > 1;
  const trial = fill(K.trial, {
    patients: K.patients, seed: K.seed, months: end, control: several ? `control = "${shown[0].name}"\n` : "", population: `"${state.pop}"`,
    arms: shown.map((c) => named(c.texts.arm, c, "")).join("\n"), visits: `[${visits.join(", ")}]`, of: state.of, at: state.at, above: state.above,
    estimand: several ? K.estimand : "",
  });
  const run = `ranklsim run explore.toml -o runs/explore${option}`;
  return {
    command: file + shown.map((c) => named(c.texts.command, c, option)).join("\n"),
    trial: `${(file + run).trim().split("\n").map((l) => `# ${l}`).join("\n")}\n${trial}`,
    python: `import ranklsim\n\n${set.length ? `parameters = {${set.map(([s, v]) => `"${s}": ${v}`).join(", ")}}\n` : ""}courses = {\n${shown.map((c) => `    "${c.name}": ${named(c.texts.python, c, set.length ? ", parameters=parameters" : "")},\n`).join("")}}\nfor name, course in courses.items():\n    print(name, course.loc[course["month"] == ${state.at}, ["BMD_LS_pct", "BMD_TH_pct", "CTX_pct", "P1NP_pct"]])\n`,
  };
}
const REPEATS = [["command", "Copy as command", "Tables of each regimen, from the command line"], ["trial", "Copy as trial file", "The women above as a trial: explore.toml"], ["python", "Copy as Python", "The curves as data frames"]];
function paintRepeat() {
  const made = repeats();
  if (!$("repeat").children.length) {
    for (const [key, text, what] of REPEATS) {
      const box = document.createElement("div");
      box.innerHTML = `<p class="row"><span class="small">${what}</span></p><pre id="text-${key}" tabindex="0" aria-label="${what}"></pre>`;
      box.firstChild.prepend(button(text, () => copy($(`text-${key}`).textContent, what)));
      $("repeat").append(box);
    }
  }
  for (const [key] of REPEATS) $(`text-${key}`).textContent = made[key];
}
async function copy(text, what) {
  document.activeElement.after($("copied"));  // beside the button that was pressed
  try { await navigator.clipboard.writeText(text); $("copied").textContent = "Copied."; }
  catch (fault) { $("copied").textContent = "The browser does not let this page copy; select the text and copy it."; }
}
const spoken = () => shown.length ? `At month ${state.at}: ${shown.map((c) => `${c.name}, ${c.label}: spine ${num(valueAt(c, "BMD_LS_pct", state.at))} percent, CTX ${num(valueAt(c, "CTX_pct", state.at), 0)} percent of baseline`).join("; ")}.` : "";

// --- the page lives ---

function begin(told) {
  notes = told;
  $("pop").innerHTML = K.populations.map((p) => `<option value="${p.name}">${esc(p.title)}</option>`).join("");
  for (const name of ["pop", "of"]) $(name).value = state[name];
  $("m").min = 12; $("m").max = K.longest; $("m").step = 12;
  $("m").value = state.m; $("m-out").textContent = state.m;
  $("above").value = state.above; $("above-out").textContent = `${num(state.above)} %`;
  for (const name of ["m", "pop"]) $(name).closest("label").hidden = !!K.grid;
  drawRegimens();
  drawUnknowns();
  refresh();
}
function another() {  // a regimen that the page does not show yet, if possible of an agent that it does not show yet
  const names = Object.keys(K.grid ? K.grid.agents : agents), used = (name) => state.r.some((t) => t.split(" ")[0] === name);
  const order = [...ADDED.filter((name) => names.includes(name)), ...names].sort((a, b) => used(a) - used(b));
  const texts = [36, 60, 12].flatMap((length) => order.map((name) => textOf([usualPart(name, length)])));
  return texts.find((t) => !state.r.includes(t)) || texts[0];
}
function insert(i, text) {  // and show it to the eye, the keyboard and a screen reader
  open = new Set([i]);
  state.r.splice(i, 0, text);
  changed(true);
  const card = $("regimens").children[i];
  (card.querySelector("select") || card.querySelector("summary")).focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
  $("status").textContent = `Regimen ${NAMES[i]} is new: ${text}.`;
}
$("add").onclick = () => insert(state.r.length, another());
$("reset").onclick = () => { state.set = {}; changed(true); };
$("m").oninput = (e) => { state.m = Number(e.target.value); $("m-out").textContent = state.m; changed(); };
$("at").oninput = (e) => { state.at = Number(e.target.value); if (shown.length) paint(); changed(); };
$("above").oninput = (e) => { state.above = Number(e.target.value); $("above-out").textContent = `${num(state.above)} %`; paintCohort(); if (shown.length) paintRepeat(); history.replaceState(null, "", `#${link()}`); };
for (const name of ["pop", "of", "vs"]) $(name).onchange = (e) => { state[name] = e.target.value; changed(); };
$("charts").onclick = (e) => {
  const svg = e.target.closest("svg");
  if (!svg) return;
  const box = svg.getBoundingClientRect(), share = (e.clientX - box.left) / box.width, { left, right, end } = svg.dataset;
  state.at = Math.max(0, Math.min(Math.floor(end), Math.round((share - left) / (right - left) * end)));
  paint();
  changed();
};
$("csv").onclick = () => {
  const a = document.createElement("a");
  a.href = URL.createObjectURL(new Blob([csvText()], { type: "text/csv" }));
  a.download = "explore.csv";
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10000);
};
$("link").onclick = () => copy(location.href, "link");
window.onhashchange = () => begin(restore());
$("band-note").textContent = `Typical woman with default parameters, and in brackets and as bands the middle ${K.level} % over ${K.draws} sets of parameters that agree with the published figures. Variability between women is not in the bands. A parameter that you move is held at your value in all sets, and the others are not fitted again. Fracture figures are for a woman of average frailty; their bands hold only what acts through bone and turnover.`;
$("unknowns-note").textContent = K.grid ? "This file holds some values of one assumption." : "Numbers that no human data have fixed, and the affinity, shedding and reach of the agents above.";
$("foot").textContent = `ranklsim ${K.version}. All curves are simulated. Hypothetical agents have never been given to people.`;
begin(restore());
