/** Everything on the page as a text, which is the fragment of the URL. */

import { fromText, toText } from "./sounds.js";

export const PADS = 16, STEPS = 16;

/** @returns {object} the page as it is first seen */
export function initial() {
    return {
        model: undefined,
        version: undefined,
        sound: { seed: 0 },
        label: undefined,
        truncation: 1,
        secs: 0,
        walk: { seeds: [0, 1], weight: 0 },
        pads: Array(PADS).fill(null),
        steps: Array(PADS).fill(0),
        pad: 0,
        tempo: 110,
        gain: 0,
        favourites: [],
        view: { x: 0.5, y: 0.5, scale: 1 },
    };
}

/** Without values that are still the first ones. */
export function encode(state) {
    const first = initial(), parts = [];
    const add = (name, text, standard) => {
        if (text !== standard && text !== undefined) parts.push(`${name}=${text}`);
    };
    const list = (sounds) => sounds.map((sound) => (sound ? toText(sound) : "")).join(",").replace(/,+$/, "");
    const name = (text) => (text === undefined ? undefined : encodeURIComponent(text));
    add("model", name(state.model));
    add("version", state.version);
    add("sound", toText(state.sound), "0");
    add("label", name(state.label));
    add("truncation", state.truncation, first.truncation);
    add("secs", state.secs, first.secs);
    add("walk", toText(state.walk), toText(first.walk));
    add("pads", list(state.pads), "");
    add("steps", state.steps.map((bits) => bits.toString(16)).join(","), first.steps.join(","));
    add("pad", state.pad, first.pad);
    add("tempo", state.tempo, first.tempo);
    add("gain", state.gain, first.gain);
    add("favourites", list(state.favourites), "");
    const { x, y, scale } = state.view;
    add("view", [x, y, scale].map((v) => Number(v.toFixed(3))).join(","), "0.5,0.5,1");
    return parts.join("&");
}

/** The state of a text; what cannot be read keeps its first value. */
export function decode(text) {
    const state = initial();
    for (const part of text.split("&")) {
        const [name, ...rest] = part.split("=");
        try {
            READERS[name]?.(state, rest.join("="));
        } catch {
            // A link can be cut off or typed: decodeURIComponent throws.
        }
    }
    return state;
}

const sounds = (value) => value.split(",").map((item) => (item ? fromText(item) : null));

/** Sets a number if it is one and in range. */
function number(key, low, high) {
    return (state, value) => {
        const parsed = Number(value);
        if (value !== "" && parsed >= low && parsed <= high) state[key] = parsed;
    };
}

const READERS = {
    model: (state, value) => (state.model = decodeURIComponent(value)),
    version: number("version", 0, Number.MAX_SAFE_INTEGER),
    sound: (state, value) => (state.sound = fromText(value) ?? state.sound),
    label: (state, value) => (state.label = decodeURIComponent(value)),
    truncation: number("truncation", 0.01, 10),
    secs: number("secs", 0, 600),
    walk: (state, value) => {
        const walk = fromText(value);
        if (walk?.seeds) state.walk = walk;
    },
    pads: (state, value) => sounds(value).slice(0, PADS).forEach((sound, i) => (state.pads[i] = sound)),
    steps: (state, value) =>
        value.split(",").slice(0, PADS).forEach((bits, i) => (state.steps[i] = parseInt(bits, 16) & 0xffff || 0)),
    pad: number("pad", 0, PADS - 1),
    tempo: number("tempo", 40, 240),
    gain: number("gain", -40, 12),
    favourites: (state, value) => (state.favourites = sounds(value).filter(Boolean)),
    view: (state, value) => {
        const [x, y, scale] = value.split(",").map(Number);
        if (x >= 0 && x <= 1 && y >= 0 && y <= 1 && scale >= 1 && scale <= 32) state.view = { x, y, scale };
    },
};
