/** Everything people have to settle, in one place. */
import { useOpenConflicts } from "../../api/queries.ts";
import { ListState } from "../../ui/list-state.tsx";
import { ConflictView } from "./conflict-card.tsx";
import { texts } from "./texts.ts";

export function ConflictsPage() {
  const conflicts = useOpenConflicts();
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      <h1>{texts.title}</h1>
      <p className="max-w-prose text-ink-soft">{texts.lead}</p>
      <ListState query={conflicts} empty={texts.empty}>
        <ul className="grid grid-cols-[minmax(0,1fr)] gap-4">
          {conflicts.data?.map((conflict) => (
            <li key={conflict.id}>
              <ConflictView conflict={conflict} showDocument />
            </li>
          ))}
        </ul>
      </ListState>
    </div>
  );
}
