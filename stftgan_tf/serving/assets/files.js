/** WAV and zip files, and downloads. */

/** The samples of a WAV with a header of 44 bytes and 16 bits per sample. */
export function samplesOf(wav) {
    return new Int16Array(wav.buffer, wav.byteOffset + 44, (wav.length - 44) >> 1);
}

/** A WAV of one channel with 16 bits, rounded as libsndfile does. */
export function encodeWav(audio, rateHz) {
    const bytes = new Uint8Array(44 + 2 * audio.length), view = new DataView(bytes.buffer);
    const text = (offset, word) => [...word].forEach((c, i) => view.setUint8(offset + i, c.charCodeAt(0)));
    text(0, "RIFF");
    view.setUint32(4, bytes.length - 8, true);
    text(8, "WAVEfmt ");
    view.setUint32(16, 16, true);
    view.setUint16(20, 1, true);
    view.setUint16(22, 1, true);
    view.setUint32(24, rateHz, true);
    view.setUint32(28, 2 * rateHz, true);
    view.setUint16(32, 2, true);
    view.setUint16(34, 16, true);
    text(36, "data");
    view.setUint32(40, 2 * audio.length, true);
    audio.forEach((value, index) => {
        const wide = Math.round(value * 2 ** 31) / 2 ** 16;
        view.setInt16(44 + 2 * index, Math.max(-32768, Math.min(32767, Math.floor(wide))), true);
    });
    return bytes;
}

/** The first seconds of audio with a fade of 10 ms, as `sample --secs` cuts it. */
export function shorten(audio, secs, rateHz) {
    const result = audio.slice(0, Math.round(secs * rateHz));
    const fade = Math.min(Math.floor(rateHz / 100), result.length);
    const start = result.length - fade;
    for (let i = 0; i < fade; i++) {
        result[start + i] *= i === fade - 1 ? 0 : 1 - i * (1 / (fade - 1));
    }
    return result;
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
    for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
});

function crc32(bytes) {
    let crc = ~0;
    for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
    return ~crc >>> 0;
}

/** A structure of little-endian numbers: [value, number of bytes] each. */
function pack(...fields) {
    const bytes = [];
    for (const [value, size] of fields) {
        for (let i = 0; i < size; i++) bytes.push(Math.floor(value / 2 ** (8 * i)) & 255);
    }
    return Uint8Array.from(bytes);
}

/**
 * A zip of files, which are stored without compression.
 * @param {{name: string, bytes: Uint8Array}[]} files
 * @returns {Blob}
 */
export function zip(files) {
    const parts = [], directory = [];
    let offset = 0, size = 0;
    for (const { name, bytes } of files) {
        const encoded = new TextEncoder().encode(name);
        // Version 2.0, names in UTF-8, stored, 1 January 1980.
        const common = [[20, 2], [0x800, 2], [0, 2], [0, 2], [33, 2], [crc32(bytes), 4],
            [bytes.length, 4], [bytes.length, 4], [encoded.length, 2], [0, 2]];
        const header = pack([0x04034b50, 4], ...common);
        parts.push(header, encoded, bytes);
        const entry = pack([0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]);
        directory.push(entry, encoded);
        offset += header.length + encoded.length + bytes.length;
        size += entry.length + encoded.length;
    }
    const count = files.length;
    const end = pack([0x06054b50, 4], [0, 4], [count, 2], [count, 2], [size, 4], [offset, 4], [0, 2]);
    return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** Saves a file on the listener's machine. */
export function download(name, blob) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
