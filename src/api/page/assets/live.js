// What makes a page live. Without it everything is there to read and to do; with it, it moves.
//
// One tab of a page holds the stream (a lock decides which), and tells the others what comes. Time is the
// gateway's: the page says when it was made, and from then on the computer's steady clock counts.

const body = document.body;
const page = document.documentElement.lang || 'en';
// How the viewer writes dates in the language of the page; where nothing is known, hours up to 24.
const lang = navigator.languages?.find((it) => it === page || it.startsWith(`${page}-`)) ?? (page === 'en' ? 'en-GB' : page);
const url = body.dataset.live;
const SILENT_MS = 12_000;

// ---- time ----------------------------------------------------------------------------------------

let base = Date.parse(body.dataset.now) - performance.now();
// When the gateway was last heard.
let heard = performance.now();
const now = () => base + performance.now();
window.stoppressNow = now;

// The steady clock of some computers stands still while they sleep; the other one does not. Of two readings the
// later one counts, until the gateway tells its time: nobody is promised time that may be over.
let steady = performance.now();
let wall = Date.now();
// What opens the stream again after a sleep: what still comes from the old one was told before it, and the old one
// may never end.
let renew;
function wake() {
  const [was, before] = [steady, wall];
  [steady, wall] = [performance.now(), Date.now()];
  const slept = wall - before - (steady - was);
  if (slept <= 2000) return false;
  base += slept;
  heard -= slept;
  renew?.();
  return true;
}

function hear(text) {
  const told = Date.parse(text);
  if (!Number.isFinite(told)) return;
  wake();
  // What is told has been under way: of all that was told, the latest instant is the nearest to the truth. Unless
  // the gateway's clock was set back.
  const then = told - performance.now();
  base = then < base - 2000 ? then : Math.max(base, then);
}

