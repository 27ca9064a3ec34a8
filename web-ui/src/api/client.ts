/** Requests to the node: adds the CSRF token to writes, turns every failure into an error that a person can act on.
 *
 * Invariant: a request ends within its time limit, with an answer, an `ApiError` or an `UnreachableError`. */
import { noteAnswer, noteSilence } from "./connection.ts";
import type { Problem } from "./types.ts";

/** Generous: the node may be a small machine that is busy committing a flood of readings. */
const READ_TIMEOUT_MS = 10_000;
const WRITE_TIMEOUT_MS = 20_000;

export interface FieldProblem {
  /** RFC 6901, into the JSON that was sent. */
  pointer: string;
  detail: string;
}

/** The node answered, with a refusal. */
export class ApiError extends Error {
  readonly status: number;
  /** The last part of the problem's `type`, for example `version-unknown`. */
  readonly code: string;
  readonly fields: FieldProblem[];

  constructor(status: number, problem: Problem) {
    super(problem.detail ?? problem.title ?? `The node answered ${status}`);
    this.name = "ApiError";
    this.status = status;
    this.code = problem.type?.split("/").at(-1) ?? "";
    this.fields = problem.errors ?? [];
  }
}

/** No answer: the node is off, out of reach, or too slow. A write may or may not have arrived. */
export class UnreachableError extends Error {
  constructor(cause: unknown) {
    super("The node did not answer", { cause });
    this.name = "UnreachableError";
  }
}

let csrfToken: string | null = null;
let sessionLost: () => void = () => {};

export function setCsrfToken(token: string | null) {
  csrfToken = token;
}

/** Called on each 401, except those of the session itself. */
export function onSessionLost(listener: () => void) {
  sessionLost = listener;
}

interface RequestOptions {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  body?: unknown;
  contentType?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

async function request(path: string, options: RequestOptions): Promise<Response> {
  const method = options.method ?? "GET";
  const headers: Record<string, string> = { accept: "application/json", ...options.headers };
  if (options.body !== undefined) headers["content-type"] = options.contentType ?? "application/json";
  if (method !== "GET" && csrfToken !== null) headers["x-csrf-token"] = csrfToken;

  const limit = AbortSignal.timeout(method === "GET" ? READ_TIMEOUT_MS : WRITE_TIMEOUT_MS);
  const signal = options.signal === undefined ? limit : AbortSignal.any([limit, options.signal]);
  const sentMs = Date.now();
  try {
    const init: RequestInit = { method, headers, signal, credentials: "same-origin", cache: "no-store" };
    if (options.body !== undefined) init.body = JSON.stringify(options.body);
    const response = await fetch(path, init);
    // A development proxy answers for a node that is not there.
    if (response.status === 502 || response.status === 504) throw new Error(`gateway answered ${response.status}`);
    noteAnswer(response.headers.get("date"), sentMs, Date.now());
    return response;
  } catch (cause) {
    // Given up by the page itself, not by the node.
    if (options.signal?.aborted) throw cause;
    noteSilence();
    throw new UnreachableError(cause);
  }
}

async function readProblem(response: Response): Promise<Problem> {
  const text = await response.text().catch(() => "");
  try {
    const problem: unknown = JSON.parse(text);
    if (typeof problem === "object" && problem !== null) return problem as Problem;
  } catch {
    // Not JSON: its text is better than nothing, if it is short enough to be a message.
  }
  return text.length > 0 && text.length < 300 && !text.startsWith("<") ? { detail: text } : {};
}

async function send<Answer>(path: string, options: RequestOptions): Promise<Answer> {
  const response = await request(path, options);
  if (!response.ok) {
    if (response.status === 401 && path !== "/session") sessionLost();
    throw new ApiError(response.status, await readProblem(response));
  }
  if (response.status === 204) return undefined as Answer;
  try {
    return (await response.json()) as Answer;
  } catch (cause) {
    // The body broke off in the middle, or is not what a node sends.
    throw new UnreachableError(cause);
  }
}

export const api = {
  get: <Answer>(path: string, signal?: AbortSignal) => send<Answer>(path, signal === undefined ? {} : { signal }),

  /** `idempotencyKey` makes a second try safe when the answer to the first was lost. */
  post: <Answer>(path: string, body: unknown, idempotencyKey?: string) =>
    send<Answer>(path, {
      method: "POST",
      body,
      headers: idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey },
    }),

  /** Replaces the whole that had this `version` when it was read; sent twice it is the same. */
  put: <Answer>(path: string, version: string, body: unknown) =>
    send<Answer>(path, { method: "PUT", body, headers: { "if-match": `"${version}"` } }),

  /** `version` is what the person saw when the edit began, not what is newest. */
  patch: <Answer>(path: string, version: string, patch: unknown) =>
    send<Answer>(path, {
      method: "PATCH",
      body: patch,
      contentType: "application/merge-patch+json",
      headers: { "if-match": `"${version}"` },
    }),

  delete: (path: string) => send<void>(path, { method: "DELETE" }),
};

/** 128 random bits in hex. `crypto.randomUUID` is missing where the page comes over plain http. */
export function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
