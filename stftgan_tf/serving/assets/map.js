/** The map: points on a canvas, with hover, tap, drag, zoom and keys. */

/** Points are found this many pixels from the pointer. */
const REACH = 22;
const MAX_SCALE = 32;

/**
 * @typedef {{seed: number, x: number, y: number, group?: number}} Point
 */
export class SoundMap {
    #points = [];
    #pointer = null;
    #frame = 0;

    /**
     * @param {HTMLCanvasElement} canvas
     * @param {object} on `hover(seed)`, `pick(seed)`, `drag(seed, event)`,
     *   `drop(seed, event)` and `view()`
     */
    constructor(canvas, on) {
        this.canvas = canvas;
        this.on = on;
        this.view = { x: 0.5, y: 0.5, scale: 1 };
        /** What to draw around points. */
        this.marks = { current: undefined, favourites: new Set(), pads: new Map(), ends: [] };
        canvas.addEventListener("pointermove", (event) => this.#move(event));
        canvas.addEventListener("pointerdown", (event) => this.#down(event));
        canvas.addEventListener("pointerup", (event) => this.#up(event));
        canvas.addEventListener("pointercancel", () => (this.#pointer = null));
        canvas.addEventListener("pointerleave", () => (this.#hovered = undefined));
        canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
        canvas.addEventListener("keydown", (event) => this.#key(event));
        new ResizeObserver(() => this.draw()).observe(canvas);
        matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    }

    #hovered;

    /** @param {Point[]} points with coordinates from 0 to 1 */
    setPoints(points) {
        this.#points = points;
        this.draw();
    }

    /** Seeds of the points nearest to a point. */
    neighbours(seed, count) {
        const centre = this.#points.find((point) => point.seed === seed);
        if (!centre) return [];
        const distance = (point) => Math.hypot(point.x - centre.x, point.y - centre.y);
        return this.#points
            .map((point) => [distance(point), point.seed])
            .sort((a, b) => a[0] - b[0])
            .slice(1, count + 1)
            .map(([, other]) => other);
    }

    /** Where a seed is on the screen; undefined without such a point. */
    place(seed) {
        const point = this.#points.find((other) => other.seed === seed);
        if (!point) return undefined;
        const [x, y] = this.#toPixels(point), box = this.canvas.getBoundingClientRect();
        return { x: box.left + x, y: box.top + y };
    }

    setView(view) {
        const scale = Math.min(MAX_SCALE, Math.max(1, view.scale));
        // The middle of the view stays where the whole view is on the map.
        const clamp = (v) => Math.min(1 - 0.5 / scale, Math.max(0.5 / scale, v));
        this.view = { x: clamp(view.x), y: clamp(view.y), scale };
        this.canvas.classList.toggle("zoomed", scale > 1);
        this.draw();
        this.on.view();
    }

    /** Zooms around a place of the canvas, in pixels; the middle without one. */
    zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
        const [mapX, mapY] = this.#fromPixels(x, y);
        const scale = Math.min(MAX_SCALE, Math.max(1, this.view.scale * factor));
        const share = this.view.scale / scale;
        this.setView({
            x: mapX + (this.view.x - mapX) * share,
            y: mapY + (this.view.y - mapY) * share,
            scale,
        });
    }

    // The map has a margin, so that points on its edge are whole.
    #size() {
        const margin = 14;
        return [margin, this.canvas.clientWidth - 2 * margin, this.canvas.clientHeight - 2 * margin];
    }

    #toPixels({ x, y }) {
        const [margin, width, height] = this.#size(), { view } = this;
        return [
            margin + width * (0.5 + (x - view.x) * view.scale),
            margin + height * (0.5 + (y - view.y) * view.scale),
        ];
    }

    #fromPixels(x, y) {
        const [margin, width, height] = this.#size(), { view } = this;
        return [
            view.x + ((x - margin) / width - 0.5) / view.scale,
            view.y + ((y - margin) / height - 0.5) / view.scale,
        ];
    }

    /** The seed nearest to the pointer, within reach. */
    #seedAt(event) {
        let best, least = REACH;
        for (const point of this.#points) {
            const [x, y] = this.#toPixels(point);
            const distance = Math.hypot(x - event.offsetX, y - event.offsetY);
            if (distance < least) [best, least] = [point.seed, distance];
        }
        return best;
    }

    #down(event) {
        if (event.button) return;
        const seed = this.#seedAt(event);
        this.#pointer = { seed, x: event.clientX, y: event.clientY, moved: false, view: this.view };
        // Else a finger on the map keeps all its events there.
        this.canvas.setPointerCapture(event.pointerId);
        if (seed !== undefined) this.on.pick(seed);
    }

    #move(event) {
        const pointer = this.#pointer;
        if (!pointer) return this.#hover(event);
        const [x, y] = [event.clientX - pointer.x, event.clientY - pointer.y];
        if (!pointer.moved && Math.hypot(x, y) < 8) return;
        pointer.moved = true;
        const touch = event.pointerType === "touch";
        if (!touch && pointer.seed !== undefined) return this.on.drag(pointer.seed, event);
        if (touch && this.view.scale === 1) return this.#hover(event);
        const [, width, height] = this.#size(), { view } = pointer;
        this.setView({
            x: view.x - x / width / view.scale,
            y: view.y - y / height / view.scale,
            scale: view.scale,
        });
    }

    #up(event) {
        const pointer = this.#pointer;
        this.#pointer = null;
        if (pointer?.moved && pointer.seed !== undefined && event.pointerType !== "touch") {
            this.on.drop(pointer.seed, event);
        }
    }

