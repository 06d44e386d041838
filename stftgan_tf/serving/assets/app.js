/** The page: connects the parts, the controls and the state. */

import { ServerError, Unreachable, currentVersion, listModels, openModel } from "./api.js";
import { Engine, RATE_HZ } from "./audio.js";
import { showCard, showVerdict } from "./about.js";
import { download, encodeWav, samplesOf, zip } from "./files.js";
import { Library } from "./library.js";
import { SoundMap, gridOf, groupColour } from "./map.js";
import { CAPS, CODES, Pads } from "./pads.js";
import { describe, fileName, toText, uniqueNames } from "./sounds.js";
import { drawSpectrogram } from "./spectrogram.js";
import { decode, encode } from "./state.js";

const $ = (id) => document.getElementById(id);

const POLL_MS = 4000, RETRY_MS = 1000;

/** Seeds of the grid of a model without a map. */
const GRID = 400;

/** What the colours of the map mean, by the condition of the model. */
const COLOURS = { cluster: "Colours are clusters.", label: "Colours are labels." };

/** Sounds in advance around the pointer. */
const NEIGHBOURS = 8;

const page = {
    engine: new Engine(showSoundState),
    library: new Library(),
    state: decode(location.hash.slice(1)),
    current: () => page.state.sound,
    show,
    update,
    report,
};
const map = new SoundMap($("map"), {
    hover: (seed) => play(soundOf(seed)),
    pick: (seed) => play(soundOf(seed)),
    drag,
    drop,
    view: update,
});
const pads = new Pads(page, $("pads"), $("steps"));

/** For tests and for the curious. */
export { map, page, pads };

// ---- Sounds ----

/** The sound of a seed with the values of the controls. */
function soundOf(seed) {
    const { label, truncation, secs } = page.state, sound = { seed };
    if (label !== undefined) sound.label = label;
    if (secs) sound.secs = secs;
    else if (truncation !== 1) sound.truncation = truncation;
    return sound;
}

function walkSound() {
    const { walk, label } = page.state;
    return label === undefined ? { ...walk } : { ...walk, label };
}

let nextSound = null, isLoading = false;

/** Makes a sound the current one and plays it; only the last of many is loaded. */
async function play(sound) {
    page.state.sound = sound;
    update();
    nextSound = sound;
    if (page.library.model?.problem !== "") return;
    const entry = page.library.peek(sound);
    if (entry) {
        nextSound = null;
        return playEntry(sound, entry);
    }
    if (isLoading) return;
    isLoading = true;
    try {
        while (nextSound) {
            const next = nextSound, loaded = await page.library.get(next);
            if (nextSound === next) {
                nextSound = null;
                playEntry(next, loaded);
            }
        }
    } catch (error) {
        // A version that was replaced is no reason to forget the sound.
        if (error.status !== 404) nextSound = null;
        report(error);
    } finally {
        isLoading = false;
    }
}

/** Plays a loaded sound on the channel of the map. */
function playEntry(sound, entry) {
    page.engine.play(entry.buffer, "map");
    show(sound, entry);
    if (sound.seeds) planWalk();
    else planNeighbours(sound.seed);
}

function planNeighbours(seed) {
    // Long sounds take too long to load some that may not be played.
    if (page.state.secs) return;
    page.library.plan(map.neighbours(seed, NEIGHBOURS).map(soundOf));
}

/** Loads the whole walk, from the current place outwards. */
function planWalk() {
    const walk = walkSound(), step = Number($("weight").step);
    const weights = Array.from({ length: 1 / step + 1 }, (_, index) => index * step);
    weights.sort((a, b) => Math.abs(a - walk.weight) - Math.abs(b - walk.weight));
    page.library.plan(weights.map((weight) => ({ ...walk, weight })));
}

// ---- What plays ----

let playing = null, metering = false;

