"use strict";
// The page of `stream-backup timeline --html`. Plotly draws; this chooses what is drawn.
// Seconds are epoch seconds, UTC. Everything that is shown is set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const chart = document.getElementById("chart");
  const whole = [data.since, data.until + 1];
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800];
  const BARS = 200;
  const sorts = [
    ["inserted", "#1a7f37"], ["modified", "#0969da"], ["removed", "#cf222e"], ["expired", "#8250df"],
  ];

  let view = whole;    // the visible seconds: the first, and the one after the last
  let anchor = null;   // the chosen seconds lie between anchor and cursor, both starts of bars
  let cursor = null;
  let quiet = false;   // whether the chart reports what we did ourselves

  const iso = (second) => new Date(second * 1000).toISOString().replace(".000", "");
  const day = (second) => iso(second).slice(0, 10);
  const clock = (second) => (day(data.since) === day(data.until) ? iso(second).slice(11, 19) : iso(second));
  const hidden = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
  const visible = (text) => text.replace(hidden, (each) =>
    Array.from({ length: each.length }, (_, i) =>
      "\\u" + each.charCodeAt(i).toString(16).padStart(4, "0")).join(""));
  const set = (id, text) => { document.getElementById(id).textContent = visible(text); };
  const number = (count) => count.toLocaleString("en-US");

  // Plotly takes and gives dates as text without an offset; a number would be shown in local time.
  const date = (second) => iso(second).slice(0, 19).replace("T", " ");
  const seconds = (text) => Date.parse(`${text.replace(" ", "T")}Z`) / 1000;

  function step() {
    const fits = steps.find((each) => each >= data.step && each % data.step === 0
      && (view[1] - view[0]) / each <= BARS);
    return fits || Math.ceil((view[1] - view[0]) / BARS / data.step) * data.step;
  }

  const startOf = (second) => second - (second % step());

  // The index of the first entry of data.counts at or after a second.
  function at(second) {
    let low = 0, high = data.counts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (data.counts[middle][0] < second) low = middle + 1; else high = middle;
    }
    return low;
  }

  function sums(first, end) {
    const total = [0, 0, 0, 0];
    let earliest = null, latest = null;
    for (let i = at(first); i < data.counts.length && data.counts[i][0] < end; i++) {
      data.counts[i].slice(1).forEach((count, sort) => { total[sort] += count; });
      earliest = earliest === null ? data.counts[i][0] : earliest;
      latest = data.counts[i][0];
    }
    return { total, all: sum(total), earliest, latest };
  }

  function chosen() {
    if (anchor === null) return [Math.max(view[0], whole[0]), Math.min(view[1], whole[1])];
    const [low, high] = anchor < cursor ? [anchor, cursor] : [cursor, anchor];
    return [Math.max(low, whole[0]), Math.min(high + step(), whole[1])];
  }

  const sum = (counts) => counts.reduce((a, b) => a + b, 0);

  function bars() {
    const found = new Map();
    for (let i = at(startOf(view[0])); i < data.counts.length && data.counts[i][0] < view[1]; i++) {
      const [second, ...counts] = data.counts[i], bar = found.get(startOf(second)) || [0, 0, 0, 0];
      found.set(startOf(second), bar.map((count, sort) => count + counts[sort]));
    }
    return found;
  }

  function highest() {
    let best = startOf(view[0]), most = -1;
    for (const [start, counts] of bars()) {
      if (sum(counts) > most) [best, most] = [start, sum(counts)];
    }
    return best;
  }

  function draw() {
    const width = step(), shown = bars(), starts = [...shown.keys()];
    const traces = sorts.map(([name, color], sort) => ({
      type: "bar", name, marker: { color }, offset: 0, width: width * 1000,
      x: starts.map(date), y: starts.map((start) => shown.get(start)[sort]),
      hovertemplate: "%{x|%Y-%m-%d %H:%M:%S}: %{y:,} " + name + "<extra></extra>",
    }));
    const most = Math.max(...[...shown.values()].map(sum), 0);
    const [first, end] = chosen();
    const shapes = anchor === null ? [] : [{
      type: "rect", xref: "x", yref: "paper", x0: date(first), x1: date(end), y0: 0, y1: 1,
      fillcolor: "#ffd33d", opacity: 0.35, line: { width: 1, color: "#9a6700" }, layer: "below",
    }];
    quiet = true;
    Plotly.react(chart, traces, {
      barmode: "stack", bargap: 0, dragmode: "zoom", shapes, hovermode: "closest", clickmode: "event",
      margin: { l: 60, r: 20, t: 40, b: 50 }, legend: { orientation: "h", y: 1.14, traceorder: "normal" },
      xaxis: { type: "date", range: view.map(date) },
      yaxis: { fixedrange: true, rangemode: "tozero", tickformat: ",d", dtick: most < 6 ? 1 : undefined },
    }, { responsive: true, scrollZoom: true, displayModeBar: false, doubleClick: false, showTips: false })
      .then(() => { quiet = false; });
    tell(first, end);
  }

  function tell(first, end) {
    const { total, all, earliest, latest } = sums(first, end);
    const parts = sorts.map(([name], sort) => [name, total[sort]]).filter(([, count]) => count)
      .map(([name, count]) => `${number(count)} ${name}`);
    set("chosen", `${iso(first)} to ${iso(end - 1)}: ${number(all)} change${all === 1 ? "" : "s"}`
      + (parts.length ? ` (${parts.join(", ")})` : ""));
    const last = earliest === null ? null : latest + data.step - 1;
    const about = data.step === 1 ? "" : ` (to ${data.step} seconds)`;
    set("exact", earliest === null ? "" : `First change ${iso(earliest)}, last change ${iso(last)}${about}`);
    for (const row of document.querySelectorAll(".command")) {
      const moments = earliest === null ? null
        : { before: Math.max(earliest - 1, data.earliest), until: Math.min(last, data.until) };
      const parts = data.commands[row.dataset.name];
      row.querySelector("code").textContent = moments === null ? "No change is chosen."
        : visible(parts.map((part, i) => (i % 2 ? iso(moments[part]) : part)).join(""));
      row.querySelector("button").disabled = moments === null;
      row.querySelector("button").textContent = "Copy";
    }
    chart.dataset.first = iso(first);  // for assistive programs, and for tests
    chart.dataset.last = iso(end - 1);
    chart.dataset.step = step();
  }

  function show(first, end) {
    const least = 10 * data.step;
    let span = Math.max(Math.round(end - first), least);
    span = Math.min(span, whole[1] - whole[0]);
    let from = Math.round(Math.min(Math.max(first, whole[0]), whole[1] - span));
    view = [from, from + span];
    anchor = cursor = null;
    draw();
  }

  function zoom(factor) {
    const [first, end] = chosen(), middle = (first + end) / 2, span = (view[1] - view[0]) * factor;
    show(middle - span / 2, middle + span / 2);
  }

  function move(direction, extend) {
    const width = step();
    if (cursor === null) {  // the first one is the highest bar that is visible
      anchor = cursor = highest();
    } else {
      cursor = Math.min(Math.max(cursor + direction * width, startOf(whole[0])), startOf(whole[1] - 1));
      if (!extend) anchor = cursor;
    }
    if (cursor < view[0] || cursor + width > view[1]) {  // the chosen bar stays visible
      const shift = cursor < view[0] ? cursor - view[0] : cursor + width - view[1];
      view = [view[0] + shift, view[1] + shift];
    }
    draw();
  }

  chart.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      ArrowLeft: () => move(-1, event.shiftKey), ArrowRight: () => move(1, event.shiftKey),
      Enter: () => { if (anchor !== null) show(...chosen()); },
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2),
      Escape: () => { anchor = cursor = null; draw(); }, 0: () => show(...whole),
    };
    if (actions[event.key]) { event.preventDefault(); actions[event.key](); }
  });

  async function copy(button, text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // a browser that does not let pages of files use the clipboard
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
  }

  for (const name of Object.keys(data.commands)) {
    const row = document.createElement("div"), code = document.createElement("code");
    const button = document.createElement("button");
    row.className = "command";
    row.dataset.name = name;
    button.type = "button";
    button.setAttribute("aria-label", `Copy the ${name} command`);
    button.addEventListener("click", () => copy(button, code.textContent));
    row.append(code, button);
    document.getElementById("commands").append(row);
  }

  if (data.burst) {
    const shapes = document.getElementById("shapes");
    for (const { text, items, first, last, example } of data.burst.shapes) {
      const row = document.createElement("tr");
      for (const [content, kind] of [[text, "text"], [number(items), "number"], [clock(first), ""],
        [clock(last), ""], [example, "text"]]) {
        const cell = document.createElement("td");
        cell.className = kind;
        cell.textContent = visible(content);
        row.append(cell);
      }
      shapes.append(row);
    }
    set("burst-title", `What the busiest stretch changed: ${iso(data.burst.first)} to ${iso(data.burst.last)}`);
    set("more", data.burst.more);
    document.getElementById("burst").hidden = false;
  }

  set("title", `Changes of ${data.table}`);
  document.title = visible(`Changes of ${data.table}`);
  set("range", `${iso(data.since)} to ${iso(data.until)}, UTC. ${data.note}`);
  draw();
  chart.on("plotly_relayout", (event) => {
    if (quiet || !("xaxis.range[0]" in event)) return;
    show(seconds(event["xaxis.range[0]"]), seconds(event["xaxis.range[1]"]));
  });
  chart.on("plotly_click", (event) => {
    anchor = cursor = startOf(seconds(event.points[0].x));
    draw();
    chart.focus();
  });
  chart.on("plotly_doubleclick", () => show(...whole));
  document.body.dataset.ready = "true";
})();
