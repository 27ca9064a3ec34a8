/** Lanes by what they carry; of a lane that this page does not know, its word. */
const LANES: Record<string, string> = {
  trust: "membership",
  flash: "emergency",
  life: "life-safety",
  coordination: "coordination",
  summary: "summary",
  raw: "raw reading",
  blobs: "file",
};

export const texts = {
  title: "Nodes",
  lead: "This node is complete by itself. Whenever another node comes into reach, each takes what it lacks.",
  here: "This node",
  others: "Other nodes",
  none: "No other node has joined. Run “muster invite” on this node, then “muster join” on the other.",
  linked: "Linked",
  notLinked: "Not linked",
  state: (state: string) => `State: ${state}`,
  lastSeen: "Last seen",
  never: "Never seen",
  behind: (entries: number) =>
    entries === 0
      ? "Has everything of ours"
      : `${entries} ${entries === 1 ? "change" : "changes"} of ours not there yet`,
  behindLane: (lane: string, entries: number) =>
    `${entries} ${LANES[lane] ?? lane} ${entries === 1 ? "entry" : "entries"} not there yet`,
  missing: (entries: number) => `${entries} ${entries === 1 ? "change" : "changes"} of theirs not here yet`,
  agreed: "Shows the same as this node, compared",
  differs: (objects: number) =>
    objects === 0
      ? "Leaves other entries waiting or in quarantine than this node, noticed"
      : `Shows ${objects} ${objects === 1 ? "document" : "documents"} in another way than this node, noticed`,
  faults: (count: number) =>
    count === 1
      ? "Another node showed something else than this one"
      : `Other nodes showed something else than this one, ${count} times`,
  faultsLast: "Last noticed",
  faultsNext: "“muster faults list” says where it was, and whether it is in order again.",
  lastError: (error: string) => `Why: ${error}`,
  dialled: "Addresses where nobody has answered yet",
  documents: "Documents",
  readings: "Readings",
  pending: "Waiting for earlier changes",
  quarantined: "Unconfirmed (quarantined)",
  quarantinedHint: "Kept, but not shown as true until somebody with the right to do so decides.",
  audit: "Who did what on this node",
  digest: "Fingerprint of the shared picture",
  digestHint: "Two nodes hold the same picture when their fingerprints are equal and nothing is waiting.",
};