/** Shows a sound that plays, from a time of the context on. */
function show(sound, entry, when = 0) {
    clearMessage();
    const delay = when ? Math.max(0, when - page.engine.now) : 0;
    setTimeout(() => {
        const text = `${describe(sound, page.library.model)}${page.engine.running ? "" : " (sound is off)"}`;
        if ($("now").textContent !== text) $("now").textContent = text;
        if (playing?.wav !== entry.wav) {
            const { rateHz } = page.library.model;
            drawSpectrogram($("spectrogram"), Float32Array.from(samplesOf(entry.wav), (v) => v / 32768), rateHz);
            $("khz").textContent = `${rateHz / 2000} kHz`;
            $("secs-label").textContent = `${entry.buffer.duration.toFixed(2)} s`;
        }
        playing = { wav: entry.wav, start: when || page.engine.now, secs: entry.buffer.duration };
        if (!metering) {
            metering = true;
            requestAnimationFrame(meter);
        }
    }, 1000 * delay);
}

/** Level and place while something plays. */
function meter() {
    const { engine } = page, share = (engine.now - playing.start) / playing.secs;
    const db = Math.max(-60, 20 * Math.log10(engine.peak() + 1e-9));
    $("meter").firstElementChild.style.transform = `scaleX(${1 + db / 60})`;
    $("meter").setAttribute("aria-valuenow", String(Math.round(db)));
    $("head").hidden = share < 0 || share > 1;
    $("head").style.left = `${100 * share}%`;
    if (engine.isRecording) {
        $("record").textContent = `Stop (${Math.floor(engine.recordingSecs)} s)`;
    }
    metering = engine.isRecording || engine.now < engine.busyUntil + 0.3;
    if (metering && engine.running) return requestAnimationFrame(meter);
    metering = false;
    $("head").hidden = true;
    $("meter").firstElementChild.style.transform = "scaleX(0)";
}

function showSoundState() {
    $("hint").hidden = page.engine.running;
    if (page.engine.running) $("now").textContent = $("now").textContent.replace(" (sound is off)", "");
}

// ---- Messages ----

function message(text) {
    $("message").textContent = text;
    $("message").hidden = false;
}

function clearMessage() {
    if (!offline) $("message").hidden = true;
}

let offline = false;

/** Shows an error in the words of the server; finds out what changed. */
function report(error) {
    if (error instanceof Unreachable) {
        if (offline) return;
        offline = true;
        message("The server does not answer. The page continues when it is back; sounds that are loaded still play.");
        return poll();
    }
    message(error.message);
    if (error instanceof ServerError && error.status === 404) poll();
    else if (!(error instanceof ServerError)) console.error(error);
}

let timer = 0;

/** Looks which version is served, and whether the server is there. */
async function poll() {
    clearTimeout(timer);
    try {
        const { model } = page.library;
        if (!model) {
            await start();
        } else {
            const version = await currentVersion(model.name);
            if (version === undefined) message(`No version of ${model.name} is available.`);
            else if (version !== model.version) await use(model.name, `version ${version} replaced version ${model.version}`);
            else if (offline) await pads.reload();
        }
        if (offline) {
            offline = false;
            clearMessage();
        }
    } catch (error) {
        report(error instanceof Unreachable && offline ? new Unreachable() : error);
    }
    clearTimeout(timer);
    timer = setTimeout(poll, offline ? RETRY_MS : POLL_MS);
}

// ---- Models ----

async function start() {
    const models = await listModels();
    $("model").replaceChildren(...models.map(({ name }) => new Option(name)));
    const names = models.map(({ name }) => name), { model } = page.state;
    if (model !== undefined && !names.includes(model)) message(`This server has no model ${model}.`);
    await use(names.includes(model) ? model : names[0]);
}

/** Loads the current version of a model. */
async function use(name, news = "") {
    const linked = page.state.version, model = await openModel(name);
    const isLink = !page.library.model && page.state.model === name;
    page.library.open(model);
    Object.assign(page.state, { model: name, version: model.version });
    if (isLink && linked !== undefined && linked !== model.version) {
        news = `this link was made with version ${linked}, whose sounds differ`;
    }
    $("model").value = name;
    $("version").textContent = `version ${model.version}${news && `: ${news}`}`;
    document.title = `Listen: ${name}`;
    showModel(model);
    update();
    if (model.problem) return;
    if (nextSound) play(nextSound);
    await pads.reload();
}

