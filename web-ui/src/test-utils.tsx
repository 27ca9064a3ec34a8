/** Renders components with a query client and a router, against answers that a test gives. */
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { render } from "@testing-library/react";
import type { ReactNode } from "react";
import { MemoryRouter } from "react-router";
import { vi } from "vitest";

export interface Sent {
  method: string;
  path: string;
  headers: Headers;
  body: unknown;
}

type Answer = { status: number; body: unknown } | "silence";

/** `answer` stands for the node; the requests it saw are returned. */
export function answerWith(answer: (request: Sent) => Answer | Promise<Answer>): Sent[] {
  const seen: Sent[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const body = typeof init?.body === "string" ? (JSON.parse(init.body) as unknown) : undefined;
    const sent = { method: init?.method ?? "GET", path: String(input), headers: new Headers(init?.headers), body };
    seen.push(sent);
    const given = await answer(sent);
    if (given === "silence") throw new TypeError("fetch failed");
    return new Response(JSON.stringify(given.body), { status: given.status });
  });
  return seen;
}

/** `at` is the address that the page is opened at. */
export function show(element: ReactNode, at = "/") {
  const client = new QueryClient({ defaultOptions: { queries: { retry: false, networkMode: "always" } } });
  return render(
    <QueryClientProvider client={client}>
      <MemoryRouter initialEntries={[at]}>{element}</MemoryRouter>
    </QueryClientProvider>,
  );
}
