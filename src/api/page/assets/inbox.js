// An answer waits ten seconds on the page, in which it can be taken back, before it is sent.
const UNDO_S = 10;
const pending = new Map();

function send(form, answer, keepalive = false) {
  const data = new URLSearchParams(new FormData(form));
  data.set('answer', answer);
  return fetch(form.action, { method: 'POST', body: data, headers: { accept: 'application/json' }, redirect: 'manual', keepalive });
}

function restore(form, text) {
  pending.delete(form);
  const card = form.closest('.task');
  delete card.dataset.busy;
  form.querySelector('.actions').hidden = false;
  const line = form.querySelector('.sending');
  line.hidden = !text;
  line.textContent = text ?? '';
}

document.addEventListener('submit', (event) => {
  const form = event.target;
  const button = event.submitter;
  if (!form.matches('.answer') || !button?.value) return;
  event.preventDefault();
  if (pending.has(form)) return;
  const card = form.closest('.task');
  const due = card.querySelector('time[data-until]');
  const line = form.querySelector('.sending');
  const words = button.firstChild.textContent;
  // Not later than it counts: what is due sooner is sent sooner. What is overdue has no hurry any more.
  const left = (Date.parse(due.dateTime) - (window.stoppressNow?.() ?? Date.now())) / 1000;
  let seconds = left > 0 ? Math.max(0, Math.min(UNDO_S, Math.floor(left - 2))) : UNDO_S;
  card.dataset.busy = '';
  form.querySelector('.actions').hidden = true;
  line.hidden = false;
  line.replaceChildren();
  const text = document.createElement('span');
  const undo = document.createElement('button');
  undo.type = 'button';
  undo.textContent = 'Undo';
  line.append(text, ' ', undo);
  undo.focus();
  const go = async (leaving = false) => {
    clearInterval(timer);
    undo.remove();
    text.textContent = `Sending “${words}”…`;
    pending.delete(form);
    try {
      const answer = await send(form, button.value, leaving);
      if (answer.status === 204) {
        text.textContent = `“${words}” was sent. Thank you.`;
        setTimeout(() => { delete card.dataset.busy; card.remove(); }, 2000);
        return;
      }
      const problem = await answer.json().catch(() => null);
      restore(form, problem ? `Not taken: ${problem.title}. ${problem.detail}` : 'Not taken: please load the page again.');
    } catch {
      restore(form, 'Not sent: the gateway does not answer. Please press again.');
    }
  };
  const count = () => {
    if (seconds <= 0) { go(); return; }
    text.textContent = `“${words}” goes out in ${seconds} s.`;
    seconds -= 1;
  };
  const timer = setInterval(count, 1000);
  undo.addEventListener('click', () => {
    clearInterval(timer);
    restore(form, '');
    button.focus();
  });
  pending.set(form, { timer, go });
  count();
});

// Somebody else may have answered while this one could be taken back: then it is not sent.
document.addEventListener('frame', () => {
  for (const [form, { timer }] of pending) {
    if (form.isConnected) continue;
    clearInterval(timer);
    pending.delete(form);
    document.getElementById('news').textContent = 'It was answered by somebody else; your answer was not sent.';
  }
});

// Whoever leaves meant what they pressed. A phone that is put away counts no seconds, so hiding the page is leaving:
// on it goes the same way as when the time is over, in a request that outlives the page.
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'hidden') for (const { go } of [...pending.values()]) go(true);
});
window.addEventListener('pagehide', () => { for (const { go } of [...pending.values()]) go(true); });