function showModel(model) {
    if (model.problem) message(model.problem);
    const { seeds, x, y, classes } = model.about.map ?? {};
    const points = seeds?.map((seed, i) => ({ seed, x: x[i], y: y[i], group: classes?.[i] }));
    map.setPoints(model.problem ? [] : (points ?? gridOf(GRID)));
    $("map-note").textContent = points
        ? `Alike sounds are near each other. ${COLOURS[model.about.facts?.condition] ?? ""}`
        : "This export has no map, so seeds are in a grid. Export the model again to get one.";
    const groups = [...new Set(classes ?? [])].sort((a, b) => a - b);
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    $("legend").hidden = !model.labels.length;
    $("legend").replaceChildren(...groups.map((group) => {
        const item = document.createElement("li");
        item.appendChild(document.createElement("span")).style.backgroundColor = groupColour(group, dark);
        item.append(model.labels[group] ?? "");
        return item;
    }));
    $("label").replaceChildren(new Option("of the seed", ""), ...model.labels.map((label) => new Option(label)));
    if (!model.labels.includes(page.state.label)) page.state.label = undefined;
    for (const element of document.querySelectorAll(".of-label")) element.hidden = !model.labels.length;
    for (const element of document.querySelectorAll(".of-long")) element.hidden = !(model.maxSecs > model.secs);
    $("secs").max = Math.floor(10 * model.maxSecs) / 10;
    $("walk-section").hidden = !model.signatures.interpolate;
    $("about-title").textContent = `${model.name}, version ${model.version}`;
    showVerdict($("verdict"), model.about.verdict);
    showCard($("card"), model.about.card);
}

// ---- The state on the page and in the URL ----

let saving = 0;

/** Shows the state, and writes it to the URL soon. */
function update() {
    render();
    // Browsers limit how often the URL may change.
    saving ||= setTimeout(save, 300);
}

function save() {
    clearTimeout(saving);
    saving = 0;
    history.replaceState(null, "", `#${encode({ ...page.state, view: map.view })}`);
}

function render() {
    const { state } = page, { model } = page.library, favourites = state.favourites.map(toText);
    setValue("label", state.label ?? "");
    setValue("truncation", state.truncation);
    setValue("secs", state.secs);
    setValue("gain", state.gain);
    setValue("tempo", state.tempo);
    setValue("weight", state.walk.weight);
    setValue("a", state.walk.seeds[0]);
    setValue("b", state.walk.seeds[1]);
    setValue("seed", state.sound.seed ?? "");
    $("truncation").disabled = state.secs > 0;
    $("truncation-value").textContent = state.secs ? "off" : String(state.truncation);
    $("secs-value").textContent = `${state.secs || model?.secs?.toFixed(2)} s`;
    $("gain-value").textContent = `${state.gain} dB`;
    $("tempo-value").textContent = `${state.tempo} bpm`;
    $("weight-value").textContent = String(state.walk.weight);
    $("favourite").setAttribute("aria-pressed", String(favourites.includes(toText(state.sound))));
    $("to-pad").setAttribute("aria-pressed", String(pads.assigning));
    $("sequence").setAttribute("aria-pressed", String(pads.playing));
    $("sequence").textContent = pads.playing ? "Stop" : "Start";
    $("pad-name").textContent = CAPS[state.pad];
    pads.render();
    map.marks = {
        current: state.sound.seed,
        favourites: new Set(state.favourites.map((sound) => sound.seed)),
        pads: new Map(state.pads.map((sound, index) => [sound?.seed, CAPS[index]])),
        ends: [[state.walk.seeds[0], "A"], [state.walk.seeds[1], "B"]],
    };
    map.draw();
    const key = favourites.join() + model?.name + model?.version;
    if (key !== renderedFavourites) {
        renderedFavourites = key;
        renderFavourites(model);
    }
}

let renderedFavourites = "";

/** Not while somebody types there. */
function setValue(id, value) {
    const element = $(id);
    if (element !== document.activeElement || element.type !== "number") element.value = value;
}

