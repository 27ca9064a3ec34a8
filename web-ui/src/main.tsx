/** Entry: one query client, one router, no other global. */
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { RouterProvider } from "react-router/dom";
import { askIfIdle, everything } from "./api/ask-again.ts";
import { onSessionLost } from "./api/client.ts";
import { currentConnection, onConnectionChange } from "./api/connection.ts";
import { router } from "./app/routes.tsx";
import { noteSessionLost } from "./features/session/session.ts";
import "./styles.css";

const client = new QueryClient({
  defaultOptions: {
    queries: {
      // The node is on this network even when the world is not.
      networkMode: "always",
      // The heartbeat and the event stream bring things back; retries would only delay the error a person must see.
      retry: false,
      staleTime: 1_000,
      refetchOnWindowFocus: "always",
    },
    mutations: { networkMode: "always", retry: false },
  },
});

onSessionLost(() => noteSessionLost(client));
// Whatever was missed while the node was out of reach is asked for again.
onConnectionChange(() => {
  if (currentConnection().reachable) askIfIdle(client, everything);
});

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </StrictMode>,
);
