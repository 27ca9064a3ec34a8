// Waiting for a condition with a bound, never for a time.

/** Asks `attempt` until it answers something true; its last answer or error is in the message when time is up. */
export async function until(what, attempt, limitMs = 60_000) {
  const endMs = Date.now() + limitMs;
  let last;
  for (;;) {
    try {
      const answer = await attempt();
      if (answer) return answer;
      last = answer;
    } catch (error) {
      last = error;
    }
    if (Date.now() > endMs) {
      const shown = last instanceof Error ? last.message : JSON.stringify(last);
      throw new Error(`not within ${limitMs / 1_000} s: ${what} (last: ${shown})`);
    }
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}