function renderFavourites(model) {
    const { favourites } = page.state;
    $("no-favourites").hidden = favourites.length > 0;
    $("export").disabled = !favourites.length;
    $("favourites").replaceChildren(...favourites.map((sound) => {
        const item = document.createElement("li"), name = describe(sound, model);
        const buttons = [
            [name, `play ${name}`, () => play(sound)],
            ["Remove", `remove ${name}`, () => toggleFavourite(sound)],
        ];
        for (const [text, label, action] of buttons) {
            const button = item.appendChild(document.createElement("button"));
            button.type = "button";
            button.textContent = text;
            button.setAttribute("aria-label", label);
            button.addEventListener("click", action);
        }
        return item;
    }));
}

/** Shows the state of a link. */
async function follow() {
    const text = location.hash.slice(1);
    if (text === encode({ ...page.state, view: map.view })) return;
    const { model, version } = page.state;
    page.state = { ...decode(text), version };
    map.setView(page.state.view);
    page.engine.setGain(page.state.gain);
    if (page.state.model === undefined || page.state.model === model) {
        page.state.model = model;
        update();
        await pads.reload();
    } else {
        await start();
    }
}

// ---- Favourites ----

function toggleFavourite(sound) {
    const { state } = page, text = toText(sound);
    const others = state.favourites.filter((other) => toText(other) !== text);
    state.favourites = others.length < state.favourites.length ? others : [...others, sound];
    update();
}

/** A zip of the WAV files, and the list that `sample --list` reads. */
async function exportFavourites() {
    const { state, library } = page, { model } = library;
    const names = uniqueNames(state.favourites.map((sound) => fileName(sound, model.labelOf(sound))));
    const files = [];
    for (const [index, sound] of state.favourites.entries()) {
        files.push({ name: names[index], bytes: (await library.get(sound)).wav });
    }
    const samples = state.favourites.map((sound, index) => ({ file: names[index], ...sound }));
    const list = JSON.stringify({ model: model.name, version: model.version, samples }, null, 1);
    files.push({ name: "favourites.json", bytes: new TextEncoder().encode(`${list}\n`) });
    download(`${model.name}-favourites.zip`, zip(files));
}

// ---- Pads ----

let ghost = null;

function padAt(event) {
    return document.elementFromPoint(event.clientX, event.clientY)?.closest(".pad");
}

function drag(seed, event) {
    if (!ghost) {
        ghost = document.body.appendChild(document.createElement("div"));
        ghost.id = "ghost";
        ghost.textContent = describe(soundOf(seed), page.library.model);
    }
    ghost.style.transform = `translate(${event.clientX + 12}px, ${event.clientY + 12}px)`;
    const target = padAt(event);
    for (const pad of document.querySelectorAll(".pad")) pad.classList.toggle("target", pad === target);
}

function drop(seed, event) {
    ghost?.remove();
    ghost = null;
    const target = padAt(event);
    if (!target) return;
    target.classList.remove("target");
    pads.assign(Number(target.dataset.pad), soundOf(seed));
}

async function toggleRecording() {
    const { engine } = page;
    engine.wake();
    if (!engine.isRecording) {
        engine.startRecording();
        playing ??= { start: 0, secs: 1 };
        if (!metering) meter();
    } else {
        const audio = await engine.stopRecording();
        if (audio) download(`${page.state.model}.wav`, new Blob([encodeWav(audio, RATE_HZ)], { type: "audio/wav" }));
    }
    $("record").textContent = engine.isRecording ? "Stop (0 s)" : "Record";
    $("record").setAttribute("aria-pressed", String(engine.isRecording));
}

function toggleSequence() {
    if (pads.playing) pads.stop();
    else pads.start();
    render();
}

// ---- Controls and keys ----

/** Calls a function of the value when a control changes. */
function on(id, event, action) {
    $(id).addEventListener(event, () => action($(id).value));
}

/** Plays the current seed with the new values of the controls. */
function replay() {
    const { sound } = page.state;
    play(sound.seeds ? walkSound() : soundOf(sound.seed));
}

