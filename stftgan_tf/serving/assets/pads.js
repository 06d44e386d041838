/** Sixteen pads that keys play, and a sequencer of sixteen steps. */

import { PADS, STEPS } from "./state.js";
import { describe, toText } from "./sounds.js";

/** Names of the keys of the pads, by their place on the keyboard. */
export const CODES = [
    ..."12345678".split("").map((digit) => `Digit${digit}`),
    ..."QWERTYUI".split("").map((letter) => `Key${letter}`),
];
export const CAPS = [..."12345678qwertyui"];

const TICK_MS = 25, AHEAD_SECS = 0.1;

export class Pads {
    #entries = Array(PADS).fill(null);
    #buttons = [];
    #steps = [];
    #timer = 0;
    #step = 0;
    #next = 0;

    /**
     * @param {object} page `engine`, `library`, `state`, `current()`,
     *   `show(sound, entry)`, `update()` and `report(error)`
     */
    constructor(page, padsElement, stepsElement) {
        this.page = page;
        /** Whether the next pad that is pressed takes the current sound. */
        this.assigning = false;
        for (let index = 0; index < PADS; index++) this.#buttons.push(this.#addPad(padsElement, index));
        for (let index = 0; index < STEPS; index++) this.#steps.push(this.#addStep(stepsElement, index));
        roving(padsElement);
        roving(stepsElement);
    }

    #addPad(parent, index) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "pad";
        button.dataset.pad = index;
        for (const [tag, name] of [["kbd", "cap"], ["span", "name"], ["canvas", "pattern"]]) {
            const child = button.appendChild(document.createElement(tag));
            child.className = name;
        }
        button.querySelector("kbd").textContent = CAPS[index];
        // Not at the click, which comes when the finger is lifted.
        button.addEventListener("pointerdown", (event) => {
            if (!event.button) this.press(index);
        });
        button.addEventListener("click", (event) => {
            if (!event.detail) this.press(index);
        });
        parent.append(button);
        return button;
    }

    #addStep(parent, index) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "step";
        button.setAttribute("aria-label", `step ${index + 1}`);
        button.addEventListener("click", () => {
            this.page.state.steps[this.page.state.pad] ^= 1 << index;
            this.page.update();
        });
        parent.append(button);
        return button;
    }

    /** Plays a pad, or puts the current sound on it. */
    press(index) {
        const { state } = this.page;
        state.pad = index;
        if (this.assigning || !state.pads[index]) this.assign(index, this.page.current());
        else this.trigger(index);
        this.page.update();
    }

    assign(index, sound) {
        this.page.state.pads[index] = sound;
        this.page.state.pad = index;
        this.assigning = false;
        this.#entries[index] = null;
        this.trigger(index);
        this.page.update();
    }

    clear(index) {
        this.page.state.pads[index] = null;
        this.page.state.steps[index] = 0;
        this.#entries[index] = null;
        this.page.update();
    }

    /** Plays a pad at a time of the context; 0 for now. */
    async trigger(index, when = 0) {
        const { page } = this, sound = page.state.pads[index];
        if (!sound) return;
        const entry = this.#entries[index];
        if (entry) {
            page.engine.play(entry.buffer, `pad ${index}`, when);
            return page.show(sound, entry, when);
        }
        try {
            const loaded = await this.#load(index);
            // Late for its step, so now.
            if (loaded && !when) this.trigger(index);
        } catch (error) {
            page.report(error);
        }
    }

    async #load(index) {
        const sound = this.page.state.pads[index], entry = await this.page.library.get(sound);
        const current = this.page.state.pads[index];
        if (!current || toText(current) !== toText(sound)) return false;
        this.#entries[index] = entry;
        return true;
    }

    /** Loads the sounds of all pads again: another version, another link. */
    async reload() {
        this.#entries.fill(null);
        for (let index = 0; index < PADS; index++) {
            if (this.page.state.pads[index]) await this.#load(index).catch(this.page.report);
        }
    }

    render() {
        const { state, library } = this.page;
        this.#buttons.forEach((button, index) => {
            const sound = state.pads[index];
            const name = sound ? describe(sound, library.model) : "empty";
            button.querySelector(".name").textContent = name;
            button.setAttribute("aria-label", `pad ${CAPS[index]}: ${name}`);
            button.setAttribute("aria-pressed", String(index === state.pad));
            button.classList.toggle("empty", !sound);
            drawPattern(button.querySelector("canvas"), state.steps[index]);
        });
        this.#steps.forEach((button, index) =>
            button.setAttribute("aria-pressed", String(Boolean(state.steps[state.pad] & (1 << index)))),
        );
    }

    get playing() {
        return this.#timer !== 0;
    }

    start() {
        this.page.engine.wake();
        this.#step = 0;
        this.#next = this.page.engine.now + 0.05;
        this.#timer = setInterval(() => this.#schedule(), TICK_MS);
    }

    stop() {
        clearInterval(this.#timer);
        this.#timer = 0;
        for (const button of this.#steps) button.classList.remove("now");
    }

    /** Schedules the steps of the next moments exactly. */
    #schedule() {
        const { engine, state } = this.page;
        if (!engine.running) return;
        // After a pause of the browser, steps that are missed stay silent.
        if (this.#next < engine.now - 0.05) this.#next = engine.now;
        while (this.#next < engine.now + AHEAD_SECS) {
            const step = this.#step;
            state.steps.forEach((bits, index) => {
                if (bits & (1 << step)) this.trigger(index, this.#next);
            });
            setTimeout(() => this.#light(step), 1000 * (this.#next - engine.now));
            this.#next += 15 / state.tempo;
            this.#step = (step + 1) % STEPS;
        }
    }

    #light(step) {
        this.#steps.forEach((button, index) => button.classList.toggle("now", this.playing && index === step));
    }
}

/** One pixel for each step. */
function drawPattern(canvas, bits) {
    canvas.width = STEPS;
    canvas.height = 1;
    const context = canvas.getContext("2d");
    context.fillStyle = getComputedStyle(canvas).color;
    for (let step = 0; step < STEPS; step++) {
        context.globalAlpha = bits & (1 << step) ? 1 : 0.15;
        context.fillRect(step, 0, 1, 1);
    }
}

/** One stop for the tab key; arrow keys move inside. */
function roving(parent) {
    const items = [...parent.children];
    const focus = (index) => items.forEach((item, i) => (item.tabIndex = i === index ? 0 : -1));
    focus(0);
    parent.addEventListener("focusin", (event) => focus(items.indexOf(event.target)));
    parent.addEventListener("keydown", (event) => {
        const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -8, ArrowDown: 8 }[event.key];
        const target = items[items.indexOf(event.target) + move];
        if (!target) return;
        event.preventDefault();
        target.focus();
    });
}
