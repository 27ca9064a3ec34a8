/** All that nobody could read, or all of a kind, read again or given up at once. */
import type { DeadLetterFilter } from "../../api/paths.ts";
import { Confirm } from "../../ui/confirm.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { texts } from "./texts.ts";
import { type ManyAction, useManyLetters } from "./use-many-letters.ts";

interface ManyLettersProps {
  filter: DeadLetterFilter;
  /** The filter says something: these are not all. */
  filtered: boolean;
  /** There are some to do something about. */
  any: boolean;
  /** What is shown is what the filter finds, not what another found before its answer is there. */
  current: boolean;
}

export function ManyLetters({ filter, filtered, any, current }: ManyLettersProps) {
  const { state, busy, run } = useManyLetters();
  const these = JSON.stringify(filter);
  const words = filtered ? texts.ofThese : texts.ofAll;
  // Nobody decides about what they have not seen.
  const held = busy || !current;
  const begin = (action: ManyAction) => {
    if (!held) void run(action, filter);
  };
  return (
    <div className="grid gap-2">
      {(any || busy) && (
        // A question that was asked of other letters is not answered about these.
        <div key={these} className="flex flex-wrap gap-2">
          <button type="button" className="button" aria-disabled={held} onClick={() => begin("replay")}>
            {words.replay}
          </button>
          <Confirm busy={held} question={words.discardAsk} confirm={words.discard} onConfirm={() => begin("discard")}>
            {words.discard}
          </Confirm>
        </div>
      )}
      <p aria-live="polite" className="text-sm font-semibold">
        {state.done !== null &&
          texts.manySaid(
            texts.manyDone[state.done.action](state.done.settled, state.done.failed),
            JSON.stringify(state.done.filter) === these,
          )}{" "}
        {busy && texts.manyGoesOn}
      </p>
      {state.error !== null && <ErrorNotice error={state.error} />}
    </div>
  );
}
