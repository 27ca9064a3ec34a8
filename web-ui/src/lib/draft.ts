/** What a person is typing, kept in the tab's storage: a reload, a lost session or a crash of the page loses nothing.
 * Signing out clears it, for tablets that go from hand to hand. */
import { useCallback, useState } from "react";

const PREFIX = "muster.draft.";

function read<Value>(key: string): Value | null {
  try {
    const text = sessionStorage.getItem(PREFIX + key);
    return text === null ? null : (JSON.parse(text) as Value);
  } catch {
    // Storage may be switched off or hold something old; the draft then lives in memory only.
    return null;
  }
}

function write(key: string, value: unknown) {
  try {
    if (value === null) sessionStorage.removeItem(PREFIX + key);
    else sessionStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // As above.
  }
}

/** null: nothing is being typed. */
export function useDraft<Value>(key: string): [Value | null, (value: Value | null) => void] {
  const [state, setState] = useState<{ key: string; value: Value | null }>(() => ({ key, value: read<Value>(key) }));
  // Another document on the same route: its own draft.
  const current = state.key === key ? state : { key, value: read<Value>(key) };
  if (current !== state) setState(current);
  const set = useCallback(
    (value: Value | null) => {
      write(key, value);
      setState({ key, value });
    },
    [key],
  );
  return [current.value, set];
}

export function clearDrafts() {
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith(PREFIX)) sessionStorage.removeItem(key);
  } catch {
    // As above.
  }
}
