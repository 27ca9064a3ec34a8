/** One conflict under an address of its own: what a message or a radio call can point to. */
import { Link, useParams } from "react-router";
import { ConflictCard } from "./conflict-card.tsx";
import { texts } from "./texts.ts";

export function ConflictPage() {
  const { id = "" } = useParams();
  return (
    <div className="grid max-w-4xl grid-cols-[minmax(0,1fr)] gap-4">
      <Link className="link inline-flex min-h-10 items-center justify-self-start" to="/conflicts">
        ← {texts.back}
      </Link>
      <h1>{texts.title}</h1>
      <ConflictCard key={id} id={id} showDocument />
    </div>
  );
}
