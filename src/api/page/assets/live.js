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
const now = () => base + performance.now();
window.stoppressNow = now;

function hear(text) {
  const told = Date.parse(text);
  if (!Number.isFinite(told)) return;
  // What is told has been under way: of all that was told, the latest instant is the nearest to the truth. Unless
  // the gateway's clock was set back.
  const heard = told - performance.now();
  base = heard < base - 2000 ? heard : Math.max(base, heard);
}

const clock = new Intl.DateTimeFormat(lang, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const short = new Intl.DateTimeFormat(lang, { weekday: 'short', hour: '2-digit', minute: '2-digit' });
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
  || [...el.querySelectorAll('textarea, input:not([type=radio], [type=checkbox], [type=hidden])')].some((it) => it.value !== it.defaultValue)
  || [...el.querySelectorAll('input[type=radio], input[type=checkbox]')].some((it) => it.checked !== it.defaultChecked)
  || [...el.querySelectorAll('select')].some((it) => it.selectedIndex !== Math.max(0, [...it.options].findIndex((one) => one.defaultSelected)));

const waiting = new Map();

function put(id, html) {
  const el = document.getElementById(id);
  const made = document.createElement('template');
  made.innerHTML = html;
  const fresh = made.content.firstElementChild;
  if (!fresh) return null;
  if (!el) return fresh;
  if (fresh.dataset.mark && fresh.dataset.mark === el.dataset.mark) return el;
  if (busy(el)) {
    waiting.set(id, html);
    return el;
  }
  const had = el.contains(document.activeElement) ? document.activeElement : null;
  const open = new Set([...el.querySelectorAll('details[open][id]')].map((it) => it.id));
  for (const it of fresh.querySelectorAll('details[id]')) if (open.has(it.id)) it.open = true;
  el.replaceWith(fresh);
  if (had) (had.id && document.getElementById(had.id) || fresh.querySelector('a, button, input') || fresh).focus?.();
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
let heard = performance.now();
let over = '';

function fresh() {
  heard = performance.now();
  over = '';
}

function watch() {
  if (!banner) return;
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

function take(message) {
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
  channel?.postMessage(message);
}

// Everything that was passed on, for a tab that was opened since.
function everything() {
  const frame = { now: new Date(now()).toISOString(), put: {}, order: {} };
  for (const [id, what] of told) {
    if (id.startsWith('order ')) frame.order[id.slice(6)] = what;
    else frame.put[id] = what;
  }
  return { frame };
}

async function signedOut() {
  const answer = await fetch(url, { headers: { accept: 'text/event-stream' }, redirect: 'manual' }).catch(() => null);
  answer?.body?.cancel();
  return answer && (answer.status === 401 || answer.status === 403 || answer.status === 404 || answer.status === 410);
}

// How far the page knows, where it says so: its stream then begins there, and not with everything.
let cursor = body.dataset.cursor ?? '';
const from = () => (cursor ? `${url}${url.includes('?') ? '&' : '?'}after=${encodeURIComponent(cursor)}` : url);

function lead() {
  let wait = 1000;
  const open = () => {
    const source = new EventSource(from());
    source.addEventListener('frame', (event) => {
      wait = 1000;
      cursor &&= event.lastEventId;
      pass({ frame: JSON.parse(event.data) });
    });
    source.addEventListener('clock', (event) => {
      wait = 1000;
      pass({ now: JSON.parse(event.data).now });
    });
    source.addEventListener('error', async () => {
      if (source.readyState !== EventSource.CLOSED) return;
      source.close();
      if (await signedOut()) {
        over = words.over ?? 'You are signed out: load the page again to sign in.';
        watch();
      }
      setTimeout(open, wait);
      wait = Math.min(wait * 2, 15_000);
    });
  };
  open();
}

if (url && window.EventSource) {
  if (navigator.locks && window.BroadcastChannel) {
    const name = `stoppress ${url}`;
    channel = new BroadcastChannel(name);
    let leading = false;
    channel.addEventListener('message', ({ data }) => {
      if (data.hello) { if (leading && told.size) channel.postMessage(everything()); }
      else if (!leading) take(data);
    });
    channel.postMessage({ hello: true });
    navigator.locks.request(name, () => { leading = true; lead(); return new Promise(() => {}); });
  } else {
    lead();
  }
  setInterval(watch, 1000);
}
document.addEventListener('visibilitychange', () => { if (!document.hidden) { tick(); watch(); } });
localise(document);
tick();
setInterval(tick, 1000);
