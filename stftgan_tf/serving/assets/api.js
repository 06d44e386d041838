/**
 * Requests to the server: TensorFlow Serving's REST protocol, and what the
 * server tells about its models to this page only.
 */

const TIMEOUT_MS = 60000;

/** An error that the server returned, in its words, or would return. */
export class ServerError extends Error {
    /** @param {string} message @param {number} status of HTTP */
    constructor(message, status) {
        super(message);
        this.status = status;
    }
}

/** The server did not answer at all. */
export class Unreachable extends Error {}

/** Sends a request, by POST if it has a body, and returns the JSON. */
async function request(path, body) {
    const options = { signal: AbortSignal.timeout(TIMEOUT_MS) };
    if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
    let response, value;
    try {
        response = await fetch(path, options);
        value = await response.json();
    } catch (error) {
        if (response) throw new ServerError("The answer is not JSON.", response.status);
        throw new Unreachable("The server does not answer.");
    }
    if (!response.ok) throw new ServerError(value.error, response.status);
    return value;
}

const pathOf = (name, version) =>
    `v1/models/${encodeURIComponent(name)}` + (version === undefined ? "" : `/versions/${version}`);

/** @returns {Promise<{name: string, version: ?number}[]>} */
export const listModels = async () => (await request("page/models")).models;

/** The newest version that serves; undefined while there is none. */
export async function currentVersion(name) {
    const rows = (await request(pathOf(name))).model_version_status;
    const versions = rows.filter((row) => row.state === "AVAILABLE").map((row) => Number(row.version));
    return versions.length ? Math.max(...versions) : undefined;
}

/** Loads what the page needs to know about the current version of a model. */
export async function openModel(name) {
    const { version, about } = await request(`page/models/${encodeURIComponent(name)}`);
    const { metadata } = await request(`${pathOf(name, version)}/metadata`);
    return new Model(name, version, about, metadata.signature_def.signature_def);
}

/** One version of a model. */
export class Model {
    constructor(name, version, about, signatures) {
        Object.assign(this, { name, version, about, signatures });
        const facts = about.facts ?? {};
        this.rateHz = facts.sample_rate_hz;
        this.secs = facts.samples / this.rateHz;
        /** The longest audio, in seconds; 0 if the model has no `long`. */
        this.maxSecs = signatures.long ? facts.long_samples / this.rateHz : 0;
        /** The labels that a request may name. */
        this.labels = facts.condition === "label" ? facts.labels : [];
        const { seeds = [], classes = [] } = about.map ?? {};
        this.classes = new Map(classes.map((number, index) => [seeds[index], number]));
    }

    /** Why the page cannot play this model; empty if it can. */
    get problem() {
        if (this.inputs("sample").includes("seed") && this.rateHz) return "";
        return `${this.name} is not an export of this project, so this page cannot play it.`;
    }

    inputs(signature) {
        return Object.keys(this.signatures[signature]?.inputs ?? {});
    }

    /** The name of the label or cluster of a seed, if it is known. */
    className(seed) {
        const number = this.classes.get(seed);
        if (number === undefined) return undefined;
        return this.labels[number] ?? `cluster ${number}`;
    }

    /** The label that `sample` puts into the name of a file. */
    labelOf(sound) {
        if (!this.labels.length) return undefined;
        return sound.label ?? this.labels[this.classes.get(sound.seed ?? sound.seeds[0])];
    }

    /** The signature and the inputs of a sound. Full windows take the way of `sample`. */
    requestOf(sound) {
        let signature = "serving_default", inputs = { seed: sound.seed };
        if (sound.seeds) {
            signature = "interpolate";
            inputs = { seed_a: sound.seeds[0], seed_b: sound.seeds[1], weight: sound.weight };
        } else if (sound.secs) {
            signature = "long";
        } else if (sound.truncation) {
            signature = "sample";
            // Exports of earlier versions call it `psi`.
            const name = this.inputs("sample").includes("psi") ? "psi" : "truncation";
            inputs[name] = sound.truncation;
        }
        const label = sound.label === undefined ? -1 : this.labels.indexOf(sound.label);
        if (sound.label !== undefined && label < 0) {
            throw new ServerError(`${this.name} has no label ${sound.label}.`, 400);
        }
        if (sound.secs > this.maxSecs) {
            throw new ServerError(`${this.name} generates up to ${this.maxSecs.toFixed(2)} s.`, 400);
        }
        if (this.inputs(signature).includes("label")) inputs.label = label;
        return { signature, inputs };
    }

    /**
     * Generates rows of one signature.
     * @param {string} signature
     * @param {Object<string, number>[]} rows
     * @returns {Promise<{audio: Float32Array, wav: Uint8Array}[]>}
     */
    async predict(signature, rows) {
        const inputs = {};
        for (const name of Object.keys(rows[0])) inputs[name] = rows.map((row) => row[name]);
        const path = `${pathOf(this.name, this.version)}:predict`;
        const { outputs } = await request(path, { signature_name: signature, inputs });
        return outputs.audio.map((audio, index) => ({
            audio: Float32Array.from(audio),
            wav: Uint8Array.from(atob(outputs.wav_bytes[index].b64), (c) => c.charCodeAt(0)),
        }));
    }
}
