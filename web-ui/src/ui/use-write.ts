/** A write and its state. What a form holds is never touched by a failure. */
import { useCallback, useRef, useState } from "react";
import { randomKey } from "../api/client.ts";

export type WriteState<Answer> =
  | { phase: "idle" }
  | { phase: "saving" }
  | { phase: "saved"; answer: Answer }
  | { phase: "failed"; error: unknown };

export interface Write<Input, Answer> {
  state: WriteState<Answer>;
  saving: boolean;
  error: unknown;
  run: (input: Input) => Promise<Answer | null>;
  reset: () => void;
}

/** `send` gets a key that stays the same while the same input is tried again: a node that had stored the first try
 * answers it, rather than storing a second. Never rejects: null means that it failed and `state` says why. */
export function useWrite<Input, Answer>(
  send: (input: Input, idempotencyKey: string) => Promise<Answer>,
): Write<Input, Answer> {
  const [state, setState] = useState<WriteState<Answer>>({ phase: "idle" });
  const attempt = useRef<{ body: string; key: string } | null>(null);
  const busy = useRef(false);

  const run = async (input: Input): Promise<Answer | null> => {
    // A second tap while the first is under way is the same wish.
    if (busy.current) return null;
    busy.current = true;
    const body = JSON.stringify(input);
    if (attempt.current?.body !== body) attempt.current = { body, key: randomKey() };
    setState({ phase: "saving" });
    try {
      const answer = await send(input, attempt.current.key);
      attempt.current = null;
      setState({ phase: "saved", answer });
      return answer;
    } catch (error) {
      setState({ phase: "failed", error });
      return null;
    } finally {
      busy.current = false;
    }
  };

  const reset = useCallback(() => setState({ phase: "idle" }), []);
  return { state, saving: state.phase === "saving", error: state.phase === "failed" ? state.error : null, run, reset };
}
