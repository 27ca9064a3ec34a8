/** Asking again for what is on the screen.
 *
 * Invariant: a question that is on its way is never given up for another like it. Where answers take longer than changes
 * come, they would else never arrive. */
import type { Query, QueryClient, QueryFilters } from "@tanstack/react-query";
import { keys } from "./queries.ts";

const KEEP = { cancelRefetch: false } as const;

/** Questions whose answer may be older than what was heard since: they are asked once more when it is there. */
const due = new WeakSet<Query>();

/** Something is not any more as the page has it. What was asked before that was known is asked once more after its answer,
 * however often it is said meanwhile. */
export function askAgain(client: QueryClient, filters: QueryFilters) {
  const underway = client.getQueryCache().findAll({ ...filters, type: "active", fetchStatus: "fetching" });
  void client.invalidateQueries(filters, KEEP);
  for (const query of underway) {
    if (due.has(query)) continue;
    due.add(query);
    const only: QueryFilters = { predicate: (other) => other === query };
    // Ends with the one that is on its way.
    void client.refetchQueries(only, KEEP).then(() => {
      due.delete(query);
      return client.invalidateQueries(only, KEEP);
    });
  }
}

/** The same without a reason to doubt what is on its way: for who asks every few seconds. */
export function askIfIdle(client: QueryClient, filters: QueryFilters) {
  void client.invalidateQueries(filters, KEEP);
}

/** All but what stays as it was opened: the audit record, once it is there, moves only for who asks. */
export const everything: QueryFilters = {
  predicate: ({ queryKey, state }) => queryKey[0] !== keys.audit.all()[0] || state.data === undefined,
};
