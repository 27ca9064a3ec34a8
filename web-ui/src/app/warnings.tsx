/** What somebody should look after at this node: a count in the head of every page, opened to sentences that lead to where
 * each can be dealt with. It lies over the page when it is open, so that nothing that people work with moves. */
import { useEffect, useId, useRef, useState } from "react";
import { Link, useLocation } from "react-router";
import { useStatus } from "../api/queries.ts";
import type { NodeStatus } from "../api/types.ts";
import { texts } from "./texts.ts";

type Warning = NodeStatus["warnings"][number];

interface Shown {
  words: string;
  /** Where it can be dealt with, and what that link says. */
  page?: { to: string; says: string };
}

/** A code of a newer node is shown in that node's words. */
function shown(warning: Warning, status: NodeStatus): Shown {
  const { code, detail } = warning;
  switch (code) {
    case "dead-letters":
      return { words: texts.deadLetters(status.dead_letters), page: texts.toDeadLetters };
    case "dead-letters-dropped":
      return { words: texts.deadLettersDropped, page: texts.toDeadLetters };
    case "broker":
      return { words: detail, page: texts.toBrokers };
    case "decoders-unfit":
      return { words: texts.decodersUnfit, page: texts.toDecoders };
    default:
      return { words: detail };
  }
}

/** The same while a warning goes on, whatever it counts or quotes: the focus stays on its link. */
function keysOf(warnings: readonly Warning[]): string[] {
  const seen = new Map<string, number>();
  return warnings.map(({ code }) => {
    const nth = seen.get(code) ?? 0;
    seen.set(code, nth + 1);
    return `${code} ${nth}`;
  });
}

export function Warnings() {
  const { data: status } = useStatus();
  const warnings = status?.warnings ?? [];
  return (
    <>
      {/* Always there: a screen reader hears only of what changes in a place that it knows. */}
      <p role="status" className="sr-only">
        {warnings.length > 0 && texts.warnings(warnings.length)}
      </p>
      {status && warnings.length > 0 && <Disclosed status={status} />}
    </>
  );
}

function Disclosed({ status }: { status: NodeStatus }) {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const list = useId();
  const { key: place } = useLocation();
  // Whoever followed a link wants to see where it leads.
  // biome-ignore lint/correctness/useExhaustiveDependencies: another place is what closes it
  useEffect(() => setOpen(false), [place]);
  useEffect(() => {
    if (!open) return;
    const close = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      button.current?.focus();
    };
    document.addEventListener("keydown", close);
    return () => document.removeEventListener("keydown", close);
  }, [open]);
  const { warnings } = status;
  const keys = keysOf(warnings);
  return (
    <>
      <button
        ref={button}
        type="button"
        aria-expanded={open}
        aria-controls={list}
        aria-label={texts.warnings(warnings.length)}
        className="flex min-h-10 shrink-0 cursor-pointer items-center gap-1.5 rounded-lg border-2 border-warn bg-warn-soft px-2.5 text-sm font-bold text-warn sm:min-h-12"
        onClick={() => setOpen(!open)}
      >
        <svg aria-hidden="true" width="18" height="18" viewBox="0 0 24 24" fill="none" stroke="currentColor">
          <path
            d="M12 3 2 20h20L12 3zM12 10v4M12 17v.1"
            strokeWidth="2.5"
            strokeLinecap="round"
            strokeLinejoin="round"
          />
        </svg>
        {warnings.length}
        <span className="max-sm:hidden">{texts.warningsShort(warnings.length)}</span>
      </button>
      <div
        id={list}
        hidden={!open}
        className="absolute inset-x-0 top-full max-h-[60dvh] overflow-y-auto border-y-4 border-warn bg-warn-soft shadow-lg"
      >
        <ul
          aria-label={texts.warningsTitle}
          className="mx-auto grid max-w-[90rem] grid-cols-[minmax(0,1fr)] gap-2 px-3 py-3 sm:px-6"
        >
          {warnings.map((warning, index) => {
            const { words, page } = shown(warning, status);
            return (
              <li key={keys[index]}>
                <span className="font-semibold">{words}.</span>{" "}
                {page && (
                  <Link className="link inline-flex min-h-10 items-center" to={page.to}>
                    {page.says}
                  </Link>
                )}
              </li>
            );
          })}
        </ul>
      </div>
    </>
  );
}
