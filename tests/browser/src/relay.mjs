// A UDP relay in front of a node: the only way to it, and what a test cuts.
//
// Invariant: while it is cut not one datagram passes in either direction; `dropped` counts those that tried.

import { createSocket } from "node:dgram";
import { once } from "node:events";

export class Relay {
  #outside;
  #targetPort = 0;
  /** One socket towards the node per peer, so that answers find their way back. */
  #inside = new Map();
  #cut = false;
  forwarded = 0;
  dropped = 0;

  /** The address to advertise; the node behind it is named later by `lead`. */
  static async open() {
    const relay = new Relay();
    relay.#outside = createSocket("udp4");
    relay.#outside.on("message", (bytes, from) => relay.#inward(bytes, from));
    relay.#outside.bind(0, "127.0.0.1");
    await once(relay.#outside, "listening");
    return relay;
  }

  get address() {
    return `127.0.0.1:${this.#outside.address().port}`;
  }

  /** `address`: where the node itself listens. */
  lead(address) {
    this.#targetPort = Number(address.split(":").at(-1));
  }

  cut() {
    this.#cut = true;
    this.dropped = 0;
  }

  heal() {
    this.#cut = false;
  }

  #passes() {
    if (this.#cut) this.dropped += 1;
    else this.forwarded += 1;
    return !this.#cut;
  }

  #inward(bytes, from) {
    if (!this.#passes() || this.#targetPort === 0) return;
    const peer = `${from.address}:${from.port}`;
    let socket = this.#inside.get(peer);
    if (socket === undefined) {
      socket = createSocket("udp4");
      socket.on("message", (answer) => {
        if (this.#passes()) this.#outside.send(answer, from.port, from.address);
      });
      this.#inside.set(peer, socket);
    }
    socket.send(bytes, this.#targetPort, "127.0.0.1");
  }

  close() {
    this.#outside.close();
    for (const socket of this.#inside.values()) socket.close();
  }
}
