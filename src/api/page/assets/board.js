// What only the board needs: the time on the clocks of each region, and where now is on the band.

// The gateway's clock, as the page's own script counts it.
const clockNow = () => window.stoppressNow?.() ?? Date.now();

const clocks = new Map();
function clock(zone) {
  if (!clocks.has(zone)) {
    let made = null;
    try {
      made = new Intl.DateTimeFormat('en', { timeZone: zone, weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
    } catch { /* A zone that this browser does not know stays as the gateway wrote it. */ }
    clocks.set(zone, made);
  }
  return clocks.get(zone);
}

function show() {
  const now = clockNow();
  const shown = new Map();
  for (const it of document.querySelectorAll('[data-zone]')) {
    const { zone } = it.dataset;
    if (!shown.has(zone)) shown.set(zone, clock(zone)?.format(now));
    const text = shown.get(zone);
    if (text && it.textContent !== text) {
      it.title ||= it.textContent;
      it.textContent = text;
    }
  }
  // Whoever points at a bar reads its time on their own clocks, as everywhere else.
  for (const it of document.querySelectorAll('.band .bar > title')) {
    const at = new Date(it.parentNode.dataset.at);
    if (!it.dataset.shown && !Number.isNaN(at.getTime())) {
      it.textContent = `${window.stoppressShort?.format(at) ?? at.toISOString()}: ${it.dataset.many}`;
      it.dataset.shown = 'yes';
    }
  }
  const line = document.querySelector('.band .now');
  if (line) {
    const x = ((now - Date.parse(line.dataset.from)) / 86_400_000) * 960;
    line.setAttribute('d', `M${x.toFixed(1)} 0V100`);
    line.setAttribute('visibility', x >= 0 && x <= 960 ? 'visible' : 'hidden');
  }
}

show();
setInterval(show, 1000);
document.addEventListener('frame', show);

// Whoever points at a bar of the band sees its rows; for everybody else the same is a list of links.
document.addEventListener('click', (event) => {
  const { at } = event.target.closest?.('.band .bar')?.dataset ?? {};
  if (at) location.assign(`/?at=${encodeURIComponent(at)}`);
});
