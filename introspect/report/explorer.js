"use strict";
(async () => {
  const find = (name) => document.getElementById("map-" + name);
  const data = JSON.parse(find("data").textContent), last = data.steps.length - 1;
  const state = { task: 0, step: last, cue: 0, arm: 0, fact: 0 };
  const filters = ["split", "moved", "sure", "side"];
  const meaning = { now: "now (Self)", then: "then (Orig)", both: "both: the label stayed",
    still: "both: no answer moved", neither: "neither" };

  /** A new element with text and, as its last argument, a parent. */
  function make(tag, name, text, parent) {
    const element = document.createElement(tag);
    element.className = name;
    element.textContent = text;
    parent?.append(element);
    return element;
  }

  async function inflate(text) {
    const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /** The parts of a moment, in the order in which explorer.py packs them. */
  function parts(number) {
    const asked = task().split.length * task().prompts.length, items = item(task().split.length, 0);
    const sizes = { answers: asked, said: items, current: items, sides: items,
      pAnswers: asked * task().answers.length, pSaid: items * task().n_said };
    let at = 0;
    return Object.fromEntries(Object.entries(sizes).map(([name, size]) => {
      at += size;
      return [name, unpacked[number].subarray(at - size, at)];
    }));
  }

  let unpacked;
  try {
    unpacked = await Promise.all(data.packed.map(inflate));
  } catch (error) {
    find("trouble").textContent = "This browser cannot unpack the map: " + error.message;
    find("trouble").hidden = false;
    return;
  }

  const task = () => data.tasks[state.task];
  const moment = (arm) => parts(data.arms[arm].moments[state.step][state.task]);
  const then = (arm) => parts(data.arms[arm].then[state.task]);
  const item = (fact, cue = state.cue) => fact * task().pairs.length + cue;
  const side = (now, fact, cue) => data.sides[now.sides[item(fact, cue)]];

  /** The words of a prompt; those that the other variant of the pair lacks are marked. */
  function words(fact, variant, other) {
    const { prompts, slots } = task();
    return prompts[variant].map((slot) => ({
      text: typeof slots[slot] === "string" ? slots[slot] : slots[slot][fact],
      cue: !prompts[other].includes(slot),
    }));
  }
  const sentence = (parts) => parts.map((word) => word.text).join(" ");

  /** Self, Orig and gap of all held-out items, whatever is filtered. */
  function measure(now) {
    let n = 0;
    const counts = Object.fromEntries(data.sides.map((name) => [name, 0]));
    for (let fact = 0; fact < task().split.length; fact++) {
      if (task().split[fact] !== "1") continue;
      for (let cue = 0; cue < task().pairs.length; cue++, n++) counts[side(now, fact, cue)]++;
    }
    const shared = counts.both + counts.still, gap = (counts.now - counts.then) / n;
    const [self, orig] = [counts.now, counts.then].map((own) => ((own + shared) / n).toFixed(3));
    return `Self ${self}, Orig ${orig}, gap ${gap < 0 ? "" : "+"}${gap.toFixed(3)}`;
  }

  /** Whether the filters let an item through. */
  function passes(now, before, fact) {
    const i = item(fact), moved = now.current[i] === before.said[i] ? "0" : "1";
    const found = { split: task().split[fact], moved, sure: task().sure[i], side: side(now, fact) };
    return filters.every((name) => ["", found[name]].includes(find(name).value));
  }

  /** What is to be built once for a task: its cues, and a cell for every fact of every arm. */
  function build() {
    find("cue").replaceChildren(...task().cues.map((cue, i) => new Option(cue, i)));
    find("arms").replaceChildren();
    data.arms.forEach((arm, number) => {
      const box = make("div", "map-arm", "", find("arms"));
      arm.head = make("p", "map-head", "", box);
      arm.cells = make("div", "map-cells " + (task().columns ? "map-grid" : "map-list"), "", box);
      arm.cells.tabIndex = 0;
      arm.cells.setAttribute("role", "listbox");
      arm.cells.setAttribute("aria-label", `facts, arm ${arm.name}; arrow keys move`);
      arm.cells.style.gridTemplateColumns = `repeat(${task().columns || 1}, 1fr)`;
      for (let fact = 0; fact < task().split.length; fact++) {
        const cell = make("div", "", "", arm.cells);
        cell.id = `map-${number}-${fact}`;
        cell.setAttribute("role", "option");
      }
      arm.legend = make("ul", "map-legend", "", box);
      const pick = (event) => {
        const fact = [...arm.cells.children].indexOf(event.target);
        if (fact >= 0) choose(number, fact);
      };
      arm.cells.addEventListener("mouseover", pick);
      arm.cells.addEventListener("click", pick);
      arm.cells.addEventListener("focus", () => choose(number, state.fact));
      arm.cells.addEventListener("keydown", move);
    });
  }

  /** Color every cell, count what is shown, and tell the chosen fact anew. */
  function draw() {
    find("at").textContent = data.steps[state.step];
    find("step").value = state.step;
    find("step").setAttribute("aria-valuetext", "update " + data.steps[state.step]);
    data.arms.forEach((arm, number) => {
      const now = moment(number), before = then(number), counts = {};
      [...arm.cells.children].forEach((cell, fact) => {
        const name = side(now, fact), shown = passes(now, before, fact);
        cell.className = shown ? name : name + " off";
        if (shown) counts[name] = (counts[name] ?? 0) + 1;
        if (task().columns) return;
        cell.textContent = sentence(words(fact, ...task().pairs[state.cue]));
      });
      arm.head.replaceChildren();
      make("b", "", arm.name, arm.head);
      arm.head.append(measure(now));
      arm.legend.replaceChildren();
      for (const name of data.sides) {
        make("li", name, `${meaning[name]} ${counts[name] ?? 0}`, arm.legend);
      }
    });
    tell();
  }

  /** Why an explanation counts as it does, in one sentence. */
  function explain(name, said, current, original) {
    return {
      now: `Counts for Self alone: “${said}” is true of the model as it is now, and the frozen ` +
        `label, “${original}”, no longer is.`,
      then: `Counts for Orig alone: “${said}” is the frozen label, but “${current}” is true of ` +
        "the model as it is now.",
      both: `Counts for Self and for Orig: an answer moved, but “${said}” is true of the model ` +
        "now, and it is the frozen label.",
      still: `Counts for Self and for Orig: neither answer moved, and “${said}” is true of the ` +
        "model now, and it is the frozen label.",
      neither: `Counts for neither: “${said}” is not true of the model now (“${current}” is), and ` +
        `it is not the frozen label (“${original}” is).`,
    }[name];
  }

  /** The answers to one prompt: a row each, with a bar for then and one for now. */
  function drawAnswers(title, fact, variant, now, before) {
    const head = make("p", "map-title", title + ": ", find("answers"));
    make("span", "then", "then", head);
    head.append(", ");
    make("span", "now", "now", head);
    const first = fact * task().prompts.length + variant, K = task().answers.length;
    task().answers.forEach((answer, k) => {
      const likeliest = now.answers[first] === k ? " likeliest" : "";
      const row = make("div", "map-bar" + likeliest, "", find("answers"));
      make("span", "", answer, row);
      const bars = make("span", "", "", row);
      const shares = [before, now].map((moment) => moment.pAnswers[first * K + k] / 2.55);
      shares.forEach((share, i) => {
        make("i", i ? "now" : "then", "", bars).style.width = share + "%";
      });
      make("small", "", shares.map(Math.round).join(" → ") + " %", row);
    });
  }

  /** Show the chosen fact: prompt, answers then and now, what is said, and why it counts. */
  function tell() {
    const { arm, fact } = state, now = moment(arm), before = then(arm), i = item(fact);
    const [x, y] = task().pairs[state.cue], name = side(now, fact);
    const [said, current, original] =
      [now.said, now.current, before.said].map((classes) => task().words[classes[i]]);
    find("prompt").replaceChildren();
    for (const word of words(fact, x, y)) {
      make(word.cue ? "mark" : "span", "", word.text, find("prompt"));
      find("prompt").append(" ");
    }
    find("where").textContent = [
      `${data.arms[arm].name} of seed ${data.seed}, update ${data.steps[state.step]}`,
      ["explained in training", "held out", "set aside"][task().split[fact]],
      task().sure[i] === "1" ? "a sure fact" : "a guess",
      current === original ? "label did not move" : "label moved",
    ].join(" · ");
    find("answers").replaceChildren();
    drawAnswers("With the cue", fact, x, now, before);
    drawAnswers(`Without the cue, “${sentence(words(fact, y, x))}”`, fact, y, now, before);
    const p = now.pSaid[i * task().n_said + now.said[i]];  // a sentence can be none: it has no p
    const sure = now.said[i] < task().n_said ? ` (${Math.round(p / 2.55)}\u00a0%)` : "";
    find("said").textContent = said + sure;
    find("now").textContent = current;
    find("then").textContent = original;
    find("why").className = name;
    find("why").textContent = explain(name, said, current, original);
    const aloud = ["prompt", "where", "why"].map((id) => find(id).textContent);
    find("live").textContent = aloud.join(". ");
    mark(fact, sentence(words(fact, x, y)));
  }

  /** Mark the cell of the chosen fact in every arm. */
  function mark(fact, label) {
    for (const cell of document.querySelectorAll(".map-cells .chosen")) {
      cell.classList.remove("chosen");
      cell.removeAttribute("aria-selected");
    }
    data.arms.forEach((arm, number) => {
      const cell = arm.cells.children[fact];
      cell.classList.add("chosen");
      cell.setAttribute("aria-selected", number === state.arm);
      cell.setAttribute("aria-label", label);
      arm.cells.setAttribute("aria-activedescendant", cell.id);
    });
  }

  function choose(arm, fact) {
    if (arm === state.arm && fact === state.fact) return;
    Object.assign(state, { arm, fact });
    tell();
  }

  /** Arrow keys: the next fact in that direction which the filters show. */
  function move(event) {
    const columns = task().columns || 1, N = task().split.length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const cells = data.arms[state.arm].cells.children;
    const shown = (fact) => !cells[fact].classList.contains("off");
    let fact = { Home: 0, End: N - 1 }[event.key] ?? state.fact + by;
    if (Number.isNaN(fact)) return;
    event.preventDefault();
    const on = by ?? (event.key === "Home" ? 1 : -1);
    while (fact >= 0 && fact < N && !shown(fact)) fact += on;
    if (fact < 0 || fact >= N) return;
    choose(state.arm, fact);
    if (!task().columns) cells[fact].scrollIntoView({ block: "nearest" });
  }

  /** Begin with the surest held-out explanation that is on the side of now, at the last update. */
  function begin() {
    build();
    let best = -1;
    const now = moment(0), { n_said } = task();
    for (let fact = 0; fact < task().split.length; fact++) {
      for (let cue = 0; cue < task().pairs.length; cue++) {
        const i = item(fact, cue), p = now.pSaid[i * n_said + now.said[i]];
        if (task().split[fact] !== "1" || side(now, fact, cue) !== "now" || p <= best) continue;
        best = p;
        Object.assign(state, { fact, cue });
      }
    }
    find("cue").value = state.cue;
    draw();
  }

  let timer;
  function play(on) {
    clearInterval(timer);
    find("play").textContent = on ? "Pause" : "Play";
    find("play").setAttribute("aria-pressed", on);
    if (!on) return;
    if (state.step === last) show(0);
    timer = setInterval(() => (state.step < last ? show(state.step + 1) : play(false)), 700);
  }
  function show(step) {
    state.step = step;
    draw();
  }

  find("step").max = last;
  find("tasks").hidden = data.tasks.length === 1;
  find("task").replaceChildren(...data.tasks.map((each, i) => new Option(each.name, i)));
  for (const name of data.sides) find("side").append(new Option(meaning[name], name));
  find("play").addEventListener("click", () => play(find("play").textContent === "Play"));
  find("step").addEventListener("input", () => { play(false); show(+find("step").value); });
  find("cue").addEventListener("change", () => { state.cue = +find("cue").value; draw(); });
  find("task").addEventListener("change", () => {
    Object.assign(state, { task: +find("task").value, cue: 0, fact: 0 });
    begin();
  });
  for (const name of filters) find(name).addEventListener("change", draw);
  find("body").hidden = false;
  begin();
})();
