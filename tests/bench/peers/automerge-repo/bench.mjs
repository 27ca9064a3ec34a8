// automerge-repo on the workload of `bench sync-many`: documents that both sides hold are edited on each while the two
// are apart; then they meet, and the clock runs until every document has the same heads on both.
//
// Both repositories live in this process, joined by a MessageChannel and without storage: what Muster pays for processes,
// encryption, signatures and fsync is not paid here. Prints one line of JSON.
//
//     node bench.mjs DOCUMENTS EDITS TIMEOUT_S

import { Repo } from "@automerge/automerge-repo";
import { MessageChannelNetworkAdapter } from "@automerge/automerge-repo-network-messagechannel";

const [documents, edits, timeoutSeconds] = process.argv.slice(2).map(Number);
if (!(documents > 0 && edits > 0 && timeoutSeconds > 0)) {
  console.error("usage: node bench.mjs DOCUMENTS EDITS TIMEOUT_S");
  process.exit(2);
}

const deadline = performance.now() + timeoutSeconds * 1000;

/** Ends the process when the time is over: a measurement that was not reached is an answer, too. */
function giveUp(at) {
  console.log(JSON.stringify({ documents, edits, timed_out: at, timeout_s: timeoutSeconds }));
  process.exit(0);
}

/** Joins two repositories; what comes back parts them. */
function connect(left, right) {
  const { port1, port2 } = new MessageChannel();
  const adapters = [new MessageChannelNetworkAdapter(port1), new MessageChannelNetworkAdapter(port2)];
  left.networkSubsystem.addNetworkAdapter(adapters[0]);
  right.networkSubsystem.addNetworkAdapter(adapters[1]);
  return () => {
    left.networkSubsystem.removeNetworkAdapter(adapters[0]);
    right.networkSubsystem.removeNetworkAdapter(adapters[1]);
    port1.close();
    port2.close();
  };
}

/** The fields and sizes of an incident in Muster's own bench. */
function incident(number) {
  return {
    title: `Water in the cellar, house ${number}`,
    category: "Met",
    severity: "moderate",
    status: "reported",
    description: "The caller says that it rises by a hand's width an hour and that two people are upstairs.",
    location: { lat: 50 + number * 1e-4, lon: 7 + number * 1e-4 },
    tags: { flood: true, cellar: true },
  };
}

/** One edit of one field: each side has its own values, and both touch severity and status. */
function edit(handle, side, number) {
  const values = [
    (doc) => (doc.severity = side === "hq" ? "severe" : "minor"),
    (doc) => (doc.status = side === "hq" ? "confirmed" : "active"),
    (doc) => (side === "hq" ? (doc.title = "Cellar under water, pumps asked for") : (doc.location.lat = 50.1)),
    (doc) => (doc.tags[`${side}-${number}`] = true),
    (doc) => (doc.severity = side === "hq" ? "extreme" : "moderate"),
  ];
  handle.change((doc) => {
    values[number % values.length](doc);
  });
}

const sameHeads = (left, right) => {
  const [a, b] = [left.heads(), right.heads()];
  return a.length === b.length && a.every((head) => b.includes(head));
};

/** Waits until every pair of handles has the same heads; looks again only at those that had not. */
async function untilEqual(pairs, step) {
  let open = pairs;
  while (open.length > 0) {
    if (performance.now() > deadline) giveUp(step);
    await new Promise((resolve) => setTimeout(resolve, 10));
    open = open.filter(([left, right]) => !sameHeads(left, right));
  }
}

const hq = new Repo({ peerId: "hq", sharePolicy: async () => true });
const field = new Repo({ peerId: "field", sharePolicy: async () => true });

const part = connect(hq, field);
const onHq = Array.from({ length: documents }, (_, number) => hq.create(incident(number)));
const pairs = [];
for (const handle of onHq) {
  if (performance.now() > deadline) giveUp("first exchange");
  pairs.push([handle, await field.find(handle.url)]);
}
await untilEqual(pairs, "first exchange");

part();
await new Promise((resolve) => setTimeout(resolve, 200));
for (const [left, right] of pairs) {
  for (let number = 0; number < edits; number += 1) {
    edit(left, "hq", number);
    edit(right, "field", number);
  }
}

const cpuBefore = process.cpuUsage();
const start = performance.now();
connect(hq, field);
await untilEqual(pairs, "second exchange");
const took = performance.now() - start;
const cpu = process.cpuUsage(cpuBefore);
console.log(
  JSON.stringify({
    documents,
    edits,
    until_equal_ms: Math.round(took),
    cpu_ms: Math.round((cpu.user + cpu.system) / 1000),
  }),
);
process.exit(0);
