// The customer's page: instants in the customer's own time, and printing. Without it the page names the time
// at the lab and UTC, and all that it does are forms.
(() => {
  "use strict";
  const page = document.documentElement.lang || "en";
  // How the viewer writes dates in the language of the page; where nothing is known, hours up to 24.
  const lang = navigator.languages?.find((it) => it === page || it.startsWith(`${page}-`)) ?? (page === "en" ? "en-GB" : page);
  let format;
  try {
    format = new Intl.DateTimeFormat(lang, { dateStyle: "long", timeStyle: "short" });
  } catch {
    format = null;
  }

  const own = (time) => {
    const at = new Date(time.dateTime);
    if (!format || Number.isNaN(at.getTime()) || time.querySelector(".yours")) return;
    const span = document.createElement("span");
    span.className = "yours";
    span.textContent = time.dataset.yours.replace("{when}", format.format(at));
    time.prepend(span, " ");
    const utc = time.querySelector(".utc");
    if (utc) utc.hidden = true;
  };

  const dress = () => {
    document.querySelectorAll("time[data-yours]").forEach(own);
    document.querySelectorAll("[data-needs-script][hidden]").forEach((element) => {
      element.hidden = false;
    });
  };

  document.addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest("[data-print]")) window.print();
  });
  // What comes over the wire later is dressed as well.
  new MutationObserver(dress).observe(document.body, { childList: true, subtree: true });
  dress();
})();
