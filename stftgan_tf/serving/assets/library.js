/** Sounds that the page has already, and the requests for those it lacks. */

import { decode } from "./audio.js";
import { encodeWav, shorten } from "./files.js";
import { toText } from "./sounds.js";

const MAX_BYTES = 64e6;

/** Rows of a request in advance. */
const ROWS = 4;

/**
 * @typedef {{buffer: AudioBuffer, wav: Uint8Array}} Entry
 */
export class Library {
    #entries = new Map();
    #loads = new Map();
    #bytes = 0;
    #plan = [];
    #planRuns = false;
    #planWorks = true;

    constructor() {
        /** @type {?import("./api.js").Model} */
        this.model = null;
        this.maxBytes = MAX_BYTES;
    }

    /** Uses another model or version; its sounds are different. */
    open(model) {
        this.model = model;
        this.#entries.clear();
        this.#loads.clear();
        this.#plan = [];
        this.#bytes = 0;
        this.#planWorks = true;
    }

    /** @returns {Entry|undefined} */
    peek(sound) {
        const key = toText(sound), entry = this.#entries.get(key);
        if (entry) {
            // The order of the map is that of use.
            this.#entries.delete(key);
            this.#entries.set(key, entry);
        }
        return entry;
    }

    /** @returns {Promise<Entry>} */
    async get(sound) {
        const entry = this.peek(sound);
        if (entry) return entry;
        const key = toText(sound);
        if (!this.#loads.has(key)) {
            const load = this.#load([sound]).finally(() => {
                if (this.#loads.get(key) === load) this.#loads.delete(key);
            });
            this.#loads.set(key, load);
        }
        return (await this.#loads.get(key))[0];
    }

    /** Loads sounds that are likely to be wanted next, when nothing else loads. */
    plan(sounds) {
        this.#plan = sounds;
        if (!this.#planRuns && this.#planWorks) this.#runPlan();
    }

    async #runPlan() {
        this.#planRuns = true;
        try {
            while (this.#plan.length) {
                await Promise.allSettled(this.#loads.values());
                const rows = this.#plan.splice(0, ROWS).filter((s) => !this.#entries.has(toText(s)));
                if (rows.length) await this.#load(rows);
            }
        } catch (error) {
            // A request for a sound itself will say why. A server that takes
            // one row at a time refuses every plan.
            this.#plan = [];
            if (error.status === 400) this.#planWorks = false;
        } finally {
            this.#planRuns = false;
        }
    }

    /** Requests sounds of the same signature. */
    async #load(sounds) {
        const model = this.model;
        const requests = sounds.map((sound) => model.requestOf(sound));
        const rows = await model.predict(requests[0].signature, requests.map((r) => r.inputs));
        return Promise.all(
            rows.map(async ({ audio, wav }, index) => {
                const { secs } = sounds[index];
                if (secs) wav = encodeWav(shorten(audio, secs, model.rateHz), model.rateHz);
                const entry = { buffer: await decode(wav), wav };
                if (this.model === model) this.#add(toText(sounds[index]), entry);
                return entry;
            }),
        );
    }

    #add(key, entry) {
        if (this.#entries.has(key)) return;
        this.#entries.set(key, entry);
        this.#bytes += bytesOf(entry);
        for (const [oldest, old] of this.#entries) {
            if (this.#bytes <= this.maxBytes || oldest === key) break;
            this.#entries.delete(oldest);
            this.#bytes -= bytesOf(old);
        }
    }

    /** Bytes of all entries. */
    get bytes() {
        return this.#bytes;
    }
}

const bytesOf = ({ buffer, wav }) => 4 * buffer.length + wav.length;
