// A scheduler extension in JavaScript: pods go to nodes with the disk they ask
// for, and batch pods keep off nodes that do not take them.
//
// A world's exports are the exports of the module, in camel case.

const POD_DISK = "example.pintle.dev/disktype";
const NODE_DISK = "disktype";
const NODE_NO_BATCH = "example.pintle.dev/no-batch";

// What is kept of each node, by its number; undefined: not in use.
const nodes = [];

// UTF-8, because QuickJS comes without TextDecoder.
function text(bytes) {
    const parts = [];
    for (let i = 0; i < bytes.length; i += 1024) {
        parts.push(String.fromCharCode.apply(null, bytes.subarray(i, i + 1024)));
    }
    const latin1 = parts.join("");
    return /[\x80-\xff]/.test(latin1) ? decode(bytes) : latin1;
}

// The same for text that is not all ASCII; twenty times slower.
function decode(bytes) {
    let text = "";
    for (let i = 0; i < bytes.length; ) {
        const first = bytes[i++];
        const more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
        let point = more === 0 ? first : first & (0x3f >> more);
        for (let k = 0; k < more; k++) point = (point << 6) | (bytes[i++] & 0x3f);
        text += String.fromCodePoint(point);
    }
    return text;
}

// The host gives nothing but well-formed objects; should it not, an exception,
// which is a trap, is better than a guess.
function labels(object) {
    const labels = JSON.parse(text(object.json)).metadata.labels ?? {};
    for (const [key, value] of Object.entries(labels)) {
        if (typeof value !== "string") throw new TypeError(`${object.ref.name}: label ${key} is not a string`);
    }
    return labels;
}

export const schedulerExtension = {
    describe(config) {
        // What is thrown is the error of the result.
        if (text(config) !== "{}") throw "javascript-scorer has no configuration";
        return {
            manifest: {
                name: "javascript-scorer",
                version: "0.1.0",
                needs: [
                    {
                        kind: { group: "", version: "v1", kind: "Node" },
                        verbs: ["watch"],
                        reason: "the rule looks at the labels of nodes",
                    },
                ],
            },
            schedulerNames: [],
            watches: [],
            abilities: { filter: true, score: true },
            podFields: ["metadata.labels"],
        };
    },

    syncNodes(changes) {
        for (const { number, node } of changes) {
            if (node) {
                const found = labels(node);
                nodes[number] = { disk: found[NODE_DISK], noBatch: found[NODE_NO_BATCH] === "true" };
            } else {
                nodes[number] = undefined;
            }
        }
    },

    sync(deltas) {},

    filter(context, pod) {
        if (labels(pod).batch !== "true") return [];
        const numbers = [];
        for (let number = 0; number < nodes.length; number++) {
            if (nodes[number]?.noBatch) numbers.push(number);
        }
        return numbers.length > 0 ? [{ reason: "node(s) take no batch pods", nodes: numbers }] : [];
    },

    score(context, pod) {
        const wanted = labels(pod)[POD_DISK];
        if (!wanted) return new Uint8Array(0);
        return Uint8Array.from(nodes, (node) => (node?.disk === wanted ? 100 : 0));
    },
};