const clock = new Intl.DateTimeFormat(lang, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const short = new Intl.DateTimeFormat(lang, { weekday: 'short', hour: '2-digit', minute: '2-digit' });
window.stoppressShort = short;
const stamp = new Intl.DateTimeFormat(lang, { dateStyle: 'medium', timeStyle: 'medium' });
const whole = new Intl.DateTimeFormat(lang, { dateStyle: 'full', timeStyle: 'long' });
const days = new Intl.NumberFormat(lang, { style: 'unit', unit: 'day', unitDisplay: 'long' });
const two = (n) => String(n).padStart(2, '0');

function left(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  const rest = `${Math.floor(s / 3600) % 24}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
  return s >= 86_400 ? `${days.format(Math.floor(s / 86_400))} ${rest}` : rest;
}

// `data-until`: counts down to its `datetime`, and says `data-over` from then on.
// `data-local`: its `datetime` on the viewer's own clocks: short, as a `stamp`, or in `full`.
function tick() {
  wake();
  const at = now();
  for (const it of document.querySelectorAll('time[data-until]')) {
    const ms = Date.parse(it.dateTime) - at;
    const text = ms <= 0 && it.dataset.over ? it.dataset.over : left(ms);
    if (it.textContent !== text) it.textContent = text;
    if (ms <= 0 && !it.classList.contains('over')) {
      it.classList.add('over');
      it.dispatchEvent(new CustomEvent('over', { bubbles: true }));
    }
    it.classList.toggle('soon', ms > 0 && ms < 900_000);
  }
}

function localise(root) {
  for (const it of root.querySelectorAll('time[data-local]')) {
    const at = new Date(it.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    it.textContent = ({ full: whole, stamp }[it.dataset.local] ?? short).format(at);
    it.title = whole.format(at);
  }
}

// ---- frames --------------------------------------------------------------------------------------

// Somebody types in it, or has answered it: it is not taken away under their hands.
const busy = (el) => el.matches('[data-busy]') || el.querySelector('[data-busy]')
  || (el.contains(document.activeElement) && document.activeElement.matches('input, textarea, select'))
  || [...el.querySelectorAll('textarea, input:not([type=radio], [type=checkbox], [type=hidden])')].some((it) => it.value !== it.defaultValue)
  || [...el.querySelectorAll('input[type=radio], input[type=checkbox]')].some((it) => it.checked !== it.defaultChecked)
  || [...el.querySelectorAll('select')].some((it) => it.selectedIndex !== Math.max(0, [...it.options].findIndex((one) => one.defaultSelected)));

const waiting = new Map();
const REACHED = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]';

// What has changed under somebody's hands says so, and is shown if they want it.
function late(el, id, html) {
  waiting.set(id, html);
  const text = words.changed ?? (page === 'en' ? 'This has changed since; it is not shown while you fill it in.' : '');
  if (!text || el.matches('[data-busy]') || el.querySelector('[data-busy], :scope > .late')) return;
  const note = document.createElement('p');
  note.className = 'note warn late';
  note.setAttribute('role', 'status');
  const show = document.createElement('button');
  show.type = 'button';
  show.textContent = words.show ?? 'Show';
  show.addEventListener('click', () => {
    const last = waiting.get(id);
    waiting.delete(id);
    if (last) { put(id, last, true); localise(document); tick(); }
  });
  note.append(`${text} `, show);
  el.prepend(note);
}

// What was entered in a form stays entered in the one that takes its place; unless that has no place for what was
// chosen: words about two lines are not put to the whole order.
function carry(from, to) {
  const has = (it) => [...to.querySelectorAll(`[name="${CSS.escape(it.name)}"]`)].some((one) => one.value === it.value);
  if (![...from.querySelectorAll('input[type=checkbox][name]:checked')].every(has)) return;
  for (const it of from.querySelectorAll('textarea[name], input[name]:not([type=hidden]), select[name]')) {
    const there = [...to.querySelectorAll(`[name="${CSS.escape(it.name)}"]`)];
    if (it.matches('[type=radio], [type=checkbox]')) {
      const same = there.find((one) => one.value === it.value);
      if (same) same.checked = it.checked;
    } else if (there[0]) there[0].value = it.value;
  }
}

// What was entered in a form that is gone for now, and where somebody was in it: while an order is handed over there is
// nothing to ask, and then there may be again.
const entered = new Map();

function put(id, html, now = false) {
  const el = document.getElementById(id);
  const made = document.createElement('template');
  made.innerHTML = html;
  const fresh = made.content.firstElementChild;
  if (!fresh) return null;
  waiting.delete(id);
  if (!el) return fresh;
  if (fresh.dataset.mark && fresh.dataset.mark === el.dataset.mark) {
    // It is again as it is shown.
    waiting.delete(id);
    el.querySelector(':scope > .late')?.remove();
    return el;
  }
  if (!now && busy(el)) {
    // A form that would do something else now, or nothing, is not left there.
    if (el.dataset.offer === fresh.dataset.offer) {
      late(el, id, html);
      return el;
    }
    carry(el, fresh);
    const where = el.contains(document.activeElement) && document.activeElement.id;
    if (!fresh.querySelector('form')) entered.set(id, [el, where, performance.now()]);
  }
  const [before, where, then] = (fresh.querySelector('form') && entered.get(id)) || [];
  if (before) {
    entered.delete(id);
    carry(before, fresh);
  }
  const had = el.contains(document.activeElement) ? document.activeElement : null;
  const nth = [...el.querySelectorAll(REACHED)].indexOf(had);
  for (const it of fresh.querySelectorAll('details[id]')) {
    const was = document.getElementById(it.id);
    if (was && el.contains(was)) it.open = was.open;
  }
  el.replaceWith(fresh);
  if (had) {
    const same = (it) => it.name && it.name === had.name && (!['radio', 'checkbox'].includes(it.type) || it.value === had.value);
    const all = [...fresh.querySelectorAll(REACHED)];
    const next = (had.id && document.getElementById(had.id)) || all.find(same) || all[nth] || all[0] || fresh;
    next.focus?.();
    if (next.localName === 'textarea' && next !== had) next.setSelectionRange(had.selectionStart, had.selectionEnd);
  }
  // Whoever has gone on to read meanwhile is not called back.
  const soon = where && performance.now() - then < 10_000;
  if (soon && (had || document.activeElement === body)) document.getElementById(where)?.focus({ preventScroll: true });
  fresh.classList.add('changed');
  return fresh;
}

function apply(frame) {
  hear(frame.now);
  const made = new Map();
  for (const [id, html] of Object.entries(frame.put ?? {})) {
    const el = put(id, html);
    if (el) {
      made.set(id, el);
      localise(el.parentNode && el.isConnected ? el.parentNode : el);
    }
  }
  for (const id of frame.gone ?? []) document.getElementById(id)?.remove();
  for (const [id, list] of Object.entries(frame.order ?? {})) {
    const box = document.getElementById(id);
    if (!box) continue;
    let place = box.firstElementChild;
    for (const one of list) {
      const el = document.getElementById(one) ?? made.get(one);
      if (!el) continue;
      if (el === place) place = place.nextElementSibling;
      else box.insertBefore(el, place);
    }
    localise(box);
  }
  if (frame.say) document.getElementById('news').textContent = frame.say;
  tick();
  document.dispatchEvent(new CustomEvent('frame', { detail: frame }));
}

// What could not be put in while somebody typed comes as soon as they are done.
document.addEventListener('focusout', () => setTimeout(() => {
  for (const [id, html] of waiting) {
    const el = document.getElementById(id);
    if (el && busy(el)) continue;
    waiting.delete(id);
    if (el) { put(id, html); localise(document); }
  }
}));

// ---- staleness -----------------------------------------------------------------------------------

const banner = document.getElementById('stale');
const words = banner?.dataset ?? {};
let over = '';

function fresh() {
  wake();
  heard = performance.now();
  over = '';
}

function watch() {
  if (!banner) return;
  wake();
  const stale = over || performance.now() - heard > SILENT_MS;
  if (stale && banner.hidden) {
    const since = clock.format(new Date(now() - (performance.now() - heard)));
    banner.textContent = over || (words.text ?? 'No news since {since}: the gateway does not answer. What you see may be old; countdowns go on by its clock.').replace('{since}', since);
  }
  if (over && banner.textContent !== over) banner.textContent = over;
  if (banner.hidden === Boolean(stale)) {
    banner.hidden = !stale;
    body.classList.toggle('is-stale', Boolean(stale));
  }
}

// ---- the stream ----------------------------------------------------------------------------------

const told = new Map(); // what this tab has passed on: id → html, for tabs that come later
let channel;

// `at`: when another tab passed it on. What lay here meanwhile says what has changed, and not what time it is.
function take(message) {
  if (Date.now() - message.at > 2000) {
    if (message.frame) apply({ ...message.frame, now: undefined });
    return;
  }
  fresh();
  if (message.frame) apply(message.frame);
  else if (message.now) { hear(message.now); tick(); }
}

function pass(message) {
  take(message);
  if (message.frame) {
    for (const [id, html] of Object.entries(message.frame.put ?? {})) told.set(id, html);
    for (const id of message.frame.gone ?? []) told.delete(id);
    for (const [id, list] of Object.entries(message.frame.order ?? {})) told.set(`order ${id}`, list);
  }
  channel?.postMessage({ ...message, at: Date.now() });
}

// Everything that was passed on, for a tab that was opened since.
function everything() {
  wake();
  const frame = { now: new Date(now()).toISOString(), put: {}, order: {} };
  for (const [id, what] of told) {
    if (id.startsWith('order ')) frame.order[id.slice(6)] = what;
    else frame.put[id] = what;
  }
  return { frame, at: Date.now() };
}

// Why there is no stream any more, in words; nothing, if it is only to be asked for again.
async function refused() {
  const answer = await fetch(url, { headers: { accept: 'text/event-stream' }, redirect: 'manual' }).catch(() => null);
  answer?.body?.cancel();
  if ([401, 403].includes(answer?.status)) return words.over ?? 'You are signed out: load the page again to sign in.';
  if ([404, 410].includes(answer?.status)) return words.over ?? 'What this page shows is not there any more. What you see is old.';
  if (answer?.status === 429) return words.text ? '' : 'This page is not live: too many pages are open with your key. Close some; until then, what you see may be old.';
  return '';
}

// How far the page knows, where it says so: its stream then begins there, and not with everything.
let cursor = body.dataset.cursor ?? '';
const from = () => (cursor ? `${url}${url.includes('?') ? '&' : '?'}after=${encodeURIComponent(cursor)}` : url);

// Opens the stream, and again when it ends; gives what closes it for good.
function lead() {
  let wait = 1000;
  let source;
  let again;
  let ended = false;
  const open = () => {
    source = new EventSource(from());
    source.addEventListener('frame', (event) => {
      if (wake()) return;
      wait = 1000;
      cursor &&= event.lastEventId;
      pass({ frame: JSON.parse(event.data) });
    });
    source.addEventListener('clock', (event) => {
      if (wake()) return;
      wait = 1000;
      pass({ now: JSON.parse(event.data).now });
    });
    const mine = source;
    source.addEventListener('error', async () => {
      if (source !== mine || source.readyState !== EventSource.CLOSED) return;
      source.close();
      const why = ended ? '' : await refused();
      if (ended || source !== mine) return;
      over = why || over;
      watch();
      again = setTimeout(open, wait);
      wait = Math.min(wait * 2, 15_000);
    });
  };
  open();
  renew = () => { clearTimeout(again); source.close(); open(); };
  return () => { ended = true; renew = undefined; clearTimeout(again); source.close(); };
}

// A browser has few connections to one host, and a page of which nobody sees anything needs none: after a while it
// gives its own back, and takes one again when it is seen.
const HIDDEN_MS = 30_000;
let leading = false;
let leave;

function join() {
  if (!channel) { leave = lead(); return; }
  const asked = new AbortController();
  let free = () => {};
  navigator.locks.request(channel.name, { signal: asked.signal }, () => new Promise((done) => {
    leading = true;
    const close = lead();
    free = () => { leading = false; close(); done(); };
  })).catch(() => {});
  leave = () => { asked.abort(); free(); };
}

if (url && window.EventSource) {
  if (navigator.locks && window.BroadcastChannel) {
    // When a page was made (`at=` and seconds) is another in each tab of the same page.
    channel = new BroadcastChannel(`stoppress ${url.replace(/[?&]at=\d+(?=&|$)/, '')}`);
    channel.addEventListener('message', ({ data }) => {
      if (data.hello) { if (leading && told.size) channel.postMessage(everything()); }
      else if (!leading) take(data);
    });
    channel.postMessage({ hello: true });
  }
  // Nobody may ever look at a tab that was opened behind another: it is joined when it is seen.
  if (!document.hidden) join();
  let unseen;
  document.addEventListener('visibilitychange', () => {
    clearTimeout(unseen);
    if (document.hidden) unseen = setTimeout(() => { leave?.(); leave = undefined; }, HIDDEN_MS);
    else if (!leave) {
      channel?.postMessage({ hello: true });
      join();
    }
  });
  setInterval(watch, 1000);
}
document.addEventListener('visibilitychange', () => { if (!document.hidden) { tick(); watch(); } });
localise(document);
tick();
setInterval(tick, 1000);
