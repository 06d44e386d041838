/** The model card and the figures of the blessing, as elements. */

function add(parent, tag, text) {
    const element = parent.appendChild(document.createElement(tag));
    if (text !== undefined) element.textContent = text;
    return element;
}

/** Markdown: headings, lists, tables as text, and paragraphs; no HTML. */
export function showCard(parent, text) {
    parent.replaceChildren();
    if (!text) return add(parent, "p", "This export has no model card.");
    for (const block of text.split(/\n\s*\n/)) {
        const heading = block.match(/^#+ (.*)/);
        if (heading) add(parent, "h3", heading[1]);
        const body = heading ? block.slice(heading[0].length) : block;
        if (/^\s*- /.test(body)) {
            const list = add(parent, "ul");
            for (const item of body.split(/^\s*- /m).slice(1)) add(list, "li", plain(item));
        } else if (body.trim()) {
            add(parent, "p", plain(body));
        }
    }
}

const plain = (text) => text.replace(/\s+/g, " ").replace(/`/g, "").trim();

const digits = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : "");

/** What the evaluation of a published model measured. */
export function showVerdict(parent, verdict) {
    parent.replaceChildren();
    if (!verdict) return add(parent, "p", "No evaluation is stored with this model: it was not published by pipeline.push.");
    add(parent, "h3", verdict.blessed ? "Blessed" : "Not blessed");
    for (const reason of verdict.reasons ?? []) add(parent, "p", reason);
    const checks = verdict.checks ?? [], table = add(parent, "table"), head = add(table, "tr");
    for (const title of ["metric", "real", "generated", "check"]) add(head, "th", title);
    for (const [name, value] of Object.entries(verdict.generated ?? {})) {
        if (typeof value !== "number") continue;
        const own = checks.filter((check) => check.figure === name), row = add(table, "tr");
        const result = own.length ? (own.every((check) => check.passed) ? "passed" : "failed") : "";
        for (const text of [name, digits(verdict.real?.[name]), digits(value), result]) add(row, "td", text);
    }
}
