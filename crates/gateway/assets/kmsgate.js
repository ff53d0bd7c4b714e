// What a script adds to pages that work without one: a clock that ticks, news as they come, local times, copying.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  let end = null, shown = null, asking = false;

  const adopt = () => {
    const live = byId("live");
    const left = live && live.dataset.remaining;
    end = left === undefined || left === null ? null : performance.now() + Number(left) * 1000;
    shown = null;
    for (const time of document.querySelectorAll("time[data-local]")) {
      const at = new Date(time.dateTime);
      const language = document.documentElement.lang;
      if (isNaN(at)) continue;
      time.textContent = time.dataset.local === "time"
        ? at.toLocaleTimeString(language)
        : at.toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
    }
    for (const button of document.querySelectorAll("button.copy")) button.hidden = !navigator.clipboard;
  };

  // The server writes every word: a change only fetches the page again and takes the parts over.
  const refresh = async () => {
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!fresh.getElementById("live")) { location.reload(); return; }
      byId("main").replaceChildren(...fresh.getElementById("main").childNodes);
      document.title = fresh.title;
      adopt();
    } catch { /* The gateway is away; the stream asks again when it is back. */ } finally { asking = false; }
  };

  const tick = () => {
    if (end === null) return;
    const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
    if (left === shown) return;
    shown = left;
    const two = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(left / 3600), minutes = Math.floor(left / 60) % 60;
    byId("clock").textContent = hours ? `${hours}:${two(minutes)}:${two(left % 60)}` : `${minutes}:${two(left % 60)}`;
    byId("bar").value = left;
    if (left === 0) { end = null; setTimeout(refresh, 1100); }
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    const before = button.textContent;
    button.textContent = button.dataset.copied;
    setTimeout(() => { button.textContent = before; }, 1500);
  });

  adopt();
  tick();
  setInterval(tick, 200);

  if (end !== null) {
    const news = new EventSource("/grant/events");
    let first = true;
    news.addEventListener("state", (event) => {
      if (JSON.parse(event.data).state === "closed") news.close();
      if (!first) refresh();
      first = false;
    });
    // After a gap the page may be older than the first event of the new stream.
    news.addEventListener("error", () => { first = false; });
  }
})();
