/** A spectrogram on a canvas, computed here from the samples. */

const RANGE_DB = 70;

// Samples of the colour map `magma` of Matplotlib (CC0).
const STOPS = [
    [0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122],
    [229, 80, 100], [251, 135, 97], [254, 194, 135], [252, 253, 191],
];

const PALETTE = Array.from({ length: 256 }, (_, index) => {
    const place = (index / 255) * (STOPS.length - 1), low = Math.min(Math.floor(place), STOPS.length - 2);
    return STOPS[low].map((value, i) => value + (STOPS[low + 1][i] - value) * (place - low));
});

/** In place: the Fourier transform of `size` complex numbers, a power of two. */
function transform(real, imaginary) {
    const size = real.length;
    for (let i = 1, j = 0; i < size; i++) {
        let bit = size >> 1;
        for (; j & bit; bit >>= 1) j ^= bit;
        j ^= bit;
        if (i < j) {
            [real[i], real[j]] = [real[j], real[i]];
            [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
        }
    }
    for (let length = 2; length <= size; length *= 2) {
        for (let k = 0; k < length / 2; k++) {
            const cos = Math.cos((2 * Math.PI * k) / length), sin = -Math.sin((2 * Math.PI * k) / length);
            for (let a = k; a < size; a += length) {
                const b = a + length / 2;
                const x = real[b] * cos - imaginary[b] * sin, y = real[b] * sin + imaginary[b] * cos;
                [real[b], imaginary[b]] = [real[a] - x, imaginary[a] - y];
                [real[a], imaginary[a]] = [real[a] + x, imaginary[a] + y];
            }
        }
    }
}

/**
 * Decibels of each frame and bin.
 * @param {ArrayLike<number>} samples
 * @param {number} size of a frame, a power of two
 * @param {number} hop from frame to frame
 * @returns {Float32Array[]}
 */
export function decibels(samples, size, hop) {
    const hann = Float32Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / size));
    const frames = [];
    for (let centre = 0; centre < samples.length; centre += hop) {
        const real = new Float32Array(size), imaginary = new Float32Array(size);
        for (let i = 0; i < size; i++) real[i] = hann[i] * (samples[centre + i - size / 2] ?? 0);
        transform(real, imaginary);
        frames.push(Float32Array.from({ length: size / 2 }, (_, k) =>
            10 * Math.log10(real[k] ** 2 + imaginary[k] ** 2 + 1e-9)));
    }
    return frames;
}

/** Draws the spectrogram of samples at a rate. */
export function drawSpectrogram(canvas, samples, rateHz) {
    // 32 ms resolve the harmonics of a voice.
    const size = 2 ** Math.round(Math.log2(0.032 * rateHz));
    const hop = Math.max(size / 8, Math.ceil(samples.length / 600));
    const frames = decibels(samples, size, hop);
    const top = frames.reduce((top, frame) => frame.reduce((a, b) => Math.max(a, b), top), 0);
    canvas.width = frames.length;
    canvas.height = size / 2;
    const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
    frames.forEach((frame, x) =>
        frame.forEach((value, bin) => {
            const share = Math.max(0, 1 + (value - top) / RANGE_DB);
            const offset = 4 * ((canvas.height - 1 - bin) * canvas.width + x);
            image.data.set(PALETTE[Math.round(255 * share)], offset);
            image.data[offset + 3] = 255;
        }),
    );
    context.putImageData(image, 0, 0);
}