    #hover(event) {
        const seed = this.#seedAt(event);
        if (seed === this.#hovered) return;
        this.#hovered = seed;
        if (seed !== undefined) this.on.hover(seed);
    }

    #wheel(event) {
        event.preventDefault();
        this.zoom(2 ** (-event.deltaY / 300), event.offsetX, event.offsetY);
    }

    #key(event) {
        const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
        const actions = {
            Enter: () => this.on.pick(this.marks.current),
            "+": () => this.zoom(1.5),
            "-": () => this.zoom(1 / 1.5),
            0: () => this.setView({ x: 0.5, y: 0.5, scale: 1 }),
        };
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (directions[event.key]) this.#step(...directions[event.key]);
        else if (actions[event.key]) actions[event.key]();
        else return;
        event.preventDefault();
    }

    /** Goes to the nearest point in a direction. */
    #step(stepX, stepY) {
        const current = this.#points.find((point) => point.seed === this.marks.current) ?? this.#points[0];
        if (!current) return;
        let best, least = Infinity;
        for (const point of this.#points) {
            const [x, y] = [point.x - current.x, point.y - current.y];
            const ahead = x * stepX + y * stepY, aside = Math.abs(x * stepY) + Math.abs(y * stepX);
            // Twice as far aside is not in this direction.
            const cost = ahead + 2 * aside;
            if (point !== current && ahead > 1e-9 && aside <= 2 * ahead && cost < least) [best, least] = [point, cost];
        }
        if (!best) return;
        const [x, y] = this.#toPixels(best), { clientWidth, clientHeight } = this.canvas;
        if (x < 0 || y < 0 || x > clientWidth || y > clientHeight) this.setView({ ...this.view, x: best.x, y: best.y });
        this.on.pick(best.seed);
    }

    /** Draws soon, once for many changes. */
    draw() {
        this.#frame ||= requestAnimationFrame(() => {
            this.#frame = 0;
            this.#paint();
        });
    }

    #paint() {
        const { canvas, marks } = this, ratio = devicePixelRatio;
        const style = getComputedStyle(canvas), colour = (name) => style.getPropertyValue(name).trim();
        canvas.width = canvas.clientWidth * ratio;
        canvas.height = canvas.clientHeight * ratio;
        const context = canvas.getContext("2d");
        context.scale(ratio, ratio);
        const dark = matchMedia("(prefers-color-scheme: dark)").matches;
        const radius = (canvas.clientWidth < 500 ? 3.5 : 5) * Math.min(2, this.view.scale ** 0.3);
        const circle = (x, y, r) => {
            context.beginPath();
            context.arc(x, y, r, 0, 2 * Math.PI);
        };
        for (const point of this.#points) {
            const [x, y] = this.#toPixels(point);
            context.fillStyle = point.group === undefined ? colour("--accent") : groupColour(point.group, dark);
            circle(x, y, radius);
            context.fill();
            context.strokeStyle = colour("--ink");
            if (marks.favourites.has(point.seed)) {
                context.lineWidth = 2;
                context.stroke();
            }
        }
        context.font = "600 12px system-ui, sans-serif";
        context.textAlign = "center";
        const labels = [...marks.pads, ...marks.ends];
        for (const [seed, text] of labels) {
            const point = this.#points.find((other) => other.seed === seed);
            if (!point) continue;
            const [x, y] = this.#toPixels(point);
            context.lineWidth = 4;
            context.strokeStyle = colour("--panel");
            context.strokeText(text, x, y - radius - 4);
            context.fillStyle = colour("--ink");
            context.fillText(text, x, y - radius - 4);
        }
        const current = this.#points.find((point) => point.seed === marks.current);
        if (!current) return;
        const [x, y] = this.#toPixels(current);
        context.strokeStyle = colour("--ink");
        context.lineWidth = 2.5;
        circle(x, y, radius + 5);
        context.stroke();
    }
}

/** The colour of a label or cluster: readable on both backgrounds. */
export function groupColour(group, dark) {
    // The golden angle separates any number of hues.
    const hue = (group * 137.508 + 30) % 360;
    const light = (dark ? 0.72 : 0.5) + (group % 3) * 0.04;
    return `oklch(${light} 0.15 ${hue})`;
}

/** A grid of the first seeds, for models without a map. */
export function gridOf(count) {
    const side = Math.ceil(Math.sqrt(count));
    return Array.from({ length: count }, (_, seed) => ({
        seed,
        x: (seed % side) / (side - 1),
        y: Math.floor(seed / side) / (side - 1),
    }));
}
