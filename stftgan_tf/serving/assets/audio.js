/** Plays and records: voices -> gain -> limiter -> analyser -> output. */

/** All buffers have this rate: the browser resamples well when it decodes only. */
export const RATE_HZ = 48000;

const FADE_SECS = 0.01;
const MAX_RECORDING_SECS = 600;

/** Decodes a WAV, at any time, even before the page may make sound. */
export function decode(wav) {
    const context = new OfflineAudioContext(1, 1, RATE_HZ);
    return context.decodeAudioData(wav.slice().buffer);
}

const THRESHOLD_DB = -3, RATIO = 20;

/** Gain and limiter; connect voices to `volume`, and `end` to the output. */
function addLimiter(context, gain) {
    const volume = new GainNode(context, { gain });
    const limiter = new DynamicsCompressorNode(context, {
        threshold: THRESHOLD_DB, knee: 0, ratio: RATIO, attack: 0.001, release: 0.1,
    });
    // The node makes everything louder by 0.6 of what it takes from 0 dB (Web
    // Audio, section 1.19.5), which is undone: quiet sounds keep their level.
    const raised = 0.6 * -THRESHOLD_DB * (1 - 1 / RATIO);
    const end = new GainNode(context, { gain: 10 ** (-raised / 20) });
    volume.connect(limiter).connect(end);
    return { volume, end };
}

export class Engine {
    #voices = new Map();
    #gain = 1;
    #recording = null;
    #earlySound = null;

    /** @param {() => void} onChange called when sound goes on or off */
    constructor(onChange) {
        /** @type {?AudioContext} */
        this.context = null;
        this.onChange = onChange;
        /** When the last voice ends, in the time of the context. */
        this.busyUntil = 0;
    }

    /** Switches the sound on; browsers allow it in a click or key press only. */
    wake() {
        if (!this.context) {
            this.context = new AudioContext({ latencyHint: "interactive", sampleRate: RATE_HZ });
            this.context.onstatechange = this.onChange;
            const { volume, end } = addLimiter(this.context, this.#gain);
            this.volume = volume;
            this.analyser = new AnalyserNode(this.context, { fftSize: 1024 });
            end.connect(this.analyser).connect(this.context.destination);
            if (this.#earlySound) this.play(...this.#earlySound);
            this.#earlySound = null;
        }
        if (this.context.state !== "running") this.context.resume();
    }

    get running() {
        return this.context?.state === "running";
    }

    get now() {
        return this.context?.currentTime ?? 0;
    }

    /** @param {number} db */
    setGain(db) {
        this.#gain = 10 ** (db / 20);
        if (this.context) this.volume.gain.setTargetAtTime(this.#gain, this.now, 0.01);
        this.#recording?.gains.push({ gain: this.#gain, when: this.now });
    }

    /**
     * Plays a buffer. A channel has one voice: the next one ends it.
     * @param {AudioBuffer} buffer
     * @param {string} channel
     * @param {number} when time of the context; 0 for now
     */
    play(buffer, channel, when = 0) {
        if (!this.context) {
            // Heard when the sound is on.
            this.#earlySound = [buffer, channel];
            return;
        }
        const start = when || this.now;
        this.stop(channel, start);
        const source = new AudioBufferSourceNode(this.context, { buffer });
        const fade = new GainNode(this.context);
        source.connect(fade).connect(this.volume);
        source.start(when);
        const voice = { buffer, source, fade, start, end: start + buffer.duration, cut: false };
        source.onended = () => {
            fade.disconnect();
            if (this.#voices.get(channel) === voice) this.#voices.delete(channel);
        };
        this.#voices.set(channel, voice);
        this.#recording?.voices.push(voice);
        this.busyUntil = Math.max(this.busyUntil, voice.end);
    }

    /** Fades the voice of a channel out. */
    stop(channel, when = this.now) {
        const voice = this.#voices.get(channel);
        if (!voice || voice.end <= when) return;
        voice.fade.gain.setTargetAtTime(0, when, FADE_SECS / 4);
        voice.source.stop(when + FADE_SECS);
        voice.end = when + FADE_SECS;
        voice.cut = true;
    }

    stopAll() {
        for (const channel of this.#voices.keys()) this.stop(channel);
    }

    /** The highest absolute sample of the last 21 ms. */
    peak() {
        if (!this.context) return 0;
        const samples = new Float32Array(this.analyser.fftSize);
        this.analyser.getFloatTimeDomainData(samples);
        return samples.reduce((peak, value) => Math.max(peak, Math.abs(value)), 0);
    }

    get recordingSecs() {
        return this.#recording ? Math.min(this.now - this.#recording.start, MAX_RECORDING_SECS) : 0;
    }

    get isRecording() {
        return this.#recording !== null;
    }

    /** Notes what is played from now on. */
    startRecording() {
        const gains = [{ gain: this.#gain, when: this.now }];
        this.#recording = { start: this.now, voices: [...this.#voices.values()], gains };
    }

    /**
     * Plays the notes again, faster than they sounded.
     * @returns {Promise<?Float32Array>} samples at RATE_HZ; null for nothing
     */
    async stopRecording() {
        const { start, voices, gains } = this.#recording;
        const length = Math.ceil(this.recordingSecs * RATE_HZ);
        this.#recording = null;
        if (!length) return null;
        const context = new OfflineAudioContext(1, length, RATE_HZ);
        const { volume, end } = addLimiter(context, gains[0].gain);
        end.connect(context.destination);
        for (const { gain, when } of gains) volume.gain.setTargetAtTime(gain, when - start, 0.01);
        for (const voice of voices) {
            const source = new AudioBufferSourceNode(context, { buffer: voice.buffer });
            const fade = new GainNode(context);
            source.connect(fade).connect(volume);
            source.start(Math.max(0, voice.start - start), Math.max(0, start - voice.start));
            if (!voice.cut) continue;
            const until = Math.max(0, voice.end - start);
            fade.gain.setTargetAtTime(0, Math.max(0, until - FADE_SECS), FADE_SECS / 4);
            source.stop(until);
        }
        return (await context.startRendering()).getChannelData(0);
    }
}
