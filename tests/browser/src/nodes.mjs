// Real `muster` processes, each with a data directory of its own and a relay in front of it.
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Relay } from "./relay.mjs";
import { until } from "./wait.mjs";

const run = promisify(execFile);

export const PASSWORD = "a long way to the river";

const muster = process.env.MUSTER_BIN ?? fileURLToPath(new URL("../../../target/debug/muster", import.meta.url));
const READY_MS_MAX = 60_000;
/** The last lines of a node's log, for the message of a failing test. */
const LOG_LINES_MAX = 40;

// A developer's own settings must not reach the nodes of a test.
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("MUSTER_")));

export class Node {
  #process = null;
  #log = [];
  #ports = { http: 0, mqtt: 0, sync: 0 };

  constructor(name, directory, relay) {
    this.name = name;
    this.directory = directory;
    this.relay = relay;
    /** {"http","sync","mqtt"} of the ready line. */
    this.addresses = null;
    this.nodeId = null;
  }

  get url() {
    return `http://${this.addresses.http}`;
  }

  /** Runs one command on this node's data directory; resolves with what it printed. */
  async command(...words) {
    if (!existsSync(muster)) throw new Error(`there is no program at ${muster}: run \`make\` or set MUSTER_BIN`);
    const { stdout } = await run(muster, [...words, "--data-dir", this.directory], {
      env: { ...environment, MUSTER_ADMIN_PASSWORD: PASSWORD },
      timeout: READY_MS_MAX,
    });
    return stdout;
  }

  async status() {
    return JSON.parse(await this.command("status", "--json"));
  }

  /** Resolves when the node says that it is ready. A second start takes the same ports again. */
  async start() {
    const listen = (port) => `127.0.0.1:${port}`;
    const words = ["run", "--json", "--data-dir", this.directory, "--no-mdns", "--no-found"];
    words.push("--listen", listen(this.#ports.http), "--mqtt-listen", listen(this.#ports.mqtt));
    words.push("--sync-listen", listen(this.#ports.sync), "--advertise", this.relay.address);
    const child = spawn(muster, words, { env: environment, stdio: ["ignore", "pipe", "pipe"] });
    this.#process = child;
    createInterface({ input: child.stderr }).on("line", (line) => {
      this.#log.push(line);
      if (this.#log.length > LOG_LINES_MAX) this.#log.shift();
    });
    const ready = await new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`${this.name} ${why}\n${this.#log.join("\n")}`));
      const timer = setTimeout(() => fail("was not ready in time"), READY_MS_MAX);
      child.once("exit", (code) => fail(`ended with ${code} before it was ready`));
      createInterface({ input: child.stdout }).on("line", (line) => {
        const event = line.startsWith("{") ? JSON.parse(line) : {};
        if (event.event !== "ready") return;
        clearTimeout(timer);
        resolve(event);
      });
    });
    this.nodeId = ready.node_id;
    this.addresses = ready.addresses;
    for (const what of ["http", "mqtt", "sync"]) this.#ports[what] = Number(ready.addresses[what].split(":").at(-1));
    this.relay.lead(ready.addresses.sync);
  }

  async #end(signal) {
    const child = this.#process;
    this.#process = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  stop() {
    return this.#end("SIGTERM");
  }

  kill() {
    return this.#end("SIGKILL");
  }
}

/** An HQ and `fieldNames.length` field nodes that have joined it, all running and reachable only through their relays.
 * Everything ends with the test `t`. */
export async function operation(t, ...fieldNames) {
  const parent = await mkdtemp(join(tmpdir(), "muster-browser-"));
  const nodes = [];
  t.after(async () => {
    for (const node of nodes) {
      await node.kill();
      node.relay.close();
    }
    await rm(parent, { recursive: true, force: true });
  });
  const make = async (name) => {
    const node = new Node(name, join(parent, name), await Relay.open());
    nodes.push(node);
    return node;
  };

  const hq = await make("HQ");
  await hq.command("init", "--name", "HQ", "--role", "hq", "--operation", "Flood exercise");
  await hq.start();
  const fields = [];
  for (const name of fieldNames) {
    const field = await make(name);
    const { code } = JSON.parse(await hq.command("invite", "--role", "field", "--json"));
    await field.command("join", code, "--name", name);
    await field.start();
    fields.push(field);
  }
  return { hq, fields, nodes };
}

export function cut(nodes) {
  for (const { relay } of nodes) relay.cut();
}

export function heal(nodes) {
  for (const { relay } of nodes) relay.heal();
}

/** All hold the same picture: equal digests and nothing pending (DESIGN §8). */
export async function agree(nodes, limitMs = 120_000) {
  return until(
    "all nodes agree",
    async () => {
      const all = await Promise.all(nodes.map((node) => node.status()));
      const digests = new Set(all.map(({ heads_digest }) => heads_digest));
      return digests.size === 1 && all.every(({ pending }) => pending === 0);
    },
    limitMs,
  );
}