function setEnd(index, seed) {
    if (!Number.isSafeInteger(seed) || seed < 0) return;
    page.state.walk.seeds = page.state.walk.seeds.map((old, i) => (i === index ? seed : old));
    update();
    planWalk();
}

const currentSeed = () => page.state.sound.seed ?? NaN;

function connectControls() {
    const { state } = page;
    on("model", "change", (name) => {
        Object.assign(page.state, { model: name, version: undefined });
        use(name).catch(report);
    });
    on("label", "change", (label) => {
        page.state.label = label || undefined;
        replay();
    });
    on("truncation", "input", (value) => {
        page.state.truncation = Number(value);
        replay();
    });
    on("secs", "input", (value) => {
        // Long sounds are longer than one window.
        page.state.secs = Number(value) > page.library.model.secs ? Number(value) : 0;
        replay();
    });
    on("gain", "input", (value) => {
        page.state.gain = Number(value);
        page.engine.setGain(page.state.gain);
        update();
    });
    on("tempo", "input", (value) => {
        page.state.tempo = Number(value);
        update();
    });
    on("weight", "input", (value) => {
        page.state.walk.weight = Number(value);
        play(walkSound());
    });
    on("seed", "change", (value) => {
        const seed = Number(value);
        if (value !== "" && Number.isSafeInteger(seed) && seed >= 0) play(soundOf(seed));
    });
    on("a", "change", (value) => setEnd(0, value === "" ? NaN : Number(value)));
    on("b", "change", (value) => setEnd(1, value === "" ? NaN : Number(value)));
    page.engine.setGain(state.gain);
    const clicks = {
        "set-a": () => setEnd(0, currentSeed()),
        "set-b": () => setEnd(1, currentSeed()),
        play: () => play(page.state.sound),
        favourite: () => toggleFavourite(page.state.sound),
        "to-pad": () => {
            pads.assigning = !pads.assigning;
            render();
        },
        "clear-pad": () => pads.clear(page.state.pad),
        sequence: toggleSequence,
        record: () => toggleRecording().catch(report),
        export: () => exportFavourites().catch(report),
        "zoom-in": () => map.zoom(1.5),
        "zoom-out": () => map.zoom(1 / 1.5),
        "zoom-all": () => map.setView({ x: 0.5, y: 0.5, scale: 1 }),
        "show-about": () => $("about").showModal(),
        "show-keys": () => $("keys").showModal(),
    };
    for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", action);
    for (const button of document.querySelectorAll("dialog .close")) {
        button.addEventListener("click", () => button.closest("dialog").close());
    }
}

const SHORTCUTS = {
    f: () => toggleFavourite(page.state.sound),
    p: () => play(page.state.sound),
    a: () => setEnd(0, currentSeed()),
    b: () => setEnd(1, currentSeed()),
    s: toggleSequence,
    m: () => $("map").focus(),
    Escape: () => {
        pads.stop();
        page.engine.stopAll();
        render();
    },
};

function pressKey(event) {
    const { target } = event;
    const types = target.matches("select, input[type=number]") || document.querySelector("dialog[open]");
    if (types || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const pad = CODES.indexOf(event.code);
    if (pad >= 0) {
        if (event.shiftKey) pads.assign(pad, page.state.sound);
        else pads.press(pad);
    } else if (SHORTCUTS[event.key]) {
        SHORTCUTS[event.key]();
    } else {
        return;
    }
    event.preventDefault();
}

function connectPage() {
    for (const type of ["pointerdown", "pointerup", "keydown"]) {
        document.addEventListener(type, (event) => {
            // Browsers do not count the start of a touch, nor Escape.
            const touch = type === "pointerdown" && event.pointerType === "touch";
            if (!touch && event.key !== "Escape") page.engine.wake();
        }, true);
    }
    document.addEventListener("keydown", pressKey);
    addEventListener("hashchange", () => follow().catch(report));
    addEventListener("pagehide", save);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
        if (page.library.model) showModel(page.library.model);
        pads.render();
    });
}

connectControls();
connectPage();
map.setView(page.state.view);
render();
// A browser that allows it makes sound at once.
if (navigator.userActivation?.hasBeenActive) page.engine.wake();
poll();
