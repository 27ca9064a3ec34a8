/** Who is signed in. A lost session keeps its user: the page stays as it is and asks for the password above it. */
import { type QueryClient, useQuery, useQueryClient } from "@tanstack/react-query";
import { ApiError, api, setCsrfToken } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";
import type { Session } from "../../api/types.ts";
import { clearDrafts } from "../../lib/draft.ts";

export type SessionState = { state: "out" } | { state: "in"; session: Session } | { state: "lost"; session: Session };

const RETRY_UNREACHABLE_MS = 3_000;

function accept(session: Session): SessionState {
  setCsrfToken(session.csrf_token);
  return { state: "in", session };
}

export function noteSessionLost(client: QueryClient) {
  client.setQueryData<SessionState>(keys.session(), (was) =>
    was?.state === "in" ? { state: "lost", session: was.session } : was,
  );
}

export function useSession() {
  const client = useQueryClient();
  return useQuery({
    queryKey: keys.session(),
    queryFn: async ({ signal }): Promise<SessionState> => {
      try {
        return accept(await api.get<Session>(paths.session(), signal));
      } catch (error) {
        if (!(error instanceof ApiError && error.status === 401)) throw error;
        const was = client.getQueryData<SessionState>(keys.session());
        return was === undefined || was.state === "out" ? { state: "out" } : { state: "lost", session: was.session };
      }
    },
    refetchInterval: (query) => (query.state.data === undefined ? RETRY_UNREACHABLE_MS : false),
  });
}

/** Throws `ApiError` (401: wrong) or `UnreachableError`. */
export async function signIn(client: QueryClient, username: string, password: string) {
  const session = await api.post<Session>(paths.session(), { username, password });
  const was = client.getQueryData<SessionState>(keys.session());
  // Another person: nothing of the one before may stay on the screen.
  if (was?.state === "lost" && was.session.user.id !== session.user.id) {
    clearDrafts();
    client.removeQueries({ predicate: (query) => query.queryKey[0] !== keys.session()[0] });
  }
  client.setQueryData<SessionState>(keys.session(), accept(session));
  void client.invalidateQueries({ predicate: (query) => query.queryKey[0] !== keys.session()[0] });
}

export async function signOut(client: QueryClient) {
  try {
    await api.delete(paths.session());
  } catch (error) {
    // Already out is what was wanted.
    if (!(error instanceof ApiError && error.status === 401)) throw error;
  }
  setCsrfToken(null);
  clearDrafts();
  client.setQueryData<SessionState>(keys.session(), { state: "out" });
  client.removeQueries({ predicate: (query) => query.queryKey[0] !== keys.session()[0] });
}
