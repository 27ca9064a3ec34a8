/** The readings behind an incident of a sensor: which node heard them, and when. */
import { Age } from "../../ui/age.tsx";
import { useNodeName } from "../../ui/node-name.ts";
import { texts } from "./texts.ts";

interface Heard {
  node: string;
  from: string;
  to: string;
}

const isHeard = (item: unknown): item is Heard =>
  typeof item === "object" &&
  item !== null &&
  ["node", "from", "to"].every((name) => typeof (item as Record<string, unknown>)[name] === "string");

/** The ranges in an incident's `evidence`; what a newer node adds to it is passed over. */
export const heardBy = (evidence: unknown): Heard[] => (Array.isArray(evidence) ? evidence.filter(isHeard) : []);

export function Evidence({ heard }: { heard: Heard[] }) {
  const nameOf = useNodeName();
  return (
    <ul>
      {heard.map(({ node, from, to }) => (
        <li key={`${node} ${from}`}>
          {texts.heardAt(nameOf(node))} <Age at={from} /> – <Age at={to} />
        </li>
      ))}
    </ul>
  );
}
