/** How old a value is and from whom: beside every value that this page shows. */
import type { DocumentBase } from "../api/types.ts";
import { formatAge } from "../lib/age.ts";
import { useClock } from "../lib/clock.ts";
import { useNodeName } from "./node-name.ts";
import { common } from "./texts.ts";

export function Age({ at }: { at: string | null | undefined }) {
  const text = useClock((nowMs) => formatAge(at, nowMs));
  return at ? (
    <time dateTime={at} title={new Date(at).toLocaleString()}>
      {text}
    </time>
  ) : (
    <span>{text}</span>
  );
}

interface ProvenanceProps {
  author: string | null | undefined;
  node: string | null | undefined;
  nodeName?: string | null | undefined;
  at: string | null | undefined;
  /** What wrote it where no person did. Rules write incidents alone; other documents come from the command line. */
  unsigned?: string;
}

/** Who changed a document last. */
export const lastChange = (document: Pick<DocumentBase, "author" | "node" | "node_name" | "updated_at">) => ({
  author: document.author,
  node: document.node,
  nodeName: document.node_name,
  at: document.updated_at,
});

export function Provenance({ author, node, nodeName, at, unsigned = common.sensorAuthor }: ProvenanceProps) {
  const nameOf = useNodeName();
  return (
    <span>
      {common.by(author ?? unsigned, nodeName ?? nameOf(node))} · <Age at={at} />
    </span>
  );
}
