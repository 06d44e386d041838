/**
 * Sounds as values: what to ask the server for, and their names.
 *
 * @typedef {Object} Sound
 * @property {number} [seed]
 * @property {[number, number]} [seeds] the ends of a walk, in place of `seed`
 * @property {number} [weight] where the sound is on the walk, 0 to 1
 * @property {string} [label] only if requested
 * @property {number} [truncation] only if not 1
 * @property {number} [secs] only for several windows
 */

/** A short text, for URLs and as a key: "3:t0.7", "3~9~0.25:lseven". */
export function toText(sound) {
    const start = sound.seeds ? `${sound.seeds.join("~")}~${sound.weight}` : `${sound.seed}`;
    const parts = [start];
    if (sound.truncation) parts.push(`t${sound.truncation}`);
    if (sound.secs) parts.push(`s${sound.secs}`);
    if (sound.label !== undefined) parts.push(`l${encodeURIComponent(sound.label)}`);
    return parts.join(":");
}

/** The sound of a text of `toText`; null if it is not one. */
export function fromText(text) {
    const [start, ...parts] = text.split(":");
    const [first, second, weight] = start.split("~").map((word) => (word === "" ? NaN : Number(word)));
    const sound = second === undefined ? { seed: first } : { seeds: [first, second], weight };
    for (const part of parts) {
        const value = part.slice(1);
        if (part[0] === "t") sound.truncation = Number(value);
        if (part[0] === "s") sound.secs = Number(value);
        if (part[0] === "l") sound.label = decodeURIComponent(value);
    }
    return isValid(sound) ? sound : null;
}

function isValid({ seed, seeds, weight, truncation = 1, secs = 1 }) {
    const numbers = seeds ?? [seed];
    return (
        numbers.every((number) => Number.isSafeInteger(number) && number >= 0) &&
        (!seeds || (weight >= 0 && weight <= 1)) &&
        truncation > 0 && truncation <= 10 && secs > 0 && secs <= 600
    );
}

/** A text for people. */
export function describe(sound, model) {
    const parts = [sound.seeds ? `seeds ${sound.seeds[0]} to ${sound.seeds[1]} at ${sound.weight}` : `seed ${sound.seed}`];
    const name = sound.label ?? (sound.seeds ? undefined : model?.className(sound.seed));
    if (name !== undefined) parts.push(name);
    if (sound.truncation) parts.push(`truncation ${sound.truncation}`);
    if (sound.secs) parts.push(`${sound.secs} s`);
    return parts.join(", ");
}

/** The name that `python -m stftgan_tf.sample` gives the file of a sound. */
export function fileName(sound, label) {
    const six = (seed) => String(seed).padStart(6, "0");
    let name = sound.seeds
        ? `seed-${six(sound.seeds[0])}-to-${six(sound.seeds[1])}-at-${sound.weight.toFixed(6)}`
        : `seed-${six(sound.seed)}`;
    if (label !== undefined) {
        const plain = [...label.replace(/[^\p{L}\p{N}_-]/gu, "_")].slice(0, 40).join("");
        name = `label-${plain}-${name}`;
    }
    if (sound.secs) name = `secs-${sound.secs}-${name}`;
    if (sound.truncation) name = `truncation-${sound.truncation}-${name}`;
    return `${name}.wav`;
}

/** Different names: a name that occurs again gets a number. */
export function uniqueNames(names) {
    const count = new Map();
    return names.map((name) => {
        const number = (count.get(name) ?? 0) + 1;
        count.set(name, number);
        return number === 1 ? name : name.replace(/\.wav$/, `-${number}.wav`);
    });
}
